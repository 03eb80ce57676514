//! How long deliveries of late have taken: percentiles, and a few buckets for a heat map.

use serde::Serialize;

use crate::latency::{Counts, Pace, Snapshot, Transport};

/// What has been measured since the last pulse. All times are in nanoseconds.
#[derive(Serialize)]
pub(super) struct Latencies {
    /// Deliveries to clients that keep up, from accepting the event to the write that had it.
    live: Curve,
    websocket: Curve,
    sse: Curve,
    /// Deliveries to clients that are behind, which is theirs to change.
    lagging: Curve,
    /// From accepting a publish to its answer.
    answers: Curve,
    /// From the first to the last subscriber of one event.
    span: Curve,
    /// Of `live`: from, to, how many; ascending, a quarter of a power of two each.
    heat: Vec<(u64, u64, u64)>,
}

/// What part of all took no longer than that.
#[derive(Serialize)]
struct Curve {
    count: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    p9999: u64,
    max: u64,
}

impl Curve {
    fn of(counts: &Counts) -> Curve {
        Curve {
            count: counts.count(),
            p50: counts.quantile_ns(0.5),
            p90: counts.quantile_ns(0.9),
            p99: counts.quantile_ns(0.99),
            p999: counts.quantile_ns(0.999),
            p9999: counts.quantile_ns(0.9999),
            max: counts.max_ns(),
        }
    }
}

/// What `late` has measured, which is since the last pulse.
pub(super) fn latencies(late: &Snapshot) -> Latencies {
    let live = late.merged(|series| series.way.pace == Pace::Live);
    let over = |transport: Transport| {
        late.merged(|series| series.way.pace == Pace::Live && series.way.transport == transport)
    };
    Latencies {
        live: Curve::of(&live),
        websocket: Curve::of(&over(Transport::WebSocket)),
        sse: Curve::of(&over(Transport::Sse)),
        lagging: Curve::of(&late.merged(|series| series.way.pace == Pace::Lagging)),
        answers: Curve::of(late.answers()),
        span: Curve::of(late.spans()),
        heat: heat(&live),
    }
}

/// The buckets of `counts`, put together to quarters of powers of two.
fn heat(counts: &Counts) -> Vec<(u64, u64, u64)> {
    let mut rows: Vec<(u64, u64, u64)> = Vec::new();
    for bucket in counts.buckets() {
        let (from, to) = row_of(bucket.low_ns);
        match rows.last_mut() {
            Some(last) if last.0 == from => last.2 += bucket.count,
            _ => rows.push((from, to, bucket.count)),
        }
    }
    rows
}

/// From where to where the row goes that `value_ns` is in. What is faster than that is in the first.
fn row_of(value_ns: u64) -> (u64, u64) {
    if value_ns < FIRST_ROW_NS {
        return (0, FIRST_ROW_NS);
    }
    let quarter_bits = value_ns.ilog2() - 2;
    let quarter = value_ns >> quarter_bits;
    (quarter << quarter_bits, (quarter + 1) << quarter_bits)
}

/// Where the first row ends, in nanoseconds.
const FIRST_ROW_NS: u64 = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_lie_side_by_side() {
        let mut value_ns = 0;
        while value_ns < 1 << 36 {
            let (from, to) = row_of(value_ns);
            assert_eq!((from, row_of(to - 1)), (value_ns, (from, to)));
            assert!(from == 0 || (to - from) * 4 <= from, "{from} to {to}");
            value_ns = to;
        }
    }
}
