//! What one connection is subscribed to, and which events that makes due.

use crate::channels::canonical;
use crate::filter::{Filter, gets, reaches};
use crate::twin::{Intent, Twin};

/// Subscriptions of a connection, its own filter, and the announcements that everybody gets.
#[derive(Default)]
pub(crate) struct Holdings {
    held: Vec<Held>,
    /// The connection's own filter. Where a change is not answered there are several that may hold.
    own: Vec<Own>,
    announced: Option<Begin>,
    had_event: bool,
}

/// One subscription.
#[derive(Clone)]
pub(crate) struct Held {
    /// Canonical.
    pub(crate) pattern: String,
    filter: Option<Filter>,
    begin: Begin,
    /// The first event that it covers in this form: a replay does not repeat what was covered.
    covers_from: u64,
}

/// Where something begins that is not always told exactly.
#[derive(Clone, Copy)]
pub(crate) struct Begin {
    /// What comes after this may come.
    pub(crate) may_after: u64,
    /// What comes after this must come.
    pub(crate) must_after: u64,
}

/// A filter of the connection.
struct Own {
    filter: Option<Filter>,
    serial: u64,
    /// It may hold for events up to this, but for none that is still to come.
    ended: Option<u64>,
}

impl Begin {
    /// Exactly after `seq`.
    pub(crate) fn after(seq: u64) -> Begin {
        Begin { may_after: seq, must_after: seq }
    }
}

impl Holdings {
    /// What a new connection with `filter` of its own has.
    pub(crate) fn new(filter: Option<Filter>) -> Holdings {
        let own = vec![Own { filter, serial: 0, ended: None }];
        Holdings { own, ..Holdings::default() }
    }

    /// Announcements come from now on.
    pub(crate) fn open(&mut self, begin: Begin) {
        self.announced = Some(begin);
    }

    /// This is no stream: nothing is announced to it.
    pub(crate) fn say_nothing(&mut self) {
        self.announced = None;
    }

    /// The server says that everything up to `seq` was sent, and so that whatever comes after it is due.
    pub(crate) fn stands_at(&mut self, seq: u64) {
        if let Some(begin) = &mut self.announced {
            begin.must_after = begin.must_after.min(seq);
        }
    }

