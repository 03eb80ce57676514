//! What the bounds imply: how much memory a server can take at most.

use super::limits::{
    CONFLATE_KEPT_MAX, FILTER_WORDS_MAX, LABEL_BYTES_MAX, Limits, READ_BUFFER_BYTES, TLS_PENDING_BYTES_MAX,
};

/// Bytes that a server can take at most, by what for. What the kernel keeps for sockets comes to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorstCase {
    /// Events: what is retained, and what readers and a last, large segment hold beyond it.
    pub log: u64,
    /// What waits for the sequencer.
    pub queue: u64,
    /// Idempotency keys.
    pub keys: u64,
    /// Notifications, where they are in memory.
    pub notifications: u64,
    /// Each connection, if its client does its worst: half a message, no answer taken, and all the subscriptions and
    /// filters that it may have, and slow in addition.
    pub connection: u64,
    /// Connections, at both doors.
    pub connections: u64,
}

impl WorstCase {
    /// Of a server with these bounds, whose connections are encrypted or not.
    #[must_use]
    pub fn of(limits: &Limits, is_encrypted: bool) -> WorstCase {
        let Limits { event_bytes_max, body_bytes_max, head_bytes_max, .. } = *limits;
        let event_bytes = event_bytes_max as u64 + EVENT_REST_BYTES;
        let retained =
            (limits.retain_bytes as u64).min((limits.retain_events as u64).saturating_mul(event_bytes));
        // A head or a message that has come in part, with what was read beyond it, and a filter that is being read.
        let input = (head_bytes_max + body_bytes_max + READ_BUFFER_BYTES) as u64;
        let output = limits.answers_bytes_high as u64 + event_bytes;
        let state = limits.subscriptions_max as u64 * SUBSCRIPTION_BYTES + limits.filter_bytes_max as u64;
        let kept = CONFLATE_KEPT_MAX as u64 * KEPT_BYTES;
        let tls = if is_encrypted { TLS_PENDING_BYTES_MAX as u64 + TLS_BYTES } else { 0 };
        WorstCase {
            log: retained + SEGMENTS_BEYOND * SEGMENT_EVENTS * event_bytes,
            queue: limits.ingest_bytes_max as u64,
            keys: limits.idempotency_keys_max as u64 * KEY_BYTES,
            notifications: limits.notification_bytes_max,
            connection: CONNECTION_BYTES + input + output + state + kept + tls,
            connections: limits.connections_max.saturating_add(limits.admin_connections_max) as u64,
        }
    }

    /// All of it. Saturates.
    #[must_use]
    pub fn total(&self) -> u64 {
        let shared = [self.log, self.queue, self.keys, self.notifications];
        let connections = self.connection.saturating_mul(self.connections);
        shared.into_iter().fold(connections, u64::saturating_add)
    }
}

/// What an event has besides its data, at most: ids and tags, its channel, and the forms that it is kept in.
const EVENT_REST_BYTES: u64 = 64 << 10;

/// Events of a segment of the log.
const SEGMENT_EVENTS: u64 = 256;

/// Segments that may be held beyond what is retained: the last one, and one that readers look at.
const SEGMENTS_BEYOND: u64 = 2;

/// A subscription with two patterns of the longest.
const SUBSCRIPTION_BYTES: u64 = 640;

/// An idempotency key, with what is remembered of it.
const KEY_BYTES: u64 = 250;

/// An event that is kept for a slow stream: its number, and the gap that it gets instead if it leaves the log before.
const KEPT_BYTES: u64 = 80;

/// An encrypted connection: a record that has come in part, what was in the one before it, and the keys.
const TLS_BYTES: u64 = 48 << 10;

/// A connection at rest, with its place in the lists of its loop.
const CONNECTION_BYTES: u64 = 512;

const _: () = assert!(FILTER_WORDS_MAX * LABEL_BYTES_MAX <= 64 << 10, "a condition is a part of a message");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_counts_where_it_belongs() {
        let limits = Limits::default();
        let worst = WorstCase::of(&limits, false);
        assert!(limits.retain_bytes as u64 <= worst.log && worst.log < 512 << 20, "{worst:?}");
        assert_eq!(worst.queue, 32 << 20);
        assert_eq!(worst.connections, 100_064);
        assert!((1 << 20..3 << 20).contains(&worst.connection), "{worst:?}");
        let check = |changed: Limits, pick: fn(&WorstCase) -> u64, expected: bool| {
            assert_eq!(pick(&worst) < pick(&WorstCase::of(&changed, false)), expected, "{changed:?}");
        };
        check(Limits { filter_bytes_max: 1 << 20, ..limits.clone() }, |worst| worst.connection, true);
        check(Limits { answers_bytes_high: 1 << 20, ..limits.clone() }, |worst| worst.connection, true);
        check(Limits { body_bytes_max: 2 << 20, ..limits.clone() }, |worst| worst.connection, true);
        check(Limits { retain_bytes: 1 << 30, ..limits.clone() }, |worst| worst.log, true);
        check(Limits { retain_bytes: 1 << 30, ..limits.clone() }, |worst| worst.connection, false);
        check(Limits { connections_max: 200_000, ..limits.clone() }, WorstCase::total, true);
        assert!(worst.connection < WorstCase::of(&limits, true).connection);
    }

    #[test]
    fn bounds_beyond_all_measure_do_not_wrap() {
        let limits = Limits { connections_max: usize::MAX / 2, ..Limits::default() };
        assert_eq!(WorstCase::of(&limits, false).total(), u64::MAX);
    }
}
