//! Which events a cursor that is behind gets next.
//!
//! Two ways to the same answer. A channel's events are linked, newest first: when few channels match and few of their
//! events lie ahead, walking the links from the heads costs those events alone, however much else was published.
//! Otherwise the descriptors from the cursor on are looked at one by one, a bounded number a call.

use std::collections::HashMap;
use std::ops::ControlFlow;

use smallvec::SmallVec;

use super::subscription::Sieve;
use crate::log::{ChannelId, Held, Log, Names, Pass};
use crate::words::channel::{Pattern, Route};
use crate::words::limits::CATCH_UP_SCAN_MAX;

/// What a reader wants, worked out against the known names: patterns, and what passes its filters.
pub struct Selector<'a> {
    patterns: &'a [Pattern],
    names: &'a Names,
    sieve: Sieve<'a>,
    /// Events that these get are left out: the reader has had them.
    except: Option<Sieve<'a>>,
    /// The matching channels, if there are not too many; ascending.
    few: Option<SmallVec<[ChannelId; 8]>>,
    /// Verdicts on other channels.
    known: HashMap<ChannelId, bool, foldhash::fast::RandomState>,
}

/// Channels up to which a selector keeps a list.
const FEW_MAX: usize = 32;

/// Links walked before looking at the descriptors one by one is taken to be the cheaper way.
const LINKS_MAX: usize = 512;

/// Events ahead up to which looking at each is the cheaper way at once.
const SCAN_AT_ONCE: u64 = 64;

impl<'a> Selector<'a> {
    /// A reader of `patterns` (each in its scope) whose filters are `sieve`.
    #[must_use]
    pub fn new(patterns: &'a [Pattern], names: &'a Names, sieve: Sieve<'a>) -> Selector<'a> {
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
        let few = is_few.then_some(few);
        Selector { patterns, names, sieve, except: None, few, known: HashMap::default() }
    }

    /// Leaves out what the subscriptions of `except` got.
    #[must_use]
    pub fn except(self, except: Sieve<'a>) -> Selector<'a> {
        Selector { except: Some(except), ..self }
    }

    /// What events of `route` are matched on.
    pub(super) fn name(&self, route: ChannelId) -> Option<&'a str> {
        self.names.name(route).map(Route::as_str)
    }

    /// Whether the labels of events are looked at.
    fn is_sifting(&self) -> bool {
        !self.sieve.is_open() || self.except.is_some()
    }

    /// Whether the event `seq` of a wanted channel passes; nothing if it is no longer held. `pass` is renewed when it
    /// is full.
    pub(super) fn sift<'log>(
        &self,
        log: &'log Log,
        pass: &mut Pass<'log>,
        route: ChannelId,
        seq: u64,
    ) -> Option<bool> {
        let Some(name) = self.names.name(route) else { return Some(true) };
        loop {
            match pass.labels(seq) {
                Held::Here(labels) => {
                    let is_new = self.except.is_none_or(|had| !had.covered(seq, name.as_str(), labels));
                    return Some(is_new && self.sieve.passes(name.as_str(), labels));
                }
                Held::Lapped => return None,
                Held::PassFull => {}
            }
            *pass = log.pass();
        }
    }

