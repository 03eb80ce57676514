//! What has been counted since the start.

use crate::counters::Traffic;
use crate::hub::Hub;
use crate::sync::{AtomicU64, Ordering};
use crate::words::cursor::GapCause;

/// Names and numbers, always the same names in the same order.
pub(super) type Totals = Vec<(&'static str, u64)>;

/// How often a gap was told, by what had caused it.
fn gaps_name(cause: GapCause) -> &'static str {
    match cause {
        GapCause::Lapped => "gaps_lapped",
        GapCause::Evicted => "gaps_evicted",
        GapCause::Epoch => "gaps_epoch",
        GapCause::Skipped => "gaps_skipped",
    }
}

/// What has been counted so far.
pub(super) fn totals(hub: &Hub) -> Totals {
    let counters = &hub.counters;
    let sum = |pick: &dyn Fn(&Traffic) -> &AtomicU64| {
        hub.desks().iter().map(|desk| pick(&desk.traffic).load(Ordering::Relaxed)).sum::<u64>()
    };
    let mut totals = vec![
        ("events", hub.log.published() - 1),
        ("websocket_events", sum(&|traffic| &traffic.web_socket_events)),
        ("sse_events", sum(&|traffic| &traffic.sse_events)),
        ("bytes", sum(&|traffic| &traffic.bytes)),
        ("streams", counters.streams_total()),
        ("events_skipped", sum(&|traffic| &traffic.skipped_events)),
        ("closed_slow", sum(&|traffic| &traffic.closed_slow)),
        ("cut_stalled", sum(&|traffic| &traffic.cut_stalled)),
        ("publishes_refused", counters.publishes_refused()),
        ("turned_away", hub.admission.turned_away_total()),
        ("accept_failures", counters.accept_failures()),
        ("panics", counters.panics()),
        ("loop_stalls", counters.stalls()),
        ("log_lines_dropped", crate::journal::dropped()),
    ];
    for cause in GapCause::ALL {
        totals.push((gaps_name(cause), sum(&|traffic| &traffic.gaps[cause.index()])));
    }
    totals
}
