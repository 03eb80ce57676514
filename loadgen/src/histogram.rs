//! Latency histograms: what is recorded where, and the percentile text that plotters read.
//!
//! # Bounds         a histogram spans 1 µs to 10 minutes at three digits and takes about 170 KiB; what is longer counts as 10 minutes

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// A histogram of nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    histogram: Histogram<u64>,
}

impl Latency {
    /// An empty histogram.
    pub(crate) fn new() -> Latency {
        let histogram = Histogram::new_with_bounds(NS_MIN, NS_MAX, DIGITS)
            .expect("the bounds are constants that fit each other");
        Latency { histogram }
    }

    /// Records one duration in nanoseconds; longer than ten minutes counts as ten minutes.
    pub(crate) fn record(&mut self, ns: u64) {
        self.histogram.saturating_record(ns);
    }

    /// Adds all that `other` holds.
    pub(crate) fn merge(&mut self, other: &Latency) {
        self.histogram.add(&other.histogram).expect("all our histograms have the same bounds");
    }

    /// How many durations were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The duration in nanoseconds that `quantile` (0 to 1) of the records do not exceed; 0 when empty.
    pub(crate) fn quantile_ns(&self, quantile: f64) -> u64 {
        // Where a quantile falls between two records, the product of it and the count may be a rounding error above the first.
        self.histogram.value_at_quantile(quantile * (1.0 - ROUNDING))
    }

    /// The longest duration in nanoseconds, within the precision of the histogram; 0 when empty.
    pub(crate) fn max_ns(&self) -> u64 {
        self.histogram.max()
    }

    /// The histogram as text: HdrHistogram's encoding V2, compressed, in base64. Every HdrHistogram reads it.
    pub(crate) fn encode(&self) -> String {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.histogram, &mut bytes)
            .expect("a vector takes everything, and counts are below what the encoding can say");
        STANDARD.encode(bytes)
    }

    /// Reads what [`Latency::encode`] has written.
    ///
    /// # Errors
    /// The text is no such histogram, or one of other bounds.
    pub(crate) fn decode(text: &str) -> Result<Latency, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("a saved histogram cannot be read: {error}");
        let bytes = STANDARD.decode(text).map_err(|error| wrong(&error))?;
        let histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| wrong(&format!("{error:?}")))?;
        let mut latency = Latency::new();
        latency.histogram.add(&histogram).map_err(|error| wrong(&error))?;
        Ok(latency)
    }

    /// The percentile curve: quantiles of 1 with the milliseconds that they do not exceed, ascending, denser towards 1.
    /// The last one is the maximum.
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        let steps = self.histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE);
        steps.map(|step| (step.quantile_iterated_to(), ms(step.value_iterated_to()))).collect()
    }

    /// How many records lie in each band of latency, ascending and without empty bands. The band `n` reaches from
    /// `10^(n / BANDS_PER_DECADE)` microseconds to the next.
    pub(crate) fn bands(&self) -> Vec<(u32, u64)> {
        let mut bands: Vec<(u32, u64)> = Vec::new();
        for step in self.histogram.iter_recorded() {
            let microseconds = (step.value_iterated_to() as f64 / 1e3).max(1.0);
            let band = (microseconds.log10() * f64::from(BANDS_PER_DECADE)) as u32;
            match bands.last_mut() {
                Some((last, count)) if *last == band => *count += step.count_at_value(),
                _ => bands.push((band, step.count_at_value())),
            }
        }
        bands
    }

    /// The figures that a report shows.
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            count: self.count(),
            min_ms: ms(self.histogram.min()),
            mean_ms: self.histogram.mean() / NS_PER_MS,
            p50_ms: ms(self.quantile_ns(0.5)),
            p90_ms: ms(self.quantile_ns(0.9)),
            p99_ms: ms(self.quantile_ns(0.99)),
            p999_ms: ms(self.quantile_ns(0.999)),
            p9999_ms: ms(self.quantile_ns(0.9999)),
            max_ms: ms(self.max_ns()),
        }
    }

    /// Writes the percentile distribution in the text form of the HdrHistogram tools, in milliseconds.
    ///
    /// # Errors
    /// What the writer says.
    pub(crate) fn write_percentiles(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{:>12} {:>14} {:>10} {:>14}\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        )?;
        for step in self.histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
            // The iterator adds its steps up, and where a quantile falls between two records to the count, a rounding error
            // would choose the later one. Asked one by one, and without the digits that are not shown, quantiles are exact.
            let quantile = (step.quantile_iterated_to() * 1e12).round() / 1e12;
            let value_ns = self.histogram.highest_equivalent(self.quantile_ns(quantile));
            let count = self.histogram.count_between(0, value_ns);
            let value = ms(value_ns);
            if quantile < 1.0 {
                writeln!(out, "{value:>12.3} {quantile:.12} {count:>10} {:>14.2}", 1.0 / (1.0 - quantile))?;
            } else {
                writeln!(out, "{value:>12.3} {quantile:.12} {count:>10}")?;
            }
        }
        let (mean, deviation) = (self.histogram.mean() / NS_PER_MS, self.histogram.stdev() / NS_PER_MS);
        writeln!(out, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
        writeln!(out, "#[Max     = {:>12.3}, Total count    = {:>12}]", ms(self.max_ns()), self.count())?;
        writeln!(out, "#[Buckets = {:>12}, SubBuckets     = {:>12}]", self.histogram.buckets(), SUB_BUCKETS)
    }
}

