//! A cursor into the log with subscriptions: what taps, clients and looks back have in common. Nothing is queued for it;
//! it is a few numbers, and the numbers of the events it has found and not given yet.
//!
//! # Invariants     R1 `next ≤ upto`; what is left of `found` lies in `next..upto`, ascending, and is all that was wanted there
//!   R2 every wanted event before `next` was given, or lies in a gap that was given or waits in `gaps`
//! # Bounds         [`FOUND_MAX`] numbers; two gaps; a replay of older events holds at most what `last` may ask for

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::Item;
use super::verdicts::Verdicts;
use crate::log::{Held, Log, Names, PASS_SEGMENTS_MAX, SEGMENT_EVENTS};
use crate::reader::{
    Ahead, Selector, Sieve, Start, Subscription, TooMany as TooManyEvents, begin, newest, select, start,
};
use crate::words::channel::{Pattern, Route};
use crate::words::cursor::{Epoch, Gap, GapCause, Since};
use crate::words::filter::Filter;
use crate::words::labels::Labels;

/// Events looked up at once.
const FOUND_MAX: usize = 256;

/// Events ahead up to which each is looked at by itself; they lie in two segments at most, so that one pass has them.
const SHORT_MAX: u64 = if SEGMENT_EVENTS < 64 { SEGMENT_EVENTS as u64 } else { 64 };

const _: () = assert!(SHORT_MAX as usize <= SEGMENT_EVENTS && 2 <= PASS_SEGMENTS_MAX);

/// A cursor with subscriptions.
#[derive(Debug)]
pub(super) struct Reader {
    epoch: Epoch,
    filter: Option<Arc<Filter>>,
    subscriptions: Vec<Subscription>,
    /// What the subscriptions look for, each in its scope; and announcements, if it gets them.
    patterns: Vec<Pattern>,
    verdicts: Verdicts,
    hears_announcements: bool,
    /// The first sequence number that it has not been given, were it to match.
    next: u64,
    /// Wanted events, from `at` on.
    found: Vec<u64>,
    at: usize,
    /// Everything wanted before this is in `found`, or was given.
    upto: u64,
    gaps: VecDeque<Gap>,
    replay: Option<Replay>,
    /// It has been given something: its stream has begun.
    has_begun: bool,
}

/// Older events of added subscriptions, given before everything else.
#[derive(Debug)]
struct Replay {
    added: Vec<Subscription>,
    patterns: Vec<Pattern>,
    /// What was subscribed to before, and through which filter: those events were given already.
    before: Vec<Subscription>,
    filter_before: Option<Arc<Filter>>,
    next: u64,
    end: u64,
    found: VecDeque<u64>,
    /// `found` is all there is.
    is_list: bool,
}

/// From where on new subscriptions are wanted.
#[derive(Clone, Debug, Default)]
pub(super) enum Beginning {
    /// From now on.
    #[default]
    Now,
    /// From a cursor on.
    Since(Since),
    /// So many of the newest of each channel first.
    Last(usize),
}

impl Reader {
    /// A reader of nothing yet, from `next` on.
    pub(super) fn new(epoch: Epoch, filter: Option<Arc<Filter>>, next: u64, announcements: bool) -> Reader {
        let mut reader = Reader {
            epoch,
            filter,
            subscriptions: Vec::new(),
            patterns: Vec::new(),
            verdicts: Verdicts::default(),
            hears_announcements: announcements,
            next,
            found: Vec::new(),
            at: 0,
            upto: next,
            gaps: VecDeque::new(),
            replay: None,
            has_begun: false,
        };
        reader.patterns = reader.wanted_patterns();
        reader
    }

