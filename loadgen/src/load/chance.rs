//! Chance that can be had again: numbers that depend on a seed and on what they are for, and on nothing else.

use crate::payload::scatter;

/// What a number is for, so that two uses of one seed do not go in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// The time between two events.
    Arrival = 1,
    /// The length of an event.
    Size = 2,
    /// The channel of an event.
    Channel = 3,
    /// Whether an event passes the filter.
    Filter = 4,
}

/// A number above 0 and at most 1, evenly spread, for the `index`-th time of `what` by `who`.
pub(crate) fn uniform(seed: u64, what: Use, who: u32, index: u64) -> f64 {
    let bits = scatter(seed ^ scatter((u64::from(who) << 8 | what as u64) ^ scatter(index)));
    ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// A number of the exponential distribution with the mean 1.
pub(crate) fn exponential(seed: u64, what: Use, who: u32, index: u64) -> f64 {
    -uniform(seed, what, who, index).ln()
}

/// A number of the normal distribution with the mean 0 and the deviation 1, by the method of Box and Muller.
pub(crate) fn normal(seed: u64, what: Use, who: u32, index: u64) -> f64 {
    let radius = (2.0 * exponential(seed, what, who, 2 * index)).sqrt();
    radius * (std::f64::consts::TAU * uniform(seed, what, who, 2 * index + 1)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_and_deviation(number: impl Fn(u64) -> f64) -> (f64, f64) {
        let numbers: Vec<f64> = (0..100_000).map(number).collect();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let square = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / numbers.len() as f64;
        (mean, square.sqrt())
    }

    #[test]
    fn numbers_have_the_mean_and_the_deviation_of_their_distribution() {
        let check = |number: &dyn Fn(u64) -> f64, mean: f64, deviation: f64| {
            let got = mean_and_deviation(number);
            assert!((got.0 - mean).abs() < 0.01 && (got.1 - deviation).abs() < 0.01, "{got:?}");
        };
        check(&|index| uniform(42, Use::Size, 0, index), 0.5, (1.0f64 / 12.0).sqrt());
        check(&|index| exponential(42, Use::Arrival, 3, index), 1.0, 1.0);
        check(&|index| normal(42, Use::Size, 1, index), 0.0, 1.0);
    }

    #[test]
    fn the_same_question_has_the_same_answer_and_another_has_another() {
        let one = uniform(42, Use::Size, 1, 7);
        assert_eq!(one, uniform(42, Use::Size, 1, 7));
        for other in [
            uniform(43, Use::Size, 1, 7),
            uniform(42, Use::Channel, 1, 7),
            uniform(42, Use::Size, 2, 7),
            uniform(42, Use::Size, 1, 8),
        ] {
            assert_ne!(one, other);
        }
    }
}
