//! One subscriber's account: what it received, what it was told it would not receive, and what was wrong.
//!
//! # Contract       in the ordinary case an event costs two comparisons and two stores; all else goes to `Exceptions`
//! # Invariants     `received` counts events of this run once each, none of them inside a told gap
//! # Bounds         gaps, suspicions and notes are bounded per subscriber; behind the bound of gaps the account says so

use serde::Serialize;

/// The running account of one subscriber.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Everything up to here is settled: received, told as a gap, or passed over by a cursor.
    cursor: u64,
    /// Events of this run received, once each.
    received: u64,
    exceptions: Option<Box<Exceptions>>,
}

/// What most subscribers never have.
#[derive(Debug, Default)]
pub(crate) struct Exceptions {
    /// The gaps it was told, ascending.
    pub(crate) gaps: Vec<Gap>,
    /// Ranges in which it did not get an event that others got; both ends were received.
    pub(crate) suspicions: Vec<(u64, u64)>,
    /// Deliveries that were wrong.
    pub(crate) faults: Faults,
    /// The first few of them in words.
    pub(crate) notes: Vec<String>,
    /// Whether there were more gaps than are kept, so that what is missing cannot be told any more.
    pub(crate) gaps_overflowed: bool,
}

/// A gap as the server told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Gap {
    /// The first event that will not come.
    pub(crate) from: u64,
    /// The last one.
    pub(crate) to: u64,
    /// Why.
    pub(crate) cause: String,
    /// How many events of the subscriber's channels are in it, if the server could tell.
    pub(crate) matched: Option<u64>,
}

/// Wrong deliveries by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Faults {
    /// The same event again.
    pub(crate) repeated: u64,
    /// An event behind one that follows it in the total order.
    pub(crate) reordered: u64,
    /// Another event or other bytes than were published or than others got.
    pub(crate) altered: u64,
    /// An event of a channel that was not subscribed.
    pub(crate) misrouted: u64,
    /// A gap that contradicts what was delivered, or an event out of a gap.
    pub(crate) contradicted: u64,
}

impl Account {
    /// Everything up to this sequence number is settled.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Events of this run received, once each.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// What was out of the ordinary.
    pub(crate) fn exceptions(&self) -> Option<&Exceptions> {
        self.exceptions.as_deref()
    }

    /// An event of this run arrived. `previous` is the event before it on its channel as far as others know, and
    /// `first` says that no other subscriber had it yet.
    pub(crate) fn event(&mut self, sequence: u64, previous: u64, first: bool) {
        if self.cursor < sequence {
            if self.cursor < previous {
                self.suspect(sequence);
            }
            self.cursor = sequence;
            self.received += 1;
        } else {
            self.late(sequence, first);
        }
    }

    /// Somebody else's event arrived, which counts for the order only.
    pub(crate) fn foreign(&mut self, sequence: u64) {
        if sequence <= self.cursor {
            self.fault(
                |faults| &mut faults.repeated,
                || format!("event {sequence} of others came late or twice"),
            );
        }
        self.cursor = self.cursor.max(sequence);
    }

    /// The server says that everything up to `sequence` is settled.
    pub(crate) fn settle(&mut self, sequence: u64) {
        self.cursor = self.cursor.max(sequence);
    }

    /// The server says what will not come.
    pub(crate) fn gap(&mut self, gap: Gap) {
        if gap.from <= self.cursor || gap.to < gap.from {
            let cursor = self.cursor;
            let (from, to) = (gap.from, gap.to);
            self.fault(
                |faults| &mut faults.contradicted,
                || format!("a gap {from} to {to} was told when {cursor} was already reached"),
            );
        }
        let from = gap.from.max(self.cursor + 1);
        if gap.to < from {
            return;
        }
        self.cursor = gap.to;
        let exceptions = self.exceptions.get_or_insert_default();
        if exceptions.gaps.len() < GAPS_MAX {
            exceptions.gaps.push(Gap { from, ..gap });
        } else {
            exceptions.gaps_overflowed = true;
        }
    }

