//! The log against a simple twin, and what it promises at its bounds.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::words::channel::{Channel, Route};
use crate::words::labels::Labels;

/// An event as the twin keeps it.
struct Owned {
    seq: u64,
    route: ChannelId,
    json: Vec<u8>,
    /// Stands for the labels too: to the log they are bytes.
    sse_head: String,
    timestamp_ms: u64,
    /// The timestamp, or what the clock was set back to since, whichever is earliest.
    age_from_ms: u64,
}

impl Owned {
    /// The frames by the letter of RFC 6455 and of the event stream format, written without the log's encoders.
    fn frame(&self, form: Form) -> Vec<u8> {
        let json = &self.json;
        match form {
            Form::WebSocket => {
                let length = match json.len() {
                    short @ ..126 => vec![short as u8],
                    middle @ ..65_536 => [&[126][..], &(middle as u16).to_be_bytes()].concat(),
                    long => [&[127][..], &(long as u64).to_be_bytes()].concat(),
                };
                [&[0x81], &length[..], json].concat()
            }
            Form::Sse => [self.sse_head.as_bytes(), json, b"\n\n"].concat(),
            Form::SseUnnamed => {
                let lines: Vec<&str> = self.sse_head.split('\n').collect();
                [lines[0].as_bytes(), b"\n", lines[2].as_bytes(), json, b"\n\n"].concat()
            }
        }
    }

    /// What the event takes of the byte budget: a large event's JSON is kept once.
    fn bytes(&self) -> usize {
        let header = [2, 4, 10][(125 < self.json.len()) as usize + (65_535 < self.json.len()) as usize];
        let json_in_sse = if self.json.len() < SPLIT_JSON_BYTES { self.json.len() } else { 0 };
        let labels = self.sse_head.len();
        header + self.json.len() + self.sse_head.len() + json_in_sse + 2 + labels
    }
}

/// A log and its twin: everything that was published, of which the last few are visible.
struct Rig {
    log: Arc<Log>,
    writer: Writer,
    retention: Retention,
    /// The first few channels, since names are slow to make where every access is checked.
    channels: Vec<Route>,
    events: Vec<Owned>,
    /// The visible ones, as an index range of `events`.
    window: VecDeque<usize>,
    window_bytes: usize,
    /// Nothing below this may be lent.
    floor: u64,
    now_ms: u64,
}

impl Rig {
    fn new(retention: Retention) -> Rig {
        Rig::starting_at(1, retention)
    }

    fn starting_at(first: u64, retention: Retention) -> Rig {
        let (log, writer) = Log::starting_at(first, retention);
        log.open_blocks();
        let channels = (0..6).map(named).collect();
        Rig {
            log,
            writer,
            retention,
            channels,
            events: Vec::new(),
            window: VecDeque::new(),
            window_bytes: 0,
            floor: first,
            now_ms: 1_000_000,
        }
    }

    /// Appends an event of `size` bytes of JSON, handed over in pieces, a millisecond after the one before.
    fn append(&mut self, channel: u32, size: usize) {
        let name = self.channels.get(channel as usize).cloned().unwrap_or_else(|| named(channel));
        let route = self.writer.intern(&name).unwrap();
        let seq = self.writer.next();
        let json = text(seq, size);
        let sse_head = format!("id: epoch-{seq}\nevent: kind_{}\ndata: ", seq % 7);
        self.now_ms += 1;
        let timestamp_ms = self.now_ms;
        let (front, back) = json.split_at(seq as usize % (size + 1));
        let encoded = Encoded {
            json: &[front, b"", back],
            sse_head: &[b"", sse_head.as_bytes()],
            labels: sse_head.as_bytes(),
            timestamp_ms,
            accepted: Default::default(),
        };
        assert_eq!(self.writer.append(route, &encoded), seq);
        self.events.push(Owned { seq, route, json, sse_head, timestamp_ms, age_from_ms: timestamp_ms });
    }

    fn publish(&mut self) {
        let before = self.window.back().map_or(self.events.len() - self.unpublished(), |last| last + 1);
        assert_eq!(self.writer.publish(), self.next());
        for index in before..self.events.len() {
            self.window.push_back(index);
            self.window_bytes += self.events[index].bytes();
        }
        while !self.window.is_empty()
            && (self.retention.events < self.window.len() || self.retention.bytes < self.window_bytes)
        {
            self.leave();
        }
    }

    /// The oldest event leaves the twin's window.
    fn leave(&mut self) {
        let index = self.window.pop_front().expect("there is one");
        self.window_bytes -= self.events[index].bytes();
    }

    fn clear(&mut self, before: u64) {
        let before = before.min(self.log.published());
        let mut left = 0;
        while self.visible().start < before && !self.window.is_empty() {
            self.leave();
            left += 1;
        }
        self.floor = self.floor.max(before);
        assert_eq!(self.writer.clear(before), left);
    }

