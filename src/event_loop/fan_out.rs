//! From new events to the connections that get them.
//!
//! A *sweep* brings what is new to every live connection that wants it, one after the other. It may take many turns, since
//! a turn writes to a bounded number of them, and what is published meanwhile joins it: connections whose turn comes late
//! get it with what they wait for anyway, the others with the next sweep, which begins at once.
//!
//! # Contract       [`FanOut::route`] takes what is new in the log and marks every live subscriber, once per channel and
//!   sweep, whatever the number of events; the flush that follows sends what the marks say
//! # Invariants     F1 every wanted event below `base` was sent to each live connection; so was every one below its own
//!   cursor; and it is marked for all wanted ones from there to `position`, but for those that have joined since it was
//!   sent to, which the next sweep routes again
//!   F2 a cached list holds exactly the subscribers that the table has for its channel
//!   F3 what joins a sweep is of channels that have a run in it, or that nobody here subscribes to: so a connection that
//!   is still due gets all that it wants below `position`, in order
//! # Bounds         a sweep routes `SWEEP_EVENTS_MAX` events, and nothing joins one of `JOIN_BYTES_MAX`; a list is kept per channel that had an event and dropped by
//!   edits that touch it

use std::ops::ControlFlow;
use std::sync::Arc;

use super::connection::NO_MARK;
use crate::log::{ChannelId, Held, Log, Pass};
use crate::table::Table;
use crate::words::channel::Pattern;
use crate::words::limits::SWEEP_EVENTS_MAX;

/// The routing state of a loop.
pub(super) struct FanOut {
    /// Everything below is done with.
    base: u64,
    /// Everything below was routed.
    position: u64,
    /// The first event that has joined the sweep after it had begun.
    joined: Option<u64>,
    /// Bytes of the sweep's events as WebSocket frames, of all channels together.
    bytes: usize,
    /// Nothing more can join the sweep.
    is_closed: bool,
    /// The connections that the sweep is for, and how many of them have had their turn.
    due: Vec<u32>,
    due_next: usize,
    channels: Vec<PerChannel>,
    /// Lists of another era are stale.
    era: u32,
    /// The numbering of channels that `channels` is indexed by.
    reuses: u64,
    /// The sweep's runs; the first `runs_len` count, the others keep their memory.
    runs: Vec<Run>,
    runs_len: usize,
    marks: Vec<Mark>,
    scratch: Vec<u32>,
}

#[derive(Clone)]
struct PerChannel {
    era: u32,
    /// Its run of this sweep.
    run: u32,
    subscribers: Arc<[u32]>,
}

/// A sweep's events of one channel.
#[derive(Debug, Default)]
pub(super) struct Run {
    route: Option<ChannelId>,
    /// Ascending.
    pub(super) seqs: Vec<u64>,
}

/// One of the runs that a connection gets in this sweep.
#[derive(Clone, Copy, Debug)]
struct Mark {
    run: u32,
    next: u32,
}

/// Makes the given mark the first of a connection's list and returns what was; or nothing, to leave it out.
pub(super) type Marker<'a> = dyn FnMut(u32, u32) -> Option<u32> + 'a;

/// What came of routing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Routed {
    /// As far as the sweep allows.
    Done,
    /// The loop itself was overtaken by the log: every live connection must find its own way on.
    Lapped,
}

const NO_RUN: u32 = u32::MAX;

