//! What operators who watch are told once a second: what has happened since the last time, and how things stand.
//!
//! # Contract       [`Pulse::beat`] reads what loops and log show to everybody. Nothing is published for it: no number, and no
//!   byte of the log
//! # Bounds         a look at [`LOOKED_AT_MAX`] numbers in the log's tally, [`CHANNELS_MAX`] channels, the counters and
//!   histograms of each loop, and the clients that it is given
//! # Cost           some tens of microseconds of one loop, once a second, and only while somebody watches

mod channels;
mod latency;
mod totals;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::hub::{Desk, Hub};
use crate::latency::Snapshot;
use crate::sync::Ordering;
use crate::words::door::Door;
use crate::words::now::Now;
pub use channels::{CHANNELS_MAX, LOOKED_AT_MAX};
use channels::{Traffic, traffic};
use latency::{Latencies, latencies};
use totals::{Totals, totals};

/// What was told last, so that the next can say what has happened since.
#[derive(Debug)]
pub struct Pulse {
    /// How often it has been told.
    number: u64,
    /// When it was told last, in milliseconds of the clock that never jumps.
    at_ms: u64,
    totals: Totals,
    loops: Vec<LoopTotals>,
    published: u64,
    latency: Snapshot,
}

/// What a loop had done by then.
#[derive(Clone, Copy, Debug, Default)]
struct LoopTotals {
    busy_ns: u64,
    delivered: u64,
}

impl LoopTotals {
    fn of(desk: &Desk) -> LoopTotals {
        let Traffics { web_socket, sse } = Traffics::of(desk);
        LoopTotals { busy_ns: desk.traffic.busy_ns.load(Ordering::Relaxed), delivered: web_socket + sse }
    }
}

/// Events that a loop has handed to the kernel.
struct Traffics {
    web_socket: u64,
    sse: u64,
}

impl Traffics {
    fn of(desk: &Desk) -> Traffics {
        let load = |count: &crate::sync::AtomicU64| count.load(Ordering::Relaxed);
        Traffics { web_socket: load(&desk.traffic.web_socket_events), sse: load(&desk.traffic.sse_events) }
    }
}

/// One pulse, as it is written.
#[derive(Serialize)]
struct Document<'a> {
    pulse: u64,
    /// Unix milliseconds.
    at: u64,
    /// Since the last pulse, to which `delta` and all that is said to be of late refers; 0 in the first.
    elapsed_ms: u64,
    epoch: String,
    version: &'static str,
    draining: bool,
    #[serde(serialize_with = "named")]
    total: Totals,
    #[serde(serialize_with = "named")]
    delta: Totals,
    connections: Connections,
    lagging: u64,
    subscriptions: u64,
    log: Window,
    loops: Vec<LoopState>,
    traffic: Traffic,
    slowest: &'a [Box<RawValue>],
    latency: Latencies,
}

/// Who is connected.
#[derive(Serialize)]
struct Connections {
    websocket: u64,
    sse: u64,
    /// At the public door, and no stream.
    http: u64,
    operators: u64,
}

/// What the log holds.
#[derive(Serialize)]
struct Window {
    oldest: u64,
    newest: u64,
    events: u64,
    events_max: usize,
    bytes: u64,
    bytes_max: usize,
    /// How old the oldest event is; 0 where there is none.
    age_ms: u64,
    age_max_ms: Option<u64>,
    channels: usize,
    channels_max: usize,
}

/// How a loop does.
#[derive(Serialize)]
struct LoopState {
    /// The share of the time of late that it did not sleep, from 0 to 1; nothing in the first pulse.
    busy: Option<f64>,
    delivered: u64,
    lag_events: u64,
    behind_ms: u64,
    stalled_ms: u64,
}

