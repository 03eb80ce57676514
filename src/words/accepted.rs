//! When an event was accepted, and of which namespace it is, in one word: what every event carries for those who measure.

/// The moment at which an event was accepted, and the number of its namespace.
///
/// Two that are equal can be counted together, so a run of events that came in together costs who counts them as much as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted(u64);

impl Accepted {
    /// The time takes the low bits: two years of nanoseconds, after which it begins anew.
    const TIME_BITS: u32 = 56;
    const TIME_MASK: u64 = (1 << Accepted::TIME_BITS) - 1;

    /// `at_ns`: nanoseconds of the clock that never jumps. `namespace`: its number.
    #[must_use]
    pub fn new(at_ns: u64, namespace: u8) -> Accepted {
        Accepted(u64::from(namespace) << Accepted::TIME_BITS | at_ns & Accepted::TIME_MASK)
    }

    /// The number of its namespace.
    #[must_use]
    pub fn namespace(self) -> u8 {
        (self.0 >> Accepted::TIME_BITS) as u8
    }

    /// How long ago it was at `now_ns`, in nanoseconds: up to a year; 0 if it was later, since threads do not read their
    /// clocks at one moment.
    #[must_use]
    pub fn age_ns(self, now_ns: u64) -> u64 {
        let age_ns = now_ns.wrapping_sub(self.0) & Accepted::TIME_MASK;
        if age_ns <= Accepted::TIME_MASK / 2 { age_ns } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_what_has_passed_since_whatever_the_clock_counts_to() {
        let check = |at_ns: u64, now_ns: u64, expected: u64| {
            let accepted = Accepted::new(at_ns, 255);
            assert_eq!(
                (accepted.age_ns(now_ns), accepted.namespace()),
                (expected, 255),
                "{at_ns} at {now_ns}"
            );
        };
        check(0, 0, 0);
        check(1000, 4000, 3000);
        check(4000, 1000, 0);
        check((1 << 56) - 1, (1 << 56) + 9, 10);
        check(3 << 56, (3 << 56) + 7, 7);
        check(5, 5 + 365 * 86_400 * 1_000_000_000, 365 * 86_400 * 1_000_000_000);
    }
}
