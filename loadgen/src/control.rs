//! What the threads of a run say to each other.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_channel::Sender;

use crate::agent::Lost;
use crate::histogram::Latency;
use crate::interval::Note;
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
    /// Length of an interval.
    pub(crate) interval_ns: u64,
    /// How much this process's clock is ahead of the publishers'.
    pub(crate) offset_ns: i64,
    /// To the recorder. It takes what comes faster than threads can make it, so nobody waits.
    pub(crate) notes: Sender<Note>,
}

impl Shared {
    /// Nothing has happened.
    pub(crate) fn new(interval_ns: u64, notes: Sender<Note>) -> Shared {
        Shared::of_agent(interval_ns, 0, notes)
    }

    /// The same where publishers are elsewhere, and this process's clock is `offset_ns` ahead of theirs.
    pub(crate) fn of_agent(interval_ns: u64, offset_ns: i64, notes: Sender<Note>) -> Shared {
        Shared {
            measured_to_ns: AtomicU64::new(u64::MAX),
            accepted: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            interval_ns,
            offset_ns,
            notes,
        }
    }

    /// Tells the recorder. One that has ended needs nothing more.
    pub(crate) fn note(&self, note: Note) {
        let _ = self.notes.send(note);
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
