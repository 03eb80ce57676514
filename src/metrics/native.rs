//! A histogram as Prometheus keeps its native ones: buckets whose bounds are powers of one number, of which only those that have
//! something are told.
//!
//! # Precision   eight buckets for each power of two, so a value is known to 1 part in 11. Our own buckets are at most a third as wide
//!   and go whole into the one that their largest value is in: what was counted in one bucket stays there

use super::seconds;
use crate::latency::Counts;

/// The resolution: a bucket's upper bound is 2^(1 / 2^`SCHEMA`) times its lower one.
pub(super) const SCHEMA: i32 = 3;

/// What is no longer than this counts as nothing, in nanoseconds: the first of our own buckets.
pub(super) const ZERO_NS: u64 = 31;

/// The buckets of one histogram.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Native {
    /// Values that count as nothing.
    pub(super) zero_count: u64,
    /// Runs of buckets that have something.
    pub(super) spans: Vec<Span>,
    /// What the first of them has, then by how much each has more than the one before.
    pub(super) deltas: Vec<i64>,
}

/// Buckets side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The number of the first, for the first span; else buckets left out since the last span.
    pub(super) offset: i32,
    /// How many.
    pub(super) length: u32,
}

impl Native {
    /// The same, in other buckets.
    pub(super) fn new(counts: &Counts) -> Native {
        let mut native = Native::default();
        // The last bucket, and what it has.
        let mut last: Option<(i32, i64)> = None;
        let mut before = 0;
        for bucket in counts.buckets() {
            let count = bucket.count as i64;
            if bucket.high_ns <= ZERO_NS {
                native.zero_count += bucket.count;
                continue;
            }
            let place = place_of(bucket.high_ns);
            match &mut last {
                Some((known, so_far)) if *known == place => {
                    *so_far += count;
                    if let Some(delta) = native.deltas.last_mut() {
                        *delta += count;
                    }
                    continue;
                }
                Some((known, so_far)) => {
                    let left_out = place - *known - 1;
                    before = *so_far;
                    match native.spans.last_mut() {
                        Some(span) if left_out == 0 => span.length += 1,
                        _ => native.spans.push(Span { offset: left_out, length: 1 }),
                    }
                }
                None => native.spans.push(Span { offset: place, length: 1 }),
            }
            native.deltas.push(count - before);
            last = Some((place, count));
        }
        native
    }
}

/// The number of the bucket that a time belongs to: the smallest whose upper bound, 2^(number / 2^[`SCHEMA`]) seconds, is no less.
fn place_of(ns: u64) -> i32 {
    (seconds(ns).log2() * f64::from(1 << SCHEMA)).ceil() as i32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::latency::Histogram;

    fn counts_of(values: &[u64]) -> Counts {
        let histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record(*value, 1));
        histogram.counts()
    }

    /// Each bucket's number with what it has.
    fn buckets(native: &Native) -> Vec<(i32, i64)> {
        let (mut place, mut count, mut deltas) = (0, 0, native.deltas.iter());
        let mut all = Vec::new();
        for span in &native.spans {
            place += span.offset;
            for _ in 0..span.length {
                count += deltas.next().expect("as many as the spans say");
                all.push((place, count));
                place += 1;
            }
        }
        assert_eq!(deltas.next(), None);
        all
    }

    #[test]
    fn a_few_values_by_hand() {
        assert_eq!(Native::new(&Counts::default()), Native::default());
        // 2^-10 s is 977 µs, and the bucket above that ends at 1.065 ms. 2 ms belongs eight further.
        let native = Native::new(&counts_of(&[10, 1_000_000, 1_030_000, 2_000_000, 2_000_000, 2_000_000]));
        assert_eq!(native.zero_count, 1);
        assert_eq!(native.spans, [Span { offset: -79, length: 1 }, Span { offset: 7, length: 1 }]);
        assert_eq!(native.deltas, [2, 1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_value_is_in_a_bucket_whose_bounds_it_is_about(
            values in proptest::collection::vec((0_u32..39, any::<u64>()), 0..200),
        ) {
            let values: Vec<u64> = values.into_iter().map(|(bits, value)| value & ((1 << bits) - 1)).collect();
            let native = Native::new(&counts_of(&values));
            let all = buckets(&native);
            prop_assert!(all.is_sorted_by(|low, high| low.0 < high.0));
            prop_assert!(all.iter().all(|(_, count)| 0 < *count));
            let told: i64 = all.iter().map(|(_, count)| *count).sum();
            prop_assert_eq!(told as u64 + native.zero_count, values.len() as u64);
            let zeros = values.iter().filter(|value| **value <= ZERO_NS).count();
            prop_assert_eq!(zeros as u64, native.zero_count);
            for (place, _) in all {
                let bound = |place: i32| (f64::from(place) / 8.0).exp2() * 1e9;
                // Never told smaller than it is, and larger by our own bucket's width at most.
                let (low, high) = (bound(place - 1), bound(place) * (1.0 + 1e-9));
                let is_its = |value: &&u64| {
                    let value = **value as f64;
                    low - (low / 32.0).max(32.0) <= value && value <= high
                };
                prop_assert!(values.iter().any(|value| is_its(&value)), "nothing belongs to bucket {place}");
            }
        }
    }
}
