//! What one loop has measured.

use super::histogram::{self, CELLS, Histogram};
use super::namespaces::NAMESPACES_MAX;
use super::snapshot::Series;
use crate::sync::{AtomicU64, Ordering, zeroed_counters};
use crate::words::accepted::Accepted;

/// Over what a delivery went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// A WebSocket.
    WebSocket,
    /// Server-sent events.
    Sse,
}

impl Transport {
    /// All there are.
    pub const ALL: [Transport; 2] = [Transport::WebSocket, Transport::Sse];

    /// As operators read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Transport::WebSocket => "websocket",
            Transport::Sse => "sse",
        }
    }
}

/// Who decided when a delivery was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pace {
    /// The server: the stream had everything before.
    Live,
    /// The client, whose socket had taken less than it was given, or who has just changed what it wants.
    Lagging,
}

impl Pace {
    /// All there are.
    pub const ALL: [Pace; 2] = [Pace::Live, Pace::Lagging];

    /// As operators read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Pace::Live => "live",
            Pace::Lagging => "lagging",
        }
    }
}

/// How a delivery was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Way {
    /// Over what.
    pub transport: Transport,
    /// At whose pace.
    pub pace: Pace,
}

impl Way {
    const ALL: [Way; 4] = [
        Way { transport: Transport::WebSocket, pace: Pace::Live },
        Way { transport: Transport::WebSocket, pace: Pace::Lagging },
        Way { transport: Transport::Sse, pace: Pace::Live },
        Way { transport: Transport::Sse, pace: Pace::Lagging },
    ];

    fn index(self) -> usize {
        self.transport as usize * 2 + self.pace as usize
    }
}

/// Namespaces and [`super::OTHER`].
const NAMED: usize = NAMESPACES_MAX + 1;

const _: () = assert!(Way::ALL.len() * NAMED <= 64, "each histogram has a bit of a word");

/// One loop's histograms; that loop alone writes them.
#[derive(Debug)]
pub struct Recorder {
    /// Those of deliveries, by way and namespace. In one piece, of which only what is used costs memory.
    deliveries: Box<[AtomicU64]>,
    /// Which of these are in use, a bit each: the others need not be looked at.
    used: AtomicU64,
    /// Of answers to publishes.
    answers: Histogram,
    /// Of the spans that this loop was the last to see.
    spans: Histogram,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder {
            deliveries: zeroed_counters(Way::ALL.len() * NAMED * CELLS),
            used: AtomicU64::new(0),
            answers: Histogram::default(),
            spans: Histogram::default(),
        }
    }
}

impl Recorder {
    /// As many deliveries as `times` says, of events accepted then, were made at `now_ns`.
    pub fn deliver(&self, way: Way, accepted: Accepted, now_ns: u64, times: u64) {
        let at = place_of(way, usize::from(accepted.namespace()).min(NAMESPACES_MAX));
        // Relaxed, as the counters are: whoever does not see the bit yet misses what has just come.
        let used = self.used.load(Ordering::Relaxed);
        if used & 1 << at == 0 {
            self.used.store(used | 1 << at, Ordering::Relaxed);
        }
        histogram::record(self.cells(at), accepted.age_ns(now_ns), times);
    }

    /// So many publishes were answered, this long after they were accepted.
    pub fn answer(&self, value_ns: u64, times: u64) {
        self.answers.record(value_ns, times);
    }

    /// An event was sent to everybody, the last this long after the first.
    pub fn span(&self, value_ns: u64) {
        self.spans.record(value_ns, 1);
    }

    /// The histograms of deliveries that are not empty, of the loop numbered `loop_index`.
    pub(super) fn series(&self, loop_index: usize) -> impl Iterator<Item = Series> + '_ {
        let used = self.used.load(Ordering::Relaxed);
        let kinds = Way::ALL.into_iter().flat_map(|way| (0..NAMED).map(move |namespace| (way, namespace)));
        let kinds = kinds.filter(move |(way, namespace)| used & 1 << place_of(*way, *namespace) != 0);
        let series = kinds.map(move |(way, namespace)| {
            let counts = histogram::counts(self.cells(place_of(way, namespace)));
            Series { loop_index, way, namespace, counts }
        });
        series.filter(|series| series.counts.count() != 0)
    }

    /// The histogram of answers.
    #[must_use]
    pub fn answers(&self) -> &Histogram {
        &self.answers
    }

    /// The histogram of spans.
    #[must_use]
    pub fn spans(&self) -> &Histogram {
        &self.spans
    }

    /// The cells of the histogram at that place.
    fn cells(&self, at: usize) -> &[AtomicU64] {
        &self.deliveries[at * CELLS..(at + 1) * CELLS]
    }
}

/// Where the histogram of a way and namespace stands among the others.
fn place_of(way: Way, namespace: usize) -> usize {
    way.index() * NAMED + namespace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_and_namespace_has_a_histogram_of_its_own() {
        let recorder = Recorder::default();
        assert_eq!(recorder.series(3).count(), 0);
        let mut times = 0;
        for way in Way::ALL {
            for namespace in 0..=NAMED as u8 {
                times += 1;
                recorder.deliver(way, Accepted::new(1000, namespace), 1000, times);
            }
        }
        let series: Vec<Series> = recorder.series(3).collect();
        assert_eq!(series.len(), Way::ALL.len() * NAMED);
        assert_eq!(series.iter().map(|series| series.counts.count()).sum::<u64>(), times * (times + 1) / 2);
        // Numbers beyond the bound count with the last.
        assert_eq!(series[NAMED - 1].counts.count(), (NAMED + NAMED + 1) as u64);
        assert!(series.iter().all(|series| series.loop_index == 3 && series.counts.max_ns() == 0));
    }
}
