//! How often what the plays are for has happened: a bound that no play reaches is not tested by any.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// Counts by name.
#[derive(Debug, Default)]
pub(crate) struct Tally(RefCell<BTreeMap<String, u64>>);

impl Tally {
    /// It has happened once more.
    pub(crate) fn count(&self, name: &str) {
        self.add(name, 1);
    }

    /// It has happened so many times more.
    pub(crate) fn add(&self, name: &str, times: u64) {
        let mut counts = self.0.borrow_mut();
        match counts.get_mut(name) {
            Some(count) => *count += times,
            None => drop(counts.insert(name.to_owned(), times)),
        }
    }

    /// Adds what `other` has counted.
    pub(crate) fn merge(&self, other: &Tally) {
        for (name, times) in other.0.borrow().iter() {
            self.add(name, *times);
        }
    }

    /// What was to happen and never did.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let counts = self.0.borrow();
        EXPECTED.iter().copied().filter(|name| counts.get(*name).is_none_or(|count| *count == 0)).collect()
    }
}

/// What must happen in a run of many plays.
const EXPECTED: &[&str] = &[
    "event",
    "gap lapped",
    "gap evicted",
    "gap epoch",
    "gap skipped",
    "gap by a bound on lag",
    "range thinned out",
    "event kept of a range",
    "closed for being slow",
    "matched",
    "cursor in silence",
    "goodbye",
    "goodbye to one that was behind",
    "refused overloaded",
    "refused channels_full",
    "refused draining",
    "refused connections_full",
    "refused subscription_limit",
    "refused bad_on_slow",
    "refused bad_filter",
    "refused unknown_event_type",
    "late head_timeout",
    "channel number used again",
    "pong in place of others",
    "too many control frames",
    "event in history",
    "gap in history",
    "clear",
    "announcement",
    "filtered",
    "bracket",
    "bracket of the newest",
    "event in a bracket",
    "gap evicted in a bracket",
    "gap epoch in a bracket",
    "gap lapped in a bracket",
    "history of the newest",
    "event in cloudevents",
    "event in engram",
    "event in guts",
    "event in sdk",
];
