//! Metrics in Prometheus' text format, version 0.0.4.

use std::fmt::Write as _;

use super::{BOUNDS, Family, Kind, Sample, Value, seconds};
use crate::latency::Counts;

/// All of `families`.
pub(super) fn write(families: &[Family]) -> String {
    let mut out = String::new();
    for Family { name, kind, help, samples } in families {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a text cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for Sample { labels, value } in samples {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let labels = labels.join(",");
            let _ = match value {
                Value::Whole(value) => writeln!(out, "{name}{} {value}", in_braces(&labels)),
                Value::Real(value) => writeln!(out, "{name}{} {value}", in_braces(&labels)),
                Value::Histogram(counts) => {
                    push_histogram(&mut out, name, &labels, counts);
                    Ok(())
                }
            };
        }
    }
    out
}

fn in_braces(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

fn push_histogram(out: &mut String, name: &str, labels: &str, counts: &Counts) {
    let separator = if labels.is_empty() { "" } else { "," };
    for (bound, bound_ns) in BOUNDS {
        let count = counts.count_up_to(*bound_ns);
        let _ = writeln!(out, "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {count}");
    }
    let _ = writeln!(out, "{name}_bucket{{{labels}{separator}le=\"+Inf\"}} {}", counts.count());
    let labels = in_braces(labels);
    let _ = writeln!(out, "{name}_sum{labels} {}", seconds(counts.sum_ns()));
    let _ = writeln!(out, "{name}_count{labels} {}", counts.count());
}
