//! One subscriber's account: what it received, what it was told it would not receive, and what was wrong.
//!
//! # Contract       in the ordinary case an event costs three comparisons and two stores; all else goes to `Exceptions`
//! # Invariants     `received` counts events of this run once each, none of them inside a told gap; of a range that was
//!   thinned out those count that were kept
//! # Bounds         gaps, suspicions and notes are bounded per subscriber; behind the bound of gaps the account says so

use serde::{Deserialize, Serialize};

/// The running account of one subscriber.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Everything up to here is settled: received, told as a gap, or passed over by a cursor.
    cursor: u64,
    /// Events of this run received, once each.
    received: u64,
    /// The end of a range that was thinned out, while what was kept of it may still come; 0 otherwise.
    thinned_to: u64,
    /// Whether it has left, and what comes until it is back is none of its business.
    is_away: bool,
    exceptions: Option<Box<Exceptions>>,
}

/// What most subscribers never have.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Exceptions {
    /// The gaps it was told, ascending, of which nothing will come.
    pub(crate) gaps: Vec<Gap>,
    /// The ranges in which it was away, ascending.
    pub(crate) absences: Vec<(u64, u64)>,
    /// The ranges that were thinned out for it, ascending.
    pub(crate) thinned: Vec<Thinned>,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// A range of which the server said that it leaves events out, and that the others follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Thinned {
    /// The first number.
    pub(crate) from: u64,
    /// The last one.
    pub(crate) to: u64,
    /// How many of the subscriber's events the server left out; nothing if the subscriber was cut off amid what was kept,
    /// since it then gets the rest in full.
    pub(crate) left_out: Option<u64>,
    /// Events of the range that came.
    pub(crate) kept: u64,
    /// Events that had been kept, but were overtaken before they could be sent, as was told of each.
    pub(crate) overtaken: u64,
    /// The last event that came or was overtaken, 0 if none did.
    pub(crate) newest: u64,
}

impl Thinned {
    fn holds(&self, sequence: u64) -> bool {
        (self.from..=self.to).contains(&sequence)
    }
}

