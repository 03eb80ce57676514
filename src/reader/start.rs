//! Where a subscription begins.

use super::select::begin;
use crate::log::Log;
use crate::words::channel::Pattern;
use crate::words::cursor::{Epoch, Gap, GapCause, Since};

/// Where a stream begins, and what it is told first.
#[derive(Debug, PartialEq, Eq)]
pub struct Start {
    /// The first sequence number it may get.
    pub next: u64,
    /// What it will not get.
    pub gap: Option<Gap>,
}

impl Start {
    /// With the number of events that its gap has cost a stream of `patterns`, as far as that is known.
    #[must_use]
    pub fn counted(self, log: &Log, patterns: &[Pattern]) -> Start {
        Start { gap: self.gap.map(|gap| gap.counted(log, patterns)), ..self }
    }

    /// As much of it as lies before `end`: begins no later, and misses nothing from there on. To be counted afterwards.
    #[must_use]
    pub fn before(self, end: u64) -> Start {
        let gap = self.gap.and_then(|gap| match gap.range {
            Some((from, to)) => {
                let range = (from, to.min(end.saturating_sub(1)));
                (range.0 <= range.1).then_some(Gap { range: Some(range), ..gap })
            }
            None => Some(gap),
        });
        Start { next: self.next.min(end), gap }
    }
}

/// Where a stream of `patterns` that asks for `since` begins, when `live` is where it would begin from now on.
#[must_use]
pub fn start(log: &Log, own: Epoch, patterns: &[Pattern], since: Option<&Since>, live: u64) -> Start {
    match since {
        None => Start { next: live, gap: None },
        Some(Since::Earliest) => Start { next: log.oldest(), gap: None },
        Some(Since::After { epoch, seq }) => {
            let is_ours = epoch.as_ref().is_none_or(|epoch| epoch == own.as_str());
            if !is_ours || log.published() <= *seq {
                let old = epoch.as_ref().map_or_else(|| seq.to_string(), |epoch| format!("{epoch}-{seq}"));
                return Start { next: log.oldest(), gap: Some(Gap::of_epoch(old)) };
            }
            let (next, missing) = begin(log, patterns, seq + 1);
            let gap = missing.map(|range| Gap::of(range, GapCause::Evicted));
            Start { next, gap }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_behind_an_end_is_not_told_before_it() {
        let start = |next: u64, range: Option<(u64, u64)>| Start {
            next,
            gap: range.map(|range| Gap::of(range, GapCause::Evicted)),
        };
        let check = |given: Start, end: u64, expected: Start| assert_eq!(given.before(end), expected);
        check(start(9, Some((3, 8))), 20, start(9, Some((3, 8))));
        check(start(9, Some((3, 8))), 9, start(9, Some((3, 8))));
        check(start(9, Some((3, 8))), 5, start(5, Some((3, 4))));
        check(start(9, Some((3, 8))), 3, start(3, None));
        check(start(9, None), 5, start(5, None));
        let epoch = Gap::of_epoch("x-1".to_owned());
        let foreign = Start { next: 9, gap: Some(epoch.clone()) };
        check(foreign, 5, Start { next: 5, gap: Some(epoch) });
    }
}
