//! The flush: the one place where bytes are written, one vectored write a connection and turn.
//!
//! A live connection is sent the runs it was marked for; a turn does this for a bounded number of them, so that input does
//! not wait until all have had their turn. Connections that get the same run from the same event on share
//! one list of slices, built once. A short write makes a connection *lagging*: from then on it costs nothing per event
//! until its socket takes bytes again; then it reads the log from its own cursor, in turns, until it has caught up.

use std::collections::HashMap;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use smallvec::SmallVec;

use super::connection::{Connection, Delivery, NO_MARK, Older, Ping, Replay, Session, Speech};
use super::fan_out::FanOut;
use super::handed::{Handed, Marked};
use super::render::Rendered;
use super::{EventLoop, Link, Stage};
use crate::counters::Traffic;
use crate::latency::{Pace, Transport, Way};
use crate::log::{Form, Held, Log, Names, Pass, Piece};
use crate::reader::{Ahead, EventView, Selector, Sieve, Start, begin, select};
use crate::words::channel::Pattern;
use crate::words::cursor::{Epoch, Gap, GapCause};
use crate::words::dialect::Dialect;
use crate::words::limits::{
    CATCH_UP_LOOK_EVENTS, CATCH_UP_TURN_EVENTS_MAX, SWEEP_EVENTS_MAX, WRITE_BYTES_MAX, WRITE_SLICES_MAX,
};

/// What a batch was made from, if that can be used again: a run, from which of its events, in which form, and through
/// whose filter.
type MadeFrom = (u32, usize, Speech, Option<usize>);

/// Runs as filters let them through in this turn.
#[derive(Debug, Default)]
pub(super) struct Sifted {
    /// Where the list of a run and a filter (by address, since each is kept once) is.
    places: HashMap<(u32, usize), usize, foldhash::fast::RandomState>,
    /// Events, and where looking at them had to end. Those beyond the places keep their memory.
    lists: Vec<(Vec<u64>, Option<u64>)>,
}

impl Sifted {
    /// The turn is over.
    pub(super) fn clear(&mut self) {
        self.lists.truncate(LISTS_KEPT_MAX);
        self.places.clear();
    }

    /// The events of a run that a filter lets through; `sift` puts them into an empty list, once a turn.
    fn list(
        &mut self,
        run: u32,
        filter: usize,
        sift: impl FnOnce(&mut Vec<u64>) -> Option<u64>,
    ) -> (&[u64], Option<u64>) {
        let free = self.places.len();
        let place = *self.places.entry((run, filter)).or_insert(free);
        if place == free {
            if self.lists.len() == free {
                self.lists.push(Default::default());
            }
            let (seqs, rest) = &mut self.lists[place];
            seqs.clear();
            *rest = sift(seqs);
        }
        let (seqs, rest) = &self.lists[place];
        (seqs, *rest)
    }
}

/// Lists whose memory is kept for the next turn, each of at most `SWEEP_EVENTS_MAX` numbers.
const LISTS_KEPT_MAX: usize = 256;

/// What was handed to the kernel in a turn.
#[derive(Debug, Default)]
pub(super) struct Sent {
    web_socket_events: u64,
    sse_events: u64,
    bytes: u64,
}

impl Sent {
    /// So many events more, in that form, and bytes.
    #[inline]
    fn add(&mut self, form: Form, events: u64, bytes: usize) {
        match form {
            Form::WebSocket => self.web_socket_events += events,
            Form::Sse | Form::SseUnnamed => self.sse_events += events,
        }
        self.bytes += bytes as u64;
    }
}

/// Frames gathered for one write.
#[derive(Default)]
pub(super) struct Batch<'pass> {
    slices: Vec<IoSlice<'pass>>,
    /// Frames in other words than the log's, instead of `slices`.
    owned: Vec<u8>,
    /// The piece that the last slice stands for, to be joined with the next.
    last: Option<Piece<'pass>>,
    /// Each event, with the bytes up to its end.
    ends: Vec<(u64, usize)>,
    /// Where the next event after these begins, if not all fitted.
    rest: Option<u64>,
    made_from: Option<MadeFrom>,
    /// In whose words it is; nothing before it is made.
    speech: Option<Speech>,
    /// The same events for those who measure.
    marked: Marked,
}

