//! How often something may happen: so many times a second, and more at once after a pause.

use std::fmt;
use std::num::NonZero;
use std::str::FromStr;

/// A bound on how often something may happen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many times a second in the long run, at most a million.
    per_second: NonZero<u32>,
    /// So many at once after a pause, at most a million.
    burst: NonZero<u32>,
}

/// Why a text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate is a number a second, or 'number/burst', each from 1 to 1000000")]
pub struct RateError;

impl Rate {
    /// So many a second, and so many at once.
    ///
    /// # Errors
    /// When either is 0 or more than a million.
    pub const fn new(per_second: u32, burst: u32) -> Result<Rate, RateError> {
        match (NonZero::new(per_second), NonZero::new(burst)) {
            (Some(per_second), Some(burst)) if per_second.get() <= MOST && burst.get() <= MOST => {
                Ok(Rate { per_second, burst })
            }
            _ => Err(RateError),
        }
    }

    /// As a number, which is not 0.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        u64::from(self.per_second.get()) << 32 | u64::from(self.burst.get())
    }

    /// The rate of this number; nothing if it is that of none.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Rate> {
        Rate::new((bits >> 32) as u32, bits as u32).ok()
    }

    /// The time that one of them takes, in microseconds.
    fn interval_us(self) -> u64 {
        SECOND_US / u64::from(self.per_second.get())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.per_second, self.burst)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Rate {
    type Err = RateError;

    /// `10` is ten a second and twenty at once, `10/50` fifty at once.
    fn from_str(text: &str) -> Result<Rate, RateError> {
        let number = |text: &str| text.parse::<u32>().map_err(|_| RateError);
        match text.split_once('/') {
            Some((per_second, burst)) => Rate::new(number(per_second)?, number(burst)?),
            None => {
                let per_second = number(text)?;
                Rate::new(per_second, per_second.saturating_mul(2).min(MOST))
            }
        }
    }
}

/// How much of a [`Rate`] somebody has used; nothing at first, and nothing of a rate that is another than before.
///
/// Invariant: at `settled_us`, in microseconds of the loop's clock, all that was taken is paid for by the time that has
/// passed; a burst is how far ahead of the clock that may lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    settled_us: u64,
    /// Of which it was taken. What is much of one rate may be little of another: whoever kept to the old one must not be
    /// held against the new.
    rate: Option<Rate>,
}

impl Bucket {
    /// How many may happen at `now_ms`, in milliseconds of a clock that never jumps.
    #[must_use]
    pub fn left(&self, rate: Rate, now_ms: u64) -> u32 {
        let most = u64::from(rate.burst.get());
        // One that is paid for in part is not there yet.
        most.saturating_sub(self.ahead_us(rate, now_ms).div_ceil(rate.interval_us())) as u32
    }

    /// One happens at `now_ms`; returns whether it may. If not, nothing is taken.
    #[must_use]
    pub fn take(&mut self, rate: Rate, now_ms: u64) -> bool {
        let may = 0 < self.left(rate, now_ms);
        if may {
            self.take_many(rate, now_ms, 1);
        }
        may
    }

    /// How long until one may, in milliseconds from `now_ms`; 0 if it may now.
    #[must_use]
    pub fn wait_ms(&self, rate: Rate, now_ms: u64) -> u64 {
        let may_lie_ahead_us = rate.interval_us() * u64::from(rate.burst.get() - 1);
        self.ahead_us(rate, now_ms).saturating_sub(may_lie_ahead_us).div_ceil(1000)
    }

    /// When all that was taken is paid for, in microseconds of the clock.
    #[must_use]
    pub fn settled_us(&self) -> u64 {
        self.settled_us
    }

    /// `count` have happened at `now_ms`, of those that were left.
    pub fn take_many(&mut self, rate: Rate, now_ms: u64, count: u32) {
        let from_us = now_ms.saturating_mul(1000).saturating_add(self.ahead_us(rate, now_ms));
        self.settled_us = from_us.saturating_add(rate.interval_us() * u64::from(count));
        self.rate = Some(rate);
    }

