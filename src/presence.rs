//! Who is where, over all loops: for each channel its users, each with how many connections.
//!
//! # Contract   what `tell` hands on of a change is handed on before the next change of anything: so whoever is told
//!   in that order knows who is where. It must be quick, and not look in here
//! # Bounds   one entry per subscription that it is told of; what is left leaves nothing behind
//! # Why not …   a lock-free map: subscriptions come and go on the control path, events never look in here

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

/// Who is where.
#[derive(Debug, Default)]
pub struct Presence {
    rooms: Mutex<HashMap<Box<str>, Room, foldhash::quality::RandomState>>,
}

/// Who is on one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Users, each with how many of their connections are here.
    pub users: BTreeMap<Box<str>, u32>,
    /// Connections of nobody known.
    pub anonymous: u32,
}

impl Room {
    /// Connections that are here.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.users.values().copied().map(u64::from).sum::<u64>() + u64::from(self.anonymous)
    }

    fn is_empty(&self) -> bool {
        self.users.is_empty() && self.anonymous == 0
    }
}

/// What a coming or going has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// A user came who was not here, or left with their last connection.
    pub of_user: bool,
    /// It was the first connection of all, or the last.
    pub of_room: bool,
    /// Users that are here now.
    pub users: usize,
}

impl Presence {
    /// A connection of `user` comes to `channel`.
    pub fn enter(&self, channel: &str, user: Option<&str>, tell: impl FnOnce(Change)) {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let room = match rooms.get_mut(channel) {
            Some(room) => room,
            None => rooms.entry(channel.into()).or_default(),
        };
        let of_room = room.is_empty();
        let of_user = match user {
            None => {
                room.anonymous += 1;
                false
            }
            Some(user) => {
                let connections = room.users.entry(user.into()).or_insert(0);
                *connections += 1;
                *connections == 1
            }
        };
        tell(Change { of_user, of_room, users: room.users.len() });
    }

    /// A connection of `user` leaves `channel`, which it has entered before.
    pub fn leave(&self, channel: &str, user: Option<&str>, tell: impl FnOnce(Change)) {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(room) = rooms.get_mut(channel) else {
            debug_assert!(false, "nobody leaves {channel} without having entered");
            return;
        };
        let mut of_user = false;
        match user {
            None => room.anonymous = room.anonymous.saturating_sub(1),
            Some(user) => {
                if let Some(connections) = room.users.get_mut(user) {
                    *connections -= 1;
                    of_user = *connections == 0;
                }
                if of_user {
                    room.users.remove(user);
                }
            }
        }
        let change = Change { of_user, of_room: room.is_empty(), users: room.users.len() };
        if change.of_room {
            rooms.remove(channel);
        }
        tell(change);
    }

    /// Who is on `channel`.
    #[must_use]
    pub fn room(&self, channel: &str) -> Room {
        let rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.get(channel).cloned().unwrap_or_default()
    }

    /// How many channels somebody is on.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_comes_with_the_first_connection_and_goes_with_the_last() {
        let presence = Presence::default();
        let enter = |user, of_user, of_room, users| {
            let expected = Change { of_user, of_room, users };
            presence.enter("chat:a", user, |change| assert_eq!(change, expected, "{user:?} comes"));
        };
        let leave = |user, of_user, of_room, users| {
            let expected = Change { of_user, of_room, users };
            presence.leave("chat:a", user, |change| assert_eq!(change, expected, "{user:?} goes"));
        };
        enter(Some("alice"), true, true, 1);
        enter(Some("alice"), false, false, 1);
        enter(None, false, false, 1);
        enter(Some("bob"), true, false, 2);
        let room = presence.room("chat:a");
        assert_eq!((room.connections(), room.users["alice"], room.anonymous), (4, 2, 1));
        leave(Some("alice"), false, false, 2);
        leave(Some("alice"), true, false, 1);
        leave(None, false, false, 1);
        leave(Some("bob"), true, true, 0);
        assert_eq!(presence.rooms(), 0, "nothing is left behind");
    }
}