/// Wrong deliveries by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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

    /// How much is out of the ordinary: gaps and other ranges.
    pub(crate) fn weight(&self) -> usize {
        let lengths = |one: &Exceptions| {
            one.gaps.len() + one.absences.len() + one.thinned.len() + one.suspicions.len() + one.notes.len()
        };
        self.exceptions.as_deref().map_or(0, lengths)
    }

    /// Whether an account that another process has told can be one: ranges are ranges, within their bounds, and no count is above
    /// `count_max`.
    ///
    /// # Errors
    /// Says what it has that cannot be.
    pub(crate) fn check(&self, count_max: u64) -> Result<(), &'static str> {
        let nothing = Exceptions::default();
        let Exceptions { gaps, absences, thinned, suspicions, faults, notes, .. } =
            self.exceptions().unwrap_or(&nothing);
        let ranges = gaps.iter().map(|gap| (gap.from, gap.to)).chain(absences.iter().copied());
        let mut ranges =
            ranges.chain(thinned.iter().map(|one| (one.from, one.to))).chain(suspicions.iter().copied());
        let lengths = [gaps.len(), absences.len(), thinned.len()];
        let Faults { repeated, reordered, altered, misrouted, contradicted } = *faults;
        let counts = [self.received, repeated, reordered, altered, misrouted, contradicted].into_iter();
        let mut counts = counts
            .chain(thinned.iter().flat_map(|one| [one.left_out.unwrap_or(0), one.kept, one.overtaken]))
            .chain(gaps.iter().filter_map(|gap| gap.matched));
        if ranges.any(|(from, to)| to < from) {
            Err("a range that ends before it begins")
        } else if GAPS_MAX < lengths.into_iter().max().unwrap_or(0)
            || SUSPICIONS_MAX < suspicions.len()
            || NOTES_MAX < notes.len()
        {
            Err("more ranges than are kept")
        } else if counts.any(|count| count_max < count) {
            Err("a count that nothing can count")
        } else {
            Ok(())
        }
    }

    /// What was out of the ordinary.
    pub(crate) fn exceptions(&self) -> Option<&Exceptions> {
        self.exceptions.as_deref()
    }

    /// An event of this run arrived. `previous` is the event before it on its channel as far as others know, and
    /// `first` says that no other subscriber had it yet.
    pub(crate) fn event(&mut self, sequence: u64, previous: u64, first: bool) {
        if self.is_away {
            self.arrive(sequence.saturating_sub(1));
        }
        if self.cursor < sequence {
            if self.thinned_to != 0 {
                self.follow_thinned(sequence, previous);
            } else if self.cursor < previous {
                self.suspect(self.cursor, sequence);
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

    /// The event `index` of a publisher of another run came behind `newest`, where the server numbers nothing.
    pub(crate) fn late_of_others(&mut self, publisher: u32, index: u64, newest: u64) {
        self.fault(
            |faults| if index == newest { &mut faults.repeated } else { &mut faults.reordered },
            || format!("event {index} of publisher {publisher} came when its event {newest} had come"),
        );
    }

    /// It leaves for a while: what comes before it is told where it stands again is none of its business.
    pub(crate) fn leave(&mut self) {
        self.is_away = true;
    }

    /// Whether it has left, and has not been told yet where it stands again.
    pub(crate) fn is_away(&self) -> bool {
        self.is_away
    }

    /// The numbers that it misses because it has left and is not back.
    pub(crate) fn absence(&self) -> Option<(u64, u64)> {
        self.is_away.then(|| (self.cursor.saturating_add(1), u64::MAX))
    }

    /// The server says that everything up to `sequence` is settled.
    pub(crate) fn settle(&mut self, sequence: u64) {
        if self.is_away {
            self.arrive(sequence);
        }
        self.cursor = self.cursor.max(sequence);
    }

    /// The server says what will not come, or of what some will not.
    pub(crate) fn gap(&mut self, gap: Gap) {
        let (from, to) = (gap.from, gap.to);
        if from <= self.cursor || to < from {
            let cursor = self.cursor;
            self.nonsense(format!("a gap {from} to {to} was told when {cursor} was already reached"));
        }
        let is_thinned = gap.cause == THINNED;
        if from <= self.thinned_to && self.cursor < from {
            if !is_thinned && from == to {
                return self.note_overtaken(from);
            }
            let end = self.thinned_to;
            self.nonsense(format!("a gap {from} to {to} was told amid what was kept up to {end}"));
        }
        self.thinned_to = 0;
        let from = from.max(self.cursor + 1);
        if to < from {
            return;
        }
        if is_thinned {
            return self.thin(from, to, gap.matched);
        }
        self.cursor = to;
        let exceptions = self.exceptions.get_or_insert_default();
        if exceptions.gaps.len() < GAPS_MAX {
            exceptions.gaps.push(Gap { from, ..gap });
        } else {
            exceptions.gaps_overflowed = true;
        }
    }

    /// The connection is gone: what was kept of a range and has not come is now nothing special, and what comes behind the
    /// cursor comes in full.
    pub(crate) fn cut(&mut self) {
        let cursor = self.cursor;
        let is_cut = cursor < self.thinned_to;
        if let Some(thinned) = self.thinned().filter(|_| is_cut) {
            thinned.to = cursor;
            thinned.left_out = None;
        }
        self.thinned_to = 0;
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

    /// It is back, and everything up to `sequence` was before.
    #[cold]
    fn arrive(&mut self, sequence: u64) {
        self.is_away = false;
        let from = self.cursor + 1;
        if sequence < from {
            return;
        }
        self.cursor = sequence;
        let exceptions = self.exceptions.get_or_insert_default();
        if exceptions.absences.len() < GAPS_MAX {
            exceptions.absences.push((from, sequence));
        } else {
            exceptions.gaps_overflowed = true;
        }
    }

    fn thin(&mut self, from: u64, to: u64, left_out: Option<u64>) {
        self.cursor = from - 1;
        self.thinned_to = to;
        if left_out.is_none_or(|left_out| left_out == 0) {
            self.nonsense(format!("{from} to {to} was thinned out, but {left_out:?} events were left out"));
        }
        let exceptions = self.exceptions.get_or_insert_default();
        if exceptions.thinned.len() < GAPS_MAX {
            exceptions.thinned.push(Thinned { from, to, left_out, kept: 0, overtaken: 0, newest: 0 });
        } else {
            exceptions.gaps_overflowed = true;
        }
    }

    /// An event comes in or behind a range that was thinned out.
    #[cold]
    fn follow_thinned(&mut self, sequence: u64, previous: u64) {
        if sequence <= self.thinned_to {
            if let Some(thinned) = self.thinned() {
                thinned.kept += 1;
                thinned.newest = sequence;
            }
            return;
        }
        // Up to there nothing is missing that was not left out.
        let reached = self.cursor.max(std::mem::take(&mut self.thinned_to));
        if reached < previous {
            self.suspect(reached, sequence);
        }
    }

    /// An event that had been kept will not come after all.
    fn note_overtaken(&mut self, sequence: u64) {
        if let Some(thinned) = self.thinned() {
            thinned.overtaken += 1;
            thinned.newest = sequence;
        }
        self.cursor = sequence;
    }

    /// The range of which what was kept may still come.
    fn thinned(&mut self) -> Option<&mut Thinned> {
        let to = self.thinned_to;
        self.exceptions.as_mut()?.thinned.last_mut().filter(|thinned| thinned.to == to)
    }

    fn late(&mut self, sequence: u64, first: bool) {
        let exceptions = self.exceptions.get_or_insert_default();
        if let Some(thinned) = exceptions.thinned.iter().find(|thinned| thinned.holds(sequence)) {
            if thinned.newest == sequence {
                self.fault(|faults| &mut faults.repeated, || format!("event {sequence} came again"));
            } else {
                self.nonsense(format!(
                    "event {sequence} came out of a range that was thinned out, behind a later one"
                ));
            }
        } else if exceptions.gaps.iter().any(|gap| (gap.from..=gap.to).contains(&sequence)) {
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

    fn suspect(&mut self, before: u64, sequence: u64) {
        let range = (before, sequence);
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

/// The cause of a gap of which some events follow.
pub(crate) const THINNED: &str = "skipped";

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
        /// A range of which so many events are left out.
        Thin(u64, u64, u64),
        Cut,
        Settle(u64),
        Foreign(u64),
        Leave,
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
                Thin(from, to, left_out) => {
                    account.gap(Gap { from, to, cause: THINNED.to_owned(), matched: Some(left_out) });
                }
                Cut => account.cut(),
                Settle(sequence) => account.settle(sequence),
                Foreign(sequence) => account.foreign(sequence),
                Leave => account.leave(),
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
    fn what_comes_while_one_is_away_is_not_missed() {
        let absences = |steps: &[Step]| {
            let account = account(steps);
            let exceptions = account.exceptions().expect("exceptions");
            assert_eq!(exceptions.faults, Faults::default(), "{steps:?}");
            assert!(exceptions.suspicions.is_empty(), "{steps:?}");
            exceptions.absences.clone()
        };
        assert_eq!(absences(&[Event(5, 0, true), Leave, Settle(9), Event(10, 9, true)]), [(6, 9)]);
        assert_eq!(absences(&[Event(5, 0, true), Leave, Event(8, 7, true)]), [(6, 7)]);
        assert_eq!(absences(&[Leave, Settle(3), Event(4, 3, true), Leave, Settle(6)]), [(1, 3), (5, 6)]);
        assert!(account(&[Settle(5), Leave, Settle(5), Event(6, 5, true)]).exceptions().is_none());
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
    fn of_a_range_that_was_thinned_out_what_was_kept_comes_ascending_and_once() {
        let none = Faults::default();
        let repeated = Faults { repeated: 1, ..none };
        let contradicted = Faults { contradicted: 1, ..none };
        let thin = Thin(6, 9, 2);
        check(&[Event(5, 0, true), thin], 5, 1, none);
        check(
            &[Event(5, 0, true), thin, Event(7, 6, false), Event(9, 8, false), Event(10, 9, true)],
            10,
            4,
            none,
        );
        check(&[thin, Event(9, 8, false), Thin(10, 12, 2), Event(12, 11, false)], 12, 2, none);
        check(&[thin, Event(7, 6, false), Event(7, 6, false)], 7, 1, repeated);
        check(&[thin, Event(9, 8, false), Event(7, 6, false)], 9, 1, contradicted);
        check(&[thin, Event(9, 8, false), Event(10, 9, true), Event(8, 7, false)], 10, 2, contradicted);
        check(&[thin, Event(7, 6, false), Thin(8, 12, 2)], 7, 1, contradicted);
        check(&[thin, Event(7, 6, false), Told(8, 12)], 12, 1, contradicted);
        check(&[Event(7, 0, true), thin], 7, 1, contradicted);
        check(&[Thin(6, 9, 0)], 5, 0, contradicted);
        // Overtaken before it could be sent; and one that was cut off, which then gets everything.
        check(&[thin, Told(7, 7), Event(9, 8, false)], 9, 1, none);
        check(&[thin, Event(7, 6, false), Cut, Event(8, 7, false), Event(9, 8, false)], 9, 3, none);
        check(&[thin, Cut, thin, Event(9, 8, false)], 9, 1, none);
    }

    #[test]
    fn what_is_left_out_is_no_suspicion_and_what_is_missing_behind_it_is() {
        let suspicions = |steps: &[Step]| account(steps).exceptions().map(|one| one.suspicions.clone());
        let thin = Thin(6, 9, 2);
        assert_eq!(suspicions(&[thin, Event(7, 6, false), Event(10, 9, false)]), Some(vec![]));
        assert_eq!(suspicions(&[thin, Event(9, 8, false), Event(12, 11, false)]), Some(vec![(9, 12)]));
        assert_eq!(suspicions(&[thin, Event(7, 6, false), Cut, Event(9, 8, false)]), Some(vec![(7, 9)]));
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
