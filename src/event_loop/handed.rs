//! What a loop has handed to the kernel since it last read the clock of measurements, until it is known how long that took.
//!
//! A delivery costs about a microsecond and reading the clock a thirtieth of that, so the clock is read once for a group of writes,
//! and every write of the group counts as having returned then.
//!
//! # Contract       [`Handed::woke_at`], then for each batch [`Handed::keep`] before it is made anew, and [`Handed::wrote`] after
//!   each connection; [`Handed::end_flush`] when the flush is over
//! # Precision      a group has at most a sixteenth of the connections that the sweep has served, or [`GROUP_MIN`]: so nothing is
//!   told as faster than it was, and hardly anything as slower than by a sixteenth
//! # Bounds         [`WAITING_MAX`] entries wait, of which each stands for any number of deliveries; the clock is read when they are full

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use crate::hub::Hub;
use crate::latency::Way;
use crate::words::accepted::Accepted;

/// What was handed over since the clock was read.
pub(super) struct Handed {
    hub: Arc<Hub>,
    index: usize,
    /// When the loop woke for this turn, or 0 if nobody has said or asked; and when the clock was last read; in nanoseconds.
    turn_ns: u64,
    read_ns: u64,
    /// Connections written to since, and how many are a group.
    group: u32,
    group_max: u32,
    /// Connections written to in this sweep before that.
    served: u32,
    /// Deliveries of batches that are gone: how, of events accepted when, how many.
    waiting: Vec<(Way, Accepted, u32)>,
    /// Answers in outboxes: to publishes accepted when, how many.
    answers: Vec<(u64, u32)>,
    /// The event whose span is measured, or 0; how often it was written since the clock was read.
    watched: u64,
    watched_writes: u32,
    /// What of its span is known in this flush: from, to, writes. Others hear of it once.
    watched_from_ns: u64,
    watched_to_ns: u64,
    watched_known: u32,
}

/// Connections of the smallest group: about ten microseconds of sends.
const GROUP_MIN: u32 = 8;

/// A group is at most this part of the connections that the sweep has served.
const GROUP_SHARE: u32 = 16;

/// Entries that wait at most.
const WAITING_MAX: usize = 256;

/// The events of a batch as those who measure see them, and how often all of them were written since the clock was read.
#[derive(Debug, Default)]
pub(super) struct Marked {
    /// How the batch is delivered; nothing if that is not measured.
    way: Option<Way>,
    /// When its events were accepted, and how many in a row.
    accepted: Vec<(Accepted, u32)>,
    /// The event whose span is measured is one of them.
    has_watched: bool,
    /// How often the whole batch was written. A cell, as whoever writes has the batch lent.
    times: Cell<u32>,
}

impl Marked {
    /// Of a batch with room for so many events.
    pub(super) fn roomy(events: usize) -> Marked {
        Marked { accepted: Vec::with_capacity(events), ..Marked::default() }
    }

    /// The batch is made anew; what it was before has been kept.
    pub(super) fn begin(&mut self, way: Option<Way>) {
        debug_assert_eq!(self.times.get(), 0);
        self.accepted.clear();
        self.way = way;
        self.has_watched = false;
    }

    /// The batch has another event.
    #[inline]
    pub(super) fn push(&mut self, accepted: Accepted) {
        match self.accepted.last_mut() {
            Some((last, count)) if *last == accepted => *count += 1,
            _ => self.accepted.push((accepted, 1)),
        }
    }

    /// Whether the event whose span is measured is in the batch.
    pub(super) fn watch(&mut self, has_watched: bool) {
        self.has_watched = has_watched;
    }

    /// All of the batch was written once more.
    #[inline]
    pub(super) fn wrote(&self) {
        self.times.set(self.times.get() + 1);
    }
}

impl Handed {
    /// Nothing yet, by the loop numbered `index`.
    pub(super) fn new(hub: Arc<Hub>, index: usize) -> Handed {
        Handed {
            hub,
            index,
            turn_ns: 0,
            read_ns: 0,
            group: 0,
            group_max: GROUP_MIN,
            served: 0,
            waiting: Vec::with_capacity(WAITING_MAX),
            answers: Vec::with_capacity(WAITING_MAX),
            watched: 0,
            watched_writes: 0,
            watched_from_ns: 0,
            watched_to_ns: 0,
            watched_known: 0,
        }
    }

    /// What is read in the next turn had come by `at`: the loop has woken for it.
    pub(super) fn woke_at(&mut self, at: Instant) {
        self.turn_ns = self.hub.measure.clock.at_ns(at);
    }

    /// The turn is over.
    pub(super) fn end_turn(&mut self) {
        self.turn_ns = 0;
    }

    /// When the loop woke for this turn, in nanoseconds of the clock of measurements: all publishes of it are accepted then. If
    /// nobody has said, it is when this is first asked.
    pub(super) fn turn_ns(&mut self) -> u64 {
        if self.turn_ns == 0 {
            self.turn_ns = self.hub.measure.clock.read_ns();
        }
        self.turn_ns
    }

    /// A sweep begins: its first writes are told apart more finely than its last.
    pub(super) fn begin_sweep(&mut self) {
        (self.served, self.group_max) = (0, GROUP_MIN);
    }

    /// The loop begins to write. What it will write has been routed, so if the span of one of these events is measured, that has begun.
    pub(super) fn begin_flush(&mut self) {
        let span = &self.hub.measure.span;
        self.watched = span.watched().unwrap_or(0);
        if self.watched != 0 {
            self.read_ns = self.hub.measure.clock.read_ns();
        }
    }

    /// The event whose span is measured, or 0.
    pub(super) fn watched(&self) -> u64 {
        self.watched
    }