    /// The clock is set to `now_ms`, and looked at.
    fn look(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        let age_ms = self.retention.age.map(|age| age.as_millis() as u64);
        for event in &mut self.events {
            event.age_from_ms = event.age_from_ms.min(now_ms);
        }
        let due_ms = |rig: &Rig| {
            let oldest = rig.window.front().map(|index| &rig.events[*index]);
            oldest.and_then(|event| age_ms.map(|age_ms| event.age_from_ms + age_ms))
        };
        let mut left = 0;
        while due_ms(self).is_some_and(|due_ms| due_ms <= now_ms) {
            self.leave();
            left += 1;
        }
        assert_eq!(self.writer.expire(now_ms), 0 < left);
        assert_eq!(self.writer.next_expiry_ms(), due_ms(self));
    }

    /// Publishes `count` small events of `channel` in batches.
    fn run(&mut self, channel: u32, count: usize) {
        for done in 1..=count {
            self.append(channel, 8);
            if done % 23 == 0 || done == count {
                self.publish();
            }
        }
    }

    fn unpublished(&self) -> usize {
        (self.writer.next() - self.log.published()) as usize
    }

    fn next(&self) -> u64 {
        self.writer.next()
    }

    fn visible(&self) -> Range<u64> {
        let oldest = self.window.front().map_or(self.next(), |index| self.events[*index].seq);
        oldest..self.next()
    }

    /// The log says of itself, and lends, exactly what the twin has.
    fn check(&self) {
        let visible = self.visible();
        assert_eq!(self.log.oldest()..self.log.published(), visible);
        let first = self.next() - self.events.len() as u64;
        let mut pass = self.log.pass();
        for event in &self.events[(visible.start - first) as usize..] {
            if pass.slot(event.seq).is_pass_full() {
                pass = self.log.pass();
            }
            check_event(&pass, event);
        }
        for event in self.events.iter().take_while(|event| event.seq < self.floor) {
            assert!(self.log.slot(event.seq).is_none(), "{} was cleared", event.seq);
            assert!(self.log.pass().slot(event.seq).is_lapped(), "{} was cleared", event.seq);
        }
        self.check_links(visible.start);
    }

    /// The links of every channel lead from its head through all of its visible events, and what is beyond is marked.
    fn check_links(&self, oldest: u64) {
        let mut by_channel: Vec<Vec<u64>> = vec![Vec::new(); self.retention.channels_max];
        for event in &self.events {
            by_channel[event.route.index()].push(event.seq);
        }
        for (index, expected) in by_channel.iter().enumerate() {
            let id = ChannelId(index as u32);
            let (evicted, visible) = expected.split_at(expected.partition_point(|seq| *seq < oldest));
            assert_eq!(self.log.head_of(id), expected.last().copied().unwrap_or(0), "head of {id:?}");
            assert_eq!(self.log.evicted_of(id), evicted.last().copied().unwrap_or(0), "evicted of {id:?}");
            let walked: Vec<u64> = walk(&self.log, id).take_while(|seq| oldest <= *seq).collect();
            assert!(walked.iter().eq(visible.iter().rev()), "links of {id:?}: {walked:?}, not {visible:?}");
        }
    }
}

impl<T> Held<T> {
    fn is_lapped(&self) -> bool {
        matches!(self, Held::Lapped)
    }

    fn is_pass_full(&self) -> bool {
        matches!(self, Held::PassFull)
    }

    #[track_caller]
    fn unwrap(self) -> T {
        match self {
            Held::Here(value) => value,
            Held::Lapped => panic!("lapped"),
            Held::PassFull => panic!("the pass is full"),
        }
    }
}

fn check_event(pass: &Pass<'_>, event: &Owned) {
    let seq = event.seq;
    for form in [Form::WebSocket, Form::Sse, Form::SseUnnamed] {
        let frame = pass.frame(seq, form).unwrap();
        let expected = event.frame(form);
        assert_eq!(frame.bytes(), expected.len());
        assert!(bytes_of(&frame) == expected, "{form:?} of {seq}");
    }
    assert!(pass.json(seq).unwrap() == event.json, "JSON of {seq}");
    let labels = Labels::new(event.sse_head.as_bytes());
    assert_eq!(pass.labels(seq).unwrap().data(), labels.data(), "labels of {seq}");
    let slot = pass.slot(seq).unwrap();
    assert_eq!(
        (slot.route, slot.timestamp_ms, slot.bytes()),
        (event.route, event.timestamp_ms, event.bytes())
    );
}

fn bytes_of(frame: &Frame<'_>) -> Vec<u8> {
    frame.parts().collect::<Vec<_>>().concat()
}

/// The events of a channel, newest first, as far as the links lead.
fn walk(log: &Log, id: ChannelId) -> impl Iterator<Item = u64> {
    let head = Some(log.head_of(id)).filter(|head| *head != 0);
    std::iter::successors(head, |seq| log.slot(*seq)?.previous(*seq))
}

fn named(channel: u32) -> Route {
    Route::from(&Channel::parse(&format!("job:{channel}")).unwrap())
}

/// `size` bytes that tell which event they are of, as far as there is room.
fn text(seq: u64, size: usize) -> Vec<u8> {
    let word = seq.to_ne_bytes();
    let mut text = if size <= word.len() { word.to_vec() } else { word.repeat(size / word.len() + 1) };
    text.truncate(size);
    text
}

const ROOMY: Retention = Retention { events: 10, bytes: 1 << 30, age: None, channels_max: 8 };

/// Events that fill every place of a small log, so that one more overwrites the first.
const LAP: usize = SEGMENTS_MIN * SEGMENT_EVENTS;

