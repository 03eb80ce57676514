//! What the sequencer can be asked to do, and what it says became of it.

use smallvec::SmallVec;

use super::idempotency::IdempotencyKey;
use super::publication::Publication;

/// What a submission asks for.
#[derive(Debug)]
pub enum Order {
    /// Events to be published together: they get consecutive sequence numbers, or none is published.
    Publish {
        /// The events, in order; at least one.
        publications: SmallVec<[Publication; 1]>,
        /// By what a second attempt at the same would be known.
        idempotency: Option<IdempotencyKey>,
    },
    /// Old events to be cleared: from then on nobody reads them any more. What this reaches is decided by what was
    /// published before it in the queue.
    Clear {
        /// Which.
        before: Before,
    },
}

/// Which events are old. There is no "all": whoever wants that says so in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Those below this sequence number; beyond what is published it means all that is.
    Seq(u64),
    /// Those before the first that was stamped at this time, in Unix milliseconds, or later. So none that is newer is
    /// cleared, even where the clock was set back among them.
    Time {
        /// The time.
        unix_ms: u64,
    },
    /// All but so many, the newest.
    Keep(u64),
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// The events are in the log.
    Published {
        /// The sequence number of the first.
        first: u64,
        /// The sequence number of the last.
        last: u64,
        /// They were put there by an earlier attempt with the same idempotency key; nothing was published now.
        is_repeat: bool,
    },
    /// Old events are gone.
    Cleared {
        /// How many left the visible window now.
        count: u64,
        /// The oldest sequence number of the window as it is now.
        oldest: u64,
    },
}

/// Why nothing of an order was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The queue is full, or the loops are too far behind: try again later.
    #[error("the server is overloaded, try again")]
    Overloaded,
    /// Too many channels have events in the log.
    #[error("too many channels are in use")]
    ChannelsFull,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Draining,
    /// The idempotency key was used for something else.
    #[error("the idempotency key was used with another body")]
    KeyReused,
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Refusal::Overloaded => "overloaded",
            Refusal::ChannelsFull => "channels_full",
            Refusal::Draining => "draining",
            Refusal::KeyReused => "idempotency_key_reused",
        }
    }
}
