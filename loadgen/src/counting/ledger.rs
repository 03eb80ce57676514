//! What was published, and what of it must still be delivered.
//!
//! # Invariants     answered + refused ≤ published; an event is expected of the subscribers of its channel unless it was refused

/// The account of a run.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The number of the next event, which is also how many were published.
    pub(crate) next: u64,
    /// Events that the server accepted.
    pub(crate) answered: u64,
    /// Events that it refused.
    pub(crate) refused: u64,
    /// Events of each channel that were not refused.
    expected: Vec<u64>,
    /// Deliveries of these that have not come; below 0 if some came twice.
    owed: i64,
    /// Subscribers of an event.
    receivers: i64,
}

/// One request that is not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    /// The number of its first event.
    pub(crate) first: u64,
    /// How many events it has.
    pub(crate) count: u32,
    /// When they were due.
    pub(crate) due_ns: u64,
}

impl Ledger {
    /// Nothing was published on `channels` channels, whose events have `receivers` receivers each.
    pub(crate) fn new(channels: u32, receivers: u64) -> Ledger {
        Ledger {
            next: 0,
            answered: 0,
            refused: 0,
            expected: vec![0; channels as usize],
            owed: 0,
            receivers: receivers as i64,
        }
    }

    /// The next `count` events were handed over; they go round all channels.
    pub(crate) fn publish(&mut self, count: u32) {
        for number in self.next..self.next + u64::from(count) {
            *self.channel(number) += 1;
        }
        self.next += u64::from(count);
        self.owed += i64::from(count) * self.receivers;
    }

    /// A request was answered.
    pub(crate) fn settle(&mut self, request: InFlight, accepted: bool) {
        if accepted {
            self.answered += u64::from(request.count);
            return;
        }
        self.refused += u64::from(request.count);
        self.owed -= i64::from(request.count) * self.receivers;
        for number in request.first..request.first + u64::from(request.count) {
            *self.channel(number) -= 1;
        }
    }

    /// So many deliveries came.
    pub(crate) fn deliver(&mut self, count: u64) {
        self.owed -= count as i64;
    }

    /// How many more events may be on their way if `outstanding` may in all. An event is on its way until the sum of
    /// deliveries shows that everybody has it.
    pub(crate) fn room(&self, outstanding: u32) -> u32 {
        let room = i64::from(outstanding) * self.receivers - self.owed;
        (room / self.receivers.max(1)).clamp(0, i64::from(outstanding)) as u32
    }

    /// Whether as many deliveries came as must.
    pub(crate) fn is_delivered(&self) -> bool {
        self.owed <= 0
    }

    /// How many events a subscriber of `channel`, or of all channels, must have.
    pub(crate) fn expected(&self, channel: Option<u32>) -> u64 {
        channel.map_or_else(|| self.expected.iter().sum(), |channel| self.expected[channel as usize])
    }

    fn channel(&mut self, number: u64) -> &mut u64 {
        let channel = number % self.expected.len() as u64;
        &mut self.expected[channel as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_expected_of_nobody() {
        let mut ledger = Ledger::new(2, 3);
        ledger.publish(5);
        assert_eq!((ledger.expected(Some(0)), ledger.expected(Some(1)), ledger.expected(None)), (3, 2, 5));
        ledger.settle(InFlight { first: 0, count: 2, due_ns: 0 }, false);
        ledger.settle(InFlight { first: 2, count: 3, due_ns: 0 }, true);
        assert_eq!((ledger.expected(Some(0)), ledger.expected(Some(1))), (2, 1));
        assert_eq!((ledger.next, ledger.answered, ledger.refused), (5, 3, 2));
        ledger.deliver(8);
        assert!(!ledger.is_delivered());
        ledger.deliver(1);
        assert!(ledger.is_delivered());
    }

    #[test]
    fn an_event_is_outstanding_until_everybody_has_it() {
        let mut ledger = Ledger::new(1, 10);
        assert_eq!(ledger.room(4), 4);
        ledger.publish(4);
        ledger.deliver(9);
        assert_eq!(ledger.room(4), 0);
        ledger.deliver(1);
        assert_eq!(ledger.room(4), 1);
        ledger.deliver(50);
        assert_eq!(ledger.room(4), 4, "what came twice makes no more room");
    }
}
