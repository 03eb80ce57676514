//! Clients: readers in this process whose subscriptions can change, known to the engine by an id.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::core::Core;
use super::error::TooMany;
use super::event::{Event, Item};
use super::reader::{Beginning, Reader, SubscribeError};
use super::reply::{Answer, Reply};
use super::tap::{sleep, tally};
use super::wish::kept;
use crate::audience::Place;
use crate::session::command::{self, Verb, limit_message};
use crate::session::publish::Openings;
use crate::sync::bell::fence_before_ring;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::words::channel::{ChannelError, Pattern};
use crate::words::cursor::Since;
use crate::words::filter::Filter;
use crate::words::on_slow::OnSlow;

/// Who a client is, as far as whoever connected it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The user.
    pub user: Option<String>,
    /// Where it connects from.
    pub address: Option<String>,
    /// What it is.
    pub agent: Option<String>,
}

/// A handle on a connected client; clones share the client and its cursor. When the last one is dropped, it is
/// disconnected.
///
/// ```
/// use fanfare::engine::{Answer, Engine, Metadata};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::new();
/// let client = engine.connect(Metadata { user: Some("alice".into()), ..Metadata::default() })?;
/// let reply = client.handle_command(r#"{"type":"subscribe","channel":"repo:alice/demo","id":1}"#);
/// assert_eq!(reply.answer, Answer::Subscribed { channels: vec!["repo:alice/demo".into()], seq: 0 });
/// assert!(reply.to_json()[0].starts_with(r#"{"type":"subscribed","channel":"repo:alice/demo","seq":0"#));
///
/// engine.emit("repo:alice/demo", "push", &1)?;
/// engine.emit("repo:alice/other", "push", &2)?;
/// assert_eq!(client.try_recv().unwrap().event().unwrap().data(), "1");
/// assert!(client.try_recv().is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Shared>);

/// What the handles of one client share.
pub(super) struct Shared {
    core: Arc<Core>,
    id: String,
    metadata: Metadata,
    connected_at_ms: u64,
    /// Taken by whoever reads or changes subscriptions, never by publishers.
    reader: Mutex<Reader>,
    place: Place,
    /// Held while a thread waits for the next item: a place has one sleeper.
    receiving: Mutex<()>,
    /// Grows when the reader was changed from elsewhere.
    changes: AtomicU64,
    is_connected: AtomicBool,
}

/// The client was disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("client not found")]
pub struct Disconnected;

