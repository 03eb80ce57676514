//! Tickets: how a publisher in this process gets the sequencer's answer.
//!
//! # Contract       a publisher takes a ticket, submits under its number, and waits; whoever carries the submission out
//!   answers once
//! # Invariants     a ticket is with one publisher, or free; `state` goes from waiting, perhaps by way of parked, to an outcome
//! # Memory order   `state`: the answer's swap releases `first` and `last` → the publisher's acquiring load. Parking: the
//!   publisher leaves its thread, then changes waiting to parked; both sides change the same word, so either it finds
//!   the answer there, or the answer finds it parked
//! # Bounds         [`PUBLISHERS_MAX`] tickets; beyond them a publisher is refused

use std::thread::Thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use crossbeam_utils::CachePadded;

use crate::sequencer::{Done, Refusal};
use crate::sync::{Arc, ArcCell, AtomicU64, Ordering};
use crate::words::limits::PUBLISHERS_MAX;

/// What became of a submission.
pub type Outcome = Result<Done, Refusal>;

/// All tickets.
pub struct Tickets {
    cards: Box<[CachePadded<Card>]>,
    /// The numbers of the free ones.
    free: (Sender<u32>, Receiver<u32>),
}

/// One ticket as both sides see it.
struct Card {
    /// [`WAITING`], [`PARKED`], or the code of an outcome.
    state: AtomicU64,
    /// What the outcome says in numbers.
    numbers: [AtomicU64; 2],
    /// Whom to wake, if it is parked.
    waiter: ArcCell<Thread>,
}

/// Nothing is known yet.
const WAITING: u64 = 0;

/// As above, and the publisher's thread sleeps or is about to.
const PARKED: u64 = 1;

impl Default for Tickets {
    fn default() -> Tickets {
        let free = crossbeam_channel::bounded(PUBLISHERS_MAX);
        for number in 0..PUBLISHERS_MAX as u32 {
            let sent = free.0.try_send(number);
            debug_assert!(sent.is_ok(), "there is room for every number");
        }
        let card = || Card {
            state: AtomicU64::new(WAITING),
            numbers: Default::default(),
            waiter: ArcCell::new(None),
        };
        Tickets { cards: (0..PUBLISHERS_MAX).map(|_| CachePadded::new(card())).collect(), free }
    }
}

impl Tickets {
    /// A free ticket, if there is one.
    #[must_use]
    pub fn take(&self) -> Option<Ticket<'_>> {
        let number = self.free.1.try_recv().ok()?;
        // Relaxed: the queue to the sequencer carries it to whoever answers.
        self.cards[number as usize].state.store(WAITING, Ordering::Relaxed);
        Some(Ticket { tickets: self, number })
    }

    /// Answers whoever has the ticket `token`.
    pub fn answer(&self, token: u64, outcome: Outcome) {
        let Some(card) = self.cards.get(token as usize) else { return };
        let (code, numbers) = encode(outcome);
        for (place, number) in card.numbers.iter().zip(numbers) {
            place.store(number, Ordering::Relaxed);
        }
        if card.state.swap(code, Ordering::AcqRel) == PARKED
            && let Some(thread) = card.waiter.swap(None)
        {
            thread.unpark();
        }
    }

    /// Wakes one publisher that sleeps and has no answer yet, if there is one, so that it may work itself. Cost: a look
    /// at each ticket.
    pub fn call_one(&self) {
        let waiting = self.cards.iter().find(|card| card.state.load(Ordering::Acquire) == PARKED);
        if let Some(thread) = waiting.and_then(|card| card.waiter.load().clone()) {
            thread.unpark();
        }
    }
}

/// A publisher's ticket; given back when it is dropped.
pub struct Ticket<'a> {
    tickets: &'a Tickets,
    number: u32,
}

impl Ticket<'_> {
    /// What to submit under.
    #[must_use]
    pub fn token(&self) -> u64 {
        u64::from(self.number)
    }

    /// The answer, if it is there.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let card = self.card();
        let code = card.state.load(Ordering::Acquire);
        let [first, last] = &card.numbers;
        decode(code, [first.load(Ordering::Relaxed), last.load(Ordering::Relaxed)])
    }

    /// Says that the calling thread is about to sleep; it must look for the answer, and for work, once more.
    pub fn lie_down(&self) {
        let card = self.card();
        card.waiter.swap(Some(Arc::new(std::thread::current())));
        let changed = card.state.compare_exchange(WAITING, PARKED, Ordering::AcqRel, Ordering::Acquire);
        if changed.is_err() {
            card.waiter.swap(None);
        }
    }

    /// Sleeps until somebody answers or calls, or `timeout`; perhaps less.
    pub fn sleep(&self, timeout: Duration) {
        std::thread::park_timeout(timeout);
    }

    /// Gives up without the answer. The ticket is lost, since the answer may still come.
    pub fn abandon(self) {
        std::mem::forget(self);
    }

    fn card(&self) -> &Card {
        &self.tickets.cards[self.number as usize]
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let sent = self.tickets.free.0.try_send(self.number);
        debug_assert!(sent.is_ok(), "there is room for every number");
    }
}

fn encode(outcome: Outcome) -> (u64, [u64; 2]) {
    match outcome {
        Ok(Done::Published { first, last, is_repeat }) => (2 + u64::from(is_repeat), [first, last]),
        Ok(Done::Cleared { count, oldest }) => (4, [count, oldest]),
        Err(refusal) => {
            let place = REFUSALS.iter().position(|known| *known == refusal).unwrap_or_default();
            (5 + place as u64, [0; 2])
        }
    }
}

fn decode(code: u64, [first, last]: [u64; 2]) -> Option<Outcome> {
    match code {
        WAITING | PARKED => None,
        2 | 3 => Some(Ok(Done::Published { first, last, is_repeat: code == 3 })),
        4 => Some(Ok(Done::Cleared { count: first, oldest: last })),
        _ => Some(Err(REFUSALS[(code - 5) as usize])),
    }
}

/// Every refusal, in the order of its codes.
const REFUSALS: [Refusal; 4] =
    [Refusal::Overloaded, Refusal::ChannelsFull, Refusal::Draining, Refusal::KeyReused];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_comes_back_as_it_was_given() {
        let tickets = Tickets::default();
        let check = |outcome: Outcome| {
            let ticket = tickets.take().unwrap();
            assert_eq!(ticket.outcome(), None);
            tickets.answer(ticket.token(), outcome);
            assert_eq!(ticket.outcome(), Some(outcome));
        };
        for is_repeat in [false, true] {
            check(Ok(Done::Published { first: 7, last: 9, is_repeat }));
        }
        check(Ok(Done::Cleared { count: 3, oldest: 4 }));
        for refusal in REFUSALS {
            check(Err(refusal));
        }
    }

    #[test]
    fn tickets_end_and_come_back() {
        let tickets = Tickets::default();
        let mut taken: Vec<_> = (0..PUBLISHERS_MAX).map(|_| tickets.take().unwrap()).collect();
        assert!(tickets.take().is_none());
        taken.pop();
        assert!(tickets.take().is_some());
    }

    #[test]
    fn a_parked_publisher_is_woken_by_its_answer() {
        let tickets = Tickets::default();
        let outcome = Ok(Done::Published { first: 1, last: 1, is_repeat: false });
        let ticket = tickets.take().unwrap();
        let token = ticket.token();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                ticket.lie_down();
                while ticket.outcome().is_none() {
                    ticket.sleep(Duration::from_secs(60));
                }
                ticket.outcome()
            });
            tickets.answer(token, outcome);
            assert_eq!(waiting.join().unwrap(), Some(outcome));
        });
    }
}