/// The figures of one histogram, in milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Summary {
    /// Durations recorded.
    pub(crate) count: u64,
    /// Shortest.
    pub(crate) min_ms: f64,
    /// Arithmetic mean.
    pub(crate) mean_ms: f64,
    /// Half are no longer.
    pub(crate) p50_ms: f64,
    /// 90 % are no longer.
    pub(crate) p90_ms: f64,
    /// 99 % are no longer.
    pub(crate) p99_ms: f64,
    /// 99.9 % are no longer.
    pub(crate) p999_ms: f64,
    /// 99.99 % are no longer.
    pub(crate) p9999_ms: f64,
    /// Longest.
    pub(crate) max_ms: f64,
}

/// What the loops of subscribers measure.
#[derive(Clone, Debug)]
pub(crate) struct DeliveryLatencies {
    /// From the time an event was due to its receipt, by transport.
    pub(crate) end_to_end: [Latency; 2],
    /// From the time an event was really sent to its receipt.
    pub(crate) service: Latency,
    /// From the start of a connection to the answer that opens the stream.
    pub(crate) handshake: Latency,
    /// From the loss of a connection to the open stream of the next one.
    pub(crate) reconnect: Latency,
    /// From the time an event was due to its receipt, where the generator had cut the subscriber off meanwhile.
    pub(crate) resumed: Latency,
}

impl DeliveryLatencies {
    /// Empty histograms.
    pub(crate) fn new() -> DeliveryLatencies {
        DeliveryLatencies {
            end_to_end: [Latency::new(), Latency::new()],
            service: Latency::new(),
            handshake: Latency::new(),
            reconnect: Latency::new(),
            resumed: Latency::new(),
        }
    }

    /// Adds all that `other` holds.
    pub(crate) fn merge(&mut self, other: &DeliveryLatencies) {
        for (mine, theirs) in self.end_to_end.iter_mut().zip(&other.end_to_end) {
            mine.merge(theirs);
        }
        self.service.merge(&other.service);
        self.handshake.merge(&other.handshake);
        self.reconnect.merge(&other.reconnect);
        self.resumed.merge(&other.resumed);
    }
}

/// Bands of a heat map: a factor of about 1.2 each.
pub(crate) const BANDS_PER_DECADE: u32 = 12;

fn ms(ns: u64) -> f64 {
    ns as f64 / NS_PER_MS
}