/// Why a subscription is refused; the others hold as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// The text names no channel.
    #[error("invalid channel: {0}")]
    Channel(#[from] ChannelError),
    /// There would be too many: so many may be.
    #[error("subscription limit exceeded: max {0} subscriptions")]
    Limit(usize),
    /// The client was disconnected.
    #[error(transparent)]
    Disconnected(#[from] Disconnected),
}

impl Client {
    /// Connects a client, if there is room.
    pub(super) fn connect(core: &Arc<Core>, metadata: Metadata) -> Result<Client, TooMany> {
        let hub = &core.hub;
        let clients_max = hub.limits.clients_max;
        let mut registry = core.registry();
        if clients_max <= registry.len() {
            return Err(TooMany(clients_max));
        }
        let reader = Reader::new(hub.epoch, None, hub.log.published(), true);
        let place = hub.audience.sleepers.enter();
        hub.audience.sleepers.subscribe(&place, &[], reader.patterns());
        let id = uuid::Uuid::new_v4().to_string();
        let shared = Arc::new(Shared {
            core: Arc::clone(core),
            id: id.clone(),
            metadata,
            connected_at_ms: core.now_unix_ms(),
            reader: Mutex::new(reader),
            place,
            receiving: Mutex::new(()),
            changes: AtomicU64::new(0),
            is_connected: AtomicBool::new(true),
        });
        registry.clients.insert(id, Arc::downgrade(&shared));
        hub.counters.open_stream();
        Ok(Client(shared))
    }

    pub(super) fn of(shared: Arc<Shared>) -> Client {
        Client(shared)
    }

    /// Its id: a random UUID.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Who it is.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    /// When it connected, in Unix milliseconds.
    #[must_use]
    pub fn connected_at_ms(&self) -> u64 {
        self.0.connected_at_ms
    }

    /// Whether it was not disconnected yet.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        // Acquire: who sees the end also sees what was done before it.
        self.0.is_connected.load(Ordering::Acquire)
    }

    /// Subscribes to a channel or pattern from now on; whether that was new. At the bound, what is held already may
    /// still be asked for again.
    ///
    /// # Errors
    /// [`SubscriptionError`]; the other subscriptions hold as before.
    pub fn subscribe(&self, channel: &str) -> Result<bool, SubscriptionError> {
        let pattern = [Pattern::parse(channel)?];
        let max = self.0.core.hub.limits.subscriptions_max;
        match self.0.subscribe(&pattern, None, &Beginning::Now)? {
            Ok((_, new)) => Ok(0 < new),
            Err(_) => Err(SubscriptionError::Limit(max)),
        }
    }

    /// Ends the subscription to a channel or pattern; whether there was one.
    ///
    /// # Errors
    /// [`ChannelError`] for what names no channel.
    pub fn unsubscribe(&self, channel: &str) -> Result<bool, ChannelError> {
        let pattern = Pattern::parse(channel)?;
        Ok(self.0.unsubscribe(&pattern))
    }

    /// What it is subscribed to.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Pattern> {
        self.0.reader().subscriptions().iter().map(|held| held.pattern.clone()).collect()
    }

    /// How many subscriptions it has.
    #[must_use]
    pub fn subscription_count(&self) -> usize {
        self.0.reader().subscriptions().len()
    }

    /// Ends all subscriptions.
    pub fn clear_subscriptions(&self) {
        for pattern in self.subscriptions() {
            self.0.unsubscribe(&pattern);
        }
    }

    /// Whether it is subscribed to exactly this channel or pattern.
    #[must_use]
    pub fn is_subscribed(&self, channel: &str) -> bool {
        let pattern = Pattern::parse(channel);
        pattern
            .is_ok_and(|pattern| self.0.reader().subscriptions().iter().any(|held| held.pattern == pattern))
    }

    /// Whether it would be given an event like this.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        let reader = self.0.reader();
        event.route().is_some_and(|route| reader.wants(&route, event.labels()))
    }

    /// From its position on, the client gets only what passes `filter`. Returns the sequence number after which it holds.
    pub fn set_filter(&self, filter: Filter) -> u64 {
        let log = &self.0.core.hub.log;
        self.0.change(|reader| reader.set_filter(log, kept(filter))) - 1
    }

    /// Its own filter; the one that lets everything through unless another was set.
    #[must_use]
    pub fn filter(&self) -> Filter {
        self.0.reader().filter().map(|filter| (**filter).clone()).unwrap_or_default()
    }

    /// Carries out a command of the native language, a JSON object: `subscribe`, `unsubscribe`, `filter`, `list`,
    /// `publish`, `ping`. Older events that a `subscribe` asks for come next from [`Client::recv`]; those above the `seq`
    /// of the reply come once they have all been given.
    pub fn handle_command(&self, text: &str) -> Reply {
        let epoch = self.0.core.hub.epoch;
        match command::parse(text, &self.0.core.hub.limits, &mut Openings::default()) {
            Ok(command) => Reply { answer: self.0.carry_out(command.verb), id: command.id, epoch },
            Err(error) => {
                let answer = Answer::Error { code: error.code, message: error.message };
                Reply { answer, id: error.id, epoch }
            }
        }
    }

    /// The next item, if there is one now.
    #[must_use]
    pub fn try_recv(&self) -> Option<Item> {
        self.0.try_recv()
    }

    /// The next item; waits for it until the client is disconnected or the engine has ended.
    #[must_use]
    pub fn recv(&self) -> Option<Item> {
        self.0.wait(None)
    }

    /// The next item; waits for it as long as `timeout`. While another thread waits on the same client, for that too.
    #[must_use]
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Item> {
        // A time too far off to be told is as good as none.
        self.0.wait(Instant::now().checked_add(timeout))
    }

    /// How many events the log has from where the client stands, whether it wants them or not.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.0.core.hub.log.published().saturating_sub(self.0.reader().position())
    }

    /// Moves to another place in the log; a gap comes first if events from there on are gone.
    pub fn seek(&self, since: &Since) {
        let log = &self.0.core.hub.log;
        self.0.change(|reader| reader.seek(log, since));
    }

    /// Ends its subscriptions and its place among the connected; whoever waits for its next item is told so.
    pub fn disconnect(&self) {
        self.0.disconnect();
    }
}

impl Shared {
    /// The reader. What a panicking thread left is whole, if perhaps not what it wanted.
    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is wanted, and wakes whoever waits for it.
    fn change<T>(&self, change: impl FnOnce(&mut Reader) -> T) -> T {
        let mut reader = self.reader();
        let before = reader.patterns().to_vec();
        let result = change(&mut reader);
        if self.is_connected.load(Ordering::Acquire) {
            self.core.hub.audience.sleepers.subscribe(&self.place, &before, reader.patterns());
        }
        drop(reader);
        self.changes.fetch_add(1, Ordering::Release);
        fence_before_ring();
        self.place.ring();
        result
    }

