//! The notifications as a service: handles that anybody may hold, and one worker that owns the store.
//!
//! # Contract       every reply is called exactly once, as long as the worker runs; a change is stored first, then
//!   delivered, then answered; requests are done in the order in which they were put in the queue
//! # Bounds         requests that wait, requests and bytes of listings in one transaction
//! # Why not …      a lock around the store: an event loop must not wait for a disk

use crossbeam_channel::{Receiver, Sender, TrySendError};
use uuid::Uuid;

use super::answer::{Answer, Notified, Outcome, Page, Refusal};
use super::batch::{Batch, Stop};
use super::delivery::Delivery;
use super::draft::Draft;
use super::notification::Notification;
use super::preferences::Preferences;
use super::request::{Listing, Request};
use super::store::{Store, StoreError};
use super::user::User;

/// What is called with the answer, by the worker or by whoever found the queue full: quick, and without waiting.
pub type Reply = Box<dyn FnOnce(Answer) + Send>;

/// What the worker tells of every change; returns whether it was handed on.
pub type Deliver = Box<dyn FnMut(&Delivery) -> bool + Send>;

/// Tells the time, in Unix milliseconds.
pub type Clock = Box<dyn Fn() -> u64 + Send>;

/// A handle to the service; cheap to clone. The worker ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Notifications {
    jobs: Sender<Job>,
}

impl Notifications {
    /// A service on `store`, with at most `queue_max` requests waiting. Nothing is done before [`Worker::run`] runs,
    /// on a thread of its own. `deliver` must not hold a handle: the worker would never end.
    #[must_use]
    pub fn new(store: Store, queue_max: usize, clock: Clock, deliver: Deliver) -> (Notifications, Worker) {
        let (jobs, waiting) = crossbeam_channel::bounded(queue_max);
        (Notifications { jobs }, Worker { store, waiting, clock, deliver })
    }

    /// Hands in a request. `reply` is called once, later and elsewhere; or at once and here, with
    /// [`Refusal::Overloaded`] when the queue is full and with [`Refusal::Stopped`] when the worker is gone.
    pub fn submit(&self, request: Request, reply: Reply) {
        match self.jobs.try_send(Job { request, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => (job.reply)(Err(Refusal::Overloaded)),
            Err(TrySendError::Disconnected(job)) => (job.reply)(Err(Refusal::Stopped)),
        }
    }

    /// Stores and delivers a notification, if the user wants to know. Waits for the answer, as all that follow do:
    /// not for event loops, nor for `deliver` and replies, which would wait for themselves.
    ///
    /// # Errors
    /// Every [`Refusal`] but `NotFound`.
    pub fn notify(&self, draft: Draft) -> Result<Notified, Refusal> {
        match self.ask(Request::Notify(Box::new(draft)))? {
            Outcome::Notified(notified) => Ok(notified),
            other => mismatch(&other),
        }
    }

    /// A page of a user's notifications, newest first.
    ///
    /// # Errors
    /// `NotFound` if [`Before::Id`](super::Before::Id) names none of the user's; `Overloaded`, `Stopped`, `Failed`.
    pub fn list(&self, user: &User, listing: Listing) -> Result<Page, Refusal> {
        match self.ask(Request::List { user: user.clone(), listing })? {
            Outcome::Page(page) => Ok(page),
            other => mismatch(&other),
        }
    }

    /// How many of a user's notifications are not read.
    ///
    /// # Errors
    /// `Overloaded`, `Stopped`, `Failed`.
    pub fn unread_count(&self, user: &User) -> Result<u64, Refusal> {
        match self.ask(Request::Count { user: user.clone() })? {
            Outcome::Counts(counts) => Ok(counts.unread),
            other => mismatch(&other),
        }
    }

    /// Marks one as read, and returns how many are not. Doing it twice changes nothing more.
    ///
    /// # Errors
    /// `NotFound` if the user has none of this id; `Overloaded`, `Stopped`, `Failed`.
    pub fn mark_read(&self, user: &User, id: Uuid) -> Result<u64, Refusal> {
        match self.ask(Request::MarkRead { user: user.clone(), id })? {
            Outcome::Read { unread, .. } => Ok(unread),
            other => mismatch(&other),
        }
    }

    /// Marks all as read, and returns how many were not.
    ///
    /// # Errors
    /// `Overloaded`, `Stopped`, `Failed`.
    pub fn mark_all_read(&self, user: &User) -> Result<u64, Refusal> {
        match self.ask(Request::MarkAllRead { user: user.clone() })? {
            Outcome::AllRead { marked } => Ok(marked),
            other => mismatch(&other),
        }
    }

    /// Forgets one, and returns how many of the others are not read.
    ///
    /// # Errors
    /// As [`Notifications::mark_read`].
    pub fn delete(&self, user: &User, id: Uuid) -> Result<u64, Refusal> {
        match self.ask(Request::Delete { user: user.clone(), id })? {
            Outcome::Deleted { unread, .. } => Ok(unread),
            other => mismatch(&other),
        }
    }

    /// What the user wants to be told.
    ///
    /// # Errors
    /// `Overloaded`, `Stopped`, `Failed`.
    pub fn preferences(&self, user: &User) -> Result<Preferences, Refusal> {
        match self.ask(Request::Preferences { user: user.clone() })? {
            Outcome::Preferences(preferences) => Ok(preferences),
            other => mismatch(&other),
        }
    }

    /// Keeps what the user wants to be told.
    ///
    /// # Errors
    /// `UsersFull`, `Overloaded`, `Stopped`, `Failed`.
    pub fn set_preferences(&self, preferences: Preferences) -> Result<(), Refusal> {
        self.ask(Request::SetPreferences(preferences)).map(drop)
    }

    fn ask(&self, request: Request) -> Answer {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        self.submit(request, Box::new(move |answer| drop(sender.send(answer))));
        // A reply that is dropped uncalled was in the hands of a worker that is no more.
        receiver.recv().unwrap_or(Err(Refusal::Stopped))
    }
}

fn mismatch(outcome: &Outcome) -> ! {
    unreachable!("every request has its own outcome, and this is another's: {outcome:?}")
}

/// A request and whom to tell.
struct Job {
    request: Request,
    reply: Reply,
}

/// The one that owns the store.
pub struct Worker {
    store: Store,
    waiting: Receiver<Job>,
    clock: Clock,
    deliver: Deliver,
}

impl Worker {
    /// Serves until the last handle is gone and nothing waits any more, then closes the store.
    pub fn run(mut self) {
        while let Ok(job) = self.waiting.recv() {
            self.serve(job);
        }
    }

