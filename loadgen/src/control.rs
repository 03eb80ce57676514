//! What the threads of a run say to each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::{Sender, TrySendError};

use crate::agent::Lost;
use crate::histogram::Latency;
use crate::interval::{Grid, Note};
use crate::machine::now_ns;
use crate::publishing::Published;
use crate::report::agents::AgentFigures;
use crate::worker::Findings;

/// What the run tells a loop of subscribers.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Events will come; those due from here on are measured.
    Begin {
        /// When the first event may be due, in nanoseconds of the monotonic clock.
        start_ns: u64,
        /// The same clock.
        measured_from_ns: u64,
    },
    /// Publishing has ended with these last events, one per channel; say when all subscribers have settled theirs.
    Drain(Arc<[u64]>),
    /// Tell the end-to-end latencies since the last time.
    Sample,
    /// Close everything and hand the findings over.
    Stop,
}

/// What the threads tell the run.
#[derive(Debug)]
pub(crate) enum Report {
    /// All subscribers of one loop are subscribed.
    Connected,
    /// All publishers are connected.
    Ready,
    /// The run cannot go on, and why.
    Failed(String),
    /// An agent is of no more use, and why.
    Lost(Lost),
    /// Publishing has ended.
    Published(Box<Published>),
    /// The end-to-end latencies of one loop since the last time.
    Sampled(Box<Latency>),
    /// All subscribers of one loop have settled their last event.
    Drained,
    /// One loop has ended.
    Done(Box<Findings>),
    /// All loops of the agent in this place have ended, and this is what it did.
    Left(u32, Box<AgentFigures>),
}

/// What all threads of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// When the measured part ends; `u64::MAX` while that is not known. Written by the publishing thread, read
    /// by the loops. Relaxed: it carries nothing but itself, and a turn's delay in seeing it is harmless.
    pub(crate) measured_to_ns: AtomicU64,
    /// Events accepted by the server. Relaxed: shown to a human.
    pub(crate) accepted: AtomicU64,
    /// Deliveries that these ask for. Relaxed, as above.
    pub(crate) owed: AtomicU64,
    /// Whether the server owes publishers something: an answer, or room for what is due. Relaxed, as above.
    pub(crate) is_behind: AtomicBool,
    /// When the run began.
    pub(crate) begun_ns: u64,
    /// Length of an interval.
    pub(crate) interval_ns: u64,
    /// How much this process's clock is ahead of the publishers'.
    pub(crate) offset_ns: i64,
    /// To the recorder.
    pub(crate) notes: Sender<Note>,
    /// Intervals of threads that there was no room for. Relaxed: read when the threads have ended.
    pub(crate) left_out: AtomicU64,
}

impl Shared {
    /// Nothing has happened.
    pub(crate) fn new(interval_ns: u64, notes: Sender<Note>) -> Shared {
        Shared::of_agent(interval_ns, 0, now_ns(), notes)
    }

    /// The same where publishers are elsewhere, and this process's clock is `offset_ns` ahead of theirs, by which the run began at
    /// `begun_ns`.
    pub(crate) fn of_agent(interval_ns: u64, offset_ns: i64, begun_ns: u64, notes: Sender<Note>) -> Shared {
        Shared {
            measured_to_ns: AtomicU64::new(u64::MAX),
            accepted: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            is_behind: AtomicBool::new(false),
            begun_ns: begun_ns.saturating_add_signed(offset_ns),
            interval_ns,
            offset_ns,
            notes,
            left_out: AtomicU64::new(0),
        }
    }

    /// The intervals that count from here.
    pub(crate) fn grid(&self, origin_ns: u64) -> Grid {
        Grid { origin_ns, interval_ns: self.interval_ns }
    }

    /// Tells the recorder. One that has ended needs nothing more. No thread that makes load waits for one that is behind: an
    /// interval that there is no room for is counted and left out of what is told over time; sums have it all the same.
    pub(crate) fn note(&self, note: Note) {
        match self.notes.try_send(note) {
            Err(TrySendError::Full(note @ (Note::Phase(_) | Note::End))) => drop(self.notes.send(note)),
            Err(TrySendError::Full(_)) => drop(self.left_out.fetch_add(1, Ordering::Relaxed)),
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
        }
    }
}

/// Where a loop stands. Relaxed throughout: shown to a human.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Subscribers that are open.
    pub(crate) open: AtomicU64,
    /// Connections that failed, where that is what is counted.
    pub(crate) refused: AtomicU64,
    /// Events delivered.
    pub(crate) delivered: AtomicU64,
}

/// Notes of each thread that may wait for the recorder: as many intervals of a thread, some 1 MiB each.
pub(crate) const NOTES_EACH: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Latency;
    use crate::interval::{PublishCounts, Publishes, Stretch};

    #[test]
    fn an_interval_without_room_is_left_out_and_counted() {
        let (notes, told) = crossbeam_channel::bounded(1);
        let shared = Shared::new(1, notes);
        for index in 0..3 {
            let stretch = Stretch { index, ..Stretch::default() };
            let (ack, send_lag) = (Latency::new(), Latency::new());
            let publishes = Publishes { stretch, ack, send_lag, counts: PublishCounts::default() };
            shared.note(Note::Publishes(Box::new(publishes)));
        }
        assert_eq!((told.len(), shared.left_out.load(Ordering::Relaxed)), (1, 2));
    }
}