    /// Canonical patterns, sorted.
    pub(crate) fn patterns(&self) -> Vec<&str> {
        let mut patterns: Vec<&str> = self.held.iter().map(|held| held.pattern.as_str()).collect();
        patterns.sort_unstable();
        patterns
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Those of `texts` that are not held yet in any form, canonical, each once.
    pub(crate) fn unknown(&self, texts: &[&'static str]) -> Vec<String> {
        let mut unknown: Vec<String> = Vec::new();
        for pattern in texts.iter().map(|text| canonical(text)) {
            if !unknown.contains(&pattern) && self.held.iter().all(|held| held.pattern != pattern) {
                unknown.push(pattern);
            }
        }
        unknown
    }

    /// The subscriptions to `texts` that are not held yet in this very form; or all of them, for the sake of what is
    /// older (`anew`).
    pub(crate) fn added(
        &self,
        texts: &[&'static str],
        filter: &Option<Filter>,
        begin: Begin,
        anew: bool,
    ) -> Vec<Held> {
        let mut added: Vec<Held> = Vec::new();
        for pattern in texts.iter().map(|text| canonical(text)) {
            let is_same = |held: &Held| held.pattern == pattern && held.filter == *filter;
            let is_held = !anew && self.held.iter().any(is_same);
            if !is_held && added.iter().all(|held| held.pattern != pattern) {
                let filter = filter.clone();
                added.push(Held { pattern, filter, begin, covers_from: begin.must_after + 1 });
            }
        }
        added
    }

    /// Adds subscriptions, in the place of those with the same patterns; they cover what comes after `told`, and what
    /// the same ones covered before.
    pub(crate) fn add(&mut self, added: Vec<Held>, begin: Begin, told: u64) {
        for new in added {
            let mut new = Held { begin, covers_from: told + 1, ..new };
            if let Some(at) = self.held.iter().position(|held| held.pattern == new.pattern) {
                let old = self.held.remove(at);
                if old.filter == new.filter {
                    let begin = Begin {
                        may_after: old.begin.may_after.min(begin.may_after),
                        must_after: old.begin.must_after.min(begin.must_after),
                    };
                    new = Held { begin, covers_from: new.covers_from.min(old.covers_from), ..new };
                }
            }
            self.held.push(new);
        }
    }

    /// The connection was sent an event.
    pub(crate) fn note_event(&mut self) {
        self.had_event = true;
    }

    /// Whether older events of added channels come in brackets: it holds something, or was sent an event.
    pub(crate) fn has_begun(&self) -> bool {
        !self.held.is_empty() || self.had_event
    }

    /// Ends the subscription to the canonical `pattern`.
    pub(crate) fn end(&mut self, pattern: &str) {
        self.held.retain(|held| held.pattern != pattern);
    }

    /// From `seq` on the connection's own filter is this.
    pub(crate) fn refilter(&mut self, filter: Option<Filter>, seq: u64) {
        self.own = vec![Own { filter, serial: 0, ended: None }];
        self.held.iter_mut().for_each(|held| held.covers_from = seq + 1);
    }

    /// The client has asked for another filter, and will not be told when it holds. Returns what to call it.
    pub(crate) fn ask_for(&mut self, filter: Option<Filter>) -> u64 {
        let serial = self.serial() + 1;
        self.own.push(Own { filter, serial, ended: None });
        serial
    }

    /// What the filter that was asked for last is called.
    pub(crate) fn serial(&self) -> u64 {
        self.own.last().map_or(0, |own| own.serial)
    }

    /// The filter called `serial` holds now, if no later one does; those before it may have, up to `last`.
    pub(crate) fn is_in_force(&mut self, serial: u64, last: u64, cursor: u64) {
        for own in &mut self.own {
            if own.serial < serial && own.ended.is_none() {
                own.ended = Some(last);
            }
        }
        self.own.retain(|own| own.ended.is_none_or(|ended| cursor < ended));
    }

    /// The event `seq` is due.
    pub(crate) fn requires(&self, twin: &Twin, seq: u64) -> bool {
        let Some(event) = twin.event(seq) else { return false };
        let gets = |own: &Own| {
            self.held.iter().any(|held| held.begin.must_after < seq && held.gets(own.filter.as_ref(), event))
        };
        self.announces(event, seq, |begin| begin.must_after)
            || self.own.iter().filter(|own| own.ended.is_none_or(|ended| seq <= ended)).all(gets)
    }

    /// Whether the event `seq` may come.
    pub(crate) fn may_get(&self, twin: &Twin, seq: u64) -> bool {
        let Some(event) = twin.event(seq) else { return false };
        let own = || self.own.iter().filter(|own| own.ended.is_none_or(|ended| seq <= ended));
        let is_due = |held: &Held| {
            held.begin.may_after < seq && own().any(|own| held.gets(own.filter.as_ref(), event))
        };
        self.announces(event, seq, |begin| begin.may_after) || self.held.iter().any(is_due)
    }

    /// The event `seq` may come; and if it does, whatever it is due to has begun.
    pub(crate) fn accept(&mut self, twin: &Twin, seq: u64) -> bool {
        let Some(event) = twin.event(seq) else { return false };
        let is_announced = self.announces(event, seq, |begin| begin.may_after);
        if let Some(begin) = self.announced.as_mut().filter(|_| is_announced) {
            begin.must_after = begin.must_after.min(seq);
        }
        let (held, own) = (&mut self.held, &self.own);
        let mut is_wanted = is_announced;
        for held in held {
            let mut current = own.iter().filter(|own| own.ended.is_none());
            if held.begin.may_after < seq && current.any(|own| held.gets(own.filter.as_ref(), event)) {
                held.begin.must_after = held.begin.must_after.min(seq);
                is_wanted = true;
            }
        }
        is_wanted
    }

    /// Whether somebody who loses `seq` must be told so: filters cannot be looked at when an event is gone.
    pub(crate) fn may_lose(&self, twin: &Twin, seq: u64) -> bool {
        let Some(event) = twin.event(seq) else { return true };
        self.announces(event, seq, |begin| begin.may_after)
            || self.held.iter().any(|held| {
                held.begin.may_after < seq
                    && self.own.iter().any(|own| held.reaches(own.filter.as_ref(), event))
            })
    }

    /// Whether somebody who loses `seq` loses it for certain.
    pub(crate) fn must_lose(&self, twin: &Twin, seq: u64) -> bool {
        let Some(event) = twin.event(seq) else { return false };
        let loses = |own: &Own| {
            let mut begun = self.held.iter().filter(|held| held.begin.must_after < seq);
            begun.any(|held| held.reaches(own.filter.as_ref(), event))
        };
        self.announces(event, seq, |begin| begin.must_after) || self.own.iter().all(loses)
    }

    fn announces(&self, event: &Intent, seq: u64, after: impl Fn(&Begin) -> u64) -> bool {
        event.is_announcement && self.announced.as_ref().is_some_and(|begin| after(begin) < seq)
    }

    /// Whether a subscription gets `event`, whenever it began.
    pub(crate) fn gets(&self, event: &Intent) -> bool {
        self.any_gets(&self.held, event)
    }

    /// Whether one of `added` would get `event` on this connection.
    pub(crate) fn any_gets(&self, added: &[Held], event: &Intent) -> bool {
        self.own.iter().any(|own| added.iter().any(|held| held.gets(own.filter.as_ref(), event)))
    }

    /// Whether one of `added` would lose `seq`.
    pub(crate) fn any_may_lose(&self, added: &[Held], twin: &Twin, seq: u64) -> bool {
        let reaches = |event: &Intent| {
            self.own.iter().any(|own| added.iter().any(|held| held.reaches(own.filter.as_ref(), event)))
        };
        twin.event(seq).is_none_or(reaches)
    }

    /// Whether one of `added` would lose `seq` for certain.
    pub(crate) fn any_must_lose(&self, added: &[Held], twin: &Twin, seq: u64) -> bool {
        let reaches = |event: &Intent| {
            self.own.iter().all(|own| added.iter().any(|held| held.reaches(own.filter.as_ref(), event)))
        };
        twin.event(seq).is_some_and(reaches)
    }

    /// Whether one of `added` would get `seq`, and the connection was not given it.
    pub(crate) fn is_new_to(&self, added: &[Held], twin: &Twin, seq: u64) -> bool {
        twin.event(seq).is_some_and(|event| self.any_gets(added, event) && !self.covers(event, seq))
    }

    /// Whether the connection was given `seq`, as its subscriptions are now. A replay has no announcements at all.
    fn covers(&self, event: &Intent, seq: u64) -> bool {
        let covers =
            |held: &Held, own: &Own| held.covers_from <= seq && held.gets(own.filter.as_ref(), event);
        event.is_announcement || self.own.iter().any(|own| self.held.iter().any(|held| covers(held, own)))
    }
}

impl Held {
    fn gets(&self, own: Option<&Filter>, event: &Intent) -> bool {
        gets(&self.pattern, own, self.filter.as_ref(), event)
    }

    fn reaches(&self, own: Option<&Filter>, event: &Intent) -> bool {
        reaches(&self.pattern, own, self.filter.as_ref(), event)
    }
}
