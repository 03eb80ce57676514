//! The figures that a run has: their names, units, and in which direction they are better.

use std::collections::BTreeMap;

/// Figures by name.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// What a figure is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Its name in results and bars.
    pub(crate) name: &'static str,
    /// Its unit, for tables.
    pub(crate) unit: &'static str,
    /// In which direction it is better.
    pub(crate) better: Better,
}

/// In which direction a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
    /// It only explains others.
    Neither,
}

/// The figure called `name`, if there is one.
pub(crate) fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

const fn row(name: &'static str, unit: &'static str, better: Better) -> Kind {
    Kind { name, unit, better }
}

/// All figures, in the order of tables. "cpu" is processor time of the server.
pub(crate) const KINDS: &[Kind] = &[
    row("cpu_per_delivery", "µs", Better::Lower),
    row("deliveries_per_s", "/s", Better::Higher),
    row("deliveries_per_cpu_s", "/s", Better::Higher),
    row("messages_per_read", "", Better::Neither),
    row("p50", "ms", Better::Lower),
    row("p99", "ms", Better::Lower),
    row("p999", "ms", Better::Lower),
    row("publishes_per_s", "/s", Better::Higher),
    row("cpu_per_publish", "µs", Better::Lower),
    row("connects_per_s", "/s", Better::Higher),
    row("cpu_per_connect", "µs", Better::Lower),
    row("rss_per_connection", "B", Better::Lower),
    row("rss_growth", "B", Better::Lower),
    row("server_busy", "cores", Better::Neither),
    row("switches_per_delivery", "", Better::Neither),
    row("bytes_per_delivery", "B", Better::Neither),
    row("payload_bytes", "B", Better::Neither),
];