#[test]
fn the_window_is_exact() {
    let check = |events: usize, published: usize, expected: Range<u64>| {
        let mut rig = Rig::new(Retention { events, ..ROOMY });
        for _ in 0..published {
            rig.append(0, 20);
            rig.publish();
        }
        assert_eq!(rig.visible(), expected, "the twin");
        rig.check();
    };
    check(0, 0, 1..1);
    check(0, 7, 8..8);
    check(1, 0, 1..1);
    check(1, 7, 7..8);
    check(3, 5, 3..6);
    check(10, 9, 1..10);
    check(10, 10, 1..11);
    check(10, 20, 11..21);
    check(SEGMENT_EVENTS, SEGMENT_EVENTS + 1, 2..SEGMENT_EVENTS as u64 + 2);
}

#[test]
fn windows_stay_exact_over_many_laps() {
    let check = |events: usize| {
        let mut rig = Rig::new(Retention { events, ..ROOMY });
        for batch in 0..if cfg!(miri) { 25 } else { (2 * LAP).div_ceil(63) } {
            for place in 0..1 + batch % 125 {
                rig.append((place % 5) as u32, batch % 90 + 1);
            }
            rig.publish();
            assert_eq!(rig.log.oldest()..rig.log.published(), rig.visible());
            if batch % 16 == 0 {
                rig.check();
            }
        }
        rig.check();
    };
    for events in [0, 1, 3, 10, SEGMENT_EVENTS] {
        check(events);
        if cfg!(miri) {
            break;
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "too many events")]
fn a_window_of_65_536_stays_exact_over_a_lap() {
    let mut rig = Rig::new(Retention { events: 65_536, ..ROOMY });
    rig.run(0, 60_000);
    rig.run(1, 70_000);
    rig.check();
    rig.run(2, 10_000);
    assert_eq!(rig.visible(), 74_465..140_001);
    rig.check();
}

#[test]
fn frames_of_every_size_are_exact() {
    let mut rig = Rig::new(Retention { events: 100, ..ROOMY });
    let small = [1, 2, 124, 125, 126, 127, SPLIT_JSON_BYTES - 1, SPLIT_JSON_BYTES, SPLIT_JSON_BYTES + 1];
    let chunk_edge = (CHUNK_BYTES - 10..CHUNK_BYTES + 2).step_by(if cfg!(miri) { 3 } else { 1 });
    let large = [3, 65_535, 65_536, 200 << 10, 1, 3 << 20, 5];
    let sizes = small.into_iter().chain(chunk_edge).chain(large);
    for size in sizes {
        rig.append(size as u32 % 8, size);
        rig.publish();
    }
    rig.check();
}

#[test]
fn the_byte_budget_moves_the_window() {
    let mut rig = Rig::new(Retention { events: 50, bytes: 10_000, age: None, channels_max: 8 });
    for (channel, size) in
        [(0, 4000), (1, 4000), (2, 10), (0, 1800), (1, 2100), (2, 50_000), (0, 1), (1, 9000)]
    {
        rig.append(channel, size);
        rig.publish();
        rig.check();
    }
    assert_eq!(rig.visible(), 7..9);
}

#[test]
fn a_budget_of_no_bytes_keeps_nothing_visible() {
    let mut rig = Rig::new(Retention { events: 10, bytes: 0, age: None, channels_max: 8 });
    rig.run(0, 5);
    rig.check();
    assert_eq!(rig.visible(), 6..6);
}

#[test]
fn clearing_is_exact_and_never_more_than_is_published() {
    let check = |before: u64, expected: Range<u64>| {
        let mut rig = Rig::new(Retention { events: 20, ..ROOMY });
        rig.run(0, 5);
        rig.run(1, 20);
        assert_eq!(rig.visible(), 6..26);
        rig.append(2, 8);
        rig.clear(before);
        assert_eq!(rig.log.oldest()..rig.log.published(), expected, "cleared before {before}");
        rig.publish();
        rig.check();
    };
    check(0, 6..26);
    check(6, 6..26);
    check(7, 7..26);
    check(17, 17..26);
    check(26, 26..26);
    check(27, 26..26);
    check(u64::MAX, 26..26);
}

/// Beyond its window a log goes on lending what it holds to whoever is behind; not so what was cleared.
#[test]
fn what_was_cleared_is_gone_for_readers_that_are_behind_too() {
    let mut rig = Rig::new(ROOMY);
    rig.run(0, 20);
    assert!(rig.log.slot(5).is_some(), "below the window, and held");
    let log = Arc::clone(&rig.log);
    let before = log.pass();
    for event in &rig.events {
        check_event(&before, event);
    }
    rig.clear(15);
    for seq in 1..15 {
        assert!(log.slot(seq).is_none() && log.pass().slot(seq).is_lapped(), "{seq}");
        check_event(&before, &rig.events[seq as usize - 1]);
    }
    check_event(&log.pass(), &rig.events[14]);
    assert_eq!(log.evicted_of(ChannelId(0)), 14);
    rig.clear(3);
    rig.check();
    assert!(log.slot(14).is_none(), "a floor never falls");

    rig.run(0, 10);
    assert_eq!(log.oldest(), 21);
    assert!(log.slot(17).is_some());
    rig.clear(18);
    assert!(
        log.slot(17).is_none() && log.slot(18).is_some(),
        "what had left the window before is cleared too"
    );
    rig.check();
}

#[test]
fn clearing_gives_memory_back() {
    let mut rig = Rig::new(Retention { events: 8 * SEGMENT_EVENTS, ..ROOMY });
    rig.run(0, 8 * SEGMENT_EVENTS);
    let (pooled, held) = (rig.writer.idle_chunks().0, rig.writer.held_bytes());
    rig.clear(7 * SEGMENT_EVENTS as u64 + 1);
    assert!(rig.writer.held_bytes() < held / 3, "{} of {held}", rig.writer.held_bytes());
    assert!(pooled + 14 <= rig.writer.idle_chunks().0, "two chunks of each of seven segments");
    rig.clear(u64::MAX);
    rig.check();
    rig.run(1, LAP);
    rig.check();
}

#[test]
fn what_is_too_old_leaves_and_the_clock_may_be_set() {
    let age = Some(Duration::from_millis(100));
    let mut rig = Rig::new(Retention { events: 40, age, ..ROOMY });
    rig.run(0, 10);
    let start_ms = rig.now_ms - 10;
    assert_eq!(rig.writer.next_expiry_ms(), Some(start_ms + 101));
    let check = |rig: &mut Rig, now_ms: u64, expected: Range<u64>| {
        rig.look(now_ms);
        rig.check();
        assert_eq!(rig.visible(), expected, "at {now_ms}");
    };
    check(&mut rig, start_ms + 100, 1..11);
    check(&mut rig, start_ms + 101, 2..11);
    check(&mut rig, start_ms + 104, 5..11);
    // Set back by far: what is left is not too old at once, and not for as long as the clock needs to catch up either.
    check(&mut rig, 5000, 5..11);
    rig.run(1, 1);
    check(&mut rig, 5099, 5..12);
    check(&mut rig, 5100, 11..12);
    check(&mut rig, 5101, 12..12);
    assert_eq!(rig.writer.next_expiry_ms(), None);
    assert!(rig.log.slot(11).is_some(), "what left by age is still held for those who are behind");
    // Set forward: so much time has passed.
    rig.run(1, 3);
    check(&mut rig, start_ms, 15..15);
}

#[test]
fn without_a_bound_nothing_is_too_old() {
    let mut rig = Rig::new(ROOMY);
    rig.run(0, 5);
    rig.look(u64::MAX);
    assert_eq!((rig.visible(), rig.writer.next_expiry_ms()), (1..6, None));
}

#[test]
fn the_first_event_since_a_time_is_found_from_the_oldest_on() {
    let mut rig = Rig::new(ROOMY);
    rig.now_ms = 100;
    rig.run(0, 3);
    rig.now_ms = 50;
    rig.run(0, 3);
    let check = |unix_ms, expected| assert_eq!(rig.writer.first_since(unix_ms), expected, "{unix_ms}");
    check(0, 1);
    check(101, 1);
    check(102, 2);
    check(103, 3);
    check(104, 7);
}

#[test]
fn sequence_numbers_far_beyond_32_bits_are_as_good_as_small_ones() {
    for first in [u64::from(u32::MAX) - 9, (1 << 33) + 5, 1 << 60] {
        let mut rig = Rig::starting_at(first, Retention { events: 20, ..ROOMY });
        rig.check();
        for channel in 0..30 {
            rig.append(channel % 4, 300);
            rig.publish();
        }
        rig.check();
        assert_eq!(rig.visible(), first + 10..first + 30);
        assert!(rig.log.pass().slot(first - 1).is_lapped());
        assert!(rig.log.slot(first - 1).is_none());
    }
}

#[test]
fn what_is_appended_is_linked_before_it_is_published() {
    let mut rig = Rig::new(ROOMY);
    rig.append(0, 5);
    rig.publish();
    rig.append(0, 6);
    rig.append(0, 7);
    assert_eq!(rig.log.published(), 2);
    assert_eq!(walk(&rig.log, ChannelId(0)).collect::<Vec<_>>(), [3, 2, 1]);
    rig.publish();
    rig.check();
}

#[test]
fn what_was_never_written_is_not_held() {
    let mut rig = Rig::new(ROOMY);
    assert!(rig.log.slot(0).is_none() && rig.log.slot(1).is_none() && rig.log.slot(u64::MAX).is_none());
    rig.run(0, 3);
    assert!(rig.log.slot(0).is_none() && rig.log.slot(4).is_none() && rig.log.slot(u64::MAX).is_none());
    assert!(rig.log.slot(3).is_some());
    assert!(rig.log.pass().slot(0).is_lapped());
}

#[test]
#[should_panic(expected = "4 is not published in this pass")]
fn a_pass_refuses_what_it_did_not_see_published() {
    let mut rig = Rig::new(ROOMY);
    rig.run(0, 3);
    let log = Arc::clone(&rig.log);
    let pass = log.pass();
    rig.run(0, 1);
    let _ = pass.frame(4, Form::WebSocket);
}

#[test]
fn a_pass_lends_the_same_bytes_however_often_the_writer_laps_it() {
    let mut rig = Rig::new(ROOMY);
    rig.run(0, 20);
    let log = Arc::clone(&rig.log);
    let pass = log.pass();
    for event in &rig.events {
        check_event(&pass, event);
    }
    let lent = pass.frame(20, Form::Sse).unwrap();
    let laps = if cfg!(miri) { 1 } else { 5 };
    for _ in 0..laps {
        rig.run(1, LAP + 1);
        for event in &rig.events[..20] {
            check_event(&pass, event);
        }
    }
    assert_eq!(bytes_of(&lent), rig.events[19].frame(Form::Sse));
    assert!(log.pass().slot(20).is_lapped(), "a pass that begins now comes too late");
    assert!(log.slot(20).is_none());
    assert!(20 < log.oldest());
}

#[test]
fn what_a_pass_did_not_reach_into_in_time_is_lapped() {
    let mut rig = Rig::new(ROOMY);
    rig.run(0, SEGMENT_EVENTS + 1);
    let log = Arc::clone(&rig.log);
    let pass = log.pass();
    check_event(&pass, &rig.events[0]);
    rig.run(0, LAP + SEGMENT_EVENTS);
    check_event(&pass, &rig.events[0]);
    let next_segment = SEGMENT_EVENTS as u64;
    assert!(pass.slot(next_segment).is_lapped());
    assert_eq!(pass.json(next_segment), Held::Lapped);
    assert!(pass.frame(next_segment, Form::Sse).is_lapped());
}

#[test]
fn frames_that_lie_back_to_back_are_joined() {
    let mut rig = Rig::new(Retention { events: 2 * SEGMENT_EVENTS, ..ROOMY });
    rig.run(0, SEGMENT_EVENTS - 3);
    rig.append(0, CHUNK_BYTES);
    rig.run(0, 5);
    let check = |form: Form, range: Range<usize>, expected: &[usize]| {
        let pass = rig.log.pass();
        let mut runs: Vec<Piece<'_>> = Vec::new();
        for seq in range.clone() {
            for piece in pass.frame(seq as u64, form).unwrap().pieces() {
                match runs.last().and_then(|last| last.joined(piece)) {
                    Some(joined) => *runs.last_mut().unwrap() = joined,
                    None => runs.push(piece),
                }
            }
        }
        let bytes = runs.iter().map(|run| run.bytes()).collect::<Vec<_>>().concat();
        let events = &rig.events[range.start - 1..range.end - 1];
        let twin = events.iter().map(|event| event.frame(form)).collect::<Vec<_>>().concat();
        assert!(bytes == twin, "{form:?} of {range:?}");
        let lengths: Vec<usize> = runs.iter().map(|run| run.bytes().len()).collect();
        assert_eq!(lengths, expected, "{form:?} of {range:?}");
    };
    let sse = |seq: usize| format!("id: epoch-{seq}\nevent: kind_{}\ndata: ", seq % 7).len();
    let large = SEGMENT_EVENTS - 2;
    // Small frames are 10 bytes and blocks `sse + 10`; the large event has a chunk of its own, and ends one.
    check(Form::WebSocket, 1..large, &[10 * (large - 1)]);
    check(Form::Sse, 1..large, &[(1..large).map(|seq| sse(seq) + 10).sum()]);
    check(Form::WebSocket, large - 1..large + 3, &[10, CHUNK_BYTES + 10, 10, 10]);
    check(Form::Sse, large - 1..large + 1, &[sse(large - 1) + 10 + sse(large), CHUNK_BYTES, 2]);
    check(Form::Sse, large..large + 2, &[sse(large), CHUNK_BYTES, 2 + sse(large + 1) + 10]);
    // Without their second lines: an `id:` line of 12 bytes, and 16 bytes from `data:` on.
    check(Form::SseUnnamed, 1..3, &[12, 16 + 12, 16]);
}

#[test]
fn a_pass_is_full_after_so_many_segments() {
    let mut rig = Rig::new(ROOMY);
    let last = (PASS_SEGMENTS_MAX * SEGMENT_EVENTS) as u64;
    rig.run(0, last as usize);
    let pass = rig.log.pass();
    for segment in 0..PASS_SEGMENTS_MAX as u64 {
        assert!(!pass.slot(segment * SEGMENT_EVENTS as u64 + 1).is_pass_full());
    }
    assert!(pass.slot(last).is_pass_full());
    assert!(pass.json(last).is_pass_full());
    assert!(pass.slot(1).unwrap().previous(1).is_none(), "what it holds it goes on to lend");
    assert_eq!(rig.log.pass().slot(last).unwrap().previous(last), Some(last - 1));
}

#[test]
fn readers_cost_the_segments_they_hold_and_give_them_back() {
    let mut rig = Rig::new(ROOMY);
    let log = Arc::clone(&rig.log);
    rig.run(0, LAP + 1);
    assert_eq!(rig.writer.segments(), SEGMENTS_MIN, "nobody reads");

    let pass = log.pass();
    let held = rig.events.len() as u64 - SEGMENT_EVENTS as u64..rig.events.len() as u64;
    for seq in held.clone() {
        assert!(!pass.slot(seq).is_pass_full());
    }
    let reached = 2;
    let laps = if cfg!(miri) { 1 } else { 3 };
    for _ in 0..laps {
        rig.run(0, LAP);
        assert_eq!(rig.writer.segments(), SEGMENTS_MIN + reached, "a pass reaches into two");
    }

    drop(pass);
    rig.run(0, 3 * LAP);
    assert_eq!(
        rig.writer.segments(),
        SEGMENTS_MIN + reached,
        "no segment is made while there are spare ones"
    );
    let (pooled, forgotten) = rig.writer.idle_chunks();
    assert!(2 * reached <= pooled, "the chunks of what the pass held are back: {pooled}");
    assert_eq!(forgotten, 0);
    rig.check();
}

#[test]
fn large_events_hold_the_byte_budget_and_a_segment_at_most() {
    let bytes = 1 << 20;
    let mut rig = Rig::new(Retention { events: 400, bytes, age: None, channels_max: 8 });
    let size = 20 << 10;
    let segment_bytes = SEGMENT_EVENTS * (size + 100);
    for done in 0..if cfg!(miri) { 100 } else { 1000 } {
        rig.append(done % 3, size);
        rig.publish();
        let held = rig.writer.held_bytes();
        assert!(held <= bytes + segment_bytes, "{held}");
    }
    rig.check();
    assert_eq!(rig.writer.segments(), segments_for(&rig.retention));
}

#[test]
fn a_batch_may_be_as_large_as_the_bound() {
    let mut rig = Rig::new(Retention { events: 3, ..ROOMY });
    rig.run(0, SEGMENT_EVENTS - 1);
    for _ in 0..BATCH_EVENTS_MAX {
        rig.append(1, 8);
    }
    assert_eq!(rig.log.published(), SEGMENT_EVENTS as u64);
    rig.publish();
    rig.check();
    let pass = rig.log.pass();
    for event in rig.events[SEGMENT_EVENTS - 1..].iter().step_by(SEGMENT_EVENTS * 3) {
        check_event(&pass, event);
    }
}

#[test]
#[should_panic(expected = "events are published at once")]
fn a_batch_larger_than_the_log_is_refused() {
    let mut rig = Rig::new(ROOMY);
    for _ in 0..=LAP {
        rig.append(1, 8);
    }
}

#[test]
#[should_panic(expected = "larger than the log can address")]
fn a_frame_larger_than_can_be_addressed_is_refused() {
    let (_, mut writer) = Log::new(ROOMY);
    let route = writer.intern(&named(1)).unwrap();
    let part = vec![b'1'; 1 << 20];
    writer.append(
        route,
        &Encoded {
            json: &[&part[..]; 16],
            sse_head: &[b"data: "],
            labels: b"labels",
            timestamp_ms: 0,
            accepted: Default::default(),
        },
    );
}

#[test]
fn channels_are_numbered_in_order_until_all_numbers_are_taken() {
    let (log, mut writer) = Log::new(Retention { channels_max: 5, ..ROOMY });
    for channel in 0..5 {
        assert_eq!(writer.intern(&named(channel)), Ok(ChannelId(channel)));
        assert_eq!(writer.intern(&named(channel)), Ok(ChannelId(channel)), "again");
    }
    assert_eq!(writer.intern(&named(5)), Err(ChannelsFull));
    assert_eq!(writer.intern(&named(3)), Ok(ChannelId(3)));
    assert!(log.names().as_ref().unwrap().is_empty(), "not yet published");
    writer.publish();
    let names = log.names();
    let names = names.as_ref().unwrap();
    let listed: Vec<_> = names.iter().map(|(name, id)| (name.to_string(), id)).collect();
    assert_eq!(listed, (0..5).map(|n| (format!("job:{n}"), ChannelId(n))).collect::<Vec<_>>());
    assert_eq!((names.len(), names.reuses()), (5, 0));
    assert_eq!((names.id(named(4).as_str()), names.id(named(5).as_str())), (Some(ChannelId(4)), None));
    assert_eq!((names.name(ChannelId(4)), names.name(ChannelId(5))), (Some(&named(4)), None));
    assert_eq!(log.forgotten_below(), 0);
}

#[test]
fn a_log_for_no_channels_has_none() {
    let (_, mut writer) = Log::new(Retention { channels_max: 0, ..ROOMY });
    assert_eq!(writer.intern(&named(0)), Err(ChannelsFull));
}

#[test]
fn channels_out_of_reach_are_forgotten_when_numbers_run_out() {
    let mut rig = Rig::new(Retention { channels_max: 4, ..ROOMY });
    for channel in 0..4 {
        rig.append(channel, 8);
    }
    rig.publish();
    rig.run(0, LAP - 5);
    assert_eq!(rig.writer.intern(&named(4)), Err(ChannelsFull), "the first segment is still there");
    rig.run(0, 5);
    let new = rig.writer.intern(&named(4)).unwrap();
    rig.writer.publish();
    let names = rig.log.names();
    let names = names.as_ref().unwrap();
    assert_eq!((names.len(), names.reuses()), (2, 1));
    assert_eq!((names.id(named(0).as_str()), names.id(named(4).as_str())), (Some(ChannelId(0)), Some(new)));
    assert_eq!(names.name(new), Some(&named(4)));
    for gone in 1..4 {
        assert_eq!(names.id(named(gone).as_str()), None);
    }
    assert_eq!((rig.log.head_of(new), rig.log.evicted_of(new)), (0, 0), "no mark of its predecessor");
    assert_eq!(rig.log.forgotten_below(), SEGMENT_EVENTS as u64);
    rig.append(4, 8);
    rig.publish();
    assert_eq!(walk(&rig.log, new).collect::<Vec<_>>(), [rig.next() - 1]);
}

#[test]
fn a_channel_that_a_pass_can_still_see_is_not_forgotten() {
    let mut rig = Rig::new(Retention { channels_max: 2, ..ROOMY });
    let log = Arc::clone(&rig.log);
    rig.append(1, 8);
    rig.run(0, 1);
    let pass = log.pass();
    let seen = pass.slot(1).unwrap().route;
    rig.run(0, 2 * LAP);
    assert_eq!(rig.writer.intern(&named(2)), Err(ChannelsFull));
    assert_eq!(log.names().as_ref().unwrap().name(seen), Some(&named(1)));
    drop(pass);
    assert_eq!(rig.writer.intern(&named(2)), Ok(seen));
}

/// Otherwise two channels of one batch would get the same number, and the subscribers of one the events of the other.
#[test]
fn a_channel_that_was_just_interned_is_not_forgotten_for_the_next() {
    let mut rig = Rig::new(Retention { channels_max: 3, ..ROOMY });
    for channel in 0..3 {
        rig.append(channel, 8);
    }
    rig.publish();
    rig.run(0, LAP + 1);
    let known = rig.writer.intern(&named(1)).unwrap();
    let new = rig.writer.intern(&named(3)).unwrap();
    assert_eq!((known, new), (ChannelId(1), ChannelId(2)), "only channel 2 was out of reach and not wanted");
    assert_eq!(rig.writer.intern(&named(4)), Err(ChannelsFull));
    assert_eq!(rig.writer.intern(&named(1)), Ok(known));

    rig.run(0, 2 * LAP);
    let next = rig.writer.intern(&named(4)).unwrap();
    assert!([known, new].contains(&next), "no event came of either, and that is long ago");
}

#[test]
#[cfg_attr(miri, ignore = "too many events")]
fn forgetting_is_done_in_small_portions() {
    let channels = 600;
    let mut rig = Rig::new(Retention { channels_max: channels as usize, ..ROOMY });
    for channel in 0..channels {
        rig.append(channel, 8);
    }
    rig.publish();
    rig.run(0, LAP + SEGMENT_EVENTS * channels as usize / SEGMENT_EVENTS + SEGMENT_EVENTS);
    let known = |rig: &mut Rig| {
        rig.writer.publish();
        rig.log.names().as_ref().unwrap().len()
    };
    rig.writer.intern(&named(channels)).unwrap();
    assert_eq!(known(&mut rig), 600 - 256 + 1);
    for channel in 1..599 {
        rig.writer.intern(&named(channels + channel)).unwrap();
    }
    assert_eq!(known(&mut rig), 600);
    assert_eq!(rig.writer.intern(&named(2 * channels)), Err(ChannelsFull));
    assert_eq!(
        rig.log.names().as_ref().unwrap().id(named(0).as_str()),
        Some(ChannelId(0)),
        "the one in use is kept"
    );
    assert_eq!(rig.log.names().as_ref().unwrap().reuses(), 599);
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        12 => 1usize..300,
        2 => 120usize..130,
        3 => SPLIT_JSON_BYTES - 3..SPLIT_JSON_BYTES + 3,
        1 => CHUNK_BYTES - 70..CHUNK_BYTES + 70,
        1 => 1usize..200 << 10,
    ]
}

