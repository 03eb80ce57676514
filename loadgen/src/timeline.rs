//! A run over time: what all threads handed over, interval by interval.
//!
//! # Contract       what is added here adds up to the whole run, whatever order it comes in
//! # Bounds         [`INTERVALS_MAX`] intervals; past that each two neighbours become one, and every later one is twice as
//! long. All but the newest few are packed, a few KiB each

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};

use crate::histogram::{Latency, Summary};
use crate::interval::{Deliveries, DeliveryCounts, Grid, PublishCounts, Publishes, Stretch};
use crate::options::Transport;

/// What latencies are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// From the time an event was due to its receipt over WebSocket.
    WebSocket,
    /// The same over server-sent events.
    Sse,
    /// From the time an event was really sent to its receipt.
    Service,
    /// From the sending of a publish to its answer.
    Ack,
    /// From the first subscriber's receipt of an event to the last one's.
    Span,
    /// From the start of a connection to the answer that opens the stream.
    Handshake,
    /// From the loss of a connection to the open stream of the next one.
    Reconnect,
    /// From the time an event was due to its receipt, where the generator had cut the subscriber off meanwhile.
    Resumed,
    /// From the time a publish was due to its sending.
    SendLag,
}

impl Kind {
    /// All of them, in the order of a report.
    pub(crate) const ALL: [Kind; 9] = [
        Kind::WebSocket,
        Kind::Sse,
        Kind::Service,
        Kind::Ack,
        Kind::Span,
        Kind::Handshake,
        Kind::Reconnect,
        Kind::Resumed,
        Kind::SendLag,
    ];

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::WebSocket => "ws",
            Kind::Sse => "sse",
            Kind::Service => "service",
            Kind::Ack => "ack",
            Kind::Span => "span",
            Kind::Handshake => "handshake",
            Kind::Reconnect => "reconnect",
            Kind::Resumed => "resumed",
            Kind::SendLag => "send lag",
        }
    }

    /// The kind of end-to-end latencies over a transport.
    pub(crate) fn of(transport: Transport) -> Kind {
        match transport {
            Transport::WebSocket => Kind::WebSocket,
            Transport::Sse => Kind::Sse,
        }
    }
}

/// A latency, named.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The kind's name, or `e2e` for both transports together.
    pub(crate) name: String,
    /// Its figures.
    #[serde(flatten)]
    pub(crate) summary: Summary,
}

/// One interval of a run, as it is saved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Interval {
    /// Seconds from the start of the measured part to its beginning; negative in the warm-up.
    pub(crate) start_s: f64,
    /// Seconds that it covers.
    pub(crate) length_s: f64,
    /// Events sent for the first time.
    pub(crate) sent: u64,
    /// Events accepted.
    pub(crate) accepted: u64,
    /// Events refused.
    pub(crate) refused: u64,
    /// Events sent again after a refusal.
    pub(crate) retried: u64,
    /// Events delivered.
    pub(crate) delivered: u64,
    /// Bytes received.
    pub(crate) bytes: u64,
    /// Gaps told.
    pub(crate) gaps: u64,
    /// Connections that the server ended.
    pub(crate) closed: u64,
    /// Subscribers that were open at its end.
    pub(crate) open: u64,
    /// Processor share of the busiest thread, of 1.
    pub(crate) cpu_share_max: f64,
    /// The longest turn of any thread's loop.
    pub(crate) turn_ms_max: f64,
    /// Figures of what was measured in it.
    pub(crate) latency_ms: Vec<Row>,
    /// The histograms of what was measured in it, by kind, in nanoseconds, as HdrHistogram encodes them.
    pub(crate) histograms: BTreeMap<String, String>,
}

impl Interval {
    /// Events delivered per second.
    pub(crate) fn delivered_per_s(&self) -> f64 {
        self.per_second(self.delivered)
    }

    /// Events accepted per second.
    pub(crate) fn accepted_per_s(&self) -> f64 {
        self.per_second(self.accepted)
    }

    /// Of this name, or of both transports together for [`END_TO_END`]; nothing if nothing was measured.
    ///
    /// # Errors
    /// The saved text is no histogram.
    pub(crate) fn latency(&self, name: &str) -> Result<Option<Latency>, String> {
        latency(&self.histograms, name)
    }

    fn per_second(&self, count: u64) -> f64 {
        // A moment has no rate.
        if self.length_s < LENGTH_S_MIN { 0.0 } else { count as f64 / self.length_s }
    }
}