    /// A publish accepted at `accepted_ns` has its answer in an outbox. So many as are in flight, at most.
    pub(super) fn answer(&mut self, accepted_ns: u64) {
        match self.answers.last_mut() {
            Some((last, count)) if *last == accepted_ns => *count += 1,
            _ => self.answers.push((accepted_ns, 1)),
        }
    }

    /// Whoever has something in his outbox has been written to. Records that, and what of the batch was written with it.
    pub(super) fn settle_answers(&mut self, marked: &Marked) {
        if self.answers.is_empty() {
            return;
        }
        let now_ns = self.hub.measure.clock.read_ns();
        let recorder = &self.hub.desks()[self.index].recorder;
        for (accepted_ns, count) in self.answers.drain(..) {
            recorder.answer(now_ns.saturating_sub(accepted_ns), u64::from(count));
        }
        self.settle_at(marked, now_ns);
    }

    /// A connection was written to. Returns whether the group is full, and the clock is to be read.
    #[inline]
    pub(super) fn wrote(&mut self) -> bool {
        self.group += 1;
        self.group_max <= self.group
    }

    /// Keeps what was written of a batch that is about to be made anew.
    pub(super) fn keep(&mut self, marked: &Marked) {
        let times = marked.times.take();
        let Some(way) = marked.way.filter(|_| times != 0) else { return };
        self.watched_writes += if marked.has_watched { times } else { 0 };
        for &(accepted, count) in &marked.accepted {
            self.push(way, accepted, count * times);
        }
    }

    /// Keeps the first `events` events of a batch that was not written whole.
    #[cold]
    pub(super) fn keep_part(&mut self, marked: &Marked, mut events: u64) {
        let Some(way) = marked.way else { return };
        for &(accepted, count) in &marked.accepted {
            let written = events.min(u64::from(count)) as u32;
            if written == 0 {
                return;
            }
            events -= u64::from(written);
            self.push(way, accepted, written);
        }
    }

    fn push(&mut self, way: Way, accepted: Accepted, count: u32) {
        match self.waiting.last_mut() {
            Some((last_way, last, sum)) if (*last_way, *last) == (way, accepted) => *sum += count,
            _ => {
                if self.waiting.len() == WAITING_MAX {
                    self.settle(&Marked::default());
                }
                self.waiting.push((way, accepted, count));
            }
        }
    }

    /// Reads the clock, if anything was delivered since it was last read, and records that: what waits, and the batch that is being
    /// written.
    pub(super) fn settle(&mut self, marked: &Marked) {
        if marked.times.get() == 0 && self.waiting.is_empty() {
            self.end_group();
        } else {
            self.settle_at(marked, self.hub.measure.clock.read_ns());
        }
    }

    fn end_group(&mut self) {
        self.served += std::mem::take(&mut self.group);
        self.group_max = GROUP_MIN.max(self.served / GROUP_SHARE);
    }

    fn settle_at(&mut self, marked: &Marked, now_ns: u64) {
        self.end_group();
        let times = marked.times.take();
        let recorder = &self.hub.desks()[self.index].recorder;
        for (way, accepted, count) in self.waiting.drain(..) {
            recorder.deliver(way, accepted, now_ns, u64::from(count));
        }
        if let Some(way) = marked.way.filter(|_| times != 0) {
            for &(accepted, count) in &marked.accepted {
                recorder.deliver(way, accepted, now_ns, u64::from(count) * u64::from(times));
            }
        }
        let writes = std::mem::take(&mut self.watched_writes) + if marked.has_watched { times } else { 0 };
        if writes != 0 {
            if self.watched_known == 0 {
                self.watched_from_ns = self.read_ns;
            }
            self.watched_to_ns = now_ns;
            self.watched_known += writes;
        }
        self.read_ns = now_ns;
    }

    /// The loop has written what it could.
    pub(super) fn end_flush(&mut self, marked: &Marked) {
        self.settle(marked);
        let writes = std::mem::take(&mut self.watched_known);
        if writes != 0 {
            self.hub.measure.span.note(self.watched_from_ns, self.watched_to_ns, u64::from(writes));
        }
    }

    /// The loop has handed on what it could: if that, and what the others have, was all of the event whose span is measured, it is
    /// known.
    pub(super) fn look_at_span(&self) {
        let span = &self.hub.measure.span;
        if let Some(seq) = span.watched()
            && self.hub.has_delivered(seq)
            && let Some(span_ns) = span.take(seq)
        {
            self.hub.desks()[self.index].recorder.span(span_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::{Pace, Transport};
    use crate::sync::bell::Waker;
    use crate::words::cursor::Epoch;
    use crate::words::limits::Limits;

    /// Sleeps never.
    #[derive(Debug)]
    struct Nobody;
    impl Waker for Nobody {
        fn wake(&self) {}
    }

    #[test]
    fn a_span_begins_before_the_writes_that_answers_went_with() {
        let hub = Arc::new(Hub::new(Limits::default(), Epoch::from_bits(0), vec![Box::new(Nobody) as _]));
        let mut handed = Handed::new(Arc::clone(&hub), 0);
        let way = Way { transport: Transport::WebSocket, pace: Pace::Live };
        let mut marked = Marked { way: Some(way), has_watched: true, ..Marked::default() };
        marked.push(Accepted::default());
        handed.read_ns = 1000;
        handed.answer(500);
        marked.wrote();
        marked.wrote();
        hub.measure.clock.stop_at(3000);
        handed.settle_answers(&marked);
        assert_eq!((handed.watched_from_ns, handed.watched_to_ns, handed.watched_known), (1000, 3000, 2));
        let latency = hub.latency();
        assert_eq!((latency.answers().max_ns(), latency.deliveries().count()), (2500, 2));
    }
}
