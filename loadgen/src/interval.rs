//! Intervals: what a thread has measured since its last hand-over.
//!
//! # Contract       a thread records into what it holds for the interval, and into nothing else; with its first turn behind the
//! interval's end it hands that over and begins anew, so that what was handed over adds up to the whole. Nobody waits for anybody
//! # Bounds         one set of histograms per thread, and one more on its way to the recorder

use serde::{Deserialize, Serialize};

use crate::histogram::{DeliveryLatencies, Latency};
use crate::machine;

/// What the recorder is told.
#[derive(Debug)]
pub(crate) enum Note {
    /// The run is in this phase now.
    Phase(Phase),
    /// A loop of subscribers has ended an interval.
    Deliveries(Box<Deliveries>),
    /// The publishers have ended an interval.
    Publishes(Box<Publishes>),
    /// All threads have ended.
    End,
}

/// What a run does, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Subscribers connect.
    Connecting,
    /// Events come, or connections are held; those due from here on are measured.
    Measuring {
        /// Nanoseconds of the monotonic clock.
        from_ns: u64,
    },
    /// Publishing has ended, and the last events are on their way.
    Draining,
    /// What was received is compared with what was published.
    Auditing,
}

/// The part of a thread's life that one interval covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The interval's number: 0 begins where measuring does.
    pub(crate) index: i64,
    /// When the thread began it.
    pub(crate) from_ns: u64,
    /// When the thread ended it.
    pub(crate) to_ns: u64,
    /// Processor time of the thread within it.
    pub(crate) cpu_ns: u64,
    /// The longest turn of the thread's loop within it.
    pub(crate) turn_ns_max: u64,
}

/// What one loop of subscribers got in an interval.
#[derive(Debug)]
pub(crate) struct Deliveries {
    /// When.
    pub(crate) stretch: Stretch,
    /// The loop's number.
    pub(crate) thread: u32,
    /// Latencies of events that were due in the measured part.
    pub(crate) latencies: DeliveryLatencies,
    /// What was counted.
    pub(crate) counts: DeliveryCounts,
    /// Subscribers that were open at the end.
    pub(crate) open: u64,
}

/// Counts of a loop of subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeliveryCounts {
    /// Events delivered.
    pub(crate) events: u64,
    /// Bytes received.
    pub(crate) bytes: u64,
    /// Gaps told.
    pub(crate) gaps: u64,
    /// Connections that the server ended.
    pub(crate) closed: u64,
}

/// What the publishers did in an interval.
#[derive(Debug)]
pub(crate) struct Publishes {
    /// When.
    pub(crate) stretch: Stretch,
    /// From the sending of a request to its answer.
    pub(crate) ack: Latency,
    /// From the time a request was due to its sending.
    pub(crate) send_lag: Latency,
    /// What was counted.
    pub(crate) counts: PublishCounts,
}

/// Counts of the publishers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PublishCounts {
    /// Events sent for the first time.
    pub(crate) sent: u64,
    /// Events accepted.
    pub(crate) accepted: u64,
    /// Events refused, each time anew.
    pub(crate) refused: u64,
    /// Events sent again after a refusal.
    pub(crate) retried: u64,
}

impl DeliveryCounts {
    /// What came to these since `before`.
    pub(crate) fn since(self, before: DeliveryCounts) -> DeliveryCounts {
        DeliveryCounts {
            events: self.events - before.events,
            bytes: self.bytes - before.bytes,
            gaps: self.gaps - before.gaps,
            closed: self.closed - before.closed,
        }
    }

    /// Adds those of another thread or interval.
    pub(crate) fn add(&mut self, more: DeliveryCounts) {
        self.events += more.events;
        self.bytes += more.bytes;
        self.gaps += more.gaps;
        self.closed += more.closed;
    }
}

impl PublishCounts {
    /// What came to these since `before`.
    pub(crate) fn since(self, before: PublishCounts) -> PublishCounts {
        PublishCounts {
            sent: self.sent - before.sent,
            accepted: self.accepted - before.accepted,
            refused: self.refused - before.refused,
            retried: self.retried - before.retried,
        }
    }

    /// Adds those of another interval.
    pub(crate) fn add(&mut self, more: PublishCounts) {
        self.sent += more.sent;
        self.accepted += more.accepted;
        self.refused += more.refused;
        self.retried += more.retried;
    }
}

