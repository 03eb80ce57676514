//! Medians, and how far they can be trusted: bootstrap intervals.
//!
//! # Contract       the same seed and values make the same interval
//! # Why not …      a normal approximation: ratios of times on a shared machine have long tails

use serde::{Deserialize, Serialize};

use crate::histogram::Latency;
use crate::payload::scatter;

/// A median with its spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// The median, or what the pooled runs say.
    pub(crate) middle: f64,
    /// The lower end of the 95 % interval.
    pub(crate) low: f64,
    /// The upper end.
    pub(crate) high: f64,
    /// The least value.
    pub(crate) min: f64,
    /// The greatest value.
    pub(crate) max: f64,
}

/// The median of `values`; `None` if there are none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The median of `values` with its interval; `None` if there are none.
pub(crate) fn spread(values: &[f64], seed: u64) -> Option<Spread> {
    let middle = median(values)?;
    let of_sample = |sample: &[usize]| median(&sample.iter().map(|at| values[*at]).collect::<Vec<_>>());
    Some(interval(middle, values, SAMPLES, seed, of_sample))
}

/// The ratio of the `quantile` of two sides' pooled latencies with its interval, resampled by pairs; `None` if a side has
/// recorded nothing in one of its runs.
pub(crate) fn pooled_ratio(pairs: &[(&Latency, &Latency)], quantile: f64, seed: u64) -> Option<Spread> {
    let all: Vec<usize> = (0..pairs.len()).collect();
    let ratio = |sample: &[usize]| {
        let side = |latencies: &mut dyn Iterator<Item = &Latency>| {
            let mut sum = Latency::new();
            latencies.for_each(|latency| sum.merge(latency));
            sum.quantile_ns(quantile) as f64
        };
        let a = side(&mut sample.iter().map(|at| pairs[*at].0));
        let b = side(&mut sample.iter().map(|at| pairs[*at].1));
        (0.0 < a && 0.0 < b).then(|| a / b)
    };
    let each: Option<Vec<f64>> = all.iter().map(|at| ratio(&[*at])).collect();
    Some(interval(ratio(&all)?, &each?, POOLED_SAMPLES, seed, ratio))
}

/// The quantile of one side's pooled latencies, in milliseconds; `None` if there are none.
pub(crate) fn pooled_ms(latencies: &[&Latency], quantile: f64) -> Option<f64> {
    let mut sum = Latency::new();
    latencies.iter().for_each(|latency| sum.merge(latency));
    (0 < sum.count()).then(|| sum.quantile_ns(quantile) as f64 / 1e6)
}

/// The interval of a statistic around `middle`, of as many values as `each` has.
fn interval(
    middle: f64,
    each: &[f64],
    samples: u64,
    seed: u64,
    statistic: impl Fn(&[usize]) -> Option<f64>,
) -> Spread {
    let length = each.len();
    let mut results = Vec::new();
    let mut sample = vec![0; length];
    for number in 0..samples {
        for (place, at) in sample.iter_mut().enumerate() {
            let random = scatter(seed ^ scatter(number * length as u64 + place as u64));
            *at = (random % length as u64) as usize;
        }
        results.extend(statistic(&sample));
    }
    results.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (share * results.len() as f64) as usize;
        results.get(place.min(results.len().saturating_sub(1))).copied().unwrap_or(middle)
    };
    let fold = |choose: fn(f64, f64) -> f64| each.iter().copied().reduce(choose).unwrap_or(middle);
    Spread { middle, low: at(0.025), high: at(0.975), min: fold(f64::min), max: fold(f64::max) }
}

const SAMPLES: u64 = 4_000;
/// Each puts all histograms together anew.
const POOLED_SAMPLES: u64 = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[5.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn an_interval_is_repeatable_holds_the_median_and_narrows_with_more_values() {
        let values =
            |count: u64| -> Vec<f64> { (0..count).map(|at| (scatter(at) % 1_000) as f64 / 1e3).collect() };
        let few = spread(&values(9), 7).expect("values");
        let many = spread(&values(400), 7).expect("values");
        for got in [few, many] {
            assert!(got.min <= got.low && got.low <= got.middle, "{got:?}");
            assert!(got.middle <= got.high && got.high <= got.max, "{got:?}");
        }
        assert!(many.high - many.low < (few.high - few.low) / 2.0, "{few:?} {many:?}");
        assert!(many.low <= 0.5 && 0.5 <= many.high, "{many:?}");
        assert_eq!(spread(&values(9), 7), Some(few));
        assert_ne!(spread(&values(400), 8), Some(many));
    }

    #[test]
    fn one_value_is_its_own_interval_and_none_has_none() {
        let one = Spread { middle: 2.0, low: 2.0, high: 2.0, min: 2.0, max: 2.0 };
        assert_eq!(spread(&[2.0], 1), Some(one));
        assert_eq!(spread(&[], 1), None);
    }

    #[test]
    fn a_pooled_quantile_is_that_of_all_runs_together() {
        let latency = |from_ms: u64, to_ms: u64| {
            let mut latency = Latency::new();
            (from_ms..to_ms).for_each(|ms| latency.record(ms * 1_000_000));
            latency
        };
        let (a, b) = ([latency(0, 100), latency(100, 200)], [latency(0, 50), latency(50, 100)]);
        let pairs: Vec<_> = a.iter().zip(&b).collect();
        let got = pooled_ratio(&pairs, 0.99, 1).expect("latencies");
        assert!((got.middle - 2.0).abs() < 0.05, "{got:?}");
        assert!(got.low <= got.middle && got.middle <= got.high, "{got:?}");
        assert_eq!(pooled_ratio(&[(&a[0], &Latency::new())], 0.99, 1), None);
        let p50 = pooled_ms(&[&a[0], &a[1]], 0.5).expect("latencies");
        assert!((p50 - 99.0).abs() < 1.5, "{p50}");
    }
}