impl<'pass> Batch<'pass> {
    /// An empty batch with room for whatever a sweep or a write may bring, in the log's own words.
    pub(super) fn roomy() -> Batch<'pass> {
        Batch {
            slices: Vec::with_capacity(WRITE_SLICES_MAX),
            ends: Vec::with_capacity(SWEEP_EVENTS_MAX as usize),
            marked: Marked::roomy(SWEEP_EVENTS_MAX as usize),
            ..Batch::default()
        }
    }

    /// An empty batch with the memory of this one.
    fn emptied<'other>(mut self) -> Batch<'other> {
        self.slices.clear();
        self.ends.clear();
        Batch {
            // Of nothing: it is collected in place, and so keeps its memory.
            slices: self.slices.into_iter().map(|_| IoSlice::new(&[])).collect(),
            ends: self.ends,
            marked: self.marked,
            ..Batch::default()
        }
    }

    /// Whether it is whole, as the log has it, and nothing in it is before `next`.
    #[inline]
    fn starts_at_or_after(&self, next: u64) -> bool {
        self.rest.is_none() && self.owned.is_empty() && self.ends.first().is_some_and(|(seq, _)| next <= *seq)
    }

    fn bytes(&self) -> usize {
        self.ends.last().map_or(0, |(_, end)| *end)
    }

    /// Gathers the frames of `seqs`, as many as one write takes, to be delivered that way; nothing: that is not measured. What was
    /// written of the batch that was here before is kept in `handed`. One that is just that stays as it is: of many filters most
    /// let the same through.
    fn gather(
        &mut self,
        epoch: Epoch,
        pass: &'pass Pass<'_>,
        seqs: &[u64],
        speech: Speech,
        rendered: &mut Rendered,
        (handed, way): (&mut Handed, Option<Way>),
    ) {
        let is_whole = self.rest.is_none() && self.ends.len() == seqs.len();
        if self.speech == Some(speech) && is_whole && self.ends.iter().map(|(seq, _)| seq).eq(seqs) {
            self.made_from = None;
            return;
        }
        handed.keep(&self.marked);
        self.marked.begin(way);
        self.slices.clear();
        self.ends.clear();
        self.owned.clear();
        (self.last, self.rest, self.made_from, self.speech) = (None, None, None, Some(speech));
        for &seq in seqs {
            let bytes = self.bytes();
            let is_full = WRITE_SLICES_MAX - PIECES_MAX < self.slices.len() || WRITE_BYTES_MAX <= bytes;
            let added = match is_full {
                true => None,
                false if speech.dialect == Dialect::Native => self.add(pass, seq, speech),
                false => held(pass.slot(seq)).and_then(|slot| {
                    let event = held(EventView::read(epoch, pass, seq))?;
                    self.marked.push(slot.accepted);
                    Some(rendered.push(&mut self.owned, &event, speech))
                }),
            };
            let Some(added) = added else {
                self.rest = Some(seq);
                break;
            };
            self.ends.push((seq, bytes + added));
        }
        let watched = handed.watched();
        // Who lags behind goes at his own pace: that is no part of the span.
        if watched != 0 && way.is_some_and(|way| way.pace == Pace::Live) {
            self.marked.watch(self.ends.binary_search_by_key(&watched, |(seq, _)| *seq).is_ok());
        }
    }

    /// Adds the frame of `seq` as the log has it; returns its length.
    fn add(&mut self, pass: &'pass Pass<'_>, seq: u64, speech: Speech) -> Option<usize> {
        let frame = held(pass.frame(seq, speech.form))?;
        self.marked.push(frame.accepted());
        for piece in frame.pieces() {
            match self.last.and_then(|last| last.joined(piece)) {
                Some(joined) => {
                    self.slices.pop();
                    self.push(joined);
                }
                None => self.push(piece),
            }
        }
        Some(frame.bytes())
    }

    fn push(&mut self, piece: Piece<'pass>) {
        self.slices.push(IoSlice::new(piece.bytes()));
        self.last = Some(piece);
    }

    /// Appends the bytes from `from` to `end`, which is that of the frame that `from` lies in, to `rest`.
    fn push_rest(&self, from: usize, end: usize, rest: &mut Vec<u8>) {
        rest.reserve_exact(end - from);
        if !self.owned.is_empty() {
            return rest.extend_from_slice(&self.owned[from..end]);
        }
        let mut start = 0;
        for slice in &self.slices {
            let (low, high) = (from.max(start), end.min(start + slice.len()));
            if low < high {
                rest.extend_from_slice(&slice[low - start..high - start]);
            }
            start += slice.len();
        }
    }
}

