//! Unix time as RFC 3339 text, in UTC.

/// Digits after the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fraction {
    /// Three.
    Millis,
    /// Nine, of which the last six are zero: the clock of the log counts milliseconds.
    Nanos,
}

/// Appends the time `unix_ms` milliseconds after 1970 began. What lies after the year 9999, which the format cannot
/// say, becomes its last millisecond.
pub fn push_rfc3339(out: &mut Vec<u8>, unix_ms: u64, fraction: Fraction) {
    let unix_ms = unix_ms.min(LAST_MS);
    let (days, day_ms) = (unix_ms / DAY_MS, unix_ms % DAY_MS);
    let (year, month, day) = date_of(days);
    let seconds = day_ms / 1000;
    push_digits(out, year, 4);
    for (mark, number) in
        [(b'-', month), (b'-', day), (b'T', seconds / 3600), (b':', seconds / 60 % 60), (b':', seconds % 60)]
    {
        out.push(mark);
        push_digits(out, number, 2);
    }
    out.push(b'.');
    push_digits(out, day_ms % 1000, 3);
    out.extend_from_slice(match fraction {
        Fraction::Millis => b"Z",
        Fraction::Nanos => b"000000Z",
    });
}

/// Year, month and day of month `days` after the first day of 1970.
fn date_of(days: u64) -> (u64, u64, u64) {
    // The mean length of a year gives the year or its neighbour.
    let mut year = 1970 + days * 400 / DAYS_IN_400_YEARS;
    while days < days_before(year) {
        year -= 1;
    }
    while days_before(year + 1) <= days {
        year += 1;
    }
    let mut left = days - days_before(year);
    let february = 28 + u64::from(days_before(year + 1) - days_before(year) == 366);
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

/// Days from the first day of 1970 to that of `year`, which is no earlier.
fn days_before(year: u64) -> u64 {
    let leap_years_until = |year: u64| year / 4 - year / 100 + year / 400;
    365 * (year - 1970) + leap_years_until(year - 1) - leap_years_until(1969)
}

/// Appends the last `count` decimal digits of `number`.
fn push_digits(out: &mut Vec<u8>, number: u64, count: u32) {
    out.extend((0..count).rev().map(|place| b'0' + (number / 10_u64.pow(place) % 10) as u8));
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const DAYS_IN_400_YEARS: u64 = 146_097;

/// 9999-12-31T23:59:59.999Z.
const LAST_MS: u64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(unix_ms: u64, fraction: Fraction) -> String {
        let mut out = Vec::new();
        push_rfc3339(&mut out, unix_ms, fraction);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn moments_and_their_texts() {
        let check = |unix_ms, expected: &str| assert_eq!(text(unix_ms, Fraction::Millis), expected);
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_399_999, "2000-02-28T23:59:59.999Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_795_316_060_123, "2026-11-22T02:54:20.123Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
        check(LAST_MS, "9999-12-31T23:59:59.999Z");
        check(LAST_MS + 1, "9999-12-31T23:59:59.999Z");
        check(u64::MAX, "9999-12-31T23:59:59.999Z");
        assert_eq!(text(1_795_316_060_123, Fraction::Nanos), "2026-11-22T02:54:20.123000000Z");
    }

    proptest! {
        #[test]
        fn every_moment_is_written_as_another_library_writes_it(unix_ms in 0..=LAST_MS) {
            let moment = jiff::Timestamp::from_millisecond(unix_ms as i64).unwrap();
            prop_assert_eq!(text(unix_ms, Fraction::Millis), format!("{moment:.3}"));
            prop_assert_eq!(text(unix_ms, Fraction::Nanos), format!("{moment:.9}"));
        }

        #[test]
        fn every_day_has_its_date(days in 0..=LAST_MS / DAY_MS) {
            let moment = jiff::Timestamp::from_millisecond((days * DAY_MS) as i64).unwrap();
            prop_assert_eq!(text(days * DAY_MS, Fraction::Millis), format!("{moment:.3}"));
        }
    }
}