/// The latency of this name among saved histograms, or that of both transports together for [`END_TO_END`]; nothing if there
/// is none.
///
/// # Errors
/// The saved text is no histogram.
pub(crate) fn latency(histograms: &BTreeMap<String, String>, name: &str) -> Result<Option<Latency>, String> {
    if name != END_TO_END {
        return histograms.get(name).map(|text| Latency::decode(text)).transpose();
    }
    let mut whole: Option<Latency> = None;
    for transport in Transport::ALL {
        if let Some(text) = histograms.get(Kind::of(transport).name()) {
            let latency = Latency::decode(text)?;
            match &mut whole {
                Some(whole) => whole.merge(&latency),
                None => whole = Some(latency),
            }
        }
    }
    Ok(whole)
}

/// The intervals of a run while it goes on.
#[derive(Debug)]
pub(crate) struct Timeline {
    grid: Grid,
    /// How many intervals of the grid are one here.
    factor: i64,
    cells: BTreeMap<i64, Cell>,
    intervals_max: usize,
}

#[derive(Debug, Default)]
struct Cell {
    from_ns: u64,
    to_ns: u64,
    deliveries: DeliveryCounts,
    publishes: PublishCounts,
    /// By loop, since each tells of its own subscribers.
    open: BTreeMap<u32, u64>,
    cpu_share_max: f64,
    turn_ns_max: u64,
    latencies: BTreeMap<Kind, Held>,
}

/// A histogram, in the open while it grows.
#[derive(Debug)]
enum Held {
    Open(Box<Latency>),
    Packed { text: String, summary: Summary },
}

impl Timeline {
    /// Nothing has happened.
    pub(crate) fn new(grid: Grid) -> Timeline {
        Timeline { grid, factor: 1, cells: BTreeMap::new(), intervals_max: INTERVALS_MAX }
    }

    /// Adds what a loop of subscribers got.
    pub(crate) fn add_deliveries(&mut self, one: &Deliveries) {
        let cell = self.cell(&one.stretch);
        cell.deliveries.add(one.counts);
        cell.open.insert(one.thread, one.open);
        for transport in Transport::ALL {
            cell.add(Kind::of(transport), &one.latencies.end_to_end[transport as usize]);
        }
        cell.add(Kind::Service, &one.latencies.service);
        cell.add(Kind::Handshake, &one.latencies.handshake);
        cell.add(Kind::Reconnect, &one.latencies.reconnect);
        cell.add(Kind::Resumed, &one.latencies.resumed);
        self.settle();
    }

    /// Adds what the publishers did.
    pub(crate) fn add_publishes(&mut self, one: &Publishes) {
        let cell = self.cell(&one.stretch);
        cell.publishes.add(one.counts);
        cell.add(Kind::Ack, &one.ack);
        cell.add(Kind::SendLag, &one.send_lag);
        self.settle();
    }

    /// Adds the spans of events, each with its first receipt, ascending by that.
    pub(crate) fn add_spans(&mut self, spans: &[(u64, u64)]) {
        let (grid, factor) = (self.grid, self.factor);
        let index = |first_ns: u64| grid.index(first_ns).div_euclid(factor);
        for one in spans.chunk_by(|(one, _), (next, _)| index(*one) == index(*next)) {
            let mut sum = Latency::new();
            one.iter().for_each(|(_, span_ns)| sum.record(*span_ns));
            // Where a loop stood still for several intervals, there is only the one in which that began.
            if let Some((_, cell)) = self.cells.range_mut(..=index(one[0].0)).next_back() {
                cell.add(Kind::Span, &sum);
                cell.pack();
            }
        }
    }

    /// How long an interval is, and whether that is more than was asked for.
    pub(crate) fn interval_ns(&self) -> (u64, bool) {
        (self.grid.interval_ns * self.factor as u64, 1 < self.factor)
    }

    /// All intervals as they are saved, ascending.
    pub(crate) fn intervals(mut self) -> Vec<Interval> {
        self.cells.values_mut().for_each(Cell::pack);
        let origin_ns = self.grid.origin_ns;
        self.cells.into_values().map(|cell| cell.interval(origin_ns)).collect()
    }