/// After this part of the time that publishers may drive a loop behind, a sweep goes on to its end without looking at input.
const SWEEP_PATIENCE_SHARE: u64 = 4;

/// Slices that one frame may take, and the outbox before it.
const PIECES_MAX: usize = 5;

fn held<T>(answer: Held<T>) -> Option<T> {
    match answer {
        Held::Here(value) => Some(value),
        Held::Lapped | Held::PassFull => None,
    }
}

/// How events get to who speaks so.
fn way_of(speech: Speech, pace: Pace) -> Way {
    let transport = match speech.form {
        Form::WebSocket => Transport::WebSocket,
        Form::Sse | Form::SseUnnamed => Transport::Sse,
    };
    Way { transport, pace }
}

/// What a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrote {
    /// Everything.
    All,
    /// Less: the socket is full.
    Some,
    /// The link is broken.
    Broken,
}

impl<L: Link> EventLoop<L> {
    /// Writes to everybody who has something to say besides events, or goes on by himself; then to some of those that
    /// the fan-out's sweep is for, or to all of them.
    pub(super) fn flush(&mut self) {
        let limits = &self.hub.limits;
        let patience_ms = limits.fanout_backlog_max.as_millis() as u64 / SWEEP_PATIENCE_SHARE;
        let is_late = patience_ms <= self.now.mono_ms.saturating_sub(self.sweep_ms);
        // What would be read in between could not join, or would keep the others waiting.
        let is_to_end = is_late || !self.fan_out.is_open();
        let most = if is_to_end { usize::MAX } else { limits.fanout_turn_connections_max };
        let mut to_flush = std::mem::take(&mut self.to_flush);
        let mut budget = CATCH_UP_TURN_EVENTS_MAX;
        self.flush_all(&mut to_flush, &mut budget, most);
        if is_to_end && self.end_sweep() {
            // Those who were early are owed what had joined. They get it before more is read: publishers are not to find
            // the loop further behind than if it had never looked.
            self.route();
            self.flush_all(&mut to_flush, &mut budget, usize::MAX);
            self.end_sweep();
        } else if !self.fan_out.is_under_way() {
            self.end_sweep();
        }
        // Whoever wants more has been put into the list meanwhile, behind those whom the budget has left over.
        to_flush.append(&mut self.to_flush);
        self.to_flush = to_flush;
        self.count_sent();
    }

