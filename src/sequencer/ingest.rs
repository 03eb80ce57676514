//! The way in: a bounded queue to the sequencer, and the decision whether to let a submission in at all.

use crossbeam_channel::{Receiver, Sender, TrySendError};
use smallvec::SmallVec;

use super::idempotency::IdempotencyKey;
use super::order::{Before, Done, Order, Refusal};
use super::publication::Publication;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// An order, and who gave it. Of 128 bytes, which are moved without a call.
#[derive(Debug)]
pub struct Submission {
    /// Whom to answer.
    pub origin: Origin,
    /// What is to be done.
    pub order: Order,
    /// When whoever submits it has been told of it, in nanoseconds of the clock of measurements ([`crate::latency::Clock`]); 0: when
    /// it is let in.
    pub accepted_ns: u64,
}

impl Submission {
    /// An order that is accepted when it is let in.
    #[must_use]
    pub fn new(origin: Origin, order: Order) -> Submission {
        Submission { origin, order, accepted_ns: 0 }
    }

    /// Events to be published together, in order; at least one.
    #[must_use]
    pub fn publish(origin: Origin, publications: SmallVec<[Publication; 1]>) -> Submission {
        Submission::new(origin, Order::Publish { publications, idempotency: None })
    }

    /// The same, to be published once however often it is submitted with this key.
    #[must_use]
    pub fn publish_once(
        origin: Origin,
        publications: SmallVec<[Publication; 1]>,
        key: IdempotencyKey,
    ) -> Submission {
        Submission::new(origin, Order::Publish { publications, idempotency: Some(key) })
    }

    /// Old events to be cleared.
    #[must_use]
    pub fn clear(origin: Origin, before: Before) -> Submission {
        Submission::new(origin, Order::Clear { before })
    }

    /// Bytes it takes while it waits, besides its place in the queue.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.order {
            Order::Publish { publications, .. } => publications.iter().map(Publication::bytes).sum(),
            Order::Clear { .. } => 0,
        }
    }
}

/// Who submitted, so that the receipt finds its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The index of the loop; not one for [`Origin::NOBODY`] and [`Origin::in_process`].
    pub loop_index: usize,
    /// What the loop itself knows the submission by.
    pub token: u64,
}

impl Origin {
    /// A submission that nobody waits for.
    pub const NOBODY: Origin = Origin { loop_index: usize::MAX, token: 0 };

    /// A thread of this process that waits with the ticket `token`.
    #[must_use]
    pub fn in_process(token: u64) -> Origin {
        Origin { loop_index: Origin::IN_PROCESS, token }
    }

    /// Whether a thread of this process waits for the receipt.
    #[must_use]
    pub fn is_in_process(self) -> bool {
        self.loop_index == Origin::IN_PROCESS
    }

    /// No loop has this index.
    const IN_PROCESS: usize = usize::MAX - 1;
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The token of its origin.
    pub token: u64,
    /// What was done, or why nothing was.
    pub outcome: Result<Done, Refusal>,
    /// When the submission was accepted.
    pub accepted_ns: u64,
}

/// The bounded queue to the sequencer.
#[derive(Debug)]
pub struct Ingest {
    sender: Sender<Submission>,
    receiver: Receiver<Submission>,
    /// Bytes of all that waits.
    bytes: AtomicUsize,
    bytes_max: usize,
    /// Steps that the sequencer has begun.
    steps: AtomicU64,
    /// For how long something has waited though no step has begun, as the watchdog says; 0 if all is well.
    stalled_ms: AtomicU64,
}

impl Ingest {
    /// An empty queue of at most `items_max` submissions and `bytes_max` bytes.
    #[must_use]
    pub fn new(items_max: usize, bytes_max: usize) -> Ingest {
        let (sender, receiver) = crossbeam_channel::bounded(items_max);
        Ingest {
            sender,
            receiver,
            bytes: AtomicUsize::new(0),
            bytes_max,
            steps: AtomicU64::new(0),
            stalled_ms: AtomicU64::new(0),
        }
    }

    /// Puts `submission` in the queue.
    ///
    /// # Errors
    /// Gives it back when the queue is full in items or in bytes. A submission larger than the byte bound is let in
    /// when nothing else waits, so that it is not refused for ever.
    #[allow(clippy::result_large_err, reason = "a refusal gives the value back, and moving it is cheap")]
    pub fn submit(&self, submission: Submission) -> Result<(), Submission> {
        let bytes = submission.bytes();
        // Relaxed: the number bounds memory, nothing travels along with it.
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before != 0 && self.bytes_max < before + bytes {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(submission);
        }
        self.sender.try_send(submission).map_err(|refused| {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            match refused {
                TrySendError::Full(submission) | TrySendError::Disconnected(submission) => submission,
            }
        })
    }

    /// The next submission, if one waits.
    pub fn try_take(&self) -> Option<Submission> {
        self.receiver.try_recv().ok().map(|submission| self.took(submission))
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// The sequencer begins another step.
    pub(super) fn begin_step(&self) {
        // Relaxed, and no read-modify-write: there is one sequencer, and only that the number changes counts.
        self.steps.store(self.steps.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Steps that the sequencer has begun.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// For how many milliseconds something has waited though the sequencer has begun no step; 0 if all is well.
    #[must_use]
    pub fn stalled_ms(&self) -> u64 {
        self.stalled_ms.load(Ordering::Relaxed)
    }

    /// What the watchdog has found out.
    pub fn set_stalled_ms(&self, stalled_ms: u64) {
        self.stalled_ms.store(stalled_ms, Ordering::Relaxed);
    }

    fn took(&self, submission: Submission) -> Submission {
        self.bytes.fetch_sub(submission.bytes(), Ordering::Relaxed);
        submission
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequencer::publication::EventParts;
    use crate::words::channel::Channel;

    fn submission(data_bytes: usize) -> Submission {
        let data = vec![b'1'; data_bytes];
        let channel = Channel::parse("t:x").unwrap();
        let parts = EventParts::new(&channel, "k", &data);
        let publication = Publication::new(&parts).unwrap();
        Submission::publish(Origin::NOBODY, [publication].into_iter().collect())
    }

    #[test]
    fn a_full_queue_gives_the_submission_back() {
        let ingest = Ingest::new(2, 1 << 20);
        assert!(ingest.submit(submission(1)).is_ok());
        assert!(ingest.submit(submission(1)).is_ok());
        assert!(ingest.submit(submission(1)).is_err(), "two items is the bound");
        assert!(ingest.try_take().is_some());
        assert!(ingest.submit(submission(1)).is_ok(), "room again");
    }

    #[test]
    fn the_byte_bound_refuses_unless_the_queue_is_empty() {
        let ingest = Ingest::new(10, 1000);
        assert!(ingest.submit(submission(5000)).is_ok(), "alone it may exceed the bound");
        assert!(ingest.submit(submission(1)).is_err());
        assert!(ingest.try_take().is_some());
        assert!(ingest.submit(submission(1)).is_ok());
    }
}
