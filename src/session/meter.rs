//! How often who has done what lately, over all loops.
//!
//! # Contract   [`Meters::charge`] says whether a payer may do something once more, and counts it if so. What somebody owes
//!   is forgotten when it is paid for by the time that has passed, and before that only for want of room
//! # Bounds     [`METERED_MAX`] payers that owe something. When there is no room, first those leave who owe nothing any
//!   more; if that is not enough, the quarter that owes least. So who wants to be forgotten needs tens of thousands of
//!   connections, addresses or users that each owe more than he does
//! # Why not …  a table for each loop: connections of one address come to all of them, and whoever had more loops had more.
//!   The locks are held for a look, by nobody who sends events, and are not there for servers without such bounds

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arcstr::ArcStr;

use super::rates::Toll;
use crate::words::address::counted;
use crate::words::rate::{Bucket, Rate};

/// Who pays.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Payer(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Connection { loop_index: usize, token: u64 },
    Address(IpAddr),
    User(ArcStr),
}

impl Payer {
    /// The connection that `token` names on a loop.
    #[must_use]
    pub fn connection(loop_index: usize, token: u64) -> Payer {
        Payer(Kind::Connection { loop_index, token })
    }

    /// Everybody at this address.
    #[must_use]
    pub fn address(address: IpAddr) -> Payer {
        Payer(Kind::Address(counted(address)))
    }

    /// The user of this name.
    #[must_use]
    pub fn user(name: ArcStr) -> Payer {
        Payer(Kind::User(name))
    }
}

/// Somebody has done something too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOften {
    /// After this time he may do it once more, in milliseconds.
    pub wait_ms: u64,
}

/// Payers that owe something, and what.
#[derive(Clone, Debug, Default)]
pub struct Meters(Arc<Shards>);

/// Payers that are remembered, at about 100 bytes each.
pub const METERED_MAX: usize = 65_536;

/// The table is in so many parts, each with a lock of its own, so that loops seldom meet.
const SHARDS: usize = 16;

#[derive(Debug, Default)]
struct Shards {
    hasher: foldhash::quality::RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard(HashMap<Payer, Usage, foldhash::quality::RandomState>);

/// What one payer has used of each of its rates.
#[derive(Debug, Default)]
struct Usage([Bucket; 3]);

impl Usage {
    /// Until when something is owed, in microseconds of the clock.
    fn settled_us(&self) -> u64 {
        self.0.iter().map(Bucket::settled_us).max().unwrap_or_default()
    }
}

impl Meters {
    /// `payer` does something at `now_ms`, in milliseconds of a clock that never jumps and is the same for all.
    ///
    /// # Errors
    /// [`TooOften`] if it may not; then nothing is counted.
    pub fn charge(&self, payer: Payer, toll: Toll, rate: Rate, now_ms: u64) -> Result<(), TooOften> {
        let mut shard = self.shard(&payer);
        let bucket = shard.bucket(payer, toll, now_ms);
        if bucket.take(rate, now_ms) {
            Ok(())
        } else {
            Err(TooOften { wait_ms: bucket.wait_ms(rate, now_ms) })
        }
    }

    /// `payer` has done something `count` times more at `now_ms`, whether it might or not.
    pub fn add(&self, payer: Payer, toll: Toll, rate: Rate, now_ms: u64, count: u32) {
        self.shard(&payer).bucket(payer, toll, now_ms).take_many(rate, now_ms, count);
    }

    /// What `payer` was charged once has not happened after all.
    pub fn give_back(&self, payer: &Payer, toll: Toll, rate: Rate) {
        if let Some(usage) = self.shard(payer).0.get_mut(payer) {
            usage.0[toll as usize].give_back(rate);
        }
    }

    fn shard(&self, payer: &Payer) -> MutexGuard<'_, Shard> {
        let at = self.0.hasher.hash_one(payer) as usize % SHARDS;
        self.0.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn bucket(&mut self, payer: Payer, toll: Toll, now_ms: u64) -> &mut Bucket {
        if SHARD_MAX <= self.0.len() && !self.0.contains_key(&payer) {
            self.make_room(now_ms);
        }
        &mut self.0.entry(payer).or_default().0[toll as usize]
    }

