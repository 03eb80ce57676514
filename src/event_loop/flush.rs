//! The flush: the one place where bytes are written, one vectored write a connection and turn.
//!
//! A live connection is sent the runs it was marked for. Connections that get the same run from the same event on share
//! one list of slices, built once. A short write makes a connection *lagging*: from then on it costs nothing per event
//! until its socket takes bytes again; then it reads the log from its own cursor, in turns, until it has caught up.

use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use smallvec::SmallVec;

use super::catch_up::{Ahead, Matcher, begin, select};
use super::connection::{Connection, Delivery, NO_MARK, Session};
use super::{EventLoop, Link, Stage};
use crate::log::{Form, Held, Pass, Piece};
use crate::session::reply::{self, Gap};
use crate::wire::sse::{Field, push_block};
use crate::wire::websocket::push_text;
use crate::words::cursor::{Epoch, GapCause};
use crate::words::limits::{CATCH_UP_EVENTS_MAX, WRITE_BYTES_MAX, WRITE_SLICES_MAX};

/// Frames gathered for one write.
#[derive(Default)]
struct Batch<'pass> {
    slices: Vec<IoSlice<'pass>>,
    /// The piece that the last slice stands for, to be joined with the next.
    last: Option<Piece<'pass>>,
    /// Each event, with the bytes up to its end.
    ends: Vec<(u64, usize)>,
    /// Where the next event after these begins, if not all fitted.
    rest: Option<u64>,
    /// What the batch was made from, if that can be used again: a run, from which of its events, in which form.
    made_from: Option<(u32, usize, Form)>,
}

impl<'pass> Batch<'pass> {
    fn bytes(&self) -> usize {
        self.ends.last().map_or(0, |(_, end)| *end)
    }

    /// Gathers the frames of `seqs`, as many as one write takes.
    fn gather(&mut self, pass: &'pass Pass<'_>, seqs: impl Iterator<Item = u64>, form: Form) {
        self.slices.clear();
        self.ends.clear();
        (self.last, self.rest, self.made_from) = (None, None, None);
        for seq in seqs {
            let bytes = self.bytes();
            let is_full = WRITE_SLICES_MAX - PIECES_MAX < self.slices.len() || WRITE_BYTES_MAX <= bytes;
            let Some(frame) = (if is_full { None } else { held(pass.frame(seq, form)) }) else {
                self.rest = Some(seq);
                break;
            };
            for piece in frame.pieces() {
                match self.last.and_then(|last| last.joined(piece)) {
                    Some(joined) => {
                        self.slices.pop();
                        self.push(joined);
                    }
                    None => self.push(piece),
                }
            }
            self.ends.push((seq, bytes + frame.bytes()));
        }
    }

    fn push(&mut self, piece: Piece<'pass>) {
        self.slices.push(IoSlice::new(piece.bytes()));
        self.last = Some(piece);
    }

    /// The bytes from `from` to the end of the frame that `from` lies in.
    fn rest_of_frame(&self, from: usize, end: usize) -> Vec<u8> {
        let mut rest = Vec::with_capacity(end - from);
        let mut start = 0;
        for slice in &self.slices {
            let (low, high) = (from.max(start), end.min(start + slice.len()));
            if low < high {
                rest.extend_from_slice(&slice[low - start..high - start]);
            }
            start += slice.len();
        }
        rest
    }
}

/// Slices that one frame may take, and the outbox before it.
const PIECES_MAX: usize = 5;

