//! Channels that are busier than others.

use std::str::FromStr;

/// How much busier: the channel of rank n has events in proportion to 1/n to the power of the exponent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Skew {
    /// 0 is no skew at all.
    pub(crate) exponent: f64,
}

impl FromStr for Skew {
    type Err = String;

    fn from_str(text: &str) -> Result<Skew, String> {
        let exponent = text.strip_prefix("zipf:").and_then(|exponent| exponent.parse::<f64>().ok());
        exponent
            .filter(|exponent| (0.0..=EXPONENT_MAX).contains(exponent))
            .map(|exponent| Skew { exponent })
            .ok_or_else(|| format!("must be zipf:S, S being from 0 to {EXPONENT_MAX}, such as zipf:1.1"))
    }
}

/// The channels' shares, added up.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    /// What all channels up to this one have of 1.
    upto: Vec<f64>,
}

impl Shares {
    /// Those of so many channels.
    pub(crate) fn new(skew: Skew, channels: u32) -> Shares {
        let weights = (1..=channels).map(|rank| f64::from(rank).powf(-skew.exponent));
        let mut sum = 0.0;
        let mut upto: Vec<f64> = weights
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        upto.iter_mut().for_each(|share| *share /= sum);
        Shares { upto }
    }

    /// The channel in whose share `part` lies, which is above 0 and at most 1.
    pub(crate) fn channel_at(&self, part: f64) -> usize {
        self.upto.partition_point(|share| *share < part).min(self.upto.len() - 1)
    }
}

const EXPONENT_MAX: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::chance::{self, Use};

    #[test]
    fn channels_have_their_share() {
        let check = |text: &str, expected: [f64; 4]| {
            let shares = Shares::new(text.parse().expect("a skew"), 4);
            let mut counts = [0; 4];
            for index in 0..100_000 {
                counts[shares.channel_at(chance::uniform(42, Use::Channel, 0, index))] += 1;
            }
            for (count, share) in counts.into_iter().zip(expected) {
                let got = f64::from(count) / 100_000.0;
                assert!((got - share).abs() < 0.006, "{text}: {counts:?}");
            }
        };
        check("zipf:0", [0.25; 4]);
        check("zipf:1", [0.48, 0.24, 0.16, 0.12]);
        check("zipf:2", [0.7024, 0.1756, 0.078, 0.0439]);
    }

    #[test]
    fn every_part_lies_in_some_channel() {
        let shares = Shares::new(Skew { exponent: 1.1 }, 3);
        assert_eq!((shares.channel_at(f64::MIN_POSITIVE), shares.channel_at(1.0)), (0, 2));
        for wrong in ["", "zipf", "zipf:-1", "zipf:x", "pareto:1", "zipf:11"] {
            assert!(wrong.parse::<Skew>().is_err(), "{wrong}");
        }
    }
}
