//! Who is let in: places for connections, by door and by address.
//!
//! # Contract   every `enter` that was granted is followed by one `leave`; every `turn_away` by one `forget`. Who is turned
//!   away holds a descriptor while being told so, and is counted for that
//! # Bounds     as many as whoever asks says, [`Hub::places`](crate::hub::Hub::places) at a door; of those who are being turned
//!   away [`TURNED_AWAY_MAX`] at each door. One entry per address with connections, where they are counted
//! # Why not …  one bound for both doors: operators must get in while everybody else is kept out

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::sync::{AtomicUsize, Ordering};
use crate::words::address::counted;
use crate::words::door::Door;

/// Places, over all loops. The counts are relaxed: only the numbers count.
#[derive(Debug, Default)]
pub struct Admission {
    public: Entrance,
    admin: Entrance,
    addresses: Mutex<HashMap<IpAddr, usize, foldhash::quality::RandomState>>,
}

/// One door.
#[derive(Debug, Default)]
struct Entrance {
    inside: AtomicUsize,
    turned_away: AtomicUsize,
    turned_away_total: AtomicUsize,
}

/// Connections that are being told that there is no place for them, at each door. At it no more are accepted until some
/// are gone: they wait in the kernel's queue.
pub const TURNED_AWAY_MAX: usize = 64;

impl Admission {
    /// Takes a place at `door`, which has `max`, if there is one.
    #[must_use]
    pub fn enter(&self, door: Door, max: usize) -> bool {
        let inside = &self.entrance(door).inside;
        let is_free = inside.fetch_add(1, Ordering::Relaxed) < max;
        if !is_free {
            inside.fetch_sub(1, Ordering::Relaxed);
        }
        is_free
    }

    /// Gives a place back.
    pub fn leave(&self, door: Door) {
        self.entrance(door).inside.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a connection from `address`, which may have `max`, if that is one more. Asked only where addresses are bounded.
    #[must_use]
    pub fn enter_from(&self, address: IpAddr, max: usize) -> bool {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(counted(address)).or_default();
        let is_free = *count < max;
        *count += usize::from(is_free);
        is_free
    }

    /// A connection from `address` that was counted has ended.
    pub fn leave_from(&self, address: IpAddr) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let address = counted(address);
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
            }
        }
    }

    /// Somebody at `door` is being told that there is no place.
    pub fn turn_away(&self, door: Door) {
        self.entrance(door).turned_away.fetch_add(1, Ordering::Relaxed);
        self.entrance(door).turned_away_total.fetch_add(1, Ordering::Relaxed);
    }

    /// Who was told so is gone.
    pub fn forget(&self, door: Door) {
        self.entrance(door).turned_away.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether so many are being turned away at `door` that further ones should wait to be accepted.
    #[must_use]
    pub fn is_crowded(&self, door: Door) -> bool {
        TURNED_AWAY_MAX <= self.entrance(door).turned_away.load(Ordering::Relaxed)
    }

    /// Whether as many are as those may keep waiting who have too many connections themselves.
    #[must_use]
    pub fn is_half_crowded(&self, door: Door) -> bool {
        TURNED_AWAY_MAX / 2 < self.entrance(door).turned_away.load(Ordering::Relaxed)
    }

    /// Connections with a place, at both doors.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.inside_of(Door::Public) + self.inside_of(Door::Admin)
    }

    /// Connections with a place at `door`.
    #[must_use]
    pub fn inside_of(&self, door: Door) -> usize {
        self.entrance(door).inside.load(Ordering::Relaxed)
    }

    /// Connections that were ever turned away, at both doors.
    #[must_use]
    pub fn turned_away_total(&self) -> u64 {
        let totals = [&self.public, &self.admin];
        totals.map(|entrance| entrance.turned_away_total.load(Ordering::Relaxed) as u64).iter().sum()
    }

    fn entrance(&self, door: Door) -> &Entrance {
        match door {
            Door::Public => &self.public,
            Door::Admin => &self.admin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_door_has_places_of_its_own() {
        let admission = Admission::default();
        assert!(admission.enter(Door::Public, 2) && admission.enter(Door::Public, 2));
        assert!(!admission.enter(Door::Public, 2));
        assert!(admission.enter(Door::Admin, 1), "operators get in all the same");
        assert!(!admission.enter(Door::Admin, 1));
        assert_eq!(admission.inside(), 3);
        admission.leave(Door::Public);
        assert!(admission.enter(Door::Public, 2), "a place that was given back is one");
    }

    #[test]
    fn an_address_has_so_many_connections_and_leaves_nothing_behind() {
        let admission = Admission::default();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for (hog, other) in [
            ("192.0.2.1", "192.0.2.2"),
            ("::ffff:192.0.2.3", "192.0.2.4"),
            ("2001:db8::1", "2001:db8:0:1::1"),
        ] {
            assert!(admission.enter_from(address(hog), 2));
            assert!(admission.enter_from(address(hog), 2));
            assert!(!admission.enter_from(address(hog), 2));
            assert!(admission.enter_from(address(other), 2), "{other} is another one");
            admission.leave_from(address(hog));
            assert!(admission.enter_from(address(hog), 2));
        }
        assert!(!admission.enter_from(address("2001:db8::2"), 2), "as whoever has the network");
        for leaving in ["192.0.2.1", "192.0.2.3", "2001:db8::2"] {
            admission.leave_from(address(leaving));
            admission.leave_from(address(leaving));
        }
        for leaving in ["192.0.2.2", "192.0.2.4", "2001:db8:0:1::1"] {
            admission.leave_from(address(leaving));
        }
        assert!(admission.addresses.lock().unwrap().is_empty());
    }

    #[test]
    fn a_crowd_at_one_door_does_not_stand_before_the_other() {
        let admission = Admission::default();
        (0..TURNED_AWAY_MAX).for_each(|_| admission.turn_away(Door::Public));
        assert!(admission.is_crowded(Door::Public) && !admission.is_crowded(Door::Admin));
        admission.forget(Door::Public);
        assert!(!admission.is_crowded(Door::Public));
        assert_eq!(admission.turned_away_total(), TURNED_AWAY_MAX as u64);
    }
}
