//! A snapshot as others read it: JSON, an HdrHistogram's percentiles (`.hgrm`) and interval log.
//!
//! # Cost   on request only: some microseconds a histogram

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::counts::Counts;
use super::recorder::{Pace, Transport};
use super::snapshot::Snapshot;
use crate::wire::json::push_string;

/// In which form a snapshot is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Figures, by name.
    #[default]
    Json,
    /// The percentiles of all deliveries, as HdrHistogram prints them.
    Hgrm,
    /// Every histogram, as HdrHistogram logs them.
    IntervalLog,
}

impl Format {
    /// By the name that operators ask for it with.
    #[must_use]
    pub fn parse(name: &str) -> Option<Format> {
        match name {
            "json" => Some(Format::Json),
            "hgrm" => Some(Format::Hgrm),
            "hlog" => Some(Format::IntervalLog),
            _ => None,
        }
    }
}

/// The parts of all that a figure is told of.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)];

/// Digits that an HdrHistogram is exact to: more than our buckets are.
const DIGITS: u8 = 3;

/// Nanoseconds of a millisecond, which is what those who print HdrHistograms are used to.
const MILLISECOND_NS: f64 = 1e6;

/// The figures as a JSON object, in nanoseconds. `now_unix_ms`: when the snapshot was taken.
#[must_use]
pub fn json(snapshot: &Snapshot, now_unix_ms: u64) -> String {
    let elapsed_ms = snapshot.elapsed_ns() / 1_000_000;
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(
        format!(
            "{{\"unit\":\"ns\",\"since\":{},\"seconds\":{}.{:03}",
            now_unix_ms.saturating_sub(elapsed_ms),
            elapsed_ms / 1000,
            elapsed_ms % 1000
        )
        .as_bytes(),
    );
    let member = |out: &mut Vec<u8>, separator: &str, name: &str, counts: &Counts| {
        out.extend_from_slice(separator.as_bytes());
        push_string(out, name);
        out.push(b':');
        push_figures(out, counts);
    };
    member(&mut out, ",", "deliveries", &snapshot.deliveries());
    for pace in Pace::ALL {
        member(&mut out, ",", pace.name(), &snapshot.merged(|series| series.way.pace == pace));
    }
    for (name, groups) in [
        ("transports", transports(snapshot)),
        ("namespaces", namespaces(snapshot)),
        ("loops", loops(snapshot)),
    ] {
        out.extend_from_slice(format!(",\"{name}\":{{").as_bytes());
        for (at, (name, counts)) in groups.iter().enumerate() {
            member(&mut out, if at == 0 { "" } else { "," }, name, counts);
        }
        out.push(b'}');
    }
    member(&mut out, ",", "span", snapshot.spans());
    member(&mut out, ",", "answers", snapshot.answers());
    out.extend_from_slice(b"}\n");
    String::from_utf8(out).unwrap_or_default()
}

fn push_figures(out: &mut Vec<u8>, counts: &Counts) {
    let quantiles = QUANTILES.map(|(name, quantile)| (name, counts.quantile_ns(quantile)));
    let before = [("count", counts.count()), ("min", counts.min_ns()), ("mean", counts.mean_ns())];
    let figures = before.into_iter().chain(quantiles).chain([("max", counts.max_ns())]);
    for (at, (name, value)) in figures.enumerate() {
        let separator = if at == 0 { "{" } else { "," };
        out.extend_from_slice(format!("{separator}\"{name}\":{value}").as_bytes());
    }
    out.push(b'}');
}

/// Histograms of deliveries, each with a name.
type Named = Vec<(String, Counts)>;

fn transports(snapshot: &Snapshot) -> Named {
    let of = |transport| snapshot.merged(|series| series.way.transport == transport);
    Transport::ALL.map(|transport| (transport.name().to_owned(), of(transport))).into()
}

fn namespaces(snapshot: &Snapshot) -> Named {
    let of = |number| snapshot.merged(|series| series.namespace == number);
    numbers(snapshot, |series| series.namespace)
        .map(|number| (snapshot.namespace(number).to_owned(), of(number)))
        .collect()
}

fn loops(snapshot: &Snapshot) -> Named {
    let of = |number| snapshot.merged(|series| series.loop_index == number);
    numbers(snapshot, |series| series.loop_index).map(|number| (number.to_string(), of(number))).collect()
}

