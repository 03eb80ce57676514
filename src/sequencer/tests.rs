//! What the sequencer answers, step by step.

use std::time::Duration;

use super::*;
use crate::log::{Log, Retention};
use crate::sync::Arc;
use crate::words::channel::Channel;

/// Bounds for a log that is quickly made.
fn small() -> Limits {
    Limits { retain_events: 100, ..Limits::default() }
}

/// A sequencer, its queue, and what its last step did.
struct Rig {
    log: Arc<Log>,
    ingest: Ingest,
    sequencer: Sequencer,
    step: Step,
    now: Now,
}

impl Rig {
    /// With a log of two channels.
    fn new(limits: &Limits) -> Rig {
        let retention = Retention {
            events: limits.retain_events,
            bytes: limits.retain_bytes,
            age: limits.retain_age,
            channels_max: 2,
        };
        let (log, writer) = Log::new(retention);
        Rig {
            log,
            ingest: Ingest::new(100, 1 << 20),
            sequencer: Sequencer::new(writer, Epoch::from_bits(0), limits),
            step: Step::default(),
            now: Now { mono_ms: 1000, unix_ms: 1_000_000 },
        }
    }

    fn queue(&self, submission: Submission) {
        assert!(self.ingest.submit(submission).is_ok(), "the queue has room");
    }

    /// Steps once; what became of everything that waited.
    fn step(&mut self) -> Vec<Result<Done, Refusal>> {
        let took = self.sequencer.step(&self.ingest, self.now, &mut self.step);
        assert_eq!(took, !self.step.receipts.is_empty());
        self.step.receipts.iter().map(|(_, receipt)| receipt.outcome).collect()
    }

    /// Submits one thing and steps.
    fn ask(&mut self, submission: Submission) -> Result<Done, Refusal> {
        self.queue(submission);
        self.step()[0]
    }

    /// Time goes by.
    fn wait_ms(&mut self, wait_ms: u64) {
        self.now = Now { mono_ms: self.now.mono_ms + wait_ms, unix_ms: self.now.unix_ms + wait_ms };
    }

    fn window(&self) -> std::ops::Range<u64> {
        self.log.oldest()..self.log.published()
    }
}

fn batch(channel: &str, count: usize) -> smallvec::SmallVec<[Publication; 1]> {
    let channel = Channel::parse(channel).unwrap();
    let parts = EventParts::new(&channel, "k", b"1");
    (0..count).map(|_| Publication::new(&parts).unwrap()).collect()
}

fn publish(channel: &str, count: usize) -> Submission {
    Submission::publish(Origin::NOBODY, batch(channel, count))
}

fn publish_once(channel: &str, count: usize, key: &str, body: &str) -> Submission {
    let key = IdempotencyKey::new("alice", key, body.as_bytes());
    Submission::publish_once(Origin::NOBODY, batch(channel, count), key)
}

fn clear(before: Before) -> Submission {
    Submission::clear(Origin::NOBODY, before)
}

fn published(first: u64, last: u64, is_repeat: bool) -> Result<Done, Refusal> {
    Ok(Done::Published { first, last, is_repeat })
}

fn cleared(count: u64, oldest: u64) -> Result<Done, Refusal> {
    Ok(Done::Cleared { count, oldest })
}

#[test]
fn a_second_attempt_gets_the_answer_of_the_first_and_publishes_nothing() {
    let mut rig = Rig::new(&small());
    assert_eq!(rig.ask(publish_once("t:a", 3, "k", "x")), published(1, 3, false));
    assert_eq!(rig.ask(publish("t:a", 1)), published(4, 4, false));
    assert_eq!(rig.ask(publish_once("t:a", 3, "k", "x")), published(1, 3, true));
    assert_eq!((rig.step.first, rig.step.end, rig.window()), (5, 5, 1..5));
    assert_eq!(rig.ask(publish_once("t:a", 3, "k", "y")), Err(Refusal::KeyReused));
    assert_eq!(rig.ask(publish_once("t:a", 1, "other", "x")), published(5, 5, false));
    rig.wait_ms(599_999);
    assert_eq!(rig.ask(publish_once("t:a", 3, "k", "x")), published(1, 3, true), "still known");
    rig.wait_ms(1);
    assert_eq!(rig.ask(publish_once("t:a", 1, "k", "y")), published(6, 6, false), "known no more");
}

#[test]
fn a_wall_clock_that_is_set_ends_no_window_and_holds_none_open() {
    const DAY_MS: u64 = 86_400_000;
    for (before_unix_ms, after_unix_ms) in [(DAY_MS, 0), (0, DAY_MS), (DAY_MS, 2 * DAY_MS)] {
        let mut rig = Rig::new(&small());
        rig.now.unix_ms = before_unix_ms;
        assert_eq!(rig.ask(publish_once("t:a", 1, "k", "x")), published(1, 1, false));
        rig.now.unix_ms = after_unix_ms;
        assert_eq!(rig.ask(publish_once("t:a", 1, "k", "x")), published(1, 1, true));
        rig.wait_ms(599_999);
        assert_eq!(rig.ask(publish_once("t:a", 1, "k", "x")), published(1, 1, true), "still known");
        rig.wait_ms(1);
        assert_eq!(rig.ask(publish_once("t:a", 1, "k", "x")), published(2, 2, false), "known no more");
    }
}

