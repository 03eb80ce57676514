//! What a reader that first asks for the newest events of each channel may get, when the moment at which they were
//! looked up is not told.

use crate::twin::{Intent, Twin};

/// The newest so many events of each channel before a moment, and every event after it.
pub(crate) struct Newest {
    count: usize,
    /// The moment is a sequence number: the first that had not been published. It lies in this range, both included.
    low: u64,
    high: u64,
    /// Something has come: what is missing from now on is not missing because it was no longer held.
    has_begun: bool,
}

impl Newest {
    /// The newest `count` events of each channel, looked up somewhere in `low..=high`.
    pub(crate) fn new(count: usize, low: u64, high: u64) -> Newest {
        Newest { count, low, high, has_begun: false }
    }

    /// The last moment at which they may have been looked up.
    pub(crate) fn high(&self) -> u64 {
        self.high
    }

    /// What comes from `seq` on comes anyway: they were looked up before it.
    pub(crate) fn lie_before(&mut self, seq: u64) {
        self.high = self.high.min(seq);
        assert!(self.low <= self.high, "the newest were looked up after {} and before {seq}", self.low);
    }

    /// The event `seq` has come, or was named as lost.
    pub(crate) fn got(&mut self, twin: &Twin, seq: u64, gets: impl Fn(&Intent) -> bool) {
        self.has_begun = true;
        if seq < self.high {
            let is_listed = twin.event(seq).is_some_and(&gets);
            let next = if is_listed { self.pushed_out_by(twin, seq, gets) } else { Some(seq) };
            self.high = next.unwrap_or(self.high);
        }
        assert!(self.low <= self.high, "{seq} is not one of the newest {}", self.count);
    }

    /// The event `seq`, which is wanted, has not come and will not.
    pub(crate) fn missed(&mut self, twin: &Twin, seq: u64, oldest: u64, gets: impl Fn(&Intent) -> bool) {
        if !self.has_begun && seq < oldest {
            return;
        }
        assert!(seq < self.high, "{seq} is missing");
        let next = self.pushed_out_by(twin, seq, gets);
        self.low = self.low.max(next.unwrap_or(self.high) + 1);
        assert!(self.low <= self.high, "{seq} is missing, and one of the newest {}", self.count);
    }

    /// The event that makes `seq` one of the newest no longer.
    fn pushed_out_by(&self, twin: &Twin, seq: u64, gets: impl Fn(&Intent) -> bool) -> Option<u64> {
        let event = twin.event(seq)?;
        let is_later = |later: &Intent| {
            (&later.workspace, &later.route) == (&event.workspace, &event.route) && gets(later)
        };
        (seq + 1..self.high).filter(|seq| twin.event(*seq).is_some_and(is_later)).nth(self.count - 1)
    }
}
