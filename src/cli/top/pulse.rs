//! What is read of a pulse. Members that a newer server has besides are passed over.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::cli::Failure;

/// How a server does.
#[derive(Debug, Deserialize)]
pub(super) struct Pulse {
    pub(super) elapsed_ms: u64,
    pub(super) epoch: String,
    pub(super) version: String,
    pub(super) draining: bool,
    pub(super) total: BTreeMap<String, u64>,
    pub(super) delta: BTreeMap<String, u64>,
    pub(super) connections: Connections,
    pub(super) lagging: u64,
    pub(super) subscriptions: u64,
    pub(super) log: Window,
    pub(super) loops: Vec<LoopState>,
    pub(super) traffic: Traffic,
    pub(super) slowest: Vec<Client>,
    pub(super) latency: Latencies,
}

#[derive(Debug, Deserialize)]
pub(super) struct Connections {
    pub(super) websocket: u64,
    pub(super) sse: u64,
    pub(super) http: u64,
    pub(super) operators: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Window {
    pub(super) oldest: u64,
    pub(super) newest: u64,
    pub(super) events: u64,
    pub(super) events_max: u64,
    pub(super) bytes: u64,
    pub(super) bytes_max: u64,
    pub(super) age_ms: u64,
    pub(super) channels: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct LoopState {
    pub(super) busy: Option<f64>,
    pub(super) lag_events: u64,
    pub(super) stalled_ms: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Traffic {
    pub(super) channels: Vec<ChannelTraffic>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChannelTraffic {
    pub(super) channel: String,
    pub(super) workspace: Option<String>,
    pub(super) events: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) user: Option<String>,
    pub(super) address: Option<String>,
    pub(super) transport: String,
    pub(super) lag: u64,
    pub(super) lag_ms: u64,
    pub(super) stalled_ms: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Latencies {
    pub(super) live: Curve,
    pub(super) span: Curve,
}

/// In nanoseconds.
#[derive(Debug, Deserialize)]
pub(super) struct Curve {
    pub(super) count: u64,
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

impl Pulse {
    /// Reads one.
    pub(super) fn parse(text: &str) -> Result<Pulse, Failure> {
        serde_json::from_str(text)
            .map_err(|error| Failure::Connect(format!("the server says what is no pulse: {error}")))
    }

    /// How often that happens in a second, of late; nothing in the first pulse.
    pub(super) fn rate(&self, names: &[&str]) -> Option<f64> {
        let sum: u64 = names.iter().filter_map(|name| self.delta.get(*name)).sum();
        (self.elapsed_ms != 0).then(|| sum as f64 * 1000.0 / self.elapsed_ms as f64)
    }
}