    fn cell(&mut self, stretch: &Stretch) -> &mut Cell {
        let Grid { origin_ns, interval_ns } = self.grid;
        let index = stretch.index.div_euclid(self.factor);
        // A thread ends an interval with the turn in which its time is over, but what is shown has clean edges.
        let start_ns = (origin_ns as i64 + stretch.index * interval_ns as i64).max(0) as u64;
        let from_ns = stretch.from_ns.max(start_ns);
        let to_ns = stretch.to_ns.min(start_ns + interval_ns).max(from_ns);
        let cell = self.cells.entry(index).or_insert_with(|| Cell { from_ns, to_ns, ..Cell::default() });
        cell.from_ns = cell.from_ns.min(from_ns);
        cell.to_ns = cell.to_ns.max(to_ns);
        let wall_ns = stretch.to_ns.saturating_sub(stretch.from_ns);
        if CPU_WALL_NS_MIN <= wall_ns {
            cell.cpu_share_max = cell.cpu_share_max.max(stretch.cpu_ns as f64 / wall_ns as f64);
        }
        cell.turn_ns_max = cell.turn_ns_max.max(stretch.turn_ns_max);
        cell
    }

    /// Packs what is not the newest, and makes room where there are too many.
    fn settle(&mut self) {
        while self.intervals_max < self.cells.len() {
            self.factor *= 2;
            for (index, cell) in std::mem::take(&mut self.cells) {
                match self.cells.entry(index.div_euclid(2)) {
                    Entry::Vacant(vacant) => drop(vacant.insert(cell)),
                    Entry::Occupied(mut first) => {
                        first.get_mut().join(cell);
                        first.get_mut().pack();
                    }
                }
            }
        }
        self.cells.values_mut().rev().skip(OPEN_MAX).for_each(Cell::pack);
    }
}

impl Cell {
    fn add(&mut self, kind: Kind, latency: &Latency) {
        if latency.count() == 0 {
            return;
        }
        match self.latencies.entry(kind) {
            Entry::Vacant(vacant) => {
                vacant.insert(Held::Open(Box::new(latency.clone())));
            }
            Entry::Occupied(mut held) => held.get_mut().open().merge(latency),
        }
    }

    /// Takes what a later one holds.
    fn join(&mut self, later: Cell) {
        self.to_ns = later.to_ns;
        self.deliveries.add(later.deliveries);
        self.publishes.add(later.publishes);
        self.open.extend(later.open);
        self.cpu_share_max = self.cpu_share_max.max(later.cpu_share_max);
        self.turn_ns_max = self.turn_ns_max.max(later.turn_ns_max);
        for (kind, mut held) in later.latencies {
            self.add(kind, held.open());
        }
    }

    fn pack(&mut self) {
        self.latencies.values_mut().for_each(Held::pack);
    }

    fn interval(self, origin_ns: u64) -> Interval {
        let (deliveries, publishes) = (self.deliveries, self.publishes);
        let mut interval = Interval {
            start_s: (self.from_ns as f64 - origin_ns as f64) / 1e9,
            length_s: (self.to_ns - self.from_ns) as f64 / 1e9,
            sent: publishes.sent,
            accepted: publishes.accepted,
            refused: publishes.refused,
            retried: publishes.retried,
            delivered: deliveries.events,
            bytes: deliveries.bytes,
            gaps: deliveries.gaps,
            closed: deliveries.closed,
            open: self.open.values().sum(),
            cpu_share_max: self.cpu_share_max,
            turn_ms_max: self.turn_ns_max as f64 / 1e6,
            ..Interval::default()
        };
        for (kind, held) in self.latencies {
            if let Held::Packed { text, summary } = held {
                interval.histograms.insert(kind.name().to_owned(), text);
                interval.latency_ms.push(Row { name: kind.name().to_owned(), summary });
            }
        }
        if let Ok(Some(whole)) = interval.latency(END_TO_END) {
            interval.latency_ms.insert(0, Row { name: END_TO_END.to_owned(), summary: whole.summary() });
        }
        interval
    }
}

impl Held {
    fn open(&mut self) -> &mut Latency {
        if let Held::Packed { text, .. } = self {
            let latency = Latency::decode(text).expect("what was packed here can be unpacked");
            *self = Held::Open(Box::new(latency));
        }
        match self {
            Held::Open(latency) => latency,
            Held::Packed { .. } => unreachable!("it was opened"),
        }
    }

    fn pack(&mut self) {
        if let Held::Open(latency) = self {
            *self = Held::Packed { text: latency.encode(), summary: latency.summary() };
        }
    }
}

