//! How much a gap has cost its receiver: events of its channels, counted by the tally that the log keeps.

use super::select::Selector;
use super::subscription::Sieve;
use crate::log::{Log, Names};
use crate::words::channel::Pattern;
use crate::words::cursor::{Gap, GapCause};

/// How many events of `from..=to` are of channels that `patterns` match, whatever filters say of them: exact, or nothing
/// where it is not known any more. Cost: a look at four bytes an event; nothing where everything matches.
#[must_use]
pub fn matched(log: &Log, patterns: &[Pattern], (from, to): (u64, u64)) -> Option<u64> {
    let names = log.names();
    let names: &Names = Option::as_ref(&names)?;
    let count = if patterns.iter().any(|pattern| names.is_everything(pattern)) {
        Some(to - from + 1)
    } else {
        let mut selector = Selector::new(patterns, names, Sieve::default());
        log.count((from, to), |route| selector.wants(route))
    };
    // After the names: a number in the tally may have been another channel's, but of one that lies below this.
    count.filter(|_| log.forgotten_below() <= from)
}

impl Gap {
    /// This gap with the number of events that it has cost a receiver of `patterns`, unless it has one already.
    #[must_use]
    pub fn counted(self, log: &Log, patterns: &[Pattern]) -> Gap {
        let is_countable = matches!(self.cause, GapCause::Lapped | GapCause::Evicted);
        let range = self.range.filter(|_| is_countable && self.matched.is_none());
        Gap { matched: range.and_then(|range| matched(log, patterns, range)).or(self.matched), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Encoded, Retention, Writer};
    use crate::words::channel::{Channel, Route};

    fn rig(channels_max: usize) -> (std::sync::Arc<Log>, Writer) {
        Log::new(Retention { events: 5, bytes: 1 << 30, age: None, channels_max })
    }

    fn append(writer: &mut Writer, channel: &str) {
        let route = writer
            .intern(&Route::from(&Channel::parse(channel).unwrap()))
            .expect("there is room for a channel");
        let event = Encoded {
            json: &[b"{}"],
            sse_head: &[b"id: 1\n"],
            labels: b"labels",
            timestamp_ms: 1,
            accepted: Default::default(),
        };
        writer.append(route, &event);
        writer.publish();
    }

    #[test]
    fn what_is_gone_is_counted_by_channel() {
        let (log, mut writer) = rig(100);
        (0..30_000).for_each(|at| append(&mut writer, ["t:a", "t:a/x", "t:b", "u:c"][at % 4]));
        let check = |patterns: &[&str], range: (u64, u64), expected: Option<u64>| {
            let patterns: Vec<Pattern> = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
            assert_eq!(matched(&log, &patterns, range), expected, "{patterns:?} {range:?}");
        };
        assert_eq!(log.oldest(), 29_996);
        check(&["t:a"], (1, 400), Some(200));
        check(&["t:a/x"], (2, 2), Some(1));
        check(&["t:a/x"], (3, 5), Some(0));
        check(&["t:*"], (1, 29_995), Some(22_497));
        check(&["t:*", "t:a"], (1, 4), Some(3));
        check(&["*"], (7, 9), Some(3));
        check(&["q:never"], (7, 9), Some(0));
        (0..70_000).for_each(|_| append(&mut writer, "t:a"));
        check(&["t:a"], (1, 400), None);
        check(&["*"], (1, 400), Some(400));
    }

    #[test]
    fn nothing_is_said_of_channels_whose_numbers_mean_others() {
        let (log, mut writer) = rig(2);
        append(&mut writer, "t:a");
        (0..20_000).for_each(|_| append(&mut writer, "t:b"));
        append(&mut writer, "t:c");
        let patterns = [Pattern::parse("t:c").unwrap()];
        assert_eq!(matched(&log, &patterns, (1, 20)), None, "the number of t:a is that of t:c now");
        let from = log.forgotten_below();
        assert_eq!(matched(&log, &patterns, (from, 20_002)), Some(1));
    }
}
