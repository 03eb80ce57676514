//! Numbers that are spread evenly, so that many who are told to come back do not all come at once.

use std::ops::RangeInclusive;

/// A number of `range` that `seed` decides: neighbouring seeds give numbers far apart. No source of randomness, so that a
/// run can be repeated.
///
/// # Panics
/// If the range is empty.
#[must_use]
pub fn spread(seed: u64, range: RangeInclusive<u64>) -> u64 {
    let (first, last) = range.into_inner();
    assert!(first <= last, "{first}..={last} is empty");
    // Each step can be undone, so that no two seeds meet before the range is laid upon them.
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^= mixed >> 32;
    // The high half of a product instead of a remainder: no number of the range is likelier than another.
    let count = u128::from(last - first) + 1;
    first + ((u128::from(mixed) * count) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_the_range_comes_about_as_often_as_any_other() {
        for stride in [1, 2, 64, 1 << 32] {
            let mut counts = [0; 5];
            (0..10_000).for_each(|at: u64| counts[spread(at * stride, 3..=7) as usize - 3] += 1);
            assert!(counts.iter().all(|count| (1800..2200).contains(count)), "{stride}: {counts:?}");
        }
    }

    #[test]
    fn the_ends_of_the_widest_and_the_narrowest_range_are_kept() {
        assert_eq!(spread(7, 4..=4), 4);
        assert_eq!(spread(7, u64::MAX..=u64::MAX), u64::MAX);
        assert_ne!(spread(7, 0..=u64::MAX), spread(8, 0..=u64::MAX));
        assert_eq!(spread(7, 0..=u64::MAX), spread(7, 0..=u64::MAX), "the same for the same seed");
    }
}
