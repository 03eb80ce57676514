//! What a histogram has counted, as plain numbers: to be merged, compared with what was earlier, and asked.

use super::histogram::{BUCKETS, range_of};

/// Counts of values, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By bucket, up to the last that is not empty.
    buckets: Vec<u64>,
    count: u64,
    sum_ns: u64,
    /// The largest value, as far as it is known: that of a time since something may be the largest of its bucket.
    max_ns: u64,
}

/// A bucket that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The smallest value that would be counted in it, in nanoseconds.
    pub low_ns: u64,
    /// The largest.
    pub high_ns: u64,
    /// Values in it; at least 1.
    pub count: u64,
}

impl Counts {
    /// So many in each bucket, of values with this sum and largest.
    pub(super) fn of(buckets: impl Iterator<Item = u64>, sum_ns: u64, max_ns: u64) -> Counts {
        let mut counts = Counts { buckets: buckets.collect(), count: 0, sum_ns, max_ns };
        debug_assert!(counts.buckets.len() <= BUCKETS);
        counts.trim();
        counts
    }

    /// Takes empty buckets from the end, and counts anew.
    fn trim(&mut self) {
        let len = self.buckets.iter().rposition(|count| *count != 0).map_or(0, |last| last + 1);
        self.buckets.truncate(len);
        self.count = self.buckets.iter().sum();
        if self.count == 0 {
            *self = Counts::default();
        }
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum, in nanoseconds.
    #[must_use]
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Their mean, in nanoseconds, exactly; 0 of none.
    #[must_use]
    pub fn mean_ns(&self) -> u64 {
        self.sum_ns.checked_div(self.count).unwrap_or_default()
    }

    /// The smallest value as the bucket it is in begins, in nanoseconds; 0 of none.
    #[must_use]
    pub fn min_ns(&self) -> u64 {
        self.buckets().next().map_or(0, |first| first.low_ns)
    }

    /// The largest value, in nanoseconds; 0 of none. Exact, but for a time since something ([`Counts::since`]), where it may be the
    /// largest of its bucket.
    #[must_use]
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The value that this part of all values do not exceed, in nanoseconds: the largest of its bucket, so never less than the
    /// truth, and at most 1 in 32 (or 32 ns) more. `quantile` from 0 to 1: 0.99 is p99. 0 of none.
    #[must_use]
    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        // The smallest number of values that is this part of all, and no less than one.
        let wanted =
            ((quantile.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for bucket in self.buckets() {
            seen += bucket.count;
            if wanted <= seen {
                return if seen == self.count { self.max_ns } else { bucket.high_ns.min(self.max_ns) };
            }
        }
        0
    }

    /// The buckets that are not empty, ascending.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        let filled = self.buckets.iter().enumerate().filter(|(_, count)| **count != 0);
        filled.map(|(place, &count)| {
            let (low_ns, high_ns) = range_of(place);
            // The last has whatever is larger.
            Bucket { low_ns, high_ns: if place + 1 == BUCKETS { u64::MAX } else { high_ns }, count }
        })
    }

    /// How many values are surely no larger than `most_ns`: those in buckets that end there or before.
    #[must_use]
    pub fn count_up_to(&self, most_ns: u64) -> u64 {
        // By whole buckets only: what is counted here once must be counted ever after, whatever is larger by then.
        self.buckets().take_while(|bucket| bucket.high_ns <= most_ns).map(|bucket| bucket.count).sum()
    }

    /// Adds what `other` has counted.
    pub fn merge(&mut self, other: &Counts) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (own, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += more;
        }
        self.count += other.count;
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// What has been counted since `earlier`, which counted the same.
    #[must_use]
    pub fn since(&self, earlier: &Counts) -> Counts {
        let before = earlier.buckets.iter().copied().chain(std::iter::repeat(0));
        let buckets = self.buckets.iter().zip(before).map(|(now, before)| now.saturating_sub(before));
        let sum_ns = self.sum_ns.wrapping_sub(earlier.sum_ns);
        let mut counts = Counts::of(buckets, sum_ns, self.max_ns);
        if self.max_ns == earlier.max_ns {
            // It was there before: what has come since is known by its bucket.
            let last = counts.buckets().last();
            counts.max_ns = last.map_or(0, |bucket| bucket.high_ns.min(self.max_ns));
        }
        counts
    }
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

    #[test]
    fn quantiles_of_a_few() {
        let check = |values: &[u64], quantile: f64, expected: u64| {
            assert_eq!(counts_of(values).quantile_ns(quantile), expected, "{quantile} of {values:?}");
        };
        check(&[], 0.5, 0);
        check(&[100], 0.0, 100);
        check(&[100], 1.0, 100);
        check(&[100, 1000, 2000], 0.5, 1023);
        check(&[100, 1000, 2000], 0.67, 2000);
        check(&[10, 20, 30], 0.5, 30);
        check(&[100, 1000, 2000], f64::NAN, 127);
    }

    #[test]
    fn the_largest_of_a_time_is_its_own() {
        let histogram = Histogram::default();
        histogram.record(1_000_000, 1);
        let earlier = histogram.counts();
        histogram.record(1000, 2);
        let since = histogram.counts().since(&earlier);
        assert_eq!((since.count(), since.sum_ns(), since.max_ns()), (2, 2000, 1023));
        histogram.record(2_000_000, 1);
        assert_eq!(histogram.counts().since(&earlier).max_ns(), 2_000_000);
        assert_eq!(earlier.since(&earlier), Counts::default());
    }

    #[test]
    fn what_is_up_to_a_bound_is_surely_so() {
        let counts = counts_of(&[1000, 1_000_000, 1_000_001]);
        let check =
            |most_ns: u64, expected: u64| assert_eq!(counts.count_up_to(most_ns), expected, "{most_ns}");
        check(1000, 0);
        check(1023, 1);
        check(1_000_000, 1);
        check(1_000_001, 1);
        check(u64::MAX, 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        /// The twin is exact to three digits.
        #[test]
        fn figures_are_those_of_a_simple_twin(
            runs in proptest::collection::vec((0_u32..39, any::<u64>(), 1_u64..50), 1..200),
            quantiles in proptest::collection::vec(0.0_f64..=1.0, 8),
        ) {
            let mut twin = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1 << 40, 3).unwrap();
            let histogram = Histogram::default();
            for (bits, value, times) in runs {
                let value = 1 + (value & ((1 << bits) - 1)).min((1 << 39) - 2);
                twin.record_n(value, times).unwrap();
                histogram.record(value, times);
            }
            let counts = histogram.counts();
            prop_assert_eq!(counts.count(), twin.len());
            let all = [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0].into_iter().chain(quantiles);
            for quantile in all {
                let (ours, twins) = (counts.quantile_ns(quantile) as f64, twin.value_at_quantile(quantile) as f64);
                prop_assert!(twins * 0.999 <= ours, "{} at {}: the twin has {}", ours, quantile, twins);
                prop_assert!(ours <= twins * 1.001 + (twins / 32.0).max(32.0), "{ours} at {quantile}: the twin has {twins}");
            }
            prop_assert!((counts.mean_ns() as f64 - twin.mean()).abs() <= twin.mean() * 0.001 + 1.0);
        }

        #[test]
        fn merging_and_taking_away_are_each_others_reverse(
            first in proptest::collection::vec(any::<u64>(), 0..50),
            second in proptest::collection::vec(0_u64..1 << 39, 0..50),
        ) {
            let (earlier, later) = (counts_of(&first), counts_of(&second));
            let mut both = earlier.clone();
            both.merge(&later);
            let all: Vec<u64> = first.iter().chain(&second).copied().collect();
            prop_assert_eq!(&both, &counts_of(&all));
            let since = both.since(&earlier);
            prop_assert!(since.buckets().eq(later.buckets()));
            prop_assert_eq!(since.sum_ns(), later.sum_ns());
            prop_assert!(later.max_ns() <= since.max_ns());
        }
    }
}