    /// Writes to everybody in `to_flush`, but for those that lag behind once `budget` is used up: they stay in the list, in
    /// their order. And to at most `most` of those that are due.
    fn flush_all(&mut self, to_flush: &mut Vec<usize>, budget: &mut usize, most: usize) {
        if to_flush.is_empty() && !self.fan_out.is_under_way() {
            return;
        }
        let hub = Arc::clone(&self.hub);
        let pass = hub.log.pass();
        // It was left empty.
        let mut batch: Batch<'_> = std::mem::take(&mut self.batch);
        let (mut next, mut kept) = (0, 0);
        let mut left = most;
        self.handed.begin_flush();
        self.one_by_one(|this| {
            while let Some(&key) = to_flush.get(next) {
                next += 1;
                let Some(connection) = this.connections.get_mut(key) else { continue };
                let is_catching_up = connection.delivery == Delivery::Lagging && connection.writable;
                if is_catching_up && *budget == 0 {
                    to_flush[kept] = key;
                    kept += 1;
                    continue;
                }
                connection.in_flush = false;
                let before = connection.delivered;
                this.handle(key);
                this.flush_one(key, &pass, &mut batch);
                if this.handed.wrote() {
                    this.handed.settle(&batch.marked);
                }
                if is_catching_up {
                    let after = this.connections.get(key).map_or(before, |connection| connection.delivered);
                    *budget = budget.saturating_sub(CATCH_UP_LOOK_EVENTS + (after - before) as usize);
                }
            }
            this.handed.settle_answers(&batch.marked);
            while 0 < left
                && let Some(key) = this.fan_out.next_due()
            {
                // What it was marked for may have gone with something else.
                let connection = this.connections.get(key).filter(|connection| connection.marks != NO_MARK);
                if let Some(connection) = connection {
                    if let Some(next) = this.fan_out.peek_due() {
                        connection.expect_neighbour(next.wrapping_sub(key) as isize);
                    }
                    left -= 1;
                    this.handle(key);
                    this.flush_one(key, &pass, &mut batch);
                    if this.handed.wrote() {
                        this.handed.settle(&batch.marked);
                    }
                }
            }
        });
        self.handed.end_flush(&batch.marked);
        to_flush.truncate(kept);
        self.batch = batch.emptied();
        self.sifted.clear();
    }

    /// Everybody has had his turn. Returns whether something had joined the sweep, which some are owed.
    fn end_sweep(&mut self) -> bool {
        self.rendered.clear();
        self.fan_out.end_sweep()
    }