    /// An event came that is not what it should be.
    pub(crate) fn altered(&mut self, sequence: u64) {
        self.fault(|faults| &mut faults.altered, || format!("event {sequence} is not what others got"));
        self.cursor = self.cursor.max(sequence);
    }

    /// An event of the channel `name` came, which was not subscribed.
    pub(crate) fn misrouted(&mut self, sequence: u64, name: &str) {
        self.fault(
            |faults| &mut faults.misrouted,
            || format!("event {sequence} is of {name}, not subscribed"),
        );
        self.cursor = self.cursor.max(sequence);
    }

    /// What a server said cannot be understood, or contradicts itself.
    pub(crate) fn nonsense(&mut self, what: String) {
        self.fault(|faults| &mut faults.contradicted, || what);
    }

    fn late(&mut self, sequence: u64, first: bool) {
        let exceptions = self.exceptions.get_or_insert_default();
        if exceptions.gaps.iter().any(|gap| (gap.from..=gap.to).contains(&sequence)) {
            self.fault(
                |faults| &mut faults.contradicted,
                || format!("event {sequence} came out of a told gap"),
            );
        } else if first || exceptions.settle_suspicion(sequence) {
            self.received += 1;
            let cursor = self.cursor;
            self.fault(|faults| &mut faults.reordered, || format!("event {sequence} came behind {cursor}"));
        } else {
            self.fault(|faults| &mut faults.repeated, || format!("event {sequence} came again"));
        }
    }

    fn suspect(&mut self, sequence: u64) {
        let range = (self.cursor, sequence);
        let exceptions = self.exceptions.get_or_insert_default();
        if exceptions.suspicions.len() < SUSPICIONS_MAX {
            exceptions.suspicions.push(range);
        }
    }

    #[cold]
    fn fault(&mut self, count: impl Fn(&mut Faults) -> &mut u64, note: impl FnOnce() -> String) {
        let exceptions = self.exceptions.get_or_insert_default();
        *count(&mut exceptions.faults) += 1;
        if exceptions.notes.len() < NOTES_MAX {
            exceptions.notes.push(note());
        }
    }
}

impl Exceptions {
    /// Whether `sequence` was missing; a range is split where it came after all, so that a second delivery of it
    /// is a repeat.
    fn settle_suspicion(&mut self, sequence: u64) -> bool {
        let inside = |&(before, after): &(u64, u64)| before < sequence && sequence < after;
        let Some(place) = self.suspicions.iter().position(inside) else { return false };
        let (before, after) = self.suspicions.swap_remove(place);
        self.suspicions
            .extend([(before, sequence), (sequence, after)].into_iter().filter(|(a, b)| a + 1 < *b));
        true
    }
}

impl Faults {
    /// Adds all that `other` holds.
    pub(crate) fn add(&mut self, other: &Faults) {
        self.repeated += other.repeated;
        self.reordered += other.reordered;
        self.altered += other.altered;
        self.misrouted += other.misrouted;
        self.contradicted += other.contradicted;
    }

    /// All of them.
    pub(crate) fn total(&self) -> u64 {
        self.repeated + self.reordered + self.altered + self.misrouted + self.contradicted
    }
}

