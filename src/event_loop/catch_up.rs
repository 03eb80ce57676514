//! Which events a cursor that is behind gets next: the one mechanism behind slow sockets, resume and history.
//!
//! Two ways to the same answer. A channel's events are linked, newest first: when few channels match and few of their
//! events lie ahead, walking the links from the heads costs those events alone, however much else was published.
//! Otherwise the descriptors from the cursor on are looked at one by one, a bounded number a call.

use std::collections::HashMap;
use std::ops::ControlFlow;

use smallvec::SmallVec;

use crate::log::{ChannelId, Log, Names};
use crate::words::channel::Pattern;
use crate::words::limits::CATCH_UP_SCAN_MAX;

/// Which channels a reader wants, worked out against the known names.
pub(crate) struct Matcher<'a> {
    patterns: &'a [Pattern],
    names: &'a Names,
    /// The matching channels, if there are not too many; ascending.
    few: Option<SmallVec<[ChannelId; 8]>>,
    /// Verdicts on other channels.
    known: HashMap<ChannelId, bool, foldhash::fast::RandomState>,
}

/// Channels up to which a matcher keeps a list.
const FEW_MAX: usize = 32;

/// Links walked before looking at the descriptors one by one is taken to be the cheaper way.
const LINKS_MAX: usize = 512;

/// Events ahead up to which looking at each is the cheaper way at once.
const SCAN_AT_ONCE: u64 = 64;

impl<'a> Matcher<'a> {
    pub(crate) fn new(patterns: &'a [Pattern], names: &'a Names) -> Matcher<'a> {
        let mut few = SmallVec::new();
        let mut is_few = true;
        for pattern in patterns {
            names.matching(pattern, &mut |_, id| {
                few.push(id);
                is_few = few.len() <= FEW_MAX;
                if is_few { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        }
        few.sort_unstable();
        few.dedup();
        Matcher { patterns, names, few: is_few.then_some(few), known: HashMap::default() }
    }

    /// Whether events of `route` are wanted.
    fn wants(&mut self, route: ChannelId) -> bool {
        if let Some(few) = &self.few {
            return few.binary_search(&route).is_ok();
        }
        let (patterns, names) = (self.patterns, self.names);
        *self.known.entry(route).or_insert_with(|| {
            names
                .name(route)
                .is_some_and(|name| patterns.iter().any(|pattern| pattern.matches(name.as_str())))
        })
    }

    /// The newest wanted event that has left the visible window, 0 for none.
    fn newest_evicted(&self, log: &Log) -> u64 {
        if let Some(few) = &self.few {
            return few.iter().map(|id| log.evicted_of(*id)).max().unwrap_or(0);
        }
        let mut newest = 0;
        for pattern in self.patterns {
            self.names.matching(pattern, &mut |_, id| {
                newest = newest.max(log.evicted_of(id));
                ControlFlow::Continue(())
            });
        }
        newest
    }
}

/// What lies ahead of a cursor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// The wanted events before `next` are those in the list; go on from `next`.
    Upto(u64),
    /// The next wanted event, or one that may be, is no longer held.
    Lapped,
}

/// Puts the wanted events of `from..end` into `seqs` (whose old content goes), ascending, at most `max`. `end` is at
/// most a `published` the caller has seen.
pub(crate) fn select(
    log: &Log,
    matcher: &mut Matcher<'_>,
    from: u64,
    end: u64,
    max: usize,
    seqs: &mut Vec<u64>,
) -> Ahead {
    seqs.clear();
    if SCAN_AT_ONCE < end.saturating_sub(from)
        && let Some(few) = matcher.few.clone()
        && let Some(lapped) = walk_links(log, &few, from, end, seqs)
    {
        // Of a channel that was forgotten there is no head to walk from.
        if lapped || from < log.forgotten_below() {
            seqs.clear();
            return Ahead::Lapped;
        }
        seqs.sort_unstable();
        if max < seqs.len() {
            seqs.truncate(max);
            return Ahead::Upto(seqs.last().map_or(end, |last| last + 1));
        }
        return Ahead::Upto(end);
    }
    seqs.clear();
    scan(log, matcher, from, end, max, seqs)
}

/// Walks the links of every channel back to `from`. Returns whether a link leads to an event that is no longer held,
/// or nothing if there are too many.
fn walk_links(log: &Log, channels: &[ChannelId], from: u64, end: u64, seqs: &mut Vec<u64>) -> Option<bool> {
    let mut links = 0;
    for &channel in channels {
        let mut next = Some(log.head_of(channel));
        while let Some(seq) = next.filter(|&seq| from.max(1) <= seq) {
            links += 1;
            if LINKS_MAX < links {
                return None;
            }
            let Some(slot) = log.slot(seq) else { return Some(true) };
            if seq < end {
                seqs.push(seq);
            }
            next = slot.previous(seq);
        }
    }
    Some(false)
}

fn scan(log: &Log, matcher: &mut Matcher<'_>, from: u64, end: u64, max: usize, seqs: &mut Vec<u64>) -> Ahead {
    let end = end.min(from.saturating_add(CATCH_UP_SCAN_MAX));
    for seq in from..end {
        let Some(slot) = log.slot(seq) else {
            // What was found before stands; the next call begins at the missing one.
            return if seqs.is_empty() { Ahead::Lapped } else { Ahead::Upto(seq) };
        };
        if matcher.wants(slot.route) {
            seqs.push(seq);
            if seqs.len() == max {
                return Ahead::Upto(seq + 1);
            }
        }
    }
    Ahead::Upto(end)
}

/// Where a reader that wants everything from `next` on can really begin, with the events it will not get, if it wanted
/// any of them: first and last of the range that is missing.
pub(crate) fn begin(log: &Log, patterns: &[Pattern], next: u64) -> (u64, Option<(u64, u64)>) {
    // In this order: once `oldest` has been seen, the channels and marks of everything below it are there.
    let oldest = log.oldest();
    if oldest <= next {
        return (next, None);
    }
    let names = log.names();
    let evicted = match names.as_ref() {
        // Whoever wants everything has lost whatever has left.
        _ if patterns.iter().any(|pattern| pattern.as_str() == "*") => oldest - 1,
        Some(names) => Matcher::new(patterns, names).newest_evicted(log),
        None => oldest - 1,
    };
    let is_lost = next <= evicted || next < log.forgotten_below();
    // Marks may run ahead of `oldest`: what they name is missing too.
    let begin = oldest.max(if is_lost { evicted + 1 } else { oldest });
    (begin, is_lost.then_some((next, begin - 1)))
}