    /// What the reader looks for.
    pub(super) fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Its subscriptions.
    pub(super) fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
    }

    /// Its own filter.
    pub(super) fn filter(&self) -> Option<&Arc<Filter>> {
        self.filter.as_ref()
    }

    /// The first sequence number that it has not been given, were it to match.
    pub(super) fn position(&self) -> u64 {
        self.found.get(self.at).copied().unwrap_or(self.next.max(self.upto))
    }

    /// Up to where it has looked.
    pub(super) fn looked_upto(&self) -> u64 {
        self.next.max(self.upto)
    }

    /// Whether it would be given an event that is matched on `route`.
    pub(super) fn wants(&self, route: &Route, labels: Labels<'_>) -> bool {
        let sieve = Sieve { filter: self.filter.as_deref(), subscriptions: &self.subscriptions };
        self.patterns.iter().any(|pattern| pattern.matches(route.as_str()))
            && sieve.passes(route.as_str(), labels)
    }

    /// Ends all subscriptions, and everything that the reader was to be given.
    pub(super) fn take_subscriptions(&mut self) -> Vec<Subscription> {
        self.gaps.clear();
        self.replay = None;
        let held = std::mem::take(&mut self.subscriptions);
        self.want_anew(self.position());
        held
    }

    /// Moves the cursor: everything of its subscriptions from there on follows.
    pub(super) fn seek(&mut self, log: &Log, since: &Since) {
        let begin = start(log, self.epoch, &self.patterns, Some(since), log.published());
        let Start { next, gap } = begin.counted(log, &self.patterns);
        self.forget_found(next);
        self.replay = None;
        self.gaps.clear();
        self.gaps.extend(gap);
    }

    /// The next thing, if there is one. Cost: a copy of its text; of what lies ahead, a bounded look at a time.
    pub(super) fn poll(&mut self, log: &Log) -> Option<Item> {
        let item = self.poll_replay(log).or_else(|| self.poll_live(log));
        self.has_begun |= item.is_some();
        item
    }

    fn poll_live(&mut self, log: &Log) -> Option<Item> {
        loop {
            if let Some(gap) = self.gaps.pop_front() {
                return Some(Item::Gap(gap));
            }
            while let Some(&seq) = self.found.get(self.at) {
                match Item::read(log, seq) {
                    Some(item) => {
                        self.at += 1;
                        self.next = seq + 1;
                        return Some(item);
                    }
                    None => self.skip_lost(log, seq),
                }
            }
            if !self.gaps.is_empty() {
                continue;
            }
            if !self.look(log) {
                return None;
            }
        }
    }

    /// Looks for wanted events further on; returns whether there was anything to look at. `found` is empty before.
    fn look(&mut self, log: &Log) -> bool {
        self.next = self.looked_upto();
        // In this order: the names loaded have those of everything before `end`.
        let end = log.published();
        if end <= self.next {
            return false;
        }
        let names = log.names();
        let Some(names) = names.as_ref() else { return false };
        self.found.clear();
        self.at = 0;
        let ahead = if end - self.next <= SHORT_MAX {
            self.look_at_each(log, names, end)
        } else {
            let sieve = Sieve { filter: self.filter.as_deref(), subscriptions: &self.subscriptions };
            let mut selector = Selector::new(&self.patterns, names, sieve);
            select(log, &mut selector, self.next, end, FOUND_MAX, &mut self.found)
        };
        match ahead {
            Ahead::Upto(upto) => self.upto = upto.max(self.next),
            Ahead::Lapped => self.skip_lost(log, self.next),
        }
        true
    }

    /// The same as [`select`] for a few events, without working out what the patterns match.
    fn look_at_each(&mut self, log: &Log, names: &Names, end: u64) -> Ahead {
        let sieve = Sieve { filter: self.filter.as_deref(), subscriptions: &self.subscriptions };
        let is_sifting = !sieve.is_open();
        let pass = log.pass();
        for seq in self.next..end {
            let passes = match pass.slot(seq) {
                Held::Here(slot) if !self.verdicts.wants(names, &self.patterns, slot.route) => Some(false),
                Held::Here(slot) if is_sifting => match (names.name(slot.route), pass.labels(seq)) {
                    (Some(name), Held::Here(labels)) => Some(sieve.passes(name.as_str(), labels)),
                    _ => None,
                },
                Held::Here(_) => Some(true),
                Held::Lapped | Held::PassFull => None,
            };
            match passes {
                Some(true) => self.found.push(seq),
                Some(false) => {}
                // What was found before stands; the next look begins at the missing one.
                None if self.found.is_empty() => return Ahead::Lapped,
                None => return Ahead::Upto(seq),
            }
        }
        Ahead::Upto(end)
    }

    /// What is wanted from `seq` on is no longer held: the reader goes on behind it.
    fn skip_lost(&mut self, log: &Log, seq: u64) {
        let (resumed, missing) = begin(log, &self.patterns, seq);
        self.forget_found(resumed.max(seq));
        let gap = |range| Gap::of(range, GapCause::Lapped).counted(log, &self.patterns);
        self.gaps.extend(missing.map(gap));
    }

    fn forget_found(&mut self, next: u64) {
        self.found.clear();
        (self.at, self.next, self.upto) = (0, next, next);
    }

    fn poll_replay(&mut self, log: &Log) -> Option<Item> {
        while let Some(replay) = &mut self.replay {
            if let Some(gap) = self.gaps.pop_front() {
                return Some(Item::Gap(gap));
            }
            if let Some(seq) = replay.found.pop_front() {
                if let Some(item) = Item::read(log, seq) {
                    return Some(item);
                }
                if replay.is_list {
                    let gap = Gap { matched: Some(1), ..Gap::of((seq, seq), GapCause::Lapped) };
                    return Some(Item::Gap(gap));
                }
                replay.found.clear();
                replay.next = seq;
            }
            if replay.is_list || replay.end <= replay.next {
                self.replay = None;
                break;
            }
            let names = log.names();
            let Some(names) = names.as_ref() else { break };
            let wanted = Sieve { filter: self.filter.as_deref(), subscriptions: &replay.added };
            let had = Sieve { filter: replay.filter_before.as_deref(), subscriptions: &replay.before };
            let mut selector = Selector::new(&replay.patterns, names, wanted).except(had);
            let mut seqs = Vec::new();
            match select(log, &mut selector, replay.next, replay.end, FOUND_MAX, &mut seqs) {
                Ahead::Upto(upto) => replay.next = upto.max(replay.next),
                Ahead::Lapped => {
                    let (resumed, missing) = begin(log, &replay.patterns, replay.next);
                    replay.next = resumed.clamp(replay.next, replay.end);
                    let last = replay.end - 1;
                    let gap = |(from, to): (u64, u64)| {
                        Gap::of((from, to.min(last)), GapCause::Lapped).counted(log, &replay.patterns)
                    };
                    self.gaps.extend(missing.map(gap));
                }
            }
            replay.found.extend(seqs);
        }
        None
    }

    /// Looks as far as nothing is wanted, so that what is asked for now begins now and not where the reader slept.
    fn catch_up(&mut self, log: &Log) {
        while self.found.len() <= self.at && self.gaps.is_empty() && self.replay.is_none() {
            if !self.look(log) {
                return;
            }
        }
    }

    /// Subscribes to `patterns`, each through `filter`; one whose pattern is held already takes its place. Returns the
    /// first sequence number that it holds for, and how many were new.
    pub(super) fn subscribe(
        &mut self,
        log: &Log,
        patterns: &[Pattern],
        filter: Option<&Arc<Filter>>,
        from: &Beginning,
        subscriptions_max: usize,
    ) -> Result<(u64, usize), SubscribeError> {
        self.catch_up(log);
        let position = self.position();
        let mut added: Vec<Subscription> = Vec::new();
        for pattern in patterns {
            let is_same = |held: &Subscription| {
                held.pattern == *pattern && held.filter.as_deref() == filter.map(|filter| &**filter)
            };
            let is_held = self.subscriptions.iter().any(is_same);
            if !is_held && !added.iter().any(|held| held.pattern == *pattern) {
                added.push(Subscription::new(
                    pattern.clone(),
                    filter.cloned(),
                    self.filter.as_deref(),
                    position,
                ));
            }
        }
        let is_new = |new: &&Subscription| !self.subscriptions.iter().any(|held| held.pattern == new.pattern);
        let new = added.iter().filter(is_new).count();
        if subscriptions_max < self.subscriptions.len() + new {
            return Err(SubscribeError::Limit);
        }
        let scoped: Vec<Pattern> = added.iter().filter_map(|held| held.scoped.clone()).collect();
        let is_first = self.subscriptions.is_empty() && !self.has_begun;
        let mut holds_from = position;
        match from {
            Beginning::Now => {}
            Beginning::Since(since) if is_first => {
                let patterns: Vec<Pattern> = scoped.iter().chain(&self.patterns).cloned().collect();
                let begin = start(log, self.epoch, &patterns, Some(since), position);
                let Start { next, gap } = begin.counted(log, &patterns);
                self.forget_found(next);
                self.gaps.extend(gap);
                holds_from = next;
                added.iter_mut().for_each(|held| held.from = next);
            }
            Beginning::Since(since) => {
                let begin = start(log, self.epoch, &scoped, Some(since), position);
                let Start { next, gap } = begin.counted(log, &scoped);
                self.gaps.extend(gap);
                self.replay = Some(self.replay_of(&added, scoped, next, position));
            }
            Beginning::Last(count) => {
                let names = log.names();
                let sieve = Sieve { filter: self.filter.as_deref(), subscriptions: &added };
                let found = match names.as_ref() {
                    Some(names) => newest(log, &Selector::new(&scoped, names, sieve), *count, position)?,
                    None => Vec::new(),
                };
                let replay = self.replay_of(&added, scoped, position, position);
                self.replay = Some(Replay { found: found.into(), is_list: true, ..replay });
            }
        }
        for new in added {
            self.subscriptions.retain(|held| held.pattern != new.pattern);
            self.subscriptions.push(new);
        }
        self.want_anew(holds_from);
        Ok((holds_from, new))
    }

    fn replay_of(&self, added: &[Subscription], patterns: Vec<Pattern>, next: u64, end: u64) -> Replay {
        Replay {
            added: added.to_vec(),
            patterns,
            before: self.subscriptions.clone(),
            filter_before: self.filter.clone(),
            next,
            end,
            found: VecDeque::new(),
            is_list: false,
        }
    }

    /// Ends the subscription to `pattern`; returns whether there was one.
    pub(super) fn unsubscribe(&mut self, log: &Log, pattern: &Pattern) -> bool {
        self.catch_up(log);
        let before = self.subscriptions.len();
        self.subscriptions.retain(|held| held.pattern != *pattern);
        let was_held = self.subscriptions.len() < before;
        self.want_anew(self.position());
        was_held
    }

    /// From its position on, the reader gets only what passes `filter`. Returns that position.
    pub(super) fn set_filter(&mut self, log: &Log, filter: Option<Arc<Filter>>) -> u64 {
        self.catch_up(log);
        let position = self.position();
        for held in &mut self.subscriptions {
            held.scoped = held.scoped_for(filter.as_deref());
            held.from = position;
        }
        self.filter = filter;
        self.want_anew(position);
        position
    }

    /// What was found from `position` on was found for other wishes.
    fn want_anew(&mut self, position: u64) {
        self.forget_found(position);
        self.patterns = self.wanted_patterns();
        self.verdicts.forget();
    }

    fn wanted_patterns(&self) -> Vec<Pattern> {
        let announcements = self.hears_announcements.then(Pattern::announcements);
        let mut patterns: Vec<Pattern> = announcements.into_iter().collect();
        for scoped in self.subscriptions.iter().filter_map(|held| held.scoped.as_ref()) {
            if !patterns.contains(scoped) {
                patterns.push(scoped.clone());
            }
        }
        patterns
    }
}

/// Why a subscription is refused; the others hold as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SubscribeError {
    /// There would be too many.
    Limit,
    /// The newest events of so many channels are too many.
    TooManyEvents(TooManyEvents),
}

impl From<TooManyEvents> for SubscribeError {
    fn from(error: TooManyEvents) -> SubscribeError {
        SubscribeError::TooManyEvents(error)
    }
}