proptest! {
    #[test]
    fn the_log_agrees_with_its_twin(
        events in prop::sample::select(vec![0, 1, 3, 10, 40, 400]),
        bytes in prop::sample::select(vec![0, 1000, 70_000, 400_000, usize::MAX / 2]),
        first in prop::sample::select(vec![1, SEGMENT_EVENTS as u64 - 7, u64::from(u32::MAX) - 20]),
        batches in prop::collection::vec(prop::collection::vec((0u32..6, sizes()), 1..20), 1..if cfg!(miri) { 2 } else { 12 }),
    ) {
        let mut rig = Rig::starting_at(first, Retention { events, bytes, age: None, channels_max: 6 });
        for batch in batches {
            for (channel, size) in batch {
                rig.append(channel, size);
            }
            rig.publish();
            rig.check();
        }
    }
}

/// What may happen to a log between two looks at it.
#[derive(Clone, Debug)]
enum Happening {
    /// A batch of so many events is published.
    Batch(u32),
    /// What is so far behind what is published is cleared.
    Clear(u64),
    /// The clock goes on, or is set back.
    Clock(i64),
}

fn happenings() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (1u32..20).prop_map(Happening::Batch),
        1 => (0u64..60).prop_map(Happening::Clear),
        3 => (0i64..60).prop_map(Happening::Clock),
        1 => (-300i64..0).prop_map(Happening::Clock),
    ]
}

