//! By how much two series of a few runs each differ, and how surely: the difference of their trimmed means with its interval by
//! Student's distribution (Yuen's and Welch's).
//!
//! # Contract       a run that was hit by something else weighs little, as a fifth of the runs at either end is left out; what the
//! runs of a side differ among themselves makes the interval wide. One run a side has none
//! # Why not …      the bootstrap of `side-by-side`: of four runs it can draw no others than these four, and calls two equal series
//! different too often; ranks: three runs a side could never tell anything, were one ten times the other

use std::f64::consts::PI;

/// How one series differs from another, in parts of the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Difference {
    /// The trimmed mean of the first series.
    pub(super) before: f64,
    /// That of the second one.
    pub(super) after: f64,
    /// The difference; from 0 to something it is infinite.
    pub(super) middle: f64,
    /// The lower end of its interval.
    pub(super) low: f64,
    /// The upper end.
    pub(super) high: f64,
}

impl Difference {
    /// From `before` to `after`, with an interval that misses the truth with a probability of `risk`, above 0 and below 1; `None` if
    /// a series is empty.
    pub(super) fn between(before: &[f64], after: &[f64], risk: f64) -> Option<Difference> {
        let (one, other) = (Series::of(before)?, Series::of(after)?);
        let more = other.mean - one.mean;
        let width = half_width(&one, &other, risk);
        let share = |more: f64| if more == 0.0 { 0.0 } else { more / one.mean.abs() };
        Some(Difference {
            before: one.mean,
            after: other.mean,
            middle: share(more),
            low: share(more - width),
            high: share(more + width),
        })
    }
}

/// What is to be known of a series.
#[derive(Clone, Copy, Debug)]
struct Series {
    /// Of the values that are not left out.
    mean: f64,
    /// How many these are.
    kept: f64,
    /// Squared error of the mean; `None` of a single value.
    error: Option<f64>,
}

impl Series {
    fn of(values: &[f64]) -> Option<Series> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let left_out = sorted.len() / TRIMMED;
        let (least, most) = (*sorted.get(left_out)?, *sorted.get(sorted.len() - 1 - left_out)?);
        let kept = &sorted[left_out..sorted.len() - left_out];
        let mean = kept.iter().sum::<f64>() / kept.len() as f64;
        // What is left out counts as the last that is kept on its side.
        let drawn: Vec<f64> = sorted.iter().map(|value| value.clamp(least, most)).collect();
        let middle = drawn.iter().sum::<f64>() / drawn.len() as f64;
        let squares: f64 = drawn.iter().map(|value| (value - middle).powi(2)).sum();
        let kept = kept.len() as f64;
        let error = (1.0 < kept).then(|| squares / (kept * (kept - 1.0)));
        Some(Series { mean, kept, error })
    }
}

/// Half the interval of the difference of two means.
fn half_width(one: &Series, other: &Series, risk: f64) -> f64 {
    // A single run is taken to be as uncertain as one of the other series.
    let alone = |error: f64, kept: f64| error * kept;
    let (first, second, freedom) = match (one.error, other.error) {
        (None, None) => return 0.0,
        (Some(error), None) => (error, alone(error, one.kept), one.kept - 1.0),
        (None, Some(error)) => (alone(error, other.kept), error, other.kept - 1.0),
        (Some(first), Some(second)) => {
            let parts = first.powi(2) / (one.kept - 1.0) + second.powi(2) / (other.kept - 1.0);
            let freedom = if parts == 0.0 { 1.0 } else { (first + second).powi(2) / parts };
            (first, second, freedom)
        }
    };
    (first + second).sqrt() * quantile(risk, freedom.clamp(1.0, FREEDOM_MAX) as u32)
}

