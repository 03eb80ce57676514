//! A histogram of nanoseconds that one thread writes and others read meanwhile.
//!
//! # Contract       [`Histogram::record`] by one thread at a time; [`Histogram::counts`] by anybody
//! # Invariants     buckets lie side by side from 0 up; their width is 32 ns below 2,048 ns, and from there on a thirty-second
//!   of the power of two that they begin at or above
//! # Cost           recording is three loads, three stores and some shifts. No read-modify-write: there is one writer

use crate::latency::counts::Counts;
use crate::sync::{AtomicU64, Ordering, zeroed_counters};

/// Counters of a fixed number of buckets.
#[derive(Debug)]
pub struct Histogram {
    /// By [`place_of`]; then the sum of all values, and the largest of them.
    cells: Box<[AtomicU64]>,
}

/// Buckets: the linear ones, and 32 for each power of two from there to [`VALUE_BITS`].
pub(super) const BUCKETS: usize = (VALUE_BITS - STEP_BITS - PARTS_BITS + 1) as usize * PARTS;

/// What follows the buckets: the sum, and the largest value.
const SUM: usize = BUCKETS;
const LARGEST: usize = BUCKETS + 1;

/// Counters of one histogram.
pub(super) const CELLS: usize = BUCKETS + 2;

/// Binary logarithm of the width of the narrowest buckets, in nanoseconds.
const STEP_BITS: u32 = 5;

/// Buckets of a power of two, and their binary logarithm: what makes a value exact to 1 in 32.
const PARTS: usize = 1 << PARTS_BITS;
const PARTS_BITS: u32 = 5;

/// Values have fewer bits than this, or count in the last bucket: nine minutes.
const VALUE_BITS: u32 = 39;

/// The bucket that `value_ns` counts in.
#[inline]
pub(super) fn place_of(value_ns: u64) -> usize {
    let steps = value_ns.min((1 << VALUE_BITS) - 1) >> STEP_BITS;
    // Of the first two powers of two all steps are told apart, of each after that half as many as of the one before.
    let shift = (u64::BITS - steps.leading_zeros()).saturating_sub(PARTS_BITS + 1);
    (shift as usize) * PARTS + (steps >> shift) as usize
}

/// The smallest and the largest value of the bucket at `place`.
pub(super) fn range_of(place: usize) -> (u64, u64) {
    let shift = (place / PARTS).saturating_sub(1) as u32;
    let steps = (place - shift as usize * PARTS) as u64;
    let low = steps << shift << STEP_BITS;
    (low, low + (1 << shift << STEP_BITS) - 1)
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { cells: zeroed_counters(CELLS) }
    }
}

impl Histogram {
    /// Counts `value_ns` as often as `times` says.
    pub fn record(&self, value_ns: u64, times: u64) {
        record(&self.cells, value_ns, times);
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        counts(&self.cells)
    }
}

/// [`Histogram::record`], in `cells` that lie among others.
#[inline]
pub(super) fn record(cells: &[AtomicU64], value_ns: u64, times: u64) {
    let add = |cell: &AtomicU64, more: u64| {
        // Relaxed, and apart: there is one writer, and whoever reads takes each as it is.
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    };
    add(&cells[place_of(value_ns)], times);
    add(&cells[SUM], value_ns.wrapping_mul(times));
    if cells[LARGEST].load(Ordering::Relaxed) < value_ns {
        cells[LARGEST].store(value_ns, Ordering::Relaxed);
    }
}

/// [`Histogram::counts`] of `cells` that lie among others.
pub(super) fn counts(cells: &[AtomicU64]) -> Counts {
    let load = |at: usize| cells[at].load(Ordering::Relaxed);
    Counts::of((0..BUCKETS).map(load), load(SUM), load(LARGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_lie_side_by_side_and_each_value_is_in_its_own() {
        let mut next = 0;
        for place in 0..BUCKETS {
            let (low, high) = range_of(place);
            assert_eq!(low, next, "bucket {place}");
            assert_eq!((place_of(low), place_of(high)), (place, place), "{low} to {high}");
            assert!(high - low < 32 || (high - low) < low / 32 + 1, "{low} to {high} is too wide");
            next = high + 1;
        }
        assert_eq!(next, 1 << VALUE_BITS);
        assert_eq!(place_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_is_recorded_is_counted() {
        let histogram = Histogram::default();
        assert_eq!(histogram.counts(), Counts::default());
        histogram.record(1_000, 3);
        histogram.record(5_000_000, 1);
        let counts = histogram.counts();
        assert_eq!((counts.count(), counts.sum_ns(), counts.max_ns()), (4, 5_003_000, 5_000_000));
        let buckets: Vec<(u64, u64)> = counts.buckets().map(|bucket| (bucket.low_ns, bucket.count)).collect();
        assert_eq!(buckets, [(992, 3), (4_980_736, 1)]);
    }

    #[test]
    fn values_beyond_the_last_bucket_are_counted_in_it_and_their_largest_is_known() {
        let histogram = Histogram::default();
        histogram.record(u64::MAX, 1);
        let counts = histogram.counts();
        assert_eq!((counts.count(), counts.quantile_ns(1.0)), (1, u64::MAX));
    }
}