impl Pulse {
    /// Nothing has been told yet.
    #[must_use]
    pub fn begin(hub: &Hub, now: Now) -> Pulse {
        Pulse {
            number: 0,
            at_ms: now.mono_ms,
            totals: totals(hub),
            loops: hub.desks().iter().map(LoopTotals::of).collect(),
            published: hub.log.published(),
            latency: hub.latency(),
        }
    }

    /// The next one, as a line of JSON. `slowest`: JSON objects, of the clients that are furthest behind.
    #[must_use]
    pub fn beat(&mut self, hub: &Hub, now: Now, slowest: &[Box<RawValue>]) -> String {
        let before = std::mem::replace(self, Pulse { number: self.number + 1, ..Pulse::begin(hub, now) });
        // What the first one has to say of late is of no time at all.
        let elapsed_ms = if before.number == 0 { 0 } else { self.at_ms.saturating_sub(before.at_ms) };
        let delta = |total: &(&'static str, u64), was: &(&'static str, u64)| {
            (total.0, if before.number == 0 { 0 } else { total.1.saturating_sub(was.1) })
        };
        let document = Document {
            pulse: self.number,
            at: now.unix_ms,
            elapsed_ms,
            epoch: hub.epoch.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            draining: hub.is_draining(),
            delta: self.totals.iter().zip(&before.totals).map(|(total, was)| delta(total, was)).collect(),
            total: self.totals.clone(),
            connections: connections(hub),
            lagging: hub.desks().iter().map(|desk| desk.traffic.lagging.load(Ordering::Relaxed)).sum(),
            subscriptions: hub.counters.subscriptions(),
            log: window(hub, now),
            loops: self.loops_since(&before, hub, elapsed_ms),
            traffic: traffic(&hub.log, before.published..self.published),
            slowest,
            latency: latencies(&self.latency.since(&before.latency)),
        };
        // It fails for maps whose keys are no texts, and there is none.
        serde_json::to_string(&document).unwrap_or_default()
    }

    fn loops_since(&self, before: &Pulse, hub: &Hub, elapsed_ms: u64) -> Vec<LoopState> {
        let loops = self.loops.iter().zip(&before.loops).zip(hub.desks());
        let state = |((now, was), desk): ((&LoopTotals, &LoopTotals), &Desk)| {
            let busy = now.busy_ns.saturating_sub(was.busy_ns) as f64 / (elapsed_ms * 1_000_000) as f64;
            LoopState {
                busy: (elapsed_ms != 0).then(|| (busy.clamp(0.0, 1.0) * 1000.0).round() / 1000.0),
                delivered: if elapsed_ms == 0 { 0 } else { now.delivered.saturating_sub(was.delivered) },
                lag_events: self.published.saturating_sub(desk.routed()),
                behind_ms: desk.behind_ms(),
                stalled_ms: desk.stalled_ms(),
            }
        };
        loops.map(state).collect()
    }
}

fn connections(hub: &Hub) -> Connections {
    let (streams, sse) = (hub.counters.streams(), hub.log.block_readers() as u64);
    let public = hub.admission.inside_of(Door::Public) as u64;
    Connections {
        websocket: streams.saturating_sub(sse),
        sse,
        http: public.saturating_sub(streams),
        operators: hub.admission.inside_of(Door::Admin) as u64,
    }
}

fn window(hub: &Hub, now: Now) -> Window {
    let (log, limits) = (&hub.log, &hub.limits);
    let (oldest, published) = (log.oldest(), log.published());
    let slot = if oldest < published { log.slot(oldest) } else { None };
    Window {
        oldest,
        newest: published.saturating_sub(1),
        events: published.saturating_sub(oldest),
        events_max: limits.retain_events,
        bytes: log.window_bytes(),
        bytes_max: limits.retain_bytes,
        age_ms: slot.map_or(0, |slot| now.unix_ms.saturating_sub(slot.timestamp_ms)),
        age_max_ms: limits.retain_age.map(|age| age.as_millis() as u64),
        channels: log.names().as_ref().map_or(0, |names| names.len()),
        channels_max: limits.channels_max,
    }
}

