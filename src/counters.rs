//! What is counted over all loops, beside what the log itself knows.

use crate::sync::{AtomicU64, Ordering};
use crate::words::cursor::GapCause;

/// What one loop has sent, written by that loop alone.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Events handed to the kernel over WebSocket.
    pub web_socket_events: AtomicU64,
    /// Events handed to the kernel over server-sent events.
    pub sse_events: AtomicU64,
    /// Bytes handed to the kernel.
    pub bytes: AtomicU64,
    /// Gaps told, by [`GapCause::index`].
    pub gaps: [AtomicU64; GapCause::ALL.len()],
    /// Events left out by conflation.
    pub skipped_events: AtomicU64,
    /// Streams that are behind now.
    pub lagging: AtomicU64,
    /// Streams disconnected for being slow, as they had chosen.
    pub closed_slow: AtomicU64,
    /// Connections cut off because they took nothing for too long.
    pub cut_stalled: AtomicU64,
    /// Time that the loop was not asleep, in nanoseconds.
    pub busy_ns: AtomicU64,
}

impl Traffic {
    /// Adds to one of the counts. No read-modify-write: there is one writer.
    pub fn add(count: &AtomicU64, more: u64) {
        count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// Takes from one that goes up and down; as above.
    pub fn take(count: &AtomicU64, less: u64) {
        count.store(count.load(Ordering::Relaxed).wrapping_sub(less), Ordering::Relaxed);
    }
}

/// Counts of streams, subscriptions and failures. All relaxed: only the numbers count.
#[derive(Debug, Default)]
pub struct Counters {
    streams: AtomicU64,
    streams_total: AtomicU64,
    subscriptions: AtomicU64,
    subscriptions_total: AtomicU64,
    accept_failures: AtomicU64,
    panics: AtomicU64,
    publishes_refused: AtomicU64,
    stalls: AtomicU64,
}

impl Counters {
    /// A connection has become a stream.
    pub fn open_stream(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.streams_total.fetch_add(1, Ordering::Relaxed);
    }

    /// A stream has ended.
    pub fn close_stream(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// A subscription was made; `is_new` unless it takes the place of one.
    pub fn subscribe(&self, is_new: bool) {
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
        self.subscriptions_total.fetch_add(u64::from(is_new), Ordering::Relaxed);
    }

    /// A subscription has ended.
    pub fn unsubscribe(&self) {
        self.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }

    /// The system has refused us a connection that was there.
    pub fn fail_to_accept(&self) {
        self.accept_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was so.
    #[must_use]
    pub fn accept_failures(&self) -> u64 {
        self.accept_failures.load(Ordering::Relaxed)
    }

    /// Dealing with a connection has panicked, and the connection was given up.
    pub fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that were given up because of a fault of the server.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// A publish was refused, since the server was overloaded.
    pub fn refuse_publish(&self) {
        self.publishes_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was so.
    #[must_use]
    pub fn publishes_refused(&self) -> u64 {
        self.publishes_refused.load(Ordering::Relaxed)
    }

    /// A loop stands still.
    pub fn count_stall(&self) {
        self.stalls.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a loop has stood still.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }

    /// Streams open now, over either transport.
    #[must_use]
    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Streams ever opened.
    #[must_use]
    pub fn streams_total(&self) -> u64 {
        self.streams_total.load(Ordering::Relaxed)
    }

    /// Subscriptions held now.
    #[must_use]
    pub fn subscriptions(&self) -> u64 {
        self.subscriptions.load(Ordering::Relaxed)
    }

    /// Subscriptions ever made; one that took the place of another does not count again.
    #[must_use]
    pub fn subscriptions_total(&self) -> u64 {
        self.subscriptions_total.load(Ordering::Relaxed)
    }
}