    /// Writes whatever there is for one connection.
    fn flush_one<'pass>(&mut self, key: usize, pass: &'pass Pass<'_>, batch: &mut Batch<'pass>) {
        if self.flush_same(key, batch) {
            return;
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        let had_answers = !connection.out.is_empty();
        if connection.delivery == Delivery::Live && connection.marks != NO_MARK {
            self.flush_marked(key, pass, batch);
            let Some(connection) = self.connections.get(key) else { return };
            if connection.delivery == Delivery::Live && !had_answers && !connection.has_input() {
                // Events went out, and nothing else has changed: by that deadlines move later, if at all.
                return;
            }
        } else {
            connection.marks = NO_MARK;
            self.flush_alone(key);
        }
        self.after_flush(key, had_answers);
    }

    /// Sends a live connection what the one before it was sent, if it wants just that and there is nothing else to do for it:
    /// the rule in a sweep, for a third of what it takes otherwise. Returns whether it did.
    #[inline]
    fn flush_same(&mut self, key: usize, batch: &Batch<'_>) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return true };
        let run = self.fan_out.only_run(connection.marks);
        let is_same = run.is_some_and(|run| batch.made_from == Some((run, 0, connection.speech, None)))
            && batch.starts_at_or_after(connection.next)
            && !connection.is_sifting;
        if !is_same || !connection.has_only_events() {
            return false;
        }
        let position = self.fan_out.position();
        connection.marks = NO_MARK;
        let result = write_once(&mut connection.link, &batch.slices);
        let total = batch.bytes();
        if result.as_ref().is_ok_and(|count| *count == total) && !connection.link.has_unsent() {
            let events = batch.ends.len() as u64;
            connection.next = connection.next.max(position);
            connection.delivered += events;
            connection.sent_bytes += total as u64;
            connection.clock.event_ms = self.now.mono_ms;
            batch.marked.wrote();
            self.sent.add(connection.speech.form, events, total);
            return true;
        }
        self.account_write(key, batch, position, total, result);
        if self.connections.get(key).is_some_and(|connection| connection.delivery != Delivery::Live) {
            self.after_flush(key, false);
        }
        true
    }

    /// Sends a live connection its runs of this sweep.
    fn flush_marked<'pass>(&mut self, key: usize, pass: &'pass Pass<'_>, batch: &mut Batch<'pass>) {
        let position = self.fan_out.position();
        let Some(connection) = self.connections.get_mut(key) else { return };
        let marks = std::mem::replace(&mut connection.marks, NO_MARK);
        let (next, speech) = (connection.next, connection.speech);
        let only_run = self.fan_out.only_run(marks);
        let sieve = connection.sieve();
        debug_assert_eq!(connection.is_sifting, !sieve.is_open());
        let (epoch, rendered) = (self.hub.epoch, &mut self.rendered);
        let measured = (&mut self.handed, Some(way_of(speech, Pace::Live)));
        match only_run {
            Some(run) if !connection.is_sifting => {
                let seqs = self.fan_out.run(run);
                let first = seqs.partition_point(|seq| *seq < next);
                let made_from = Some((run, first, speech, None));
                if batch.made_from != made_from {
                    batch.gather(epoch, pass, &seqs[first..], speech, rendered, measured);
                    batch.made_from = made_from;
                }
            }
            Some(run) if !sieve.has_own_filters() => {
                let filter = connection.filter.as_ref().map_or(0, |filter| Arc::as_ptr(filter).addr());
                let (log, fan_out) = (&self.hub.log, &self.fan_out);
                let (seqs, rest) =
                    self.sifted.list(run, filter, |seqs| sift(log, pass, fan_out, run, 0, sieve, seqs));
                let first = seqs.partition_point(|seq| *seq < next);
                let made_from = Some((run, first, speech, Some(filter)));
                if batch.made_from != made_from {
                    batch.gather(epoch, pass, &seqs[first..], speech, rendered, measured);
                    batch.rest = batch.rest.or(rest);
                    batch.made_from = made_from;
                }
            }
            _ => {
                let mut seqs = std::mem::take(&mut self.seqs);
                seqs.clear();
                let mut rest = None;
                for run in self.fan_out.runs_from(marks) {
                    let cut = sift(&self.hub.log, pass, &self.fan_out, run, next, sieve, &mut seqs);
                    rest = rest.into_iter().chain(cut).min();
                }
                seqs.sort_unstable();
                if let Some(rest) = rest {
                    seqs.truncate(seqs.partition_point(|seq| *seq < rest));
                }
                batch.gather(epoch, pass, &seqs, speech, rendered, measured);
                batch.rest = batch.rest.or(rest);
                self.seqs = seqs;
            }
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.writable {
            self.write(key, batch, position);
        } else {
            // Its socket is full of answers: the events wait in the log.
            connection.delivery = Delivery::Lagging;
            let first = batch.ends.first().map(|(seq, _)| *seq).or(batch.rest).unwrap_or(position);
            // It may have begun beyond where the loop stands.
            connection.next = first.max(next);
        }
    }

    /// Sends what the outbox has, and lets a lagging connection go on.
    fn flush_alone(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !connection.writable {
            return;
        }
        if connection.delivery == Delivery::Lagging {
            return self.catch_up(key);
        }
        let position = connection.next;
        self.write(key, &Batch::default(), position);
    }

    /// Sends a lagging connection what comes next.
    pub(super) fn catch_up(&mut self, key: usize) {
        let hub = Arc::clone(&self.hub);
        let log = &*hub.log;
        let end = self.fan_out.position();
        // After the position, so that every channel of an event below it has its name.
        let names = log.names();
        let Some(names) = names.as_ref() else { return };
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Some(replay) = connection.replay.take() {
            return self.send_older(key, log, names, replay);
        }
        let patterns = connection.patterns();
        if self.deal_with_slow(key, log, names, &patterns, end) {
            return;
        }
        let Some(connection) = self.connections.get(key) else { return };
        let from = connection.next;
        // What it has asked for is no delivery, until it has caught up.
        let is_measured = !connection.pace.has_asked();
        let mut seqs = std::mem::take(&mut self.seqs);
        let mut selector = Selector::new(&patterns, names, connection.sieve());
        let most = connection.speech.catch_up_events_max();
        let upto = match select(log, &mut selector, from, end, most, &mut seqs) {
            Ahead::Upto(upto) => upto,
            Ahead::Lapped => self.skip_lost(key, &patterns, from, u64::MAX),
        };
        // The loop's own position may be behind where a gap ends.
        self.send(key, log, &seqs, upto.max(from), is_measured);
        self.seqs = seqs;
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.delivery == Delivery::Lagging && connection.writable {
            if end <= connection.next {
                connection.delivery = Delivery::Live;
                connection.pace.caught_up();
                connection.clock.event_ms = self.now.mono_ms;
                if matches!(self.stage, Stage::Leaving { .. }) {
                    // It was only waited for.
                    self.say_goodbye(key);
                }
            } else {
                self.want_flush(key);
            }
        }
    }

    /// Tells a connection of what it has lost of `patterns` in `from..end`; returns where it can go on.
    fn skip_lost(&mut self, key: usize, patterns: &[Pattern], from: u64, end: u64) -> u64 {
        let (next, missing) = begin(&self.hub.log, patterns, from);
        let gap = missing.map(|range| Gap::of(range, GapCause::Lapped));
        let Start { next, gap } = Start { next, gap }.before(end).counted(&self.hub.log, patterns);
        if let Some(gap) = &gap {
            self.tell_gap(key, gap);
            if let Some(connection) = self.connections.get_mut(key) {
                connection.pace.overtaken();
            }
        }
        next
    }

    /// Gathers and writes `seqs` for one connection alone.
    fn send(&mut self, key: usize, log: &Log, seqs: &[u64], upto: u64, is_measured: bool) {
        let Some(speech) = self.connections.get(key).map(|connection| connection.speech) else { return };
        let pass = log.pass();
        let mut batch = std::mem::take(&mut self.batch_of_one).emptied();
        let way = Some(way_of(speech, Pace::Lagging)).filter(|_| is_measured);
        let measured = (&mut self.handed, way);
        batch.gather(self.hub.epoch, &pass, seqs, speech, &mut Rendered::default(), measured);
        self.write(key, &batch, upto);
        self.handed.keep(&batch.marked);
        self.batch_of_one = batch.emptied();
    }

    /// Sends a connection the next of its older events, and what follows when those are all gone.
    fn send_older(&mut self, key: usize, log: &Log, names: &Names, mut replay: Box<Replay>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        // Its own cursor stands still meanwhile; the one of the replay takes its place for the write.
        let position = connection.next;
        let most = connection.speech.catch_up_events_max();
        let mut seqs = std::mem::take(&mut self.seqs);
        seqs.clear();
        let upto = match &mut replay.what {
            Older::Range { next, end } => {
                let patterns: SmallVec<[Pattern; 4]> =
                    replay.added.iter().filter_map(|held| held.scoped.clone()).collect();
                let wanted = Sieve { filter: connection.filter.as_deref(), subscriptions: &replay.added };
                let mut selector = Selector::new(&patterns, names, wanted).except(connection.sieve());
                let from = *next;
                match select(log, &mut selector, from, *end, most, &mut seqs) {
                    Ahead::Upto(upto) => upto.max(from),
                    Ahead::Lapped => self.skip_lost(key, &patterns, from, *end),
                }
            }
            Older::List(list) => {
                while let Some(seq) = list.front().copied().filter(|seq| log.slot(*seq).is_none()) {
                    list.pop_front();
                    let gap = Gap { matched: Some(1), ..Gap::of((seq, seq), GapCause::Lapped) };
                    self.tell_gap(key, &gap);
                }
                seqs.extend(list.iter().take(most));
                list.get(seqs.len()).copied().unwrap_or(position)
            }
        };
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.next = 0;
        self.send(key, log, &seqs, upto, !replay.is_asked);
        self.seqs = seqs;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let sent_upto = std::mem::replace(&mut connection.next, position);
        let is_over = match &mut replay.what {
            Older::Range { next, end } => {
                *next = sent_upto;
                *end <= sent_upto
            }
            Older::List(list) => {
                while list.front().is_some_and(|seq| *seq < sent_upto) {
                    list.pop_front();
                }
                list.is_empty()
            }
        };
        if !is_over {
            connection.replay = Some(replay);
        } else {
            if replay.is_asked {
                // What has come meanwhile has waited for that.
                connection.pace.caught_up();
                connection.pace.asked();
            }
            if let Some((texts, id)) = replay.bracket {
                self.confirm(key, texts.iter(), position, id.as_deref());
            }
            self.add_subscriptions(key, replay.added);
            // Its input has waited.
            self.want_read(key);
        }
        if self.connections.get(key).is_some_and(|connection| connection.writable) {
            self.want_flush(key);
        }
    }

    /// Writes the outbox and `batch`, and moves the cursor: to `upto` if everything went out, which is where the
    /// connection then stands.
    fn write(&mut self, key: usize, batch: &Batch<'_>, upto: u64) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let total = connection.out.len() + batch.bytes();
        let owned = [IoSlice::new(&batch.owned)];
        let slices = if batch.owned.is_empty() { &batch.slices[..] } else { &owned };
        let result = if total == 0 {
            Ok(0)
        } else if connection.out.is_empty() {
            write_once(&mut connection.link, slices)
        } else {
            let out = IoSlice::new(connection.out.as_slice());
            let all: SmallVec<[IoSlice<'_>; 16]> =
                std::iter::once(out).chain(slices.iter().copied()).collect();
            write_once(&mut connection.link, &all)
        };
        self.account_write(key, batch, upto, total, result);
    }

    /// Keeps the books of a write of the outbox and `batch`, `total` bytes, of which so many went out.
    fn account_write(
        &mut self,
        key: usize,
        batch: &Batch<'_>,
        upto: u64,
        total: usize,
        result: io::Result<usize>,
    ) {
        let now_ms = self.now.mono_ms;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (wrote, count) = match result {
            Ok(count) if count == total => (Wrote::All, count),
            Ok(count) => (Wrote::Some, count),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => (Wrote::Some, 0),
                _ => (Wrote::Broken, 0),
            },
        };
        if wrote == Wrote::Broken {
            return self.remove(key);
        }
        connection.writable = wrote == Wrote::All && !connection.link.has_unsent();
        let events = connection.account(batch, count, upto);
        match wrote {
            Wrote::All if connection.writable => batch.marked.wrote(),
            // The link holds some of it back, and will say when it has gone: that it is with the kernel is not known.
            Wrote::All => {}
            Wrote::Some | Wrote::Broken => self.handed.keep_part(&batch.marked, events),
        }
        connection.delivered += events;
        connection.sent_bytes += count as u64;
        self.sent.add(connection.speech.form, events, count);
        if !batch.ends.is_empty() && 0 < count {
            connection.clock.event_ms = now_ms;
        }
        connection.wrote(0 < count, now_ms);
        if connection.writable && connection.delivery == Delivery::Lagging && batch.rest.is_some() {
            self.want_flush(key);
        }
    }

    /// Shows the others what the turn has sent.
    fn count_sent(&mut self) {
        let Sent { web_socket_events, sse_events, bytes } = std::mem::take(&mut self.sent);
        self.delivered += web_socket_events + sse_events;
        let traffic = &self.hub.desks()[self.index].traffic;
        Traffic::add(&traffic.web_socket_events, web_socket_events);
        Traffic::add(&traffic.sse_events, sse_events);
        Traffic::add(&traffic.bytes, bytes);
    }

    /// What follows a flush, whatever was sent.
    fn after_flush(&mut self, key: usize, had_answers: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if had_answers && !connection.out.is_empty() {
            self.time_answers(key);
        } else if had_answers && connection.waiting.is_empty() {
            // Now it is for the peer to go on.
            self.renew_deadline(key);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        let is_closing = connection.out.is_empty() && matches!(connection.session, Session::Closing);
        let is_done = is_closing && !connection.link.has_unsent();
        let may_read = connection.has_input() && !connection.is_paused(&self.hub.limits);
        if is_done {
            self.finish(key);
        } else if is_closing {
            self.time_answers(key);
        }
        if may_read {
            self.want_read(key);
        }
        self.note_lag(key);
        self.remind(key);
    }
}

/// Puts the events of `run` from `next` on that pass `sieve` into `seqs`. Returns the first that could not be looked at,
/// because it is no longer held or the pass is full.
fn sift(
    log: &Log,
    pass: &Pass<'_>,
    fan_out: &FanOut,
    run: u32,
    next: u64,
    sieve: Sieve<'_>,
    seqs: &mut Vec<u64>,
) -> Option<u64> {
    let events = fan_out.run(run).iter().copied().filter(|seq| next <= *seq);
    let names = log.names();
    let names: Option<&Names> = Option::as_ref(&names).map(|names| &**names);
    let route = fan_out.route_of(run).and_then(|route| names?.name(route));
    let Some(route) = route.filter(|_| !sieve.is_open()) else {
        seqs.extend(events);
        return None;
    };
    for seq in events {
        match pass.labels(seq) {
            Held::Here(labels) if sieve.passes(route.as_str(), labels) => seqs.push(seq),
            Held::Here(_) => {}
            Held::Lapped | Held::PassFull => return Some(seq),
        }
    }
    None
}

/// One write, begun again if a signal came between.
fn write_once(link: &mut impl Link, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    loop {
        match link.write(slices) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl<L: Link> Connection<L> {
    /// Whether it is live, takes what it is given, and there is nothing else to be said, heard or remembered.
    #[inline]
    fn has_only_events(&self) -> bool {
        self.delivery == Delivery::Live
            && self.writable
            && self.out.is_empty()
            && self.clock.stalled_ms == 0
            && self.ping != Ping::Queued
            && !self.has_input()
    }

    /// Whether there is, or may be, something to read.
    pub(super) fn has_input(&self) -> bool {
        self.readable || self.peer_done || !self.unread.is_empty()
    }

    /// `count` bytes of the outbox and `batch` went out: moves the cursor, keeps the rest of a frame that was cut.
    /// Returns how many events went out whole, a cut one included.
    fn account(&mut self, batch: &Batch<'_>, count: usize, upto: u64) -> u64 {
        let from_out = count.min(self.out.len());
        let is_held = self.link.has_unsent();
        self.out.advance(from_out, is_held && matches!(self.session, Session::Closing));
        let sent = count - from_out;
        let whole = batch.ends.partition_point(|(_, end)| *end <= sent);
        let Some(&(seq, end)) = batch.ends.get(whole) else {
            // All of the batch; the batch may not be all there was.
            self.next = self.next.max(batch.rest.unwrap_or(upto));
            // Events that the link holds are not with the kernel, and so their stream does not keep up.
            let is_behind = batch.rest.is_some() || (is_held && !batch.ends.is_empty());
            if is_behind && self.delivery == Delivery::Live {
                self.delivery = Delivery::Lagging;
            }
            return whole as u64;
        };
        let begin = if whole == 0 { 0 } else { batch.ends[whole - 1].1 };
        let is_cut = begin < sent;
        if is_cut {
            batch.push_rest(sent, end, self.out.tail());
        }
        self.next = if is_cut { seq + 1 } else { seq };
        if self.delivery == Delivery::Live {
            self.delivery = Delivery::Lagging;
        }
        whole as u64 + u64::from(is_cut)
    }
}