proptest! {
    #[test]
    fn clearing_and_age_agree_with_the_twin(
        events in prop::sample::select(vec![3, 10, 400]),
        age_ms in prop::option::of(1u64..150),
        first in prop::sample::select(vec![1, SEGMENT_EVENTS as u64 - 7]),
        happenings in prop::collection::vec(happenings(), 1..if cfg!(miri) { 8 } else { 50 }),
    ) {
        let age = age_ms.map(Duration::from_millis);
        let mut rig = Rig::starting_at(first, Retention { events, age, ..ROOMY });
        for happening in happenings {
            match happening {
                Happening::Batch(count) => rig.run(count % 6, count as usize),
                Happening::Clear(behind) => rig.clear(rig.next().saturating_sub(behind)),
                Happening::Clock(ahead_ms) => rig.look(rig.now_ms.saturating_add_signed(ahead_ms)),
            }
            // As the sequencer does after each batch.
            rig.look(rig.now_ms);
            rig.check();
        }
    }
}

/// Readers that run beside the writer see every event whole, in order and under its channel's name, or are told which
/// they miss; channels come and go meanwhile, and now and then old events are cleared.
#[test]
fn readers_beside_the_writer_see_whole_events_in_order() {
    let last: u64 = if cfg!(miri) { LAP as u64 + 40 } else { 60_000 };
    let (log, writer) = Log::new(Retention { events: 100, bytes: 1 << 30, age: None, channels_max: 6 });
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let log = Arc::clone(&log);
            thread::spawn(move || read_all(&log, last))
        })
        .collect();
    let writer = thread::spawn(move || write_all(writer, last));
    writer.join().unwrap();
    for reader in readers {
        let (seen, missed) = reader.join().unwrap();
        assert_eq!(seen + missed, last);
        assert!(0 < seen);
    }
}

