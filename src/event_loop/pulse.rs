//! Operators who watch: once a second they are told how the server does, all of them the same bytes.
//!
//! # Contract       nothing is done while nobody watches but a look at one pointer a turn. Who takes a pulse more slowly
//!   than they come is left out until it has taken what it has: the next it gets is the newest
//! # Bounds         [`WATCHERS_MAX`] watchers; of each one pulse that waits; a look at [`LOOKED_AT_MAX`] connections of
//!   each loop, and [`SLOWEST_MAX`] clients, a pulse

use std::sync::Arc;

use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::connection::{Delivery, Details, Session};
use super::{ConnectionId, EventLoop, Link};
use crate::mail::{About, Letter, Part, Question};
use crate::pulse::Pulse;
use crate::session::request::Refused;
use crate::sync::Ordering;
use crate::wire::http::{CrossOrigin, ResponseContext, problem};
use crate::wire::sse::{push_block, push_retry, push_stream_head};

/// Operators who watch at once. Beyond it: 503, error `too_many_watchers`.
pub(super) const WATCHERS_MAX: usize = 16;

/// How often they are told, in milliseconds.
const PULSE_EVERY_MS: u64 = 1000;

/// How soon one who was cut off may come back, in milliseconds: they are few.
const RETRY_MS: u32 = 1000;

/// Clients that are named as furthest behind.
const SLOWEST_MAX: usize = 12;

/// Connections that a loop looks at for these, a pulse. Where it has more it looks at others the next time, and keeps
/// those in mind that it has found.
const LOOKED_AT_MAX: usize = 1 << 14;

/// Who watches, and what they are told.
pub(super) struct Watch {
    watchers: Vec<ConnectionId>,
    pulse: Pulse,
    /// When the next pulse is due, in milliseconds of the loop's clock.
    next_ms: u64,
    /// The loops were asked for the next pulse, and have not answered yet.
    is_asking: bool,
    /// The clients that are furthest behind, as the loops have said last.
    slowest: Vec<Box<RawValue>>,
    /// What was told last, for whoever comes next.
    latest: Vec<u8>,
}

impl Watch {
    /// When to look again, in milliseconds of the loop's clock.
    pub(super) fn next_ms(&self) -> u64 {
        self.next_ms
    }
}

/// The clients that a loop has found to be furthest behind.
#[derive(Debug, Default)]
pub(super) struct Slowest {
    /// Where to look next.
    next: usize,
    kept: Vec<usize>,
}

impl<L: Link> EventLoop<L> {
    /// Makes an operator's connection one that watches.
    ///
    /// # Errors
    /// The refusal, where as many watch as may.
    pub(super) fn watch(
        &mut self,
        key: usize,
        details: Details,
        context: ResponseContext,
    ) -> Result<(), Refused> {
        if self.watch.as_ref().is_some_and(|watch| WATCHERS_MAX <= watch.watchers.len()) {
            let detail = "As many operators watch as may; try again later.";
            let answer = problem(503, "too_many_watchers", detail);
            return Err(Box::new(answer.header("Retry-After", self.retry_after(key))));
        }
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        let cross_origin = context.cross_origin.map(CrossOrigin::fields);
        let out = connection.out.tail();
        push_stream_head(out, cross_origin.as_ref().map_or(&[], |fields| &fields[..]));
        push_retry(out, RETRY_MS);
        connection.session = Session::Watching;
        connection.speech.form = crate::log::Form::Sse;
        connection.details = Some(details);
        connection.clock.until_ms = u64::MAX;
        let id = ConnectionId::new(key, connection.generation);
        let (hub, now) = (&self.hub, self.now);
        let watch = self.watch.get_or_insert_with(|| {
            let pulse = Pulse::begin(hub, now);
            Box::new(Watch {
                watchers: Vec::new(),
                pulse,
                next_ms: now.mono_ms,
                is_asking: false,
                slowest: Vec::new(),
                latest: Vec::new(),
            })
        });
        watch.watchers.push(id);
        connection.out.tail().extend_from_slice(&watch.latest);
        self.begin_time(key);
        self.want_flush(key);
        self.remind(key);
        Ok(())
    }

    /// Somebody no longer watches.
    pub(super) fn end_watch(&mut self, key: usize) {
        self.end_time(key);
        self.end_stream_access(key);
        let Some(generation) = self.connections.get(key).map(|connection| connection.generation) else {
            return;
        };
        let id = ConnectionId::new(key, generation);
        if let Some(watch) = &mut self.watch {
            watch.watchers.retain(|watcher| *watcher != id);
            if watch.watchers.is_empty() {
                self.watch = None;
            }
        }
    }

    /// If it is time, asks all loops who is behind there, and goes on when they have answered; if the last question has not
    /// been answered, which is what a loop that stands still does, without.
    pub(super) fn tell_watchers(&mut self) {
        let now_ms = self.now.mono_ms;
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.next_ms <= now_ms) else { return };
        // Not from the last one on: who was late does not make up for it.
        watch.next_ms = now_ms + PULSE_EVERY_MS;
        if std::mem::replace(&mut watch.is_asking, true) {
            return self.beat();
        }
        let desks = self.hub.desks();
        let about = About::Slowest { limit: SLOWEST_MAX };
        let question = Arc::new(Question::new(about, self.index, 0, desks.len()));
        desks.iter().for_each(|desk| desk.post(Letter::Question(Arc::clone(&question))));
    }

    /// The loops have said who is behind there.
    pub(super) fn take_slowest(&mut self, parts: Vec<Part>) {
        let Some(watch) = &mut self.watch else { return };
        let raw = |(_, json): Part| RawValue::from_string(json).ok();
        watch.slowest = parts.into_iter().filter_map(raw).collect();
        if std::mem::take(&mut watch.is_asking) {
            self.beat();
        }
    }

    /// Tells everybody who watches and has taken what was told before.
    fn beat(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let json = watch.pulse.beat(&self.hub, self.now, &watch.slowest);
        watch.latest.clear();
        push_block(&mut watch.latest, None, None, &json);
        let mut told = SmallVec::<[usize; WATCHERS_MAX]>::new();
        for id in &watch.watchers {
            let Some(connection) = self.connections.get_mut(id.key()) else { continue };
            if connection.out.is_empty() && connection.writable {
                connection.out.tail().extend_from_slice(&watch.latest);
                told.push(id.key());
            }
        }
        told.into_iter().for_each(|key| self.want_flush(key));
    }

    /// The clients of this loop that are furthest behind, of those that are behind.
    pub(super) fn slowest(&mut self, limit: usize) -> Vec<Part> {
        let Slowest { next, kept } = std::mem::take(&mut self.slowest);
        if self.desk().traffic.lagging.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let capacity = self.connections.capacity();
        let looks = capacity.min(LOOKED_AT_MAX);
        let mut found: Vec<(u64, usize)> = kept
            .iter()
            .copied()
            .chain((0..looks).map(|look| (next + look) % capacity).filter(|key| !kept.contains(key)))
            .filter(|key| {
                self.connections.get(*key).is_some_and(|connection| connection.delivery == Delivery::Lagging)
            })
            .map(|key| (self.lag_of(key), key))
            .collect();
        if limit < found.len() {
            found.select_nth_unstable_by_key(limit, |(lag, _)| std::cmp::Reverse(*lag));
            found.truncate(limit);
        }
        self.slowest = Slowest {
            next: (next + looks) % capacity.max(1),
            kept: found.iter().map(|(_, key)| *key).collect(),
        };
        let part = |(lag, key): (u64, usize)| (lag, self.client_json(key, &self.connections[key]));
        found.into_iter().map(part).collect()
    }
}
