//! What the threads of a run say to each other.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::histogram::Latency;
use crate::publishing::Published;
use crate::worker::Findings;

/// What the run tells a loop of subscribers.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Events will come; those due from here on are measured.
    Begin {
        /// Nanoseconds of the monotonic clock.
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
    /// Publishing has ended.
    Published(Box<Published>),
    /// The end-to-end latencies of one loop since the last time.
    Sampled(Box<Latency>),
    /// All subscribers of one loop have settled their last event.
    Drained,
    /// One loop has ended.
    Done(Box<Findings>),
}

/// What all threads of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// When the measured part ends; `u64::MAX` while that is not known. Written by the publishing thread, read
    /// by the loops. Relaxed: it carries nothing but itself, and a turn's delay in seeing it is harmless.
    pub(crate) measured_to_ns: AtomicU64,
    /// Events accepted by the server. Relaxed: shown to a human.
    pub(crate) accepted: AtomicU64,
}

impl Shared {
    /// Nothing has happened.
    pub(crate) fn new() -> Shared {
        Shared { measured_to_ns: AtomicU64::new(u64::MAX), accepted: AtomicU64::new(0) }
    }
}

/// Where a loop stands. Relaxed throughout: shown to a human.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Subscribers that are open.
    pub(crate) open: AtomicU64,
    /// Events delivered.
    pub(crate) delivered: AtomicU64,
}