    /// One that was taken has not happened after all.
    pub fn give_back(&mut self, rate: Rate) {
        if self.rate == Some(rate) {
            self.settled_us = self.settled_us.saturating_sub(rate.interval_us());
        }
    }

    /// How much time it takes from `now_ms` on to pay for all that was taken of `rate`, in microseconds.
    fn ahead_us(&self, rate: Rate, now_ms: u64) -> u64 {
        let is_of_another = self.rate.is_some_and(|of| of != rate);
        if is_of_another { 0 } else { self.settled_us.saturating_sub(now_ms.saturating_mul(1000)) }
    }
}

/// Microseconds of a second.
const SECOND_US: u64 = 1_000_000;

/// The most that a rate may be: one a microsecond.
const MOST: u32 = SECOND_US as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(text.parse::<Rate>().ok().map(|rate| rate.to_string()).as_deref(), expected, "{text}");
        };
        check("10", Some("10/20"));
        check("10/50", Some("10/50"));
        check("1/1", Some("1/1"));
        check("1000000", Some("1000000/1000000"));
        for bad in
            ["", "0", "0/5", "5/0", "-1", "1.5", "1/", "/1", "1/2/3", "1000001", "1/1000001", "4294967296"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn a_burst_is_free_and_then_it_is_so_many_a_second() {
        let rate: Rate = "10/20".parse().unwrap();
        let mut bucket = Bucket::default();
        let mut now_ms = 1000;
        assert_eq!(bucket.left(rate, now_ms), 20);
        assert!((0..20).all(|_| bucket.take(rate, now_ms)));
        assert_eq!((bucket.take(rate, now_ms), bucket.left(rate, now_ms)), (false, 0));
        assert_eq!(bucket.wait_ms(rate, now_ms), 100);
        assert!(!bucket.take(rate, now_ms + 99) && bucket.left(rate, now_ms + 100) == 1);
        assert_eq!(Bucket::default().wait_ms(rate, now_ms), 0);
        let mut taken = 0;
        for _ in 0..1000 {
            now_ms += 10;
            taken += u32::from(bucket.take(rate, now_ms));
        }
        assert_eq!(taken, 100, "ten seconds");
        assert_eq!(bucket.left(rate, now_ms + 99), 0);
        assert_eq!(bucket.left(rate, now_ms + 1000), 10);
        assert_eq!(bucket.left(rate, now_ms + 3_600_000), 20, "a pause gives no more than a burst");
    }

    #[test]
    fn who_kept_to_one_rate_has_used_nothing_of_another() {
        let check = |old: &str, new: &str, used: u32, expected: u32| {
            let [old, new]: [Rate; 2] = [old, new].map(|rate| rate.parse().unwrap());
            let mut bucket = Bucket::default();
            bucket.take_many(old, 1000, used);
            assert_eq!((bucket.left(new, 1000), bucket.wait_ms(new, 1000)), (expected, 0), "{old} to {new}");
            let mut same = bucket;
            same.give_back(new);
            assert_eq!(same, bucket, "{new} was not taken");
            assert!(bucket.take(new, 1000));
            assert_eq!(bucket.left(new, 1000), expected - 1, "{new}");
            bucket.give_back(new);
            assert_eq!(bucket.left(new, 1000), expected, "{new}");
        };
        check("10/20", "100/100", 15, 100);
        check("10/200", "100/200", 200, 200);
        check("1/600", "100/200", 600, 200);
        check("1000/1000", "1/1", 500, 1);
    }

    #[test]
    fn fast_rates_are_exact_though_the_clock_is_coarse() {
        let rate: Rate = "100000/1000".parse().unwrap();
        let mut bucket = Bucket::default();
        let mut taken = 0;
        for now_ms in 1000..2000 {
            let left = bucket.left(rate, now_ms);
            bucket.take_many(rate, now_ms, left);
            taken += left;
        }
        assert_eq!(taken, 1000 + 999 * 100);
    }
}
