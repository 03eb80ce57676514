//! The idempotency window: which attempts were made lately, so that a second one gets the answer of the first.
//!
//! # Contract       a key is looked up before its submission is published, and remembered after; one that was refused is
//!   not remembered, so that it may be tried again. One in flight is before its second attempt in the queue
//! # Invariants     I1 each key in `order` is in `answers`, and the other way round; `order` ascends in time
//! # Bounds         `keys_max` keys, the oldest leave first; a key is forgotten `window` after its first attempt. Room
//!   grows as keys come, to at most 250 bytes a key; a key costs one look-up and one insertion
//!
//! Time is that of the clock that never jumps: setting the wall's neither ends the window early nor holds it open.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// By what two attempts are known to be the same: who made them, the key it gave, and what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Whose key it is, and which.
    key: Fingerprint,
    /// What was asked for.
    body: Fingerprint,
}

/// The first half of a SHA-256. In two numbers rather than one, whose alignment would make every submission longer.
type Fingerprint = [u64; 2];

impl IdempotencyKey {
    /// The `key` of `principal`, used for `body`: the bytes of whatever makes the request what it is, its target
    /// included where that says something. Each principal has keys of its own. Cost: SHA-256 of all three.
    #[must_use]
    pub fn new(principal: &str, key: &str, body: &[u8]) -> IdempotencyKey {
        // The length first: otherwise a longer name with a shorter key would be the same.
        let name_bytes = (principal.len() as u64).to_le_bytes();
        IdempotencyKey {
            key: digest(&[&name_bytes, principal.as_bytes(), key.as_bytes()]),
            body: digest(&[body]),
        }
    }
}

