//! How far apart the first and the last subscriber of an event get it: one event at a time is watched, over all loops.
//!
//! # Contract       whoever sits begins ([`Span::begin`]) with an event before it is published; loops that write it to live streams
//!   say so ([`Span::note`]); when all loops have handed it on, one of them takes the figure ([`Span::take`]), and the next can begin
//! # Memory order   `seq`: Release when a watch begins or ends → Acquire; carries the emptied figures. A loop's notes are carried by
//!   its `routed`, which whoever takes the figure has acquired past the event; nobody notes it after that
//! # Bounds         one event is watched, and at most one in a millisecond; others pass unwatched meanwhile

use crate::sync::{AtomicU64, Ordering};

/// The event that is being watched, if one is.
#[derive(Debug, Default)]
pub struct Span {
    /// Its number; 0: none, [`TAKEN`]: somebody takes the figure.
    seq: AtomicU64,
    /// Before the first write of it, in nanoseconds of the clock; `u64::MAX` before there was one.
    first_ns: AtomicU64,
    /// After the last.
    last_ns: AtomicU64,
    /// Writes of it.
    writes: AtomicU64,
    /// Before this no other is watched.
    next_ns: AtomicU64,
}

/// At least so long from the beginning of one watch to that of the next, in nanoseconds: what a watch costs is nothing beside that.
const EVERY_NS: u64 = 1_000_000;

/// No event has this number.
const TAKEN: u64 = u64::MAX;

impl Span {
    /// Watches `seq`, which was accepted at `now_ns` and is not yet published, unless another event is being watched, or was a
    /// moment ago. Only who sits calls this.
    pub fn begin(&self, seq: u64, now_ns: u64) {
        // Relaxed: whoever sits has what the last one wrote.
        if now_ns < self.next_ns.load(Ordering::Relaxed) {
            return;
        }
        if self.seq.load(Ordering::Acquire) == 0 {
            // Relaxed: carried by `seq`.
            self.next_ns.store(now_ns.saturating_add(EVERY_NS), Ordering::Relaxed);
            self.first_ns.store(u64::MAX, Ordering::Relaxed);
            self.last_ns.store(0, Ordering::Relaxed);
            self.writes.store(0, Ordering::Relaxed);
            self.seq.store(seq, Ordering::Release);
        }
    }

    /// The event that is watched.
    #[must_use]
    pub fn watched(&self) -> Option<u64> {
        Some(self.seq.load(Ordering::Acquire)).filter(|seq| *seq != 0 && *seq != TAKEN)
    }

    /// The event was written so many times, between these moments. Only a loop calls this that has not handed it on yet.
    pub fn note(&self, from_ns: u64, to_ns: u64, writes: u64) {
        // Relaxed: carried by the loop's `routed`.
        self.first_ns.fetch_min(from_ns, Ordering::Relaxed);
        self.last_ns.fetch_max(to_ns, Ordering::Relaxed);
        self.writes.fetch_add(writes, Ordering::Relaxed);
    }

    /// Every loop has handed `seq` on, which was watched: how far apart its first and its last write were, in nanoseconds, if it
    /// was written twice at least. Nothing if another loop has taken that already.
    pub fn take(&self, seq: u64) -> Option<u64> {
        self.seq.compare_exchange(seq, TAKEN, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let [first_ns, last_ns] = [&self.first_ns, &self.last_ns].map(|cell| cell.load(Ordering::Relaxed));
        let writes = self.writes.load(Ordering::Relaxed);
        self.seq.store(0, Ordering::Release);
        (2 <= writes).then(|| last_ns.saturating_sub(first_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_from_the_first_write_to_the_last_of_all_loops() {
        let span = Span::default();
        assert_eq!((span.watched(), span.take(7)), (None, None));
        span.begin(7, 0);
        span.begin(8, EVERY_NS);
        assert_eq!(span.watched(), Some(7), "one at a time");
        span.note(1000, 1500, 4);
        span.note(900, 1400, 2);
        assert_eq!(span.take(8), None);
        assert_eq!((span.take(7), span.take(7), span.watched()), (Some(600), None, None));
        span.begin(9, EVERY_NS - 1);
        assert_eq!(span.watched(), None, "not one after the other");
        span.begin(9, EVERY_NS);
        span.note(5000, 5100, 1);
        assert_eq!(span.take(9), None, "one write has no span");
        span.begin(10, 2 * EVERY_NS);
        assert_eq!(span.take(10), None, "nor has none");
    }
}
