//! What all loops have measured, at one moment.

use super::counts::Counts;
use super::recorder::{Recorder, Way};
use super::{Latency, OTHER};

/// The deliveries of one loop, of one way and namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The loop.
    pub loop_index: usize,
    /// How they were made.
    pub way: Way,
    /// The number of the namespace, for [`Snapshot::namespace`].
    pub namespace: usize,
    /// How long they took.
    pub counts: Counts,
}

/// All that was measured, since the server began or since an earlier snapshot.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// From when on this counts, and when it was taken, in nanoseconds since the server began.
    from_ns: u64,
    to_ns: u64,
    /// By loop, way and namespace; those that are not empty.
    series: Vec<Series>,
    answers: Counts,
    spans: Counts,
    /// By their numbers.
    namespaces: Vec<String>,
}

impl Snapshot {
    /// What the loops with these recorders have measured.
    pub fn take<'a>(latency: &Latency, recorders: impl Iterator<Item = &'a Recorder>) -> Snapshot {
        let mut snapshot = Snapshot { to_ns: latency.clock.read_ns(), ..Snapshot::default() };
        for (loop_index, recorder) in recorders.enumerate() {
            snapshot.series.extend(recorder.series(loop_index));
            snapshot.answers.merge(&recorder.answers().counts());
            snapshot.spans.merge(&recorder.spans().counts());
        }
        let numbers = snapshot.series.iter().map(|series| series.namespace + 1).max().unwrap_or(0);
        snapshot.namespaces = (0..numbers).map(|number| latency.namespaces.name(number).to_owned()).collect();
        snapshot
    }

    /// What has been measured since `earlier`, which is of the same server.
    #[must_use]
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        let before = |series: &Series| {
            let is_same = |other: &&Series| {
                (other.loop_index, other.way, other.namespace)
                    == (series.loop_index, series.way, series.namespace)
            };
            earlier.series.iter().find(is_same).map(|series| &series.counts)
        };
        let nothing = Counts::default();
        let series = self.series.iter().map(|series| {
            let counts = series.counts.since(before(series).unwrap_or(&nothing));
            Series { counts, ..series.clone() }
        });
        Snapshot {
            from_ns: earlier.to_ns,
            to_ns: self.to_ns,
            series: series.filter(|series| series.counts.count() != 0).collect(),
            answers: self.answers.since(&earlier.answers),
            spans: self.spans.since(&earlier.spans),
            namespaces: self.namespaces.clone(),
        }
    }

    /// For how long it was measured, in nanoseconds.
    #[must_use]
    pub fn elapsed_ns(&self) -> u64 {
        self.to_ns.saturating_sub(self.from_ns)
    }

    /// From when to when this counts, in nanoseconds since the server began.
    #[must_use]
    pub fn range_ns(&self) -> (u64, u64) {
        (self.from_ns, self.to_ns)
    }

    /// All deliveries.
    #[must_use]
    pub fn deliveries(&self) -> Counts {
        self.merged(|_| true)
    }

    /// The deliveries of those series that `is_meant` says yes to.
    #[must_use]
    pub fn merged(&self, is_meant: impl Fn(&Series) -> bool) -> Counts {
        let mut all = Counts::default();
        self.series.iter().filter(|series| is_meant(series)).for_each(|series| all.merge(&series.counts));
        all
    }

    /// By loop, way and namespace; those that are not empty.
    #[must_use]
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// The name of the namespace of that number.
    #[must_use]
    pub fn namespace(&self, number: usize) -> &str {
        self.namespaces.get(number).map_or(OTHER, String::as_str)
    }

    /// From accepting a publish to its answer.
    #[must_use]
    pub fn answers(&self) -> &Counts {
        &self.answers
    }

    /// From the first to the last subscriber of an event, of those events that were watched.
    #[must_use]
    pub fn spans(&self) -> &Counts {
        &self.spans
    }
}