#[test]
fn an_attempt_right_behind_the_first_is_a_repeat_too() {
    let mut rig = Rig::new(&small());
    for body in ["x", "x", "y"] {
        rig.queue(publish_once("t:a", 2, "k", body));
    }
    assert_eq!(rig.step(), [published(1, 2, false), published(1, 2, true), Err(Refusal::KeyReused)]);
    assert_eq!(rig.window(), 1..3);
}

#[test]
fn what_was_refused_is_not_remembered() {
    let mut rig = Rig::new(&small());
    assert_eq!(rig.ask(publish("t:a", 1)), published(1, 1, false));
    assert_eq!(rig.ask(publish("t:b", 1)), published(2, 2, false));
    assert_eq!(rig.ask(publish_once("t:c", 1, "k", "x")), Err(Refusal::ChannelsFull));
    assert_eq!(rig.ask(publish_once("t:a", 1, "k", "y")), published(3, 3, false));
}

#[test]
fn the_oldest_key_makes_room_and_no_keys_is_off() {
    let mut rig = Rig::new(&Limits { idempotency_keys_max: 2, ..small() });
    for (seq, key) in (1..).zip(["1", "2", "3"]) {
        assert_eq!(rig.ask(publish_once("t:a", 1, key, "x")), published(seq, seq, false));
    }
    assert_eq!(rig.ask(publish_once("t:a", 1, "2", "x")), published(2, 2, true));
    assert_eq!(rig.ask(publish_once("t:a", 1, "1", "x")), published(4, 4, false));
    let mut rig = Rig::new(&Limits { idempotency_keys_max: 0, ..small() });
    for seq in 1..3 {
        assert_eq!(rig.ask(publish_once("t:a", 1, "k", "x")), published(seq, seq, false));
    }
}

#[test]
fn clearing_goes_by_number_by_time_and_by_what_is_kept() {
    let check = |before: Before, count: u64, oldest: u64| {
        let mut rig = Rig::new(&Limits { retain_events: 10, ..small() });
        for _ in 0..12 {
            rig.wait_ms(10);
            assert!(rig.ask(publish("t:a", 1)).is_ok());
        }
        assert_eq!(rig.window(), 3..13);
        assert_eq!(rig.ask(clear(before)), cleared(count, oldest), "{before:?}");
        assert_eq!(rig.window(), oldest..13, "{before:?}");
        assert!(count == 0 || rig.log.slot(oldest - 1).is_none(), "{before:?}");
    };
    check(Before::Seq(0), 0, 3);
    check(Before::Seq(3), 0, 3);
    check(Before::Seq(4), 1, 4);
    check(Before::Seq(u64::MAX), 10, 13);
    check(Before::Time { unix_ms: 0 }, 0, 3);
    check(Before::Time { unix_ms: 1_000_040 }, 1, 4);
    check(Before::Time { unix_ms: 1_000_041 }, 2, 5);
    check(Before::Time { unix_ms: u64::MAX }, 10, 13);
    check(Before::Keep(0), 10, 13);
    check(Before::Keep(4), 6, 9);
    check(Before::Keep(10), 0, 3);
    check(Before::Keep(u64::MAX), 0, 3);
}

#[test]
fn a_clear_reaches_what_is_before_it_in_the_queue() {
    let mut rig = Rig::new(&small());
    rig.queue(publish("t:a", 5));
    rig.queue(clear(Before::Keep(2)));
    rig.queue(publish("t:a", 1));
    rig.queue(clear(Before::Seq(5)));
    let expected = [published(1, 5, false), cleared(3, 4), published(6, 6, false), cleared(1, 5)];
    assert_eq!(rig.step(), expected);
    assert_eq!((rig.step.first, rig.step.end, rig.window()), (1, 7, 5..7));
}

#[test]
fn what_is_too_old_leaves_with_a_step_and_without() {
    let age = Some(Duration::from_millis(100));
    let mut rig = Rig::new(&Limits { retain_age: age, ..small() });
    assert_eq!(rig.sequencer.next_expiry_ms(), None);
    assert!(rig.ask(publish("t:a", 2)).is_ok());
    rig.wait_ms(60);
    assert!(rig.ask(publish("t:a", 1)).is_ok());
    assert_eq!(rig.sequencer.next_expiry_ms(), Some(1_000_100));
    assert!(!rig.sequencer.expire(1_000_099));
    assert!(rig.sequencer.expire(1_000_100));
    assert_eq!((rig.window(), rig.sequencer.next_expiry_ms()), (3..4, Some(1_000_160)));
    rig.now.unix_ms = 1_000_160;
    assert!(rig.step().is_empty(), "nothing waits");
    assert_eq!((rig.window(), rig.sequencer.next_expiry_ms()), (4..4, None));
}

#[test]
fn whoever_read_the_clock_a_little_earlier_does_not_set_it_back() {
    let mut rig = Rig::new(&small());
    let mut check = |now_unix_ms: u64, expected: u64| {
        rig.now.unix_ms = now_unix_ms;
        let Ok(Done::Published { first, .. }) = rig.ask(publish("t:a", 1)) else { panic!("not published") };
        assert_eq!(rig.log.slot(first).map(|slot| slot.timestamp_ms), Some(expected), "at {now_unix_ms}");
    };
    check(1_000_000, 1_000_000);
    check(999_999, 1_000_000);
    check(999_000, 1_000_000);
    check(1_000_001, 1_000_001);
    check(999_000, 999_000);
    check(998_000, 999_000);
}
