//! Which channels had the most events of late, as the log's tally knows: counting them as they come would cost every event
//! something, looking back costs only those who watch.

use std::collections::HashMap;
use std::ops::Range;

use serde::Serialize;

use crate::log::{ChannelId, Log};

/// Events that are looked at, at most: of more, some out of each part, and what was found stands for all.
pub const LOOKED_AT_MAX: u64 = 1 << 14;

/// Channels that are named, at most: those with the most events.
pub const CHANNELS_MAX: usize = 12;

/// Events of one look, where not all are looked at.
const PART: u64 = 1 << 8;

const _: () = assert!(LOOKED_AT_MAX.is_multiple_of(PART));

/// Where events of late have gone.
#[derive(Serialize)]
pub(super) struct Traffic {
    /// How many were looked at,
    looked_at: u64,
    /// of how many.
    of: u64,
    /// With the most events first.
    channels: Vec<ChannelTraffic>,
}

/// How many events a channel had.
#[derive(Serialize)]
struct ChannelTraffic {
    channel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<String>,
    events: u64,
}

/// Where the events of `range` have gone, which are published.
pub(super) fn traffic(log: &Log, range: Range<u64>) -> Traffic {
    let of = range.end.saturating_sub(range.start);
    let mut counts: HashMap<ChannelId, u64, foldhash::fast::RandomState> = HashMap::default();
    let mut looked_at = 0;
    for part in parts(&range) {
        let mut seen = Vec::with_capacity((part.end - part.start) as usize);
        let look = log.count((part.start, part.end - 1), |channel| {
            seen.push(channel);
            false
        });
        // What was overwritten meanwhile says nothing.
        if look.is_some() {
            looked_at += seen.len() as u64;
            seen.into_iter().for_each(|channel| *counts.entry(channel).or_default() += 1);
        }
    }
    let mut counts: Vec<(ChannelId, u64)> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|(channel, count)| (std::cmp::Reverse(*count), channel.index()));
    let names = log.names();
    let named = |(channel, count): (ChannelId, u64)| {
        let route = names.as_ref().as_ref()?.name(channel)?;
        let (workspace, channel) = route.parts();
        let events = (u128::from(count) * u128::from(of) / u128::from(looked_at)) as u64;
        Some(ChannelTraffic { channel: channel.to_owned(), workspace: workspace.map(str::to_owned), events })
    };
    Traffic { looked_at, of, channels: counts.into_iter().filter_map(named).take(CHANNELS_MAX).collect() }
}

/// What to look at of `range`: all of it, or parts that lie evenly.
fn parts(range: &Range<u64>) -> Vec<Range<u64>> {
    let of = range.end.saturating_sub(range.start);
    if of == 0 {
        return Vec::new();
    }
    if of <= LOOKED_AT_MAX {
        return (range.start..range.end)
            .step_by(PART as usize)
            .map(|start| start..range.end.min(start + PART))
            .collect();
    }
    let count = LOOKED_AT_MAX / PART;
    // The last part ends where the range does.
    let start =
        |part: u64| range.start + ((u128::from(of - PART) * u128::from(part)) / u128::from(count - 1)) as u64;
    (0..count).map(|part| start(part)..start(part) + PART).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_looked_at_or_parts_that_lie_evenly() {
        let check = |range: Range<u64>, looked_at: u64| {
            let parts = parts(&range);
            assert_eq!(parts.iter().map(|part| part.end - part.start).sum::<u64>(), looked_at, "{range:?}");
            assert!(parts.windows(2).all(|two| two[0].end <= two[1].start), "{range:?}: {parts:?}");
            if let (Some(first), Some(last)) = (parts.first(), parts.last()) {
                assert_eq!((first.start, last.end), (range.start, range.end));
            }
        };
        check(5..5, 0);
        check(1..2, 1);
        check(1..1000, 999);
        check(7..7 + LOOKED_AT_MAX, LOOKED_AT_MAX);
        check(7..8 + LOOKED_AT_MAX, LOOKED_AT_MAX);
        check(1..10_000_000, LOOKED_AT_MAX);
    }
}