fn held<T>(answer: Held<T>) -> Option<T> {
    match answer {
        Held::Here(value) => Some(value),
        Held::Lapped | Held::PassFull => None,
    }
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
    pub(super) fn flush(&mut self) {
        let hub = Arc::clone(&self.hub);
        let to_flush = std::mem::take(&mut self.to_flush);
        {
            let pass = hub.log.pass();
            let mut batch = Batch::default();
            for &key in &to_flush {
                let Some(connection) = self.connections.get_mut(key) else { continue };
                connection.in_flush = false;
                let had_answers = !connection.out.is_empty();
                if connection.delivery == Delivery::Live && connection.marks != NO_MARK {
                    self.flush_marked(key, &pass, &mut batch);
                } else {
                    connection.marks = NO_MARK;
                    self.flush_alone(key);
                }
                self.after_flush(key, had_answers);
            }
        }
        self.fan_out.clear();
        if self.to_flush.is_empty() {
            // Keeps the memory of the list.
            self.to_flush = to_flush;
            self.to_flush.clear();
        }
    }

    /// Sends a live connection its runs of this turn.
    fn flush_marked<'pass>(&mut self, key: usize, pass: &'pass Pass<'_>, batch: &mut Batch<'pass>) {
        let position = self.fan_out.position();
        let Some(connection) = self.connections.get_mut(key) else { return };
        let marks = std::mem::replace(&mut connection.marks, NO_MARK);
        let (next, form) = (connection.next, connection.form);
        let only_run = {
            let mut runs = self.fan_out.runs_from(marks);
            runs.next().filter(|_| runs.next().is_none())
        };
        if let Some(run) = only_run {
            let seqs = self.fan_out.run(run);
            let first = seqs.partition_point(|seq| *seq < next);
            let made_from = Some((run, first, form));
            if batch.made_from != made_from {
                batch.gather(pass, seqs[first..].iter().copied(), form);
                batch.made_from = made_from;
            }
        } else {
            let all = self.fan_out.runs_from(marks).flat_map(|run| self.fan_out.run(run)).copied();
            let mut seqs: SmallVec<[u64; 64]> = all.filter(|seq| next <= *seq).collect();
            seqs.sort_unstable();
            batch.gather(pass, seqs.into_iter(), form);
        }
        if connection.writable {
            self.write(key, batch, position);
        } else {
            // Its socket is full of answers: the events wait in the log.
            connection.delivery = Delivery::Lagging;
            connection.next = batch.ends.first().map(|(seq, _)| *seq).or(batch.rest).unwrap_or(position);
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
    fn catch_up(&mut self, key: usize) {
        let hub = Arc::clone(&self.hub);
        let log = &*hub.log;
        let end = self.fan_out.position();
        // After the position, so that every channel of an event below it has its name.
        let names = log.names();
        let Some(names) = names.as_ref() else { return };
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (from, form) = (connection.next, connection.form);
        let mut seqs = Vec::new();
        let patterns = std::mem::take(&mut connection.patterns);
        let mut matcher = Matcher::new(&patterns, names);
        let ahead = select(log, &mut matcher, from, end, CATCH_UP_EVENTS_MAX, &mut seqs);
        let upto = match ahead {
            Ahead::Upto(upto) => upto,
            Ahead::Lapped => {
                let (resumed, missing) = begin(log, &patterns, from);
                if let Some(range) = missing {
                    let gap = Gap { range: Some(range), cause: GapCause::Lapped, old: None };
                    connection.tell_gap(hub.epoch, &gap);
                }
                resumed
            }
        };
        drop(matcher);
        connection.patterns = patterns;
        // The loop's own position may be behind where a gap ends.
        let upto = upto.max(from);
        let pass = log.pass();
        let mut batch = Batch::default();
        batch.gather(&pass, seqs.into_iter(), form);
        self.write(key, &batch, upto);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.delivery == Delivery::Lagging && connection.writable {
            if end <= connection.next {
                connection.delivery = Delivery::Live;
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

    /// Writes the outbox and `batch`, and moves the cursor: to `upto` if everything went out, which is where the
    /// connection then stands.
    fn write(&mut self, key: usize, batch: &Batch<'_>, upto: u64) {
        let now_ms = self.now.mono_ms;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let total = connection.out.len() + batch.bytes();
        let result = if total == 0 {
            Ok(0)
        } else if connection.out.is_empty() {
            write_once(&mut connection.link, &batch.slices)
        } else {
            let out = IoSlice::new(connection.out.as_slice());
            let all: SmallVec<[IoSlice<'_>; 16]> =
                std::iter::once(out).chain(batch.slices.iter().copied()).collect();
            write_once(&mut connection.link, &all)
        };
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
        connection.writable = wrote == Wrote::All;
        self.delivered += connection.account(batch, count, upto);
        if !batch.ends.is_empty() && 0 < count {
            connection.clock.event_ms = now_ms;
        }
        connection.wrote(0 < count, now_ms);
        if connection.writable && connection.delivery == Delivery::Lagging && batch.rest.is_some() {
            self.want_flush(key);
        }
    }

    /// What follows a flush, whatever was sent.
    fn after_flush(&mut self, key: usize, had_answers: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if had_answers && connection.out.is_empty() && connection.waiting.is_empty() {
            // Now it is for the peer to go on.
            self.renew_deadline(key);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        let has_input = connection.readable || connection.peer_done || !connection.unread.is_empty();
        let is_done = connection.out.is_empty() && matches!(connection.session, Session::Closing);
        let may_read = has_input && !connection.is_paused(&self.hub.limits);
        if is_done {
            self.finish(key);
        }
        if may_read {
            self.want_read(key);
        }
        self.remind(key);
    }
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

impl<L> Connection<L> {
    /// `count` bytes of the outbox and `batch` went out: moves the cursor, keeps the rest of a frame that was cut.
    /// Returns how many events went out whole, a cut one included.
    fn account(&mut self, batch: &Batch<'_>, count: usize, upto: u64) -> u64 {
        let from_out = count.min(self.out.len());
        self.out.advance(from_out);
        let sent = count - from_out;
        let whole = batch.ends.partition_point(|(_, end)| *end <= sent);
        let Some(&(seq, end)) = batch.ends.get(whole) else {
            // All of the batch; the batch may not be all there was.
            self.next = self.next.max(batch.rest.unwrap_or(upto));
            if batch.rest.is_some() && self.delivery == Delivery::Live {
                self.delivery = Delivery::Lagging;
            }
            return whole as u64;
        };
        let begin = if whole == 0 { 0 } else { batch.ends[whole - 1].1 };
        let is_cut = begin < sent;
        if is_cut {
            let rest = batch.rest_of_frame(sent, end);
            self.out.tail().extend_from_slice(&rest);
        }
        self.next = if is_cut { seq + 1 } else { seq };
        if self.delivery == Delivery::Live {
            self.delivery = Delivery::Lagging;
        }
        whole as u64 + u64::from(is_cut)
    }

    /// Tells of events that will not come.
    fn tell_gap(&mut self, epoch: Epoch, gap: &Gap) {
        let text = reply::gap(gap);
        if self.form == Form::WebSocket {
            return push_text(self.out.tail(), &text);
        }
        let id = gap.range.map(|(_, to)| format!("{epoch}-{to}"));
        let id = id.as_deref().and_then(|id| Field::new(id).ok());
        let name = if self.form == Form::SseUnnamed { None } else { Field::new("gap").ok() };
        push_block(self.out.tail(), id, name, &text);
    }
}