/// Writes names and numbers as the members of an object.
fn named<S: Serializer>(totals: &Totals, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(totals.iter().copied())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::counters::Traffic;
    use crate::sequencer::{EventParts, Origin, Publication, Submission};
    use crate::sync::bell::Waker;
    use crate::words::channel::Channel;
    use crate::words::cursor::{Epoch, GapCause};
    use crate::words::limits::Limits;

    struct Deaf;

    impl Waker for Deaf {
        fn wake(&self) {}
    }

    fn publish(hub: &Hub, channel: &str, count: usize, now: Now) {
        let channel = Channel::parse(channel).unwrap();
        let parts = EventParts::new(&channel, "k", b"1");
        for _ in 0..count {
            let publications = std::iter::once(Publication::new(&parts).unwrap()).collect();
            hub.submit(Submission::publish(Origin::NOBODY, publications)).unwrap();
            hub.sequence_outside(now, || true);
        }
    }

    #[test]
    fn it_tells_what_has_happened_since_the_last_and_what_there_is() {
        let limits = Limits { retain_events: 4, ..Limits::default() };
        let hub = Hub::new(limits, Epoch::from_bits(7), vec![Box::new(Deaf), Box::new(Deaf)]);
        let at = |mono_ms: u64| Now { mono_ms, unix_ms: 1_795_316_060_000 + mono_ms };
        publish(&hub, "t:old", 3, at(0));
        let mut pulse = Pulse::begin(&hub, at(1000));
        let beat = |pulse: &mut Pulse, now: u64| -> Value {
            serde_json::from_str(&pulse.beat(&hub, at(now), &[])).unwrap()
        };
        let first = beat(&mut pulse, 1000);
        assert_eq!((&first["pulse"], &first["elapsed_ms"]), (&1.into(), &0.into()));
        assert_eq!((&first["total"]["events"], &first["delta"]["events"]), (&3.into(), &0.into()));
        assert_eq!(first["loops"][1]["busy"], Value::Null);

        publish(&hub, "t:a", 2, at(1500));
        publish(&hub, "t:b", 1, at(1500));
        let desk = &hub.desks()[1];
        Traffic::add(&hub.desks()[0].traffic.busy_ns, 2_000_000_000);
        Traffic::add(&desk.traffic.busy_ns, 250_000_000);
        Traffic::add(&desk.traffic.sse_events, 5);
        Traffic::add(&desk.traffic.gaps[GapCause::Lapped.index()], 2);
        hub.counters.refuse_publish();
        let second = beat(&mut pulse, 2000);
        let check = |path: &str, expected: Value| {
            assert_eq!(second.pointer(path), Some(&expected), "{path}: {second}");
        };
        check("/pulse", 2.into());
        check("/elapsed_ms", 1000.into());
        check("/total/events", 6.into());
        check("/delta/events", 3.into());
        check("/delta/sse_events", 5.into());
        check("/delta/gaps_lapped", 2.into());
        check("/delta/publishes_refused", 1.into());
        check("/delta/cut_stalled", 0.into());
        check("/log/oldest", 3.into());
        check("/log/newest", 6.into());
        check("/log/events", 4.into());
        check("/log/age_ms", 2000.into());
        check("/loops/0/busy", 1.0.into());
        check("/loops/1/busy", 0.25.into());
        check("/loops/1/delivered", 5.into());
        check("/traffic/of", 3.into());
        check("/traffic/channels/0", serde_json::json!({ "channel": "t:a", "events": 2 }));
        check("/traffic/channels/1", serde_json::json!({ "channel": "t:b", "events": 1 }));
        assert!(second["log"]["bytes"].as_u64().is_some_and(|bytes| 0 < bytes), "{second}");
        let third = beat(&mut pulse, 3000);
        assert_eq!(third["delta"]["events"], 0);
        assert_eq!(third["traffic"]["channels"], serde_json::json!([]));
    }
}