/// What `pick` says of the series, each once, ascending.
fn numbers(snapshot: &Snapshot, pick: fn(&super::Series) -> usize) -> impl Iterator<Item = usize> + use<> {
    snapshot.series().iter().map(pick).collect::<std::collections::BTreeSet<usize>>().into_iter()
}

/// The counts as an HdrHistogram, in nanoseconds. Each value is the largest of its bucket, and the largest is itself.
fn hdr(counts: &Counts) -> hdrhistogram::Histogram<u64> {
    // Other readers have numbers with a sign.
    let largest_ns = counts.max_ns().clamp(2, i64::MAX as u64);
    let histogram = hdrhistogram::Histogram::new_with_bounds(1, largest_ns, DIGITS);
    let mut histogram = histogram.expect("the bounds are apart, and so many digits are allowed");
    for bucket in counts.buckets() {
        histogram.saturating_record_n(bucket.high_ns.min(counts.max_ns()), bucket.count);
    }
    histogram
}

/// The percentiles of all deliveries in milliseconds, as HdrHistogram prints them (`.hgrm`).
#[must_use]
pub fn hgrm(snapshot: &Snapshot) -> String {
    let counts = snapshot.deliveries();
    let histogram = hdr(&counts);
    let mut out = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut seen = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        seen += step.count_since_last_iteration();
        let (value, quantile) =
            (step.value_iterated_to() as f64 / MILLISECOND_NS, step.quantile_iterated_to());
        let row = format!("{value:12.6} {quantile:14.12} {seen:10}");
        // The last row has no such figure.
        let row =
            if quantile < 1.0 { format!("{row} {:14.2}\n", 1.0 / (1.0 - quantile)) } else { row + "\n" };
        out += &row;
    }
    let (mean, deviation) = (counts.mean_ns() as f64 / MILLISECOND_NS, histogram.stdev() / MILLISECOND_NS);
    let max = counts.max_ns() as f64 / MILLISECOND_NS;
    let _ = writeln!(out, "#[Mean    = {mean:12.6}, StdDeviation   = {deviation:12.6}]");
    let _ = writeln!(out, "#[Max     = {max:12.6}, Total count    = {:12}]", counts.count());
    let _ = writeln!(out, "#[Buckets = {:12}, SubBuckets     = {:12}]", histogram.buckets(), 1 << 11);
    out
}

/// Rows between a part of all and half of what is left, as others have them.
const TICKS_PER_HALF: u32 = 5;

/// Every histogram, as an HdrHistogram interval log of one interval; its largest values are told in milliseconds, those within are
/// nanoseconds. All deliveries have no tag; the others have the name that they have in [`json`]. `now_unix_ms`: when the snapshot
/// was taken.
#[must_use]
pub fn interval_log(snapshot: &Snapshot, now_unix_ms: u64) -> Vec<u8> {
    let elapsed = Duration::from_nanos(snapshot.elapsed_ns());
    let start = Duration::from_millis(now_unix_ms).saturating_sub(elapsed);
    let mut tagged: Named = Pace::ALL
        .map(|pace| (pace.name().to_owned(), snapshot.merged(|series| series.way.pace == pace)))
        .into();
    tagged.extend(transports(snapshot));
    tagged
        .extend(namespaces(snapshot).into_iter().map(|(name, counts)| (format!("namespace-{name}"), counts)));
    tagged.extend(loops(snapshot).into_iter().map(|(name, counts)| (format!("loop-{name}"), counts)));
    tagged.push(("span".to_owned(), snapshot.spans().clone()));
    tagged.push(("answers".to_owned(), snapshot.answers().clone()));

    let (mut out, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment("values in nanoseconds, the largest in milliseconds")
        .with_start_time(std::time::UNIX_EPOCH + start)
        .with_max_value_divisor(MILLISECOND_NS)
        .begin_log_with(&mut out, &mut serializer)
        .expect("memory takes everything");
    let mut write = |counts: &Counts, tag: Option<&str>| {
        // A namespace has neither commas nor spaces, so every name is a tag.
        let tag = tag.and_then(Tag::new);
        log.write_histogram(&hdr(counts), start, elapsed, tag).expect("memory takes everything");
    };
    write(&snapshot.deliveries(), None);
    tagged
        .iter()
        .filter(|(_, counts)| counts.count() != 0)
        .for_each(|(name, counts)| write(counts, Some(name)));
    out
}
