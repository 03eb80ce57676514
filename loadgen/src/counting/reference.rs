//! What the subscribers of one stream are sent, as far as one of them has read it: how long its events are, in order.
//!
//! # Contract       all subscribers of a stream get the same bytes from their first event on. So what one of them has read the
//!                  others need only count: the number of bytes says how many events these were, and at the end whether they
//!                  were all. Something else that comes in the place of events would have to be exactly as long to pass. Who is
//!                  sent too much may be the first to read, and then others are found wrong too: the run fails in any case
//! # Invariants     a run begins where the one before it ends; every event of it has the same length
//! # Bounds         `RUNS_MAX` runs; then it grows no further, and everybody reads what lies behind it
//! # Why not …      the end of each event: lengths change with the digits of a number, which is seldom

/// The lengths of a stream's events.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    runs: Vec<Run>,
    /// Bytes of all events.
    end: u64,
    /// How many there are.
    events: u64,
}

/// Events of the same length, from `start` up to the next run.
#[derive(Debug)]
struct Run {
    start: u64,
    /// Events before it.
    before: u64,
    event_bytes: u64,
}

impl Reference {
    /// Bytes of all events that somebody has read.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Somebody has read an event of `event_bytes` bytes, which begins `start` bytes behind the first one. What is known
    /// already, or does not begin where an event ends, changes nothing.
    pub(crate) fn note(&mut self, start: u64, event_bytes: u64) {
        if start != self.end {
            return;
        }
        if self.runs.last().is_none_or(|run| run.event_bytes != event_bytes) {
            if self.runs.len() == RUNS_MAX {
                return;
            }
            self.runs.push(Run { start, before: self.events, event_bytes });
        }
        self.end += event_bytes;
        self.events += 1;
    }

    /// How many whole events the first `bytes` bytes are, which are no more than [`Reference::end`].
    pub(crate) fn events_in(&self, bytes: u64) -> u64 {
        let behind = self.runs.partition_point(|run| run.start <= bytes);
        let Some(run) = self.runs[..behind].last() else { return 0 };
        run.before + (bytes - run.start) / run.event_bytes
    }
}

/// Of 24 bytes each. A server whose events differ in length from one to the next gets that far, and is then read in full.
const RUNS_MAX: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_as_many_events_as_have_ended_within_them() {
        let mut reference = Reference::default();
        assert_eq!((reference.end(), reference.events_in(0)), (0, 0));
        let (mut ends, mut end) = (Vec::new(), 0);
        for event_bytes in [139, 139, 140, 140, 140, 139, 20] {
            reference.note(end, event_bytes);
            // The others read the same.
            reference.note(end, event_bytes);
            end += event_bytes;
            ends.push(end);
        }
        assert_eq!(reference.end(), end);
        for bytes in 0..=end {
            let expected = ends.iter().filter(|end| **end <= bytes).count() as u64;
            assert_eq!(reference.events_in(bytes), expected, "{bytes} bytes");
        }
    }

    #[test]
    fn what_does_not_begin_where_an_event_ends_is_not_taken() {
        let mut reference = Reference::default();
        reference.note(0, 100);
        reference.note(99, 100);
        reference.note(101, 100);
        assert_eq!((reference.end(), reference.events_in(100)), (100, 1));
    }

    #[test]
    fn at_its_bound_it_keeps_what_it_has() {
        let (mut reference, mut start) = (Reference::default(), 0);
        for number in 0..RUNS_MAX as u64 + 10 {
            reference.note(start, 100 + number % 2);
            start += 100 + number % 2;
        }
        assert_eq!(reference.events_in(reference.end()), RUNS_MAX as u64);
        assert!(reference.end() < start);
    }
}
