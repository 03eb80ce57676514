//! What an engine counts.

use super::core::Core;
use crate::session::dialect::stats::Stats as Totals;

/// What an engine has counted, each number by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The four counters of `guts`; [`Totals::to_json`] writes them in its shape.
    pub totals: Totals,
    /// The next sequence number to be issued.
    pub current_seq: u64,
    /// The oldest sequence number that may be looked back at.
    pub oldest: u64,
    /// Channels with events in the log.
    pub channels: usize,
    /// Clients connected in this process, and filters registered.
    pub clients: usize,
    /// Taps open now.
    pub taps: usize,
    /// Events given to taps and clients, each counted once a reader.
    pub deliveries: u64,
    /// Gaps that taps and clients were told of.
    pub gaps: u64,
}

impl Stats {
    pub(super) fn of(core: &Core) -> Stats {
        let hub = &core.hub;
        // In this order: `oldest` is never beyond what is published.
        let oldest = hub.log.oldest();
        let current_seq = hub.log.published();
        Stats {
            totals: Totals {
                current_connections: hub.counters.streams(),
                total_connections: hub.counters.streams_total(),
                total_subscriptions: hub.counters.subscriptions_total(),
                total_events: current_seq - 1,
            },
            current_seq,
            oldest,
            channels: hub.log.names().as_ref().map_or(0, |names| names.len()),
            clients: core.registry().len(),
            taps: core.taps(),
            deliveries: hub.audience.tallies.deliveries(),
            gaps: hub.audience.tallies.gaps(),
        }
    }
}