/// Returns how many events it saw and how many it was told it missed.
fn read_all(log: &Log, last: u64) -> (u64, u64) {
    let (mut cursor, mut seen, mut missed) = (1, 0, 0);
    while cursor <= last {
        let pass = log.pass();
        let names = log.names();
        let names = names.as_ref().unwrap();
        while cursor < pass.published() {
            let slot = match pass.slot(cursor) {
                Held::Here(slot) => slot,
                Held::PassFull => break,
                Held::Lapped => {
                    let oldest = log.oldest();
                    assert!(cursor < oldest, "what is gone is below the window");
                    missed += oldest - cursor;
                    cursor = oldest;
                    break;
                }
            };
            let json = pass.json(cursor).unwrap();
            let name = names.name(slot.route).unwrap();
            assert!(json == told(cursor, name), "{cursor} on {name}");
            cursor += 1;
            seen += 1;
        }
        thread::yield_now();
    }
    (seen, missed)
}

/// Publishes `last` events, each segment's on a new channel where there is room for one.
fn write_all(mut writer: Writer, last: u64) {
    let fallback = named(0);
    let mut wanted = fallback.clone();
    for seq in 1..=last {
        if seq % SEGMENT_EVENTS as u64 == 0 {
            wanted = named(seq as u32 / SEGMENT_EVENTS as u32);
        }
        // Asked for every time, so that it is never forgotten itself.
        let fallback_route = writer.intern(&fallback).unwrap();
        let (channel, route) = match writer.intern(&wanted) {
            Ok(route) => (&wanted, route),
            Err(ChannelsFull) => (&fallback, fallback_route),
        };
        let json = told(seq, channel);
        writer.append(
            route,
            &Encoded {
                json: &[&json],
                sse_head: &[b"data: "],
                labels: b"labels",
                timestamp_ms: 0,
                accepted: Default::default(),
            },
        );
        if seq % 7 == 0 || seq == last {
            writer.publish();
        }
        if seq % 50 == 0 {
            writer.clear(seq - 10);
        }
    }
}

