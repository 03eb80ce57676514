//! What an engine refuses, and why.

use crate::sequencer::Refusal;
use crate::session::{filter, publish};
use crate::words::channel::ChannelError;

/// Why nothing was published or cleared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// An event is not what it should be. Trying again would not help.
    #[error("{detail}")]
    Invalid {
        /// Stable code, as over HTTP.
        code: &'static str,
        /// A sentence for the person who wrote the publisher.
        detail: String,
    },
    /// There is no room, now or any more.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl PublishError {
    /// The stable code, as over HTTP: `bad_channel`, `event_too_large`, `overloaded`, …
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            PublishError::Invalid { code, .. } => code,
            PublishError::Refused(refusal) => refusal.code(),
        }
    }

    pub(super) fn bad_json(detail: String) -> PublishError {
        PublishError::Invalid { code: "bad_json", detail }
    }
}

impl From<publish::PublishError> for PublishError {
    fn from(error: publish::PublishError) -> PublishError {
        PublishError::Invalid { code: error.code, detail: error.detail }
    }
}

/// Why a tap, a client or a look back is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A text that was to name channels does not.
    #[error("invalid channel: {0}")]
    Channel(#[from] ChannelError),
    /// As many taps or clients are open as may be.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// The newest events of so many channels are too many.
    #[error(transparent)]
    TooManyEvents(#[from] crate::reader::TooMany),
    /// More channels than one reader may subscribe to.
    #[error("subscription limit exceeded: max {0} subscriptions")]
    SubscriptionLimit(usize),
    /// The newest events were asked for, and those after a cursor too; they exclude each other.
    #[error("'since' and 'last' exclude each other")]
    SinceAndLast,
}

impl OpenError {
    /// The stable code, as over WebSocket.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            OpenError::Channel(_) => "bad_channel",
            OpenError::TooMany(_) => "connections_full",
            OpenError::TooManyEvents(_) => "too_many",
            OpenError::SubscriptionLimit(_) => "subscription_limit",
            OpenError::SinceAndLast => "bad_last",
        }
    }
}

/// As many are there as may be: so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("maximum connections reached: {0}")]
pub struct TooMany(pub usize);

/// A text that is no filter: why, with a stable code.
pub type FilterError = filter::FilterError;