    #[allow(clippy::type_complexity, reason = "what the reader says, or that there is none")]
    fn subscribe(
        &self,
        patterns: &[Pattern],
        filter: Option<&Arc<Filter>>,
        from: &Beginning,
    ) -> Result<Result<(u64, usize), SubscribeError>, Disconnected> {
        self.core.expire();
        let (log, max) = (&self.core.hub.log, self.core.hub.limits.subscriptions_max);
        self.change(|reader| {
            // Under the reader's lock, so that whoever disconnects finds the subscription or keeps it out.
            if !self.is_connected.load(Ordering::Acquire) {
                return Err(Disconnected);
            }
            let result = reader.subscribe(log, patterns, filter, from, max);
            if let Ok((_, new)) = result {
                (0..new).for_each(|_| self.core.hub.counters.subscribe(true));
            }
            Ok(result)
        })
    }

    fn unsubscribe(&self, pattern: &Pattern) -> bool {
        let log = &self.core.hub.log;
        let was_held = self.change(|reader| reader.unsubscribe(log, pattern));
        if was_held {
            self.core.hub.counters.unsubscribe();
        }
        was_held
    }

    fn carry_out(&self, verb: Verb) -> Answer {
        let error = |code, message: String| Answer::Error { code, message };
        match verb {
            // There is no socket that could be slow: a reader in this process goes on when it likes.
            Verb::Subscribe { on_slow: Some(OnSlow::Latest | OnSlow::Close), .. } => {
                error("unsupported", "'on_slow' is for streams over a network".to_owned())
            }
            Verb::Subscribe { patterns, since, last, filter, on_slow: _ } => {
                let from = match (since, last) {
                    (Some(since), _) => Beginning::Since(since),
                    (None, Some(count)) => Beginning::Last(count),
                    (None, None) => Beginning::Now,
                };
                let (patterns, channels): (Vec<Pattern>, Vec<String>) = patterns.into_iter().unzip();
                match self.subscribe(&patterns, filter.and_then(kept).as_ref(), &from) {
                    Ok(Ok((next, _))) => Answer::Subscribed { channels, seq: next - 1 },
                    Ok(Err(SubscribeError::Limit)) => {
                        error("subscription_limit", limit_message(&self.core.hub.limits))
                    }
                    Ok(Err(SubscribeError::TooManyEvents(why))) => error("too_many", why.to_string()),
                    Err(gone) => error("disconnected", gone.to_string()),
                }
            }
            Verb::Unsubscribe { patterns } => {
                let end = |(pattern, text): (Pattern, String)| {
                    self.unsubscribe(&pattern);
                    text
                };
                Answer::Unsubscribed { channels: patterns.into_iter().map(end).collect() }
            }
            Verb::Filter(filter) => {
                let log = &self.core.hub.log;
                Answer::Filtered { seq: self.change(|reader| reader.set_filter(log, kept(filter))) - 1 }
            }
            Verb::List => {
                let reader = self.reader();
                let channels = reader.subscriptions().iter().map(|held| held.pattern.to_string()).collect();
                Answer::Subscriptions { channels, seq: reader.position() - 1 }
            }
            Verb::Publish(publication) => {
                match self.core.publish(std::iter::once(*publication).collect(), None) {
                    Ok((seq, _, _)) => Answer::Published { seq },
                    Err(why) => error(why.code(), why.to_string()),
                }
            }
            Verb::Ping => Answer::Pong { seq: self.reader().position() - 1 },
            Verb::Auth(_) => error("unsupported", "in this process nobody need say who they are".to_owned()),
        }
    }

    fn try_recv(&self) -> Option<Item> {
        if !self.is_connected.load(Ordering::Acquire) {
            return None;
        }
        let item = self.reader().poll(&self.core.hub.log)?;
        tally(&self.core, &item);
        Some(item)
    }

    fn wait(&self, deadline: Option<Instant>) -> Option<Item> {
        let _receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // Before the look: what is published while the engine ends is found after it has.
            let is_over = self.core.is_over();
            let changes = self.changes.load(Ordering::Acquire);
            if let Some(item) = self.try_recv() {
                return Some(item);
            }
            let is_gone = !self.is_connected.load(Ordering::Acquire);
            if is_gone || is_over || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return None;
            }
            let upto = self.reader().looked_upto();
            let has_news =
                || upto < self.core.hub.log.published() || changes != self.changes.load(Ordering::Acquire);
            sleep(&self.core, &self.place, deadline, has_news);
        }
    }

    pub(super) fn disconnect(&self) {
        if !self.is_connected.swap(false, Ordering::AcqRel) {
            return;
        }
        self.core.registry().clients.remove(&self.id);
        let mut reader = self.reader();
        let before = reader.patterns().to_vec();
        for _ in reader.take_subscriptions() {
            self.core.hub.counters.unsubscribe();
        }
        self.core.hub.audience.sleepers.leave(&self.place, &before);
        drop(reader);
        self.core.hub.counters.close_stream();
        self.changes.fetch_add(1, Ordering::Release);
        fence_before_ring();
        self.place.ring();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.disconnect();
    }
}
