//! What can be asked of the service.

use uuid::Uuid;

use super::draft::Draft;
use super::preferences::Preferences;
use super::user::User;

/// One question or deed, always of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Store and deliver, if the user wants to know.
    Notify(Box<Draft>),
    /// List a user's notifications, newest first.
    List {
        /// Whose.
        user: User,
        /// Which of them.
        listing: Listing,
    },
    /// How many there are.
    Count {
        /// Whose.
        user: User,
    },
    /// Mark one as read.
    MarkRead {
        /// Whose.
        user: User,
        /// Which.
        id: Uuid,
    },
    /// Mark all as read.
    MarkAllRead {
        /// Whose.
        user: User,
    },
    /// Forget one.
    Delete {
        /// Whose.
        user: User,
        /// Which.
        id: Uuid,
    },
    /// What the user wants to be told.
    Preferences {
        /// Whose.
        user: User,
    },
    /// Choose what to be told.
    SetPreferences(Preferences),
    /// The catalogue of types.
    Kinds,
}

impl Request {
    /// Whose notifications it is about; the catalogue is nobody's.
    #[must_use]
    pub fn user(&self) -> Option<&User> {
        match self {
            Request::Notify(draft) => Some(draft.user()),
            Request::List { user, .. }
            | Request::Count { user }
            | Request::MarkRead { user, .. }
            | Request::MarkAllRead { user }
            | Request::Delete { user, .. }
            | Request::Preferences { user } => Some(user),
            Request::SetPreferences(preferences) => Some(&preferences.user_id),
            Request::Kinds => None,
        }
    }
}

/// Which notifications of a user to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Only those that are not read.
    pub unread_only: bool,
    /// Only those older than this.
    pub before: Option<Before>,
    /// At most so many, at least one.
    pub limit: usize,
}

/// Where an earlier page of a listing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// At this place, as [`Page::next`](super::Page::next) says. It holds whatever has been deleted meanwhile.
    Place(u64),
    /// At the notification of this id, which must still be there.
    Id(Uuid),
}
