//! Which channel each of the last events was of, whether they are still held or not: so that a gap can be counted.
//!
//! # Contract       the writer notes every event before it is published; anybody may count a range below `published`
//! # Memory order   an entry is stored with Release after the `appended` of the event before it: who reads an entry that
//!   took the place of an older one (Acquire) also sees that `appended` has gone that far, and throws the count away
//! # Bounds         twice the events of the window, from [`TALLIED_EVENTS_MIN`] to [`TALLIED_EVENTS_MAX`], four bytes each,
//!   taken once; what is older cannot be counted
//! # Why not …      counts per segment: a cursor lies in the middle of one, so they would not be exact. A count per
//!   channel and an ordinal per event: of an event that is gone nobody would know the ordinal

// Not those of `sync`: nothing but a number that is told depends on it, so the models need not look at it.
use std::sync::atomic::{AtomicU32, Ordering};

use super::slot::ChannelId;

/// The channels of the last events.
pub(super) struct Tally {
    /// By sequence number, less its high bits.
    routes: Box<[AtomicU32]>,
}

impl Tally {
    /// A tally for a window of `window_events`.
    pub(super) fn new(window_events: usize) -> Tally {
        let wanted = window_events.saturating_mul(2).min(TALLIED_EVENTS_MAX).next_power_of_two();
        let len = wanted.max(TALLIED_EVENTS_MIN);
        Tally { routes: (0..len).map(|_| AtomicU32::new(0)).collect() }
    }

    /// The event `seq` is of `route`. Only the writer calls this.
    #[inline]
    pub(super) fn note(&self, seq: u64, route: ChannelId) {
        self.routes[seq as usize & (self.routes.len() - 1)].store(route.0, Ordering::Release);
    }

    /// How many events of `from..=to`, which are published, are of a route that `wants` says yes to. `appended` is asked
    /// afterwards; nothing if entries were not there any more by then.
    pub(super) fn count(
        &self,
        (from, to): (u64, u64),
        mut wants: impl FnMut(ChannelId) -> bool,
        appended: impl Fn() -> u64,
    ) -> Option<u64> {
        let is_there = || appended() - from < self.routes.len() as u64;
        if !is_there() {
            return None;
        }
        let route =
            |seq: u64| ChannelId(self.routes[seq as usize & (self.routes.len() - 1)].load(Ordering::Acquire));
        let count = (from..=to).filter(|seq| wants(route(*seq))).count() as u64;
        is_there().then_some(count)
    }
}

/// Events whose channels are known at least. Fewer where every access is checked.
const TALLIED_EVENTS_MIN: usize = if cfg!(any(fanfare_loom, miri)) { 64 } else { 1 << 16 };

/// Events whose channels are known at most: looking at all of them takes about a millisecond.
const TALLIED_EVENTS_MAX: usize = 1 << 20;

const _: () = assert!(TALLIED_EVENTS_MIN.is_power_of_two() && TALLIED_EVENTS_MAX.is_power_of_two());

#[cfg(all(test, not(fanfare_loom)))]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_by_channel_until_newer_ones_take_their_place() {
        let tally = Tally::new(1);
        let len = TALLIED_EVENTS_MIN as u64;
        let end = len + 10;
        (1..end).for_each(|seq| tally.note(seq, ChannelId((seq % 3) as u32)));
        let count = |range, appended| tally.count(range, |route| route == ChannelId(0), || appended);
        let check = |(from, to): (u64, u64), expected: Option<u64>| {
            assert_eq!(count((from, to), end), expected, "{from}..={to}");
        };
        check((11, 13), Some(1));
        check((12, 18), Some(3));
        check((end - 1, end - 1), Some(u64::from((end - 1).is_multiple_of(3))));
        check((10, 11), None);
        check((1, 20), None);
        assert_eq!(count((11, 13), end + 1), None, "its place is being taken");
    }

    #[test]
    fn it_is_as_long_as_the_window_makes_it_within_bounds() {
        let check = |events: usize, expected: usize| {
            assert_eq!(Tally::new(events).routes.len(), expected, "{events}");
        };
        check(0, TALLIED_EVENTS_MIN);
        check(TALLIED_EVENTS_MIN / 2 + 1, TALLIED_EVENTS_MIN * 2);
        if !cfg!(miri) {
            check(usize::MAX, TALLIED_EVENTS_MAX);
        }
    }
}
