//! From new events to the connections that get them.
//!
//! # Contract       [`FanOut::route`] takes what is new in the log and marks every live subscriber, once per channel,
//!   whatever the number of events; the flush that follows sends what the marks say
//! # Invariants     F1 every wanted event below `position` was sent to, or is marked for, each live connection
//!   F2 a cached list holds exactly the subscribers that the table has for its channel
//! # Bounds         a turn routes `TURN_EVENTS_MAX` events; a list is kept per channel that had an event and dropped by
//!   edits that touch it

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::log::{ChannelId, Held, Log, Pass};
use crate::table::Table;
use crate::words::channel::Pattern;
use crate::words::limits::TURN_EVENTS_MAX;

/// The routing state of a loop.
pub(super) struct FanOut {
    /// Everything below was routed.
    position: u64,
    channels: Vec<PerChannel>,
    /// Lists of another era are stale.
    era: u32,
    /// The numbering of channels that `channels` is indexed by.
    reuses: u64,
    /// This turn's runs; the first `runs_len` count, the others keep their memory.
    runs: Vec<Run>,
    runs_len: usize,
    marks: Vec<Mark>,
    scratch: Vec<u32>,
}

#[derive(Clone)]
struct PerChannel {
    era: u32,
    /// Its run of this turn.
    run: u32,
    subscribers: Arc<[u32]>,
}

/// This turn's events of one channel.
#[derive(Debug, Default)]
pub(super) struct Run {
    route: Option<ChannelId>,
    /// Ascending.
    pub(super) seqs: Vec<u64>,
}

/// One of the runs that a connection gets this turn.
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
    /// As far as the turn allows.
    Done,
    /// The loop itself was overtaken by the log: every live connection must find its own way on.
    Lapped,
}

const NO_RUN: u32 = u32::MAX;

impl FanOut {
    pub(super) fn new(position: u64) -> FanOut {
        FanOut {
            position,
            channels: Vec::new(),
            era: 1,
            reuses: 0,
            runs: Vec::new(),
            runs_len: 0,
            marks: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Everything below was routed.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Nothing below `position` concerns this loop, says the sequencer.
    pub(super) fn skip_to(&mut self, position: u64) {
        self.position = self.position.max(position);
    }

    /// Routes what is new in `pass`. Calls `mark` once for each subscriber of each channel that has new events.
    pub(super) fn route(
        &mut self,
        log: &Log,
        pass: &Pass<'_>,
        table: &Table,
        mark: &mut Marker<'_>,
    ) -> Routed {
        let end = pass.published().min(self.position + TURN_EVENTS_MAX);
        while self.position < end {
            let slot = match pass.slot(self.position) {
                Held::Here(slot) => slot,
                Held::PassFull => break,
                // What was marked goes out first; the next turn finds itself here again.
                Held::Lapped if self.runs_len != 0 => break,
                Held::Lapped => return Routed::Lapped,
            };
            let channel = self.channel(log, slot.route, table);
            if channel.run == NO_RUN {
                if channel.subscribers.is_empty() {
                    self.position += 1;
                    continue;
                }
                self.open_run(slot.route, mark);
            }
            let run = self.channels[slot.route.index()].run;
            self.runs[run as usize].seqs.push(self.position);
            self.position += 1;
        }
        Routed::Done
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

    /// Ends the turn: all marks are done with.
    pub(super) fn clear(&mut self) {
        for run in &mut self.runs[..self.runs_len] {
            run.seqs.clear();
            if let Some(route) = run.route.take() {
                self.channels[route.index()].run = NO_RUN;
            }
        }
        self.runs_len = 0;
        self.marks.clear();
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

    /// Drops every list if channel numbers have come to mean something else. Once a turn, before routing.
    pub(super) fn check_numbering(&mut self, log: &Log) {
        let reuses = log.names().as_ref().map_or(0, |names| names.reuses());
        if reuses != self.reuses {
            self.reuses = reuses;
            self.drop_lists();
        }
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
                self.marks.push(Mark { run, next });
            }
        }
    }
}

/// Channels that one edit may touch before all lists are dropped instead.
const TOUCHED_MAX: usize = 256;