    /// Serves a request and what waits behind it, in one transaction.
    fn serve(&mut self, first: Job) {
        let now_ms = (self.clock)();
        let waiting = &self.waiting;
        // Outside of the transaction, so that they are told even if it cannot begin.
        let mut replies = vec![first.reply];
        let results = self.store.transact(|batch| {
            let (mut results, mut listed, mut next) = (Vec::new(), 0, Some(first.request));
            while let Some(request) = next.take() {
                let result = perform(batch, request, now_ms)?;
                if let Ok((Outcome::Page(page), _)) = &result {
                    listed += page.notifications.len();
                }
                results.push(result);
                if results.len() < BATCH_REQUESTS_MAX && listed < BATCH_LISTED_MAX {
                    next = waiting.try_recv().ok().map(|job| {
                        replies.push(job.reply);
                        job.request
                    });
                }
            }
            Ok(results)
        });
        match results {
            Ok(results) => {
                for (result, reply) in results.into_iter().zip(replies) {
                    reply(result.map(|(outcome, delivery)| self.hand_on(outcome, delivery)));
                }
            }
            Err(error) => {
                let refusal = Refusal::Failed(error.to_string().into());
                replies.into_iter().for_each(|reply| reply(Err(refusal.clone())));
            }
        }
    }

    fn hand_on(&mut self, mut outcome: Outcome, delivery: Option<Delivery>) -> Outcome {
        let was_handed_on = delivery.is_some_and(|delivery| (self.deliver)(&delivery));
        if let Outcome::Notified(Notified::Stored { delivered, .. }) = &mut outcome {
            *delivered = was_handed_on;
        }
        outcome
    }
}

/// Requests in one transaction; the next ones take the next.
const BATCH_REQUESTS_MAX: usize = 256;

/// Notifications in the listings of one transaction, whose answers all wait in memory for its end.
const BATCH_LISTED_MAX: usize = 1000;

/// What came of one request, and what to tell of it.
pub(super) type Performed = Result<(Outcome, Option<Delivery>), Refusal>;

/// Does one request inside a transaction.
pub(super) fn perform(batch: &mut Batch<'_>, request: Request, now_ms: u64) -> Result<Performed, StoreError> {
    match try_perform(batch, request, now_ms) {
        Ok(done) => Ok(Ok(done)),
        Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

fn try_perform(
    batch: &mut Batch<'_>,
    request: Request,
    now_ms: u64,
) -> Result<(Outcome, Option<Delivery>), Stop> {
    let done = match request {
        Request::Notify(draft) => notify(batch, *draft, now_ms)?,
        Request::List { user, listing } => (Outcome::Page(batch.page(&user, &listing)?), None),
        Request::Count { user } => (Outcome::Counts(batch.counts(&user)?), None),
        Request::MarkRead { user, id } => {
            let (was_unread, unread) = batch.mark_read(&user, id)?;
            (Outcome::Read { id, unread }, was_unread.then(|| Delivery::read(user, id, unread)))
        }
        Request::MarkAllRead { user } => {
            let marked = batch.mark_all_read(&user)?;
            (Outcome::AllRead { marked }, (0 < marked).then(|| Delivery::all_read(user)))
        }
        Request::Delete { user, id } => {
            let unread = batch.delete(&user, id)?;
            (Outcome::Deleted { id, unread }, Some(Delivery::deleted(user, id, unread)))
        }
        Request::Preferences { user } => (Outcome::Preferences(batch.preferences(&user)?), None),
        Request::SetPreferences(preferences) => {
            batch.set_preferences(&preferences)?;
            (Outcome::Preferences(preferences), None)
        }
        Request::Kinds => (Outcome::Kinds, None),
    };
    Ok(done)
}

fn notify(batch: &mut Batch<'_>, draft: Draft, now_ms: u64) -> Result<(Outcome, Option<Delivery>), Stop> {
    if !batch.preferences(draft.user())?.is_enabled(draft.kind()) {
        return Ok((Outcome::Notified(Notified::Disabled(draft.kind())), None));
    }
    let notification = Notification::new(draft, Uuid::new_v4(), now_ms / 1000);
    let unread = batch.add(&notification, now_ms)?;
    let delivery = Delivery::created(&notification);
    let notification = Box::new(notification);
    Ok((Outcome::Notified(Notified::Stored { notification, unread, delivered: false }), Some(delivery)))
}