    /// Whether events of `route` are wanted.
    pub(super) fn wants(&mut self, route: ChannelId) -> bool {
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

    /// Calls `on` with every wanted channel until it breaks; with one that several patterns match perhaps more than once.
    pub(super) fn each_channel(&self, on: &mut dyn FnMut(ChannelId) -> ControlFlow<()>) {
        if let Some(few) = &self.few {
            let _ = few.iter().try_for_each(|id| on(*id));
            return;
        }
        let mut flow = ControlFlow::Continue(());
        for pattern in self.patterns {
            if flow.is_continue() {
                self.names.matching(pattern, &mut |_, id| {
                    flow = on(id);
                    flow
                });
            }
        }
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
pub enum Ahead {
    /// The wanted events before this are those in the list; go on from here.
    Upto(u64),
    /// The next wanted event, or one that may be, is no longer held.
    Lapped,
}

/// Puts the wanted events of `from..end` into `seqs` (whose old content goes), ascending, at most `max`. `end` is at
/// most a `published` the caller has seen.
pub fn select(
    log: &Log,
    selector: &mut Selector<'_>,
    from: u64,
    end: u64,
    max: usize,
    seqs: &mut Vec<u64>,
) -> Ahead {
    seqs.clear();
    if SCAN_AT_ONCE < end.saturating_sub(from)
        && let Some(few) = selector.few.clone()
        && let Some(lapped) = walk_links(log, &few, from, end, seqs)
    {
        // Of a channel that was forgotten there is no head to walk from.
        if lapped || from < log.forgotten_below() {
            seqs.clear();
            return Ahead::Lapped;
        }
        seqs.sort_unstable();
        return keep(log, selector, end, max, seqs);
    }
    seqs.clear();
    scan(log, selector, from, end, max, seqs)
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

/// Keeps what passes of `seqs`, which are all wanted events before `end`, at most `max` of them.
fn keep(log: &Log, selector: &Selector<'_>, end: u64, max: usize, seqs: &mut Vec<u64>) -> Ahead {
    let is_sifting = selector.is_sifting();
    let mut pass = log.pass();
    let mut kept = 0;
    for at in 0..seqs.len() {
        let seq = seqs[at];
        if kept == max {
            seqs.truncate(kept);
            return Ahead::Upto(seqs.last().map_or(seq, |last| last + 1));
        }
        let passes = if is_sifting {
            log.slot(seq).and_then(|slot| selector.sift(log, &mut pass, slot.route, seq))
        } else {
            Some(true)
        };
        match passes {
            Some(true) => {
                seqs[kept] = seq;
                kept += 1;
            }
            Some(false) => {}
            None => {
                seqs.truncate(kept);
                return if kept == 0 { Ahead::Lapped } else { Ahead::Upto(seq) };
            }
        }
    }
    seqs.truncate(kept);
    Ahead::Upto(end)
}

fn scan(
    log: &Log,
    selector: &mut Selector<'_>,
    from: u64,
    end: u64,
    max: usize,
    seqs: &mut Vec<u64>,
) -> Ahead {
    let end = end.min(from.saturating_add(CATCH_UP_SCAN_MAX));
    let is_sifting = selector.is_sifting();
    let mut pass = log.pass();
    for seq in from..end {
        let passes = match log.slot(seq) {
            Some(slot) if !selector.wants(slot.route) => Some(false),
            Some(slot) if is_sifting => selector.sift(log, &mut pass, slot.route, seq),
            Some(_) => Some(true),
            None => None,
        };
        match passes {
            Some(true) => {
                seqs.push(seq);
                if seqs.len() == max {
                    return Ahead::Upto(seq + 1);
                }
            }
            Some(false) => {}
            // What was found before stands; the next call begins at the missing one.
            None => return if seqs.is_empty() { Ahead::Lapped } else { Ahead::Upto(seq) },
        }
    }
    Ahead::Upto(end)
}

/// Where a reader that wants everything from `next` on can really begin, with the events it will not get, if it wanted
/// any of them: first and last of the range that is missing. Filters are not looked at: what is gone has no labels.
#[must_use]
pub fn begin(log: &Log, patterns: &[Pattern], next: u64) -> (u64, Option<(u64, u64)>) {
    // In this order: once `oldest` has been seen, the channels and marks of everything below it are there.
    let oldest = log.oldest();
    if oldest <= next {
        return (next, None);
    }
    let names = log.names();
    let evicted = match names.as_ref() {
        // Whoever wants everything has lost whatever has left.
        Some(names) if !patterns.iter().any(|pattern| names.is_everything(pattern)) => {
            Selector::new(patterns, names, Sieve::default()).newest_evicted(log)
        }
        _ => oldest - 1,
    };
    let is_lost = next <= evicted || next < log.forgotten_below();
    // Marks may run ahead of `oldest`: what they name is missing too.
    let begin = oldest.max(if is_lost { evicted + 1 } else { oldest });
    (begin, is_lost.then_some((next, begin - 1)))
}
