//! The measured part of a thread: what it used and did between two instants.

use serde::{Deserialize, Serialize};

use crate::counting::usage::thread_waited_ns;
use crate::machine;

/// Opens at the start of the measured part and closes at its end; both on the thread that is measured.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    start: Option<Instant>,
    turn_ns_max: u64,
    measured: Option<Measured>,
}

/// What a thread has done since it began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Events delivered, or accepted by the server.
    pub(crate) events: u64,
    /// Bytes received, or bytes of data sent.
    pub(crate) bytes: u64,
}

/// The measured part of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Its length.
    pub(crate) wall_ns: u64,
    /// Processor time of the thread within it.
    pub(crate) cpu_ns: u64,
    /// How long it could have run and waited for a processor within it; 0 where the system does not tell.
    pub(crate) waited_ns: u64,
    /// The longest turn of the loop within it.
    pub(crate) turn_ns_max: u64,
    /// Events delivered, or accepted by the server, within it.
    pub(crate) events: u64,
    /// Bytes received, or bytes of data sent, within it.
    pub(crate) bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Instant {
    wall_ns: u64,
    cpu_ns: u64,
    waited_ns: u64,
    totals: Totals,
}

impl Gauge {
    /// The measured part begins, unless it has begun before.
    pub(crate) fn open(&mut self, now_ns: u64, totals: Totals) {
        self.start.get_or_insert_with(|| Instant {
            wall_ns: now_ns,
            cpu_ns: machine::thread_cpu_ns(),
            waited_ns: thread_waited_ns(),
            totals,
        });
    }

    /// A turn of the loop took this long.
    pub(crate) fn note_turn(&mut self, turn_ns: u64) {
        if self.is_open() {
            self.turn_ns_max = self.turn_ns_max.max(turn_ns);
        }
    }

    /// The measured part ends; `false` if it had not begun, or has ended before.
    pub(crate) fn close(&mut self, now_ns: u64, totals: Totals) -> bool {
        let (Some(start), None) = (self.start, self.measured) else { return false };
        self.measured = Some(Measured {
            wall_ns: now_ns.saturating_sub(start.wall_ns),
            cpu_ns: machine::thread_cpu_ns() - start.cpu_ns,
            waited_ns: thread_waited_ns().saturating_sub(start.waited_ns),
            turn_ns_max: self.turn_ns_max,
            events: totals.events - start.totals.events,
            bytes: totals.bytes - start.totals.bytes,
        });
        true
    }

    /// Whether the measured part has begun and not ended.
    pub(crate) fn is_open(&self) -> bool {
        self.start.is_some() && self.measured.is_none()
    }

    /// Whether the measured part has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.start.is_some()
    }

    /// The measured part, once it has ended.
    pub(crate) fn measured(&self) -> Option<Measured> {
        self.measured
    }
}

impl Measured {
    /// The share of one processor that the thread used.
    pub(crate) fn cpu_share(&self) -> f64 {
        self.cpu_ns as f64 / self.wall_ns.max(1) as f64
    }

    /// The share of the time in which the thread ran or could have run.
    pub(crate) fn wanted_share(&self) -> f64 {
        (self.cpu_ns + self.waited_ns) as f64 / self.wall_ns.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_between_opening_and_closing_is_measured() {
        let totals = |events| Totals { events, bytes: 10 * events };
        let mut gauge = Gauge::default();
        gauge.note_turn(900);
        assert!(!gauge.close(50, totals(1)));
        gauge.open(100, totals(5));
        gauge.open(150, totals(6));
        gauge.note_turn(30);
        gauge.note_turn(20);
        assert!(gauge.is_open());
        assert!(gauge.close(400, totals(25)));
        gauge.note_turn(900);
        assert!(!gauge.close(500, totals(30)));
        let measured = gauge.measured().expect("closed");
        let Measured { wall_ns, turn_ns_max, events, bytes, .. } = measured;
        assert_eq!((wall_ns, turn_ns_max, events, bytes), (300, 30, 20, 200));
        assert!(gauge.has_begun() && !gauge.is_open());
    }
}
