//! What `/api/realtime/stats` answers.

/// The counters of the dialect `guts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Subscribers connected now.
    pub current_connections: u64,
    /// Subscribers since the server started.
    pub total_connections: u64,
    /// Subscriptions since the server started; ended ones stay counted, repeated ones count once.
    pub total_subscriptions: u64,
    /// Events since the server started, whether or not anybody got them.
    pub total_events: u64,
}

impl Stats {
    /// The body of the answer.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!(
            "{{\"current_connections\":{},\"total_connections\":{},\"total_subscriptions\":{},\"total_events\":{}}}",
            self.current_connections, self.total_connections, self.total_subscriptions, self.total_events
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_what_its_clients_know() {
        let stats =
            Stats { current_connections: 1, total_connections: 2, total_subscriptions: 3, total_events: 4 };
        assert_eq!(
            stats.to_json(),
            r#"{"current_connections":1,"total_connections":2,"total_subscriptions":3,"total_events":4}"#
        );
    }
}