fn told(seq: u64, channel: &Route) -> Vec<u8> {
    [&seq.to_ne_bytes(), channel.as_str().as_bytes()].concat()
}

#[test]
fn blocks_are_laid_down_whole_while_somebody_reads_them() {
    let (log, mut writer) = Log::new(ROOMY);
    let route = writer.intern(&named(0)).unwrap();
    let mut append = |seq: u64| {
        let (json, head) = (text(seq, 100), format!("id: {seq}\nevent: k\ndata: "));
        let event = Encoded {
            json: &[&json],
            sse_head: &[head.as_bytes()],
            labels: b"l",
            timestamp_ms: 1_000_000,
            accepted: Default::default(),
        };
        writer.append(route, &event);
        writer.publish();
        let pass = log.pass();
        let Held::Here(frame) = pass.frame(seq, Form::Sse) else { panic!("{seq} is held") };
        let bytes: Vec<u8> = frame.parts().flatten().copied().collect();
        assert_eq!(bytes, [head.as_bytes(), &json, b"\n\n"].concat());
        let Held::Here(slot) = pass.slot(seq) else { panic!("{seq} is held") };
        (frame.pieces().count(), slot.sse.len())
    };
    let (whole, split) = ((1, 21 + 100 + 2), (3, 21 + 2));
    assert_eq!(append(1), split);
    log.open_blocks();
    assert_eq!(append(2), whole);
    log.open_blocks();
    log.close_blocks();
    assert_eq!(append(3), whole);
    log.close_blocks();
    assert_eq!(append(4), split);
}