impl FanOut {
    pub(super) fn new(position: u64) -> FanOut {
        FanOut {
            base: position,
            position,
            joined: None,
            bytes: 0,
            is_closed: false,
            due: Vec::new(),
            due_next: 0,
            channels: Vec::new(),
            era: 1,
            reuses: 0,
            runs: Vec::new(),
            runs_len: 0,
            marks: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Everything below was sent to every live connection that wants it.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Everything below was routed. After a sweep that others have joined it is further back than before.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Nothing below `position` concerns this loop, says the sequencer. Between sweeps only.
    pub(super) fn skip_to(&mut self, position: u64) {
        debug_assert!(!self.is_under_way());
        self.position = self.position.max(position);
        self.base = self.position;
    }

    /// Whether a sweep is under way: somebody is still due.
    pub(super) fn is_under_way(&self) -> bool {
        self.due_next < self.due.len()
    }

    /// Whether what is published from now on may join the sweep.
    pub(super) fn is_open(&self) -> bool {
        !self.is_closed
    }

    /// The next connection that is due, or was when the sweep began.
    pub(super) fn next_due(&mut self) -> Option<usize> {
        let key = self.due.get(self.due_next)?;
        self.due_next += 1;
        Some(*key as usize)
    }

    /// Who comes after that.
    pub(super) fn peek_due(&self) -> Option<usize> {
        self.due.get(self.due_next).map(|key| *key as usize)
    }

    /// Routes what is new in `pass`: begins a sweep, and calls `mark` once for each subscriber of each channel that has new
    /// events; or lets it join the one that is under way.
    pub(super) fn route(
        &mut self,
        log: &Log,
        pass: &Pass<'_>,
        table: &Table,
        mark: &mut Marker<'_>,
    ) -> Routed {
        let is_under_way = self.is_under_way();
        // After the log's pass: whoever comes to mean something else from here on has no event in it.
        let reuses = log.names().as_ref().map_or(0, |names| names.reuses());
        if reuses != self.reuses {
            if is_under_way {
                // Its runs go by the old numbers.
                self.is_closed = true;
                return Routed::Done;
            }
            self.reuses = reuses;
            self.drop_lists();
        }
        let end = pass.published().min(self.base + SWEEP_EVENTS_MAX);
        while self.position < end && !(is_under_way && self.is_closed) {
            let slot = match pass.slot(self.position) {
                Held::Here(slot) => slot,
                Held::PassFull => break,
                // What was marked goes out first; the next sweep finds itself here again.
                Held::Lapped if self.runs_len != 0 => break,
                Held::Lapped => return Routed::Lapped,
            };
            let channel = self.channel(log, slot.route, table);
            if channel.run == NO_RUN {
                if channel.subscribers.is_empty() {
                    self.position += 1;
                    continue;
                }
                if is_under_way {
                    // Of those who have had their turn some may be owed earlier events, which must come first.
                    self.is_closed = true;
                    break;
                }
                self.open_run(slot.route, mark);
            } else if is_under_way {
                self.joined.get_or_insert(self.position);
            }
            let run = self.channels[slot.route.index()].run;
            self.runs[run as usize].seqs.push(self.position);
            self.bytes += slot.web_socket.len();
            self.is_closed |= JOIN_BYTES_MAX <= self.bytes;
            self.position += 1;
        }
        if !self.is_under_way() {
            // Nobody who wants it is live.
            self.end_sweep();
        }
        Routed::Done
    }

    /// The run named by the list of marks that begins at `head`, if there is no other.
    pub(super) fn only_run(&self, head: u32) -> Option<u32> {
        self.marks.get(head as usize).filter(|mark| mark.next == NO_MARK).map(|mark| mark.run)
    }

    /// The runs named by the list of marks that begins at `head`.
    pub(super) fn runs_from(&self, head: u32) -> impl Iterator<Item = u32> + '_ {
        let mark = |at: u32| self.marks.get(at as usize).copied();
        std::iter::successors(mark(head), move |last| mark(last.next)).map(|mark| mark.run)
    }

    /// The events of a run.
    pub(super) fn run(&self, run: u32) -> &[u64] {
        &self.runs[run as usize].seqs
    }

    /// The channel of a run.
    pub(super) fn route_of(&self, run: u32) -> Option<ChannelId> {
        self.runs[run as usize].route
    }

    /// Ends the sweep: everybody has had his turn. What has joined it is routed again, for those who were early;
    /// returns whether there is any.
    pub(super) fn end_sweep(&mut self) -> bool {
        debug_assert!(!self.is_under_way());
        for run in &mut self.runs[..self.runs_len] {
            run.seqs.clear();
            if let Some(route) = run.route.take() {
                self.channels[route.index()].run = NO_RUN;
            }
        }
        self.runs_len = 0;
        self.marks.clear();
        self.due.clear();
        self.due_next = 0;
        self.bytes = 0;
        self.is_closed = false;
        let joined = self.joined.take();
        self.position = joined.unwrap_or(self.position);
        self.base = self.position;
        joined.is_some()
    }

    /// The table was edited at `pattern`: lists that it touches are dropped.
    pub(super) fn forget(&mut self, log: &Log, pattern: &Pattern) {
        let names = log.names();
        let Some(names) = names.as_ref() else { return };
        // A wildcard may touch a few channels strewn among many.
        let mut is_too_wide = pattern.as_str().contains('*');
        if !is_too_wide {
            let mut touched = 0;
            names.matching(pattern, &mut |_, id| {
                touched += 1;
                is_too_wide = TOUCHED_MAX < touched;
                if let Some(channel) = self.channels.get_mut(id.index()) {
                    channel.era = 0;
                }
                if is_too_wide { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        }
        if is_too_wide {
            self.drop_lists();
        }
    }

    fn drop_lists(&mut self) {
        self.era = self.era.wrapping_add(1).max(1);
    }

    /// The state of `route`, with a list that is right.
    fn channel(&mut self, log: &Log, route: ChannelId, table: &Table) -> &PerChannel {
        let index = route.index();
        if self.channels.len() <= index {
            let empty = PerChannel { era: 0, run: NO_RUN, subscribers: Arc::from([]) };
            self.channels.resize(index + 1, empty);
        }
        if self.channels[index].era != self.era {
            let names = log.names();
            match names.as_ref().as_ref().and_then(|names| names.name(route)) {
                Some(name) => table.collect(name.as_str(), &mut self.scratch),
                None => self.scratch.clear(),
            }
            let channel = &mut self.channels[index];
            channel.subscribers = Arc::from(self.scratch.as_slice());
            channel.era = self.era;
        }
        &self.channels[index]
    }

    /// Begins the run of `route` and marks its subscribers.
    fn open_run(&mut self, route: ChannelId, mark: &mut Marker<'_>) {
        let run = self.runs_len as u32;
        if self.runs.len() == self.runs_len {
            self.runs.push(Run::default());
        }
        self.runs[self.runs_len].route = Some(route);
        self.runs_len += 1;
        let channel = &mut self.channels[route.index()];
        channel.run = run;
        for &subscriber in channel.subscribers.iter() {
            if let Some(next) = mark(subscriber, self.marks.len() as u32) {
                if next == NO_MARK {
                    self.due.push(subscriber);
                }
                self.marks.push(Mark { run, next });
            }
        }
    }
}

/// Bytes of a sweep's events from which on nothing joins it. A write of so many costs several times what one of a few does:
/// the sends are paid for, and more would only make those who come late wait.
const JOIN_BYTES_MAX: usize = 256 << 10;

/// Channels that one edit may touch before all lists are dropped instead.
const TOUCHED_MAX: usize = 256;
