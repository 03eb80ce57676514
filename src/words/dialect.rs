//! Dialects: in whose words a stream's events are written.

/// A dialect. The transport, WebSocket or server-sent events, is another matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Our own.
    #[default]
    Native,
    /// Bare events with `seq_id`, of a memory store.
    Engram,
    /// Typed messages without sequence numbers, of a repository hub.
    Guts,
    /// What the repository hub's client library expects of an `EventSource`.
    Sdk,
    /// CloudEvents 1.0 in JSON.
    CloudEvents,
}

impl Dialect {
    /// The name, as [`Dialect::parse`] reads it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Native => "native",
            Dialect::Engram => "engram",
            Dialect::Guts => "guts",
            Dialect::Sdk => "sdk",
            Dialect::CloudEvents => "cloudevents",
        }
    }

    /// The dialect of that name: `native`, `engram`, `guts`, `sdk` or `cloudevents`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Dialect> {
        match name {
            "native" => Some(Dialect::Native),
            "engram" => Some(Dialect::Engram),
            "guts" => Some(Dialect::Guts),
            "sdk" => Some(Dialect::Sdk),
            "cloudevents" => Some(Dialect::CloudEvents),
            _ => None,
        }
    }
}
