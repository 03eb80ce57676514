//! A part of all: `5%` or a number; and what is asked of such a part.

use std::str::FromStr;

use super::size::parse_bytes;
use crate::options::Interval;

/// A part of all subscribers or events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Share {
    /// Of 1.
    Part(f64),
    /// So many.
    Number(u32),
}

impl Share {
    /// How many of `all` it is.
    pub(crate) fn of(self, all: u32) -> u32 {
        match self {
            Share::Part(part) => (f64::from(all) * part).round() as u32,
            Share::Number(number) => number,
        }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let wrong = || format!("{text:?} is neither a share such as 5% nor a number");
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
                percent.map(|percent| Share::Part(percent / 100.0)).ok_or_else(wrong)
            }
            None => text.parse().map(Share::Number).map_err(|_| wrong()),
        }
    }
}

/// Which subscribers read slowly: `100`, `5%`, `5%:10KB/s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slow {
    /// How many they are.
    pub(crate) share: Share,
    /// Bytes that each of them reads per second; nothing is read unless given.
    pub(crate) bytes_per_s: Option<u64>,
}

impl FromStr for Slow {
    type Err = String;

    fn from_str(text: &str) -> Result<Slow, String> {
        let (share, speed) = text.split_once(':').map_or((text, None), |(share, speed)| (share, Some(speed)));
        let wrong = |speed: &str| format!("{speed:?} is no speed such as 10KB/s");
        let bytes_per_s = match speed {
            None => None,
            Some(speed) => {
                let bytes = parse_bytes(speed.strip_suffix("/s").unwrap_or(speed));
                Some(bytes.filter(|bytes| 0 < *bytes).ok_or_else(|| wrong(speed))? as u64)
            }
        };
        Ok(Slow { share: share.parse()?, bytes_per_s })
    }
}

/// Subscribers that are cut off all at once and come back: `storm:50%@15s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Storm {
    /// How many they are.
    pub(crate) share: Share,
    /// When, after the start of the measured part.
    pub(crate) after_ns: u64,
}

impl FromStr for Storm {
    type Err = String;

    fn from_str(text: &str) -> Result<Storm, String> {
        let wrong = || format!("{text:?} is no storm such as storm:50%@15s");
        let (share, after) =
            text.strip_prefix("storm:").and_then(|rest| rest.split_once('@')).ok_or_else(wrong)?;
        let after: Interval = after.parse().map_err(|error| format!("{}: {error}", wrong()))?;
        Ok(Storm { share: share.parse()?, after_ns: after.ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_all_and_numbers_are_themselves() {
        let check = |text: &str, all: u32, expected: Option<u32>| {
            assert_eq!(text.parse::<Share>().ok().map(|share| share.of(all)), expected, "{text}");
        };
        check("5%", 1_000, Some(50));
        check("0.1%", 1_000, Some(1));
        check("100%", 7, Some(7));
        check("12", 7, Some(12));
        for wrong in ["", "%", "101%", "-1", "a%", "NaN%"] {
            check(wrong, 1, None);
        }
    }

    #[test]
    fn slow_readers_may_have_a_speed_and_a_storm_has_a_time() {
        let slow = |share, bytes_per_s| Some(Slow { share, bytes_per_s });
        let check = |text: &str, expected: Option<Slow>| assert_eq!(text.parse().ok(), expected, "{text}");
        check("100", slow(Share::Number(100), None));
        check("5%", slow(Share::Part(0.05), None));
        check("5%:10KB/s", slow(Share::Part(0.05), Some(10_000)));
        check("3:64KiB", slow(Share::Number(3), Some(65_536)));
        for wrong in ["5%:", "5%:0", "5%:fast", ":10KB/s"] {
            check(wrong, None);
        }
        let storm: Storm = "storm:50%@15s".parse().expect("a storm");
        assert_eq!((storm.share.of(9), storm.after_ns), (5, 15_000_000_000));
        for wrong in ["50%@15s", "storm:50%", "storm:@1s", "storm:5@soon"] {
            assert!(wrong.parse::<Storm>().is_err(), "{wrong}");
        }
    }
}
