//! What the service says to a request.

use std::sync::Arc;

use uuid::Uuid;

use super::kind::NotificationKind;
use super::notification::Notification;
use super::preferences::Preferences;

/// What became of a request. What changed something is on disk when this is said, where there is a disk.
pub type Answer = Result<Outcome, Refusal>;

/// What was done or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The notification is stored, or was not wanted.
    Notified(Notified),
    /// A page of a listing.
    Page(Page),
    /// How many there are.
    Counts(Counts),
    /// It is read, now or since before.
    Read {
        /// Which.
        id: Uuid,
        /// How many are not.
        unread: u64,
    },
    /// All are read.
    AllRead {
        /// How many were not.
        marked: u64,
    },
    /// It is gone.
    Deleted {
        /// Which.
        id: Uuid,
        /// How many of the others are not read.
        unread: u64,
    },
    /// What the user wants to be told.
    Preferences(Preferences),
    /// The catalogue of types: [`NotificationKind::ALL`].
    Kinds,
}

/// What became of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notified {
    /// It is stored.
    Stored {
        /// As it is listed.
        notification: Box<Notification>,
        /// How many of the user's are not read, it included.
        unread: u64,
        /// Whether it was handed on to the user's open pages; if not, they find it when they list.
        delivered: bool,
    },
    /// The user does not want to be told of this type: it is neither stored nor delivered.
    Disabled(NotificationKind),
}

/// A part of a user's notifications, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The notifications.
    pub notifications: Vec<Notification>,
    /// How many of the user's there are in all.
    pub counts: Counts,
    /// Where the next page begins, if there is one: to be given as [`Before::Place`](super::Before::Place).
    pub next: Option<u64>,
}

/// How many notifications a user has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All that are kept.
    pub total: u64,
    /// Those that are not read; at most `total`.
    pub unread: u64,
}

/// Why a request was not done. Nothing of it was, unless the store has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too many requests wait: try again later.
    #[error("too many requests wait for the notifications, try again")]
    Overloaded,
    /// The service has ended.
    #[error("the server is shutting down")]
    Stopped,
    /// The user has no such notification.
    #[error("the user has no notification of this id")]
    NotFound,
    /// As many users as may have something stored.
    #[error("too many users have notifications or preferences")]
    UsersFull,
    /// As many bytes as may be stored.
    #[error("the store of notifications is full")]
    StoreFull,
    /// The store has failed; whether the change is kept is not known. For operators, not for clients.
    #[error("the store of notifications has failed: {0}")]
    Failed(Arc<str>),
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Overloaded => "overloaded",
            Refusal::Stopped => "draining",
            Refusal::NotFound => "notification_not_found",
            Refusal::UsersFull => "users_full",
            Refusal::StoreFull => "store_full",
            Refusal::Failed(_) => "store_failed",
        }
    }
}
