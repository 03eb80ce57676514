//! The publishers' own record: what became of every event.
//!
//! # Bounds         16 bytes per event; the plan bounds the events

/// All events of a run, by publisher and index.
#[derive(Debug)]
pub(crate) struct Record {
    publishers: Vec<Vec<Outcome>>,
}

/// What became of an event, and what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    sequence: u64,
    /// Length of its data.
    pub(crate) data_bytes: u32,
    /// Check sum of its data.
    pub(crate) data_crc: u32,
}

/// The answer to a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// No answer came, so the event may have been accepted or not.
    Unanswered,
    /// The server refused it.
    Refused,
    /// The server accepted it under this number.
    Accepted(u64),
}

impl Record {
    /// An empty record for so many publishers.
    pub(crate) fn new(publishers: u32) -> Record {
        Record { publishers: vec![Vec::new(); publishers as usize] }
    }

    /// Notes that an event is sent, perhaps not for the first time.
    pub(crate) fn sent(&mut self, publisher: u32, index: u64, data: &[u8]) {
        let outcome =
            Outcome { sequence: UNANSWERED, data_bytes: data.len() as u32, data_crc: crc32fast::hash(data) };
        let outcomes = &mut self.publishers[publisher as usize];
        if outcomes.len() as u64 == index {
            outcomes.push(outcome);
        } else {
            outcomes[index as usize] = outcome;
        }
    }

    /// Notes the answer to `count` events from `index` on, the first of which has the number in `fate`.
    pub(crate) fn answered(&mut self, publisher: u32, index: u64, count: u32, fate: Fate) {
        let outcomes = &mut self.publishers[publisher as usize];
        let range = index as usize..index as usize + count as usize;
        for (step, outcome) in (0..).zip(&mut outcomes[range]) {
            outcome.sequence = match fate {
                Fate::Unanswered => UNANSWERED,
                Fate::Refused => REFUSED,
                Fate::Accepted(first) => first.saturating_add(step).min(REFUSED - 1),
            };
        }
    }

    /// What became of one event; `None` if it was never sent.
    pub(crate) fn outcome(&self, publisher: u32, index: u64) -> Option<Outcome> {
        self.publishers.get(publisher as usize)?.get(usize::try_from(index).ok()?).copied()
    }

    /// Every event with its publisher and index.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (u32, u64, &Outcome)> {
        let publishers = (0u32..).zip(&self.publishers);
        publishers.flat_map(|(publisher, outcomes)| {
            (0u64..).zip(outcomes).map(move |(index, outcome)| (publisher, index, outcome))
        })
    }
}

impl Outcome {
    /// The answer.
    pub(crate) fn fate(&self) -> Fate {
        match self.sequence {
            UNANSWERED => Fate::Unanswered,
            REFUSED => Fate::Refused,
            sequence => Fate::Accepted(sequence),
        }
    }
}

/// Sequence numbers begin at 1.
const UNANSWERED: u64 = 0;
const REFUSED: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_a_batch_numbers_its_events_in_order() {
        let mut record = Record::new(2);
        (0..4).for_each(|index| record.sent(1, index, b"{}"));
        record.answered(1, 1, 2, Fate::Accepted(41));
        record.answered(1, 3, 1, Fate::Refused);
        let fates: Vec<Fate> = record.outcomes().map(|(_, _, outcome)| outcome.fate()).collect();
        assert_eq!(fates, [Fate::Unanswered, Fate::Accepted(41), Fate::Accepted(42), Fate::Refused]);
        assert_eq!(record.outcome(1, 2).map(|outcome| outcome.data_bytes), Some(2));
        assert_eq!((record.outcome(1, 4), record.outcome(0, 0), record.outcome(9, 0)), (None, None, None));
    }

    #[test]
    fn an_event_sent_again_takes_the_place_of_the_first() {
        let mut record = Record::new(1);
        record.sent(0, 0, b"{}");
        record.answered(0, 0, 1, Fate::Refused);
        record.sent(0, 0, b"{ }");
        let outcome = record.outcome(0, 0).expect("an outcome");
        assert_eq!((outcome.fate(), outcome.data_bytes), (Fate::Unanswered, 3));
    }
}
