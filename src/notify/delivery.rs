//! What a user's open pages are told while it happens.

use uuid::Uuid;

use super::notification::Notification;
use super::user::User;
use crate::sequencer::{EventParts, Publication};

/// An event for the channel `user:<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    user: User,
    kind: &'static str,
    data: String,
}

impl Delivery {
    /// The kind of the event that brings a notification; the notification is its data.
    pub const NOTIFICATION: &str = "notification";

    /// The kind of the event that says what was read, so that the badges of other pages follow: `{"id":…,"unread":n}`
    /// for one, `{"all":true,"unread":0}` for all.
    pub const READ: &str = "notification_read";

    /// The kind of the event that says what was deleted: `{"id":…,"unread":n}`.
    pub const DELETED: &str = "notification_deleted";

    /// Whose pages are told.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The kind of the event.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The data of the event: a JSON text on one line.
    #[must_use]
    pub fn data(&self) -> &str {
        &self.data
    }

    /// The event, ready for the sequencer.
    #[must_use]
    pub fn publication(&self) -> Publication {
        let parts = EventParts::new(self.user.channel(), self.kind, self.data.as_bytes());
        Publication::new(&parts).expect("a user's channel belongs to no workspace")
    }

    pub(super) fn created(notification: &Notification) -> Delivery {
        let user = notification.user_id.clone();
        Delivery { user, kind: Delivery::NOTIFICATION, data: notification.to_json() }
    }

    pub(super) fn read(user: User, id: Uuid, unread: u64) -> Delivery {
        Delivery { user, kind: Delivery::READ, data: one(id, unread) }
    }

    pub(super) fn all_read(user: User) -> Delivery {
        Delivery { user, kind: Delivery::READ, data: r#"{"all":true,"unread":0}"#.to_owned() }
    }

    pub(super) fn deleted(user: User, id: Uuid, unread: u64) -> Delivery {
        Delivery { user, kind: Delivery::DELETED, data: one(id, unread) }
    }
}

fn one(id: Uuid, unread: u64) -> String {
    format!(r#"{{"id":"{id}","unread":{unread}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_of_each_kind() {
        let check = |delivery: Delivery, kind: &str, data: &str| {
            assert_eq!((delivery.kind(), delivery.data()), (kind, data));
            assert_eq!(delivery.publication().route().as_str(), "user:alice");
        };
        let alice = || User::parse("alice").unwrap();
        let one = r#"{"id":"00000000-0000-0000-0000-000000000000","unread":3}"#;
        check(Delivery::read(alice(), Uuid::nil(), 3), "notification_read", one);
        check(Delivery::deleted(alice(), Uuid::nil(), 3), "notification_deleted", one);
        check(Delivery::all_read(alice()), "notification_read", r#"{"all":true,"unread":0}"#);
    }
}