/// What Student's variable of so many degrees of freedom exceeds, on either side, with a probability of `risk`.
fn quantile(risk: f64, freedom: u32) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while within(high, freedom) < 1.0 - risk && high < QUANTILE_MAX {
        high *= 2.0;
    }
    for _ in 0..BISECTIONS {
        let middle = (low + high) / 2.0;
        if within(middle, freedom) < 1.0 - risk {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The probability of values between `-limit` and `limit`; for whole degrees of freedom it is a finite sum.
fn within(limit: f64, freedom: u32) -> f64 {
    let angle = (limit / f64::from(freedom).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let is_odd = freedom % 2 == 1;
    let mut term = if is_odd { cosine } else { 1.0 };
    let mut sum = if freedom == 1 { 0.0 } else { term };
    let mut step = if is_odd { 3 } else { 2 };
    while step < freedom {
        term *= f64::from(step - 1) / f64::from(step) * cosine.powi(2);
        sum += term;
        step += 2;
    }
    if is_odd { 2.0 / PI * (angle + sine * sum) } else { sine * sum }
}

/// One of so many runs is left out at either end.
const TRIMMED: usize = 5;
/// Beyond, the distribution no longer changes to speak of.
const FREEDOM_MAX: f64 = 1_000.0;
const QUANTILE_MAX: f64 = 1e9;
const BISECTIONS: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::scatter;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        let check = |risk: f64, freedom: u32, expected: f64| {
            let got = quantile(risk, freedom);
            assert!((got / expected - 1.0).abs() < 5e-4, "{risk} {freedom}: {got}, not {expected}");
        };
        check(0.05, 1, 12.706);
        check(0.05, 2, 4.303);
        check(0.05, 3, 3.182);
        check(0.05, 4, 2.776);
        check(0.05, 9, 2.262);
        check(0.05, 10, 2.228);
        check(0.01, 5, 4.032);
        check(0.01, 30, 2.750);
        check(0.001, 4, 8.610);
        check(0.05, 1_000, 1.962);
    }

    #[test]
    fn a_difference_is_as_sure_as_the_runs_agree() {
        let check = |before: &[f64], after: &[f64], low: f64, middle: f64, high: f64| {
            let got = Difference::between(before, after, 0.05).expect("values");
            let near = |got: f64, expected: f64| got == expected || (got - expected).abs() < 5e-4;
            assert!(
                near(got.low, low) && near(got.middle, middle) && near(got.high, high),
                "{before:?} {after:?}: {got:?}"
            );
        };
        check(&[10.0], &[11.0], 0.1, 0.1, 0.1);
        check(&[10.0; 3], &[11.0; 3], 0.1, 0.1, 0.1);
        check(&[0.0; 2], &[0.0; 2], 0.0, 0.0, 0.0);
        check(&[0.0], &[1.0], f64::INFINITY, f64::INFINITY, f64::INFINITY);
        // Means 2 and 3, each with an error of 1/3: √(2/3) × 2.776, of 2.
        check(&[1.0, 2.0, 3.0], &[2.0, 3.0, 4.0], -0.6333, 0.5, 1.6333);
        // A single run: an error of 1 and one of 1/3, two degrees of freedom.
        check(&[1.0, 2.0, 3.0], &[3.0], -1.9842, 0.5, 2.9842);
        // The outlier is left out, and so is the least.
        check(&[1.0, 1.0, 1.0, 1.0, 9.0], &[2.0; 5], 1.0, 1.0, 1.0);
        assert_eq!(Difference::between(&[], &[1.0], 0.05), None);
    }

    #[test]
    fn two_equal_series_are_seldom_told_apart_however_long_their_tails() {
        for length in [3, 4, 5, 7, 10] {
            let trials = 2_000;
            let value = |at: u64| {
                // A tenth of the runs takes up to four times as long.
                let (one, other) = (scatter(at) % 1_000, scatter(at ^ 0xabcd) % 1_000);
                1.0 + one as f64 / 1e4 + if other < 100 { other as f64 / 33.0 } else { 0.0 }
            };
            let told_apart = (0..trials).filter(|trial| {
                let series = |half: u64| -> Vec<f64> {
                    (0..length).map(|at| value((trial * 2 + half) * length + at)).collect()
                };
                let got = Difference::between(&series(0), &series(1), 0.05).expect("values");
                0.0 < got.low || got.high < 0.0
            });
            let share = told_apart.count() as f64 / trials as f64;
            assert!(share < 0.06, "{length} a side: {share}");
        }
    }
}