    fn make_room(&mut self, now_ms: u64) {
        self.0.retain(|_, usage| now_ms.saturating_mul(1000) < usage.settled_us());
        let room = SHARD_MAX / 4;
        if SHARD_MAX - room < self.0.len() {
            let mut owed: Vec<u64> = self.0.values().map(Usage::settled_us).collect();
            let (_, least, _) = owed.select_nth_unstable(room);
            let least = *least;
            self.0.retain(|_, usage| least < usage.settled_us());
        }
    }
}

/// Payers in one part of the table.
const SHARD_MAX: usize = METERED_MAX / SHARDS;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> Payer {
        Payer::address(IpAddr::from(number.to_be_bytes()))
    }

    fn payers(meters: &Meters) -> usize {
        meters.0.shards.iter().map(|shard| shard.lock().unwrap().0.len()).sum()
    }

    #[test]
    fn each_payer_has_a_rate_of_its_own_for_each_toll() {
        let (meters, rate) = (Meters::default(), "10/2".parse().unwrap());
        let check = |payer: &Payer, toll: Toll, now_ms: u64, expected: Result<(), u64>| {
            let outcome =
                meters.charge(payer.clone(), toll, rate, now_ms).map_err(|TooOften { wait_ms }| wait_ms);
            assert_eq!(outcome, expected, "{payer:?} {toll:?} {now_ms}");
        };
        let user = Payer::user("alice".into());
        for payer in [&user, &address(1), &Payer::connection(0, 1), &Payer::connection(1, 1)] {
            for toll in [Toll::Command, Toll::Publish, Toll::Connect] {
                check(payer, toll, 1000, Ok(()));
                check(payer, toll, 1000, Ok(()));
                check(payer, toll, 1000, Err(100));
            }
        }
        check(&user, Toll::Publish, 1099, Err(1));
        check(&user, Toll::Publish, 1100, Ok(()));
        check(&user, Toll::Publish, 1100, Err(100));
        meters.add(user.clone(), Toll::Publish, rate, 1100, 100);
        check(&user, Toll::Publish, 1100, Err(10_100));
        check(&user, Toll::Publish, 11_200, Ok(()));
    }

    #[test]
    fn a_network_pays_together_however_an_address_is_written() {
        let (meters, rate) = (Meters::default(), "1/1".parse().unwrap());
        let check = |text: &str, expected: bool| {
            let payer = Payer::address(text.parse().unwrap());
            assert_eq!(meters.charge(payer, Toll::Connect, rate, 1000).is_ok(), expected, "{text}");
        };
        check("2001:db8::1", true);
        check("2001:db8::2", false);
        check("2001:db8:0:1::1", true);
        check("192.0.2.1", true);
        check("::ffff:192.0.2.1", false);
    }

    #[test]
    fn the_table_is_bounded_and_who_owes_most_stays() {
        let (meters, rate) = (Meters::default(), "10/10".parse().unwrap());
        let debtors = 1000;
        for number in 0..debtors {
            (0..10).for_each(|_| meters.charge(address(number), Toll::Publish, rate, 1000).unwrap());
        }
        let crowd = METERED_MAX as u32 * 3;
        for number in debtors..debtors + crowd {
            assert!(meters.charge(address(number), Toll::Publish, rate, 1000).is_ok());
        }
        assert!(payers(&meters) <= METERED_MAX, "{}", payers(&meters));
        for number in 0..debtors {
            assert!(
                meters.charge(address(number), Toll::Publish, rate, 1000).is_err(),
                "{number} is forgotten"
            );
        }
    }

    #[test]
    fn who_owes_nothing_any_more_leaves_first() {
        let (meters, rate) = (Meters::default(), "10/10".parse().unwrap());
        for number in 0..METERED_MAX as u32 * 2 {
            meters.charge(address(number), Toll::Command, rate, 1000).unwrap();
        }
        let late: Vec<u32> = (0..100).map(|at| u32::MAX - at).collect();
        for number in &late {
            meters.charge(address(*number), Toll::Command, "1/1".parse().unwrap(), 2000).unwrap();
        }
        for number in 0..METERED_MAX as u32 * 2 {
            meters.charge(address(number), Toll::Command, rate, 2000).unwrap();
        }
        let is_held = |number: &u32| {
            meters.charge(address(*number), Toll::Command, "1/1".parse().unwrap(), 2000).is_err()
        };
        assert!(late.iter().all(is_held));
    }
}