/// A slow subscriber has one gap per lap of the server's log.
const GAPS_MAX: usize = 65_536;
/// Enough to name what was lost; the count comes from elsewhere.
const SUSPICIONS_MAX: usize = 1_024;
const NOTES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens to an account.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// An event with the one before it on its channel, seen first by this subscriber or not.
        Event(u64, u64, bool),
        Told(u64, u64),
        Settle(u64),
        Foreign(u64),
    }
    use Step::*;

    fn account(steps: &[Step]) -> Account {
        let mut account = Account::default();
        for step in steps {
            match *step {
                Event(sequence, previous, first) => account.event(sequence, previous, first),
                Told(from, to) => {
                    account.gap(Gap { from, to, cause: "lapped".to_owned(), matched: None });
                }
                Settle(sequence) => account.settle(sequence),
                Foreign(sequence) => account.foreign(sequence),
            }
        }
        account
    }

    fn check(steps: &[Step], cursor: u64, received: u64, faults: Faults) {
        let account = account(steps);
        let got = account.exceptions().map(|exceptions| exceptions.faults).unwrap_or_default();
        assert_eq!((account.cursor(), account.received(), got), (cursor, received, faults), "{steps:?}");
    }

    #[test]
    fn what_is_in_order_leaves_no_exceptions() {
        let account =
            account(&[Settle(4), Event(5, 0, true), Event(9, 5, false), Settle(12), Event(14, 9, true)]);
        assert!(account.exceptions().is_none());
        assert_eq!((account.cursor(), account.received()), (14, 3));
    }

    #[test]
    fn each_fault_is_called_by_its_name() {
        let none = Faults::default();
        let repeated = Faults { repeated: 1, ..none };
        let reordered = Faults { reordered: 1, ..none };
        let contradicted = Faults { contradicted: 1, ..none };
        check(&[Event(5, 0, true), Event(5, 0, false)], 5, 1, repeated);
        check(&[Event(5, 0, true), Event(6, 5, true), Event(5, 0, false)], 6, 2, repeated);
        // Others had 6 already, or nobody had.
        check(&[Event(5, 0, false), Event(7, 6, false), Event(6, 5, false)], 7, 3, reordered);
        check(&[Event(5, 0, true), Event(7, 5, true), Event(6, 5, true)], 7, 3, reordered);
        let twice = Faults { repeated: 1, reordered: 1, ..none };
        check(&[Event(5, 0, false), Event(7, 6, false), Event(6, 5, false), Event(6, 5, false)], 7, 3, twice);
        check(&[Told(5, 9), Event(7, 5, false)], 9, 0, contradicted);
        check(&[Event(5, 0, true), Told(5, 9), Event(10, 9, false)], 10, 2, contradicted);
        check(&[Settle(9), Event(8, 7, false)], 9, 0, repeated);
        check(&[Settle(9), Event(8, 7, true)], 9, 1, reordered);
        check(&[Event(5, 0, true), Foreign(6), Foreign(6)], 6, 1, repeated);
    }

    #[test]
    fn a_told_gap_is_no_fault_and_a_skipped_event_is_a_suspicion() {
        check(&[Event(5, 0, true), Told(6, 9), Event(10, 9, false)], 10, 2, Faults::default());
        let account = account(&[Event(5, 0, false), Event(8, 7, false), Event(9, 8, false)]);
        let exceptions = account.exceptions().expect("a suspicion");
        assert_eq!(exceptions.suspicions, [(5, 8)]);
        assert_eq!(exceptions.faults.total(), 0);
    }

    #[test]
    fn what_is_kept_is_bounded_and_says_so() {
        let mut account = Account::default();
        (1..3 * SUSPICIONS_MAX as u64).for_each(|n| account.event(3 * n, 3 * n - 1, false));
        (1..100).for_each(|_| account.event(3, 2, false));
        let from = 10 * SUSPICIONS_MAX as u64;
        (0..=GAPS_MAX as u64).for_each(|n| {
            let (from, to) = (from + 2 * n, from + 2 * n);
            account.gap(Gap { from, to, cause: "lapped".to_owned(), matched: None });
        });
        let exceptions = account.exceptions().expect("exceptions");
        assert_eq!((exceptions.suspicions.len(), exceptions.gaps.len()), (SUSPICIONS_MAX, GAPS_MAX));
        assert!(exceptions.gaps_overflowed);
        assert_eq!((exceptions.notes.len(), exceptions.faults.repeated), (NOTES_MAX, 99));
    }
}