/// The first half of the SHA-256 of `parts`: nobody finds two texts with the same.
fn digest(parts: &[&[u8]]) -> Fingerprint {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let whole: [u8; 32] = hash.finalize().into();
    let number = |at: usize| whole[at..at + 8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    [number(0), number(8)]
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing.
    Never,
    /// It was used for the same, which got these sequence numbers, first and last.
    Same(u64, u64),
    /// It was used for something else.
    Other,
}

/// The keys that were used lately.
#[derive(Debug)]
pub(super) struct IdempotencyWindow {
    keys_max: usize,
    window_ms: u64,
    /// What the clock said at the last look.
    now_ms: u64,
    answers: HashMap<Fingerprint, Answer, foldhash::fast::RandomState>,
    /// Keys, with what `now_ms` was when they were used first; ascending.
    order: VecDeque<(Fingerprint, u64)>,
}

/// What a key was used for, and what came of it.
#[derive(Clone, Copy, Debug)]
struct Answer {
    body: Fingerprint,
    first: u64,
    last: u64,
}

impl IdempotencyWindow {
    /// A window of so many keys and so long; of none of either, every key is unknown.
    pub(super) fn new(keys_max: usize, window: Duration) -> IdempotencyWindow {
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        IdempotencyWindow {
            keys_max: if window_ms == 0 { 0 } else { keys_max },
            window_ms,
            now_ms: 0,
            answers: HashMap::default(),
            order: VecDeque::new(),
        }
    }

    /// It is `now_mono_ms`: forgets what was first used too long ago. To be called before keys are looked up.
    pub(super) fn look(&mut self, now_mono_ms: u64) {
        debug_assert!(self.now_ms <= now_mono_ms, "this clock never goes back");
        self.now_ms = now_mono_ms;
        while self
            .order
            .front()
            .is_some_and(|(_, used_ms)| self.window_ms <= now_mono_ms.saturating_sub(*used_ms))
        {
            self.forget_oldest();
        }
    }

    /// What is known of `key`.
    pub(super) fn look_up(&self, key: &IdempotencyKey) -> Heard {
        match self.answers.get(&key.key) {
            None => Heard::Never,
            Some(answer) if answer.body == key.body => Heard::Same(answer.first, answer.last),
            Some(_) => Heard::Other,
        }
    }

    /// The unknown `key` was used, and its events got the numbers `first..=last`.
    pub(super) fn remember(&mut self, key: &IdempotencyKey, first: u64, last: u64) {
        debug_assert_eq!(self.look_up(key), Heard::Never);
        if self.keys_max == 0 {
            return;
        }
        if self.order.len() == self.keys_max {
            self.forget_oldest();
        }
        self.answers.insert(key.key, Answer { body: key.body, first, last });
        self.order.push_back((key.key, self.now_ms));
    }

    fn forget_oldest(&mut self) {
        if let Some((key, _)) = self.order.pop_front() {
            self.answers.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(key: u64, body: u64) -> IdempotencyKey {
        IdempotencyKey { key: [0, key], body: [0, body] }
    }

    #[test]
    fn keys_are_told_apart_by_principal_and_text_and_bodies_by_their_bytes() {
        let one = IdempotencyKey::new("alice", "k1", b"body");
        assert_eq!(one, IdempotencyKey::new("alice", "k1", b"body"));
        for (principal, text) in [("alice", "k2"), ("bob", "k1"), ("alicek", "1"), ("", "alicek1")] {
            let other = IdempotencyKey::new(principal, text, b"body");
            assert!(one.key != other.key && one.body == other.body, "{principal} {text}");
        }
        let other = IdempotencyKey::new("alice", "k1", b"Body");
        assert!(one.key == other.key && one.body != other.body);
    }

    /// The test vector of FIPS 180 for `abc`, cut in half.
    #[test]
    fn a_digest_is_the_first_half_of_sha_256() {
        assert_eq!(digest(&[b"a", b"", b"bc"]), [0xba78_16bf_8f01_cfea, 0x4141_40de_5dae_2223]);
    }

    #[test]
    fn a_key_is_known_for_the_window_and_for_its_body_only() {
        let mut window = IdempotencyWindow::new(10, Duration::from_millis(100));
        window.look(1_000_000);
        assert_eq!(window.look_up(&key(1, 7)), Heard::Never);
        window.remember(&key(1, 7), 41, 43);
        assert_eq!(window.look_up(&key(1, 7)), Heard::Same(41, 43));
        assert_eq!(window.look_up(&key(1, 8)), Heard::Other);
        assert_eq!(window.look_up(&key(2, 7)), Heard::Never);
        window.look(1_000_099);
        assert_eq!(window.look_up(&key(1, 7)), Heard::Same(41, 43), "a look does not make it younger");
        window.look(1_000_100);
        assert_eq!(window.look_up(&key(1, 8)), Heard::Never);
        assert!(window.answers.is_empty());
    }

    #[test]
    fn no_keys_or_no_time_is_off() {
        for (keys_max, window_ms) in [(0, 100), (10, 0)] {
            let mut window = IdempotencyWindow::new(keys_max, Duration::from_millis(window_ms));
            window.look(5);
            window.remember(&key(1, 7), 1, 1);
            assert_eq!(window.look_up(&key(1, 7)), Heard::Never);
            assert!(window.order.is_empty() && window.answers.is_empty());
        }
    }

    /// The window, written down simply: key, body, number, and when.
    struct Twin {
        keys_max: usize,
        used: Vec<(IdempotencyKey, u64, u64)>,
    }

    impl Twin {
        fn look_up(&self, wanted: &IdempotencyKey) -> Heard {
            match self.used.iter().find(|(key, ..)| key.key == wanted.key) {
                None => Heard::Never,
                Some((key, seq, _)) if key == wanted => Heard::Same(*seq, *seq),
                Some(_) => Heard::Other,
            }
        }

        fn remember(&mut self, key: IdempotencyKey, seq: u64, now_ms: u64) {
            self.used.push((key, seq, now_ms));
            if self.keys_max < self.used.len() {
                self.used.remove(0);
            }
        }
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_its_twin(
            keys_max in 0usize..6,
            window_ms in 1u64..60,
            attempts in prop::collection::vec((0u64..8, 0u64..2, 0u64..30), 1..80),
        ) {
            let mut window = IdempotencyWindow::new(keys_max, Duration::from_millis(window_ms));
            let mut twin = Twin { keys_max, used: Vec::new() };
            let mut now_ms = 1_000_000;
            window.look(now_ms);
            for (seq, (text, body, pause_ms)) in attempts.into_iter().enumerate() {
                let (key, seq) = (key(text, body), seq as u64);
                now_ms += pause_ms;
                window.look(now_ms);
                twin.used.retain(|(_, _, used_ms)| now_ms < used_ms + window_ms);
                let heard = window.look_up(&key);
                prop_assert_eq!(heard, twin.look_up(&key));
                if heard == Heard::Never {
                    window.remember(&key, seq, seq);
                    twin.remember(key, seq, now_ms);
                }
                prop_assert_eq!(window.order.len(), twin.used.len());
                prop_assert_eq!(window.answers.len(), twin.used.len());
            }
        }
    }
}