/// Where intervals begin and end, the same for all threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Where the interval 0 begins, in nanoseconds of the monotonic clock.
    pub(crate) origin_ns: u64,
    /// Length of an interval, more than 0.
    pub(crate) interval_ns: u64,
}

impl Grid {
    /// The interval that `at_ns` lies in; those before the origin have negative numbers.
    pub(crate) fn index(&self, at_ns: u64) -> i64 {
        (at_ns as i64 - self.origin_ns as i64).div_euclid(self.interval_ns as i64)
    }

    /// Where an interval ends and the next begins.
    pub(crate) fn end_ns(&self, index: i64) -> u64 {
        (self.origin_ns as i64 + (index + 1) * self.interval_ns as i64).max(0) as u64
    }
}

/// Tells one thread when an interval is over. It lives on that thread.
#[derive(Debug)]
pub(crate) struct Cutter {
    grid: Grid,
    index: i64,
    end_ns: u64,
    from_ns: u64,
    cpu_ns: u64,
    turn_ns_max: u64,
}

impl Cutter {
    /// The first interval of this thread begins at `now_ns`, amid one of the grid's.
    pub(crate) fn new(grid: Grid, now_ns: u64) -> Cutter {
        let index = grid.index(now_ns);
        let (end_ns, cpu_ns) = (grid.end_ns(index), machine::thread_cpu_ns());
        Cutter { grid, index, end_ns, from_ns: now_ns, cpu_ns, turn_ns_max: 0 }
    }

    /// A turn of the loop begins at `now_ns`. Where that is behind the interval's end, the interval is to be handed over before
    /// anything of this turn is recorded.
    pub(crate) fn begin_turn(&mut self, now_ns: u64) -> Option<Stretch> {
        (self.end_ns <= now_ns).then(|| self.cut(now_ns))
    }

    /// The turn has ended, and took this long.
    pub(crate) fn end_turn(&mut self, turn_ns: u64) {
        self.turn_ns_max = self.turn_ns_max.max(turn_ns);
    }

    /// Ends the interval now, over or not.
    pub(crate) fn cut(&mut self, now_ns: u64) -> Stretch {
        let cpu_ns = machine::thread_cpu_ns();
        let stretch = Stretch {
            index: self.index,
            from_ns: self.from_ns,
            to_ns: now_ns,
            cpu_ns: cpu_ns - self.cpu_ns,
            turn_ns_max: self.turn_ns_max,
        };
        let index = self.grid.index(now_ns);
        *self = Cutter {
            grid: self.grid,
            index,
            end_ns: self.grid.end_ns(index),
            from_ns: now_ns,
            cpu_ns,
            turn_ns_max: 0,
        };
        stretch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_lie_around_the_origin_without_a_hole() {
        let grid = Grid { origin_ns: 1_000, interval_ns: 100 };
        let check = |at_ns: u64, index: i64, end_ns: u64| {
            assert_eq!((grid.index(at_ns), grid.end_ns(index)), (index, end_ns), "{at_ns}");
        };
        check(1_000, 0, 1_100);
        check(1_099, 0, 1_100);
        check(1_100, 1, 1_200);
        check(999, -1, 1_000);
        check(900, -1, 1_000);
        check(899, -2, 900);
    }

    #[test]
    fn an_interval_ends_before_the_first_turn_behind_it() {
        let mut cutter = Cutter::new(Grid { origin_ns: 1_000, interval_ns: 100 }, 950);
        assert_eq!(cutter.begin_turn(970), None);
        cutter.end_turn(20);
        let stretch = cutter.begin_turn(1_010).expect("the interval before the origin is over");
        assert_eq!(
            (stretch.index, stretch.from_ns, stretch.to_ns, stretch.turn_ns_max),
            (-1, 950, 1_010, 20)
        );
        // A turn that lasts for three intervals is of the one in which it began; there is nothing of those between.
        cutter.end_turn(300);
        let stretch = cutter.begin_turn(1_320).expect("over");
        assert_eq!(
            (stretch.index, stretch.from_ns, stretch.to_ns, stretch.turn_ns_max),
            (0, 1_010, 1_320, 300)
        );
        assert_eq!(cutter.begin_turn(1_330), None);
        assert_eq!(cutter.cut(1_340).index, 3);
    }
}