const NS_PER_MS: f64 = 1e6;
/// Far more than the error of a product, far less than one record of as many as there may be.
const ROUNDING: f64 = 1e-12;
/// Shorter than a microsecond is of no interest over a socket, and each halving costs 8 KiB.
const NS_MIN: u64 = 1_000;
/// Ten minutes: longer than any run's drain.
const NS_MAX: u64 = 600 * 1_000_000_000;
const DIGITS: u8 = 3;
/// What three digits need: the power of two above 2 × 10³.
const SUB_BUCKETS: u32 = 2_048;
/// The density that the HdrHistogram tools use by default.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values_ms: &[u64]) -> Latency {
        let mut latency = Latency::new();
        values_ms.iter().for_each(|value| latency.record(value * 1_000_000));
        latency
    }

    #[test]
    fn a_quantile_that_falls_between_two_records_is_the_first_of_them() {
        let mut latency = Latency::new();
        for record in 1..=5_500_u64 {
            latency.record(1_000_000 * if record <= 3_025 { 1 } else { 2 });
        }
        // 0.55 × 5,500 is a little more than 3,025 as floating-point numbers go.
        assert!(latency.quantile_ns(0.55) < 1_500_000 && 1_500_000 < latency.quantile_ns(0.5502));
        assert!(1_500_000 < latency.quantile_ns(1.0));
    }

    #[test]
    fn quantiles_are_within_a_thousandth() {
        let latency = histogram(&(1..=1000).collect::<Vec<_>>());
        for (quantile, expected_ms) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got = ms(latency.quantile_ns(quantile));
            assert!((got - expected_ms).abs() <= expected_ms / 500.0, "{quantile}: {got}");
        }
        assert_eq!(latency.summary().count, 1000);
    }

    #[test]
    fn what_is_too_long_is_kept_as_the_longest() {
        let latency = histogram(&[1, 3_600_000]);
        assert_eq!(latency.count(), 2);
        assert!(600_000.0 <= latency.summary().max_ms);
    }

    #[test]
    fn merging_adds_the_counts() {
        let mut sum = histogram(&[1, 2]);
        sum.merge(&histogram(&[3]));
        assert_eq!(sum.count(), 3);
        assert!(2.9 < sum.summary().max_ms);
    }

    #[test]
    fn what_is_written_as_text_is_read_back_the_same() {
        let latency = histogram(&[1, 2, 3, 500]);
        let again = Latency::decode(&latency.encode()).expect("decoded");
        assert_eq!(again.histogram, latency.histogram);
        assert_eq!(Latency::decode(&Latency::new().encode()).expect("decoded").count(), 0);
        for wrong in ["", "no base64!", "SElTVA=="] {
            assert!(Latency::decode(wrong).is_err(), "{wrong}");
        }
        let mut other = Vec::new();
        let wide = Histogram::<u64>::new_with_bounds(1, 1 << 60, 1).expect("bounds");
        V2DeflateSerializer::new().serialize(&wide, &mut other).expect("written");
        assert!(Latency::decode(&STANDARD.encode(other)).is_ok(), "an empty one fits whatever its bounds");
    }

    #[test]
    fn bands_hold_every_record_once_and_a_decade_has_its_number_of_them() {
        let latency = histogram(&[1, 1, 10, 100]);
        assert_eq!(latency.bands(), [(36, 2), (48, 1), (60, 1)]);
        assert_eq!(Latency::new().bands(), []);
    }

    #[test]
    fn the_curve_rises_to_the_maximum() {
        let curve = histogram(&(1..=1000).collect::<Vec<_>>()).curve();
        assert!(curve.is_sorted_by(|one, next| one.0 <= next.0 && one.1 <= next.1), "{curve:?}");
        let (quantile, last_ms) = *curve.last().expect("points");
        assert!(quantile == 1.0 && (999.0..1_002.0).contains(&last_ms), "{curve:?}");
    }

    #[test]
    fn the_percentile_text_counts_upwards_and_ends_with_all() {
        let mut text = Vec::new();
        histogram(&(1..=100).collect::<Vec<_>>()).write_percentiles(&mut text).expect("written");
        let text = String::from_utf8(text).expect("text");
        let counts: Vec<u64> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().nth(2).expect("a third column").parse().expect("a count"))
            .collect();
        assert!(counts.is_sorted(), "{counts:?}");
        assert_eq!(counts.last(), Some(&100));
        assert!(text.contains("Total count    =          100]"), "{text}");
    }
}