/// The name of the latency over both transports together.
pub(crate) const END_TO_END: &str = "e2e";

/// Ten minutes of seconds; a run of an hour then has intervals of 8 s. At some 3 KiB for each kind this is about 10 MiB.
pub(crate) const INTERVALS_MAX: usize = 600;
/// Histograms that are open: 170 KiB for each kind.
const OPEN_MAX: usize = 3;
/// Below this a share of processor time is the clock's own grain.
const CPU_WALL_NS_MIN: u64 = 50_000_000;
const LENGTH_S_MIN: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::DeliveryLatencies;

    const SECOND: u64 = 1_000_000_000;
    const ORIGIN: u64 = 100 * SECOND;

    fn timeline() -> Timeline {
        Timeline::new(Grid { origin_ns: ORIGIN, interval_ns: SECOND })
    }

    fn deliveries(thread: u32, index: i64, ms: &[u64]) -> Deliveries {
        let mut latencies = DeliveryLatencies::new();
        ms.iter().for_each(|ms| latencies.end_to_end[thread as usize].record(ms * 1_000_000));
        let from_ns = (ORIGIN as i64 + index * SECOND as i64) as u64;
        let counts = DeliveryCounts { events: ms.len() as u64, bytes: 10, gaps: 0, closed: 0 };
        let to_ns = from_ns + SECOND + 3;
        let stretch = Stretch { index, from_ns: from_ns + 3, to_ns, cpu_ns: SECOND / 4, turn_ns_max: 5 };
        Deliveries { stretch, thread, latencies, counts, open: 7 }
    }

    #[test]
    fn what_threads_hand_over_in_any_order_adds_up() {
        let mut timeline = timeline();
        for (thread, index, ms) in [
            (0, -1, &[9][..]),
            (0, 0, &[1, 2]),
            (0, 1, &[3]),
            (0, 2, &[]),
            (0, 3, &[]),
            (1, 0, &[4]),
            (1, 4, &[5]),
        ] {
            timeline.add_deliveries(&deliveries(thread, index, ms));
        }
        let intervals = timeline.intervals();
        let starts: Vec<f64> = intervals.iter().map(|one| one.start_s.round()).collect();
        assert_eq!(starts, [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]);
        let first = &intervals[1];
        assert_eq!((first.delivered, first.bytes, first.open), (3, 20, 14));
        assert_eq!(first.latency(END_TO_END).expect("read").map(|all| all.count()), Some(3));
        let names: Vec<&str> = first.latency_ms.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["e2e", "ws", "sse"]);
        assert!((first.length_s - 1.0).abs() < 1e-6 && (first.cpu_share_max - 0.25).abs() < 1e-6);
        assert!(intervals[3].latency_ms.is_empty() && intervals[3].histograms.is_empty());
    }

    #[test]
    fn past_the_bound_each_two_neighbours_become_one_and_nothing_is_lost() {
        let mut timeline = Timeline { intervals_max: 4, ..timeline() };
        (-3..20).for_each(|index| timeline.add_deliveries(&deliveries(0, index, &[1, 2])));
        assert_eq!(timeline.interval_ns(), (8 * SECOND, true));
        let intervals = timeline.intervals();
        assert!(intervals.len() <= 4, "{}", intervals.len());
        assert_eq!(intervals.iter().map(|one| one.delivered).sum::<u64>(), 46);
        let counts = intervals.iter().map(|one| one.latency("ws").expect("read").expect("some").count());
        assert_eq!(counts.sum::<u64>(), 46);
        // The origin stays an edge, so that no interval is of the warm-up and of the measured part.
        assert!(intervals.iter().any(|one| one.start_s.abs() < 1e-6));
        assert!(intervals.is_sorted_by(|one, next| one.start_s + one.length_s <= next.start_s + 1e-6));
    }

    #[test]
    fn spans_go_to_the_interval_of_their_first_receipt() {
        let mut timeline = timeline();
        (0..3).for_each(|index| timeline.add_deliveries(&deliveries(0, index, &[1])));
        timeline.add_spans(&[(ORIGIN, 1_000_000), (ORIGIN + 1, 2_000_000), (ORIGIN + 2 * SECOND, 3_000_000)]);
        let counts: Vec<u64> = timeline
            .intervals()
            .iter()
            .map(|one| one.latency("span").expect("read").map_or(0, |span| span.count()))
            .collect();
        assert_eq!(counts, [2, 0, 1]);
    }
}
