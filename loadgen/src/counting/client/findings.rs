//! What a run found, and the counts it is worked out from.

use super::Client;
use crate::counting::stream::Counter;
use crate::counting::usage::{Busy, Usage, thread_waited_ns};
use crate::histogram::Latency;
use crate::machine::{now_ns, thread_cpu_ns};

/// What a run found.
#[derive(Debug)]
pub(crate) struct Findings {
    /// Counts at the beginning and the end of the measured part.
    pub(crate) measured: (Snapshot, Snapshot),
    /// What subscribers were delivered, with the latencies.
    pub(crate) counter: Counter,
    /// From requests to answers, of the shape `publish`; from connecting to the open stream, of `connect` and `idle`.
    pub(crate) service: Latency,
    /// How late the client itself published.
    pub(crate) lag: Latency,
    /// Events that were handed to the server.
    pub(crate) published: u64,
    /// Of these, refused.
    pub(crate) refused: u64,
    /// Of these, never answered.
    pub(crate) unanswered: u64,
    /// What went wrong with subscribers, as sentences.
    pub(crate) failures: Vec<String>,
    /// How many subscribers did not get what they must have.
    pub(crate) incomplete: u64,
    /// Deliveries that are missing, and those that are too many.
    pub(crate) missed: u64,
    /// As above.
    pub(crate) surplus: u64,
    /// The server's usage before the first connection.
    pub(crate) empty: Option<Usage>,
    /// And once all connections stood, before the first event.
    pub(crate) connected: Option<Usage>,
    /// How long connecting took, in nanoseconds.
    pub(crate) connecting_ns: u64,
    /// Whether somebody ended the run early.
    pub(crate) interrupted: bool,
}

/// Counts at one instant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Snapshot {
    /// When it was taken, in nanoseconds of the monotonic clock.
    pub(crate) at_ns: u64,
    /// Processor time of the client.
    pub(crate) cpu_ns: u64,
    /// How long it could have run and waited for a processor.
    pub(crate) waited_ns: u64,
    /// Usage of the server.
    pub(crate) server: Option<Usage>,
    /// How busy the machine was.
    pub(crate) machine: Option<Busy>,
    /// Events that were delivered.
    pub(crate) events: u64,
    /// Of these, skipped.
    pub(crate) skipped: u64,
    /// Bytes of the messages of the others.
    pub(crate) payload_bytes: u64,
    /// Bytes that subscribers read.
    pub(crate) wire_bytes: u64,
    /// Readings of subscribers that brought something.
    pub(crate) readings: u64,
    /// Events that were published and answered.
    pub(crate) answered: u64,
    /// Connections that were opened.
    pub(crate) opened: u64,
}

impl Client<'_> {
    /// Counts now.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        Snapshot {
            server: self.server.pid.and_then(Usage::of),
            machine: Busy::now(),
            cpu_ns: thread_cpu_ns(),
            waited_ns: thread_waited_ns(),
            at_ns: now_ns(),
            events: self.counter.events,
            skipped: self.counter.skipped,
            payload_bytes: self.counter.payload_bytes,
            answered: self.ledger.answered,
            ..self.totals
        }
    }

    /// What every subscriber got, beside what it must have.
    pub(super) fn finish(mut self) -> Findings {
        let (mut incomplete, mut missed, mut surplus) = (0, 0, 0);
        let whole_bytes = self.whole_bytes();
        for index in 0..self.subscribers.len() {
            let subscriber = &self.subscribers[index];
            if subscriber.is_stuck || !self.load.publishes() {
                continue;
            }
            let channel = (!self.load.wildcard).then(|| self.load.channel_of(index as u32));
            let expected = self.ledger.expected(channel);
            let progress = subscriber.listener.progress;
            let got = progress.events;
            if got != expected {
                incomplete += 1;
                missed += expected.saturating_sub(got);
                surplus += got.saturating_sub(expected);
                let hint = if 0 < progress.skipped_bytes { HINT } else { "" };
                self.fail(format!("subscriber {index} got {got} of {expected} events{hint}"));
            } else if 0 < progress.skipped_bytes
                && (whole_bytes != Some(progress.bytes) || 0 < progress.strays)
            {
                incomplete += 1;
                self.fail(format!("subscriber {index} was sent other bytes than those that were read{HINT}"));
            }
        }
        let in_flight = self.publishers.iter().flat_map(|publisher| &publisher.in_flight);
        let unanswered = in_flight.map(|request| u64::from(request.count)).sum();
        Findings {
            measured: self.measured,
            counter: self.counter,
            service: self.service,
            lag: self.lag,
            published: self.ledger.next,
            refused: self.ledger.refused,
            unanswered,
            failures: self.failures,
            incomplete,
            missed,
            surplus,
            empty: self.empty,
            connected: self.connected,
            connecting_ns: self.connecting_ns,
            interrupted: self.interrupted,
        }
    }

    /// The length of the stream that everybody must have, where everybody has the same one: that of a subscriber that has
    /// read every byte and got every event.
    fn whole_bytes(&self) -> Option<u64> {
        let expected = self.ledger.expected(None);
        let mut watched = self.subscribers.iter().map(|subscriber| subscriber.listener.progress);
        watched.find(|one| one.is_watched && one.events == expected).map(|one| one.bytes)
    }
}

/// Behind what went wrong with a subscriber of which not everything was read.
pub(super) const HINT: &str = "; --watch 1 reads everything";
