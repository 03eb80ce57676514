//! The engine inside one process: publish, read, look back, without sockets and without a thread of its own.
//!
//! ```
//! use fanfare::engine::{Draft, Engine, Item};
//! use serde_json::json;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::new();
//! let mut tap = engine.tap().channels(["repo:alice/demo"]).open()?;
//! let seq = engine.publish(Draft::new("repo:alice/demo", "pr_opened").data(&json!({"number": 7})))?;
//! assert_eq!(seq, 1);
//!
//! let Some(Item::Event(event)) = tap.next() else { unreachable!("it was published before") };
//! assert_eq!((event.seq(), event.kind(), event.data()), (1, "pr_opened", r#"{"number":7}"#));
//!
//! let history = engine.after(0, 100);
//! assert_eq!((history.events, history.complete), (vec![event], true));
//! # Ok(())
//! # }
//! ```
//!
//! # Contract       publishing takes no lock, and waits for no reader. Every reader is a cursor into the one log: it gets what
//!   it wants in the order of sequence numbers, each at most once, or is told the gap. A [`Tap`] and a [`Client`] begin
//!   at an exact place: what is published after they were opened they get
//! # Bounds         those of [`Limits`]: the ring is exact, in events, bytes and age; a reader
//!   that never reads costs some numbers
//! # Who works      the threads that publish, and the event loops of a server beside them, carry out each other's
//!   submissions, one at a time (flat combining, see `core.rs`), and `publish` waits for the receipt. So an event
//!   loop of that server must not call it
//! # Its end        a stand-alone engine ends when its last [`Engine`] handle is dropped: readers get what is left, then
//!   [`None`]
//!
//! # From two earlier systems
//!
//! What the libraries of `engram` and `guts` offer, and where it is here:
//!
//! | `engram` | here |
//! | --- | --- |
//! | `RealtimeManager::new`, `default` | [`Engine::new`], [`Engine::default`]: 65,536 events instead of 500 |
//! | `with_buffer_size(n)` | [`Engine::builder`]`.retain_events(n)`: exactly `n`, 0 included |
//! | `broadcast(event)` | [`Engine::publish`], which returns the number |
//! | `get_events_after(n)` | [`Engine::after`], which also says whether anything is missing |
//! | `current_seq()` | [`Engine::current_seq`] |
//! | `client_count()` | [`Engine::client_count`] |
//! | `subscribe()` | [`Engine::tap`]; a lag is an [`Item::Gap`], and [`Tap::behind`] |
//! | `register_client(id, filter)` | [`Engine::register`] |
//! | `unregister_client(id)` | [`Engine::unregister`] |
//! | `get_client_filter(id)` | [`Engine::filter`] |
//! | `clone()` | [`Engine::clone`]: the same engine |
//! | `RealtimeEvent::memory_created(…)` and the like | [`crate::payload::memory_created`] and the like, [`Draft::composed`] |
//! | `RealtimeEvent`, `seq_id` | [`Event`], [`Event::seq`]; before it is published, [`Draft`] |
//! | `EventType` | [`crate::words::kind`] |
//! | `SubscriptionFilter`, `matches` | [`Filter`], whose `tags` are looked at; [`TapBuilder::filter`] |
//! | `RealtimeServer` | [`crate::server::Server`] |
//!
//! | `guts` | here |
//! | --- | --- |
//! | `EventHub::new`, `default` | [`Engine::new`] |
//! | `connect()` | [`Engine::connect`]; the receiver is [`Client::recv`] |
//! | `disconnect(id)` | [`Engine::disconnect`], [`Client::disconnect`], or dropping the last handle |
//! | `get_client(id)` | [`Engine::client`] |
//! | `handle_command(client, command)` | [`Client::handle_command`] |
//! | `ServerMessage`, `ClientCommand` | [`Reply`]; commands are texts |
//! | `emit(event)` | [`Engine::publish`] |
//! | `emit_event(channel, kind, data)` | [`Engine::emit`] |
//! | `subscribe_events()` | [`Engine::tap`] |
//! | `connection_count()` | [`Engine::connection_count`] |
//! | `stats()` | [`Engine::stats`]`.totals`, and more beside it |
//! | `broadcast_all(text)` | [`Engine::announce`]: numbered, and on taps too |
//! | `Client::id`, `metadata` | [`Client::id`], [`Client::metadata`], [`Client::connected_at_ms`] |
//! | `Client::subscribe`, `unsubscribe`, `is_subscribed` | [`Client::subscribe`], [`Client::unsubscribe`], [`Client::is_subscribed`] |
//! | `Client::matches_event` | [`Client::matches`] |
//! | `Client::subscription_count`, `clear_subscriptions` | [`Client::subscription_count`], [`Client::clear_subscriptions`] |
//! | `ClientSubscriptions::channels` | [`Client::subscriptions`] |
//! | `Channel::parse`, `Display` | [`Channel`](crate::words::channel::Channel) |
//! | `Channel::matches` | [`Pattern::matches`](crate::words::channel::Pattern::matches) |
//! | `ChannelType`, `identifier`, `filter` | [`Channel::subject`](crate::words::channel::Channel::subject), `identifier`, `sub_channel` |
//! | `EventKind`, `all`, `Display` | [`crate::words::kind`]: `all`, `dotted` |
//! | `RealtimeError` | [`PublishError`], [`OpenError`], [`SubscriptionError`], [`TooMany`] |
//! | `Notification`, `NotificationPreferences`, `NotificationType` | [`crate::notify`]: `Notification`, `Preferences`, `NotificationKind`, and a service that keeps and delivers them |

mod builder;
mod client;
mod core;
mod draft;
mod error;
mod event;
mod history;
mod reader;
mod reply;
mod stats;
mod tap;
mod verdicts;
mod wish;

use std::sync::Arc;

use serde::Serialize;
use smallvec::SmallVec;

pub use self::core::Clock;
pub use builder::{BadLimits, Builder};
pub use client::{Client, Disconnected, Metadata, SubscriptionError};
pub use draft::{Draft, Id};
pub use error::{FilterError, OpenError, PublishError, TooMany};
pub use event::{Announcement, Event, Item};
pub use history::{History, Query};
pub use reply::{Answer, Reply};
pub use stats::Stats;
pub use tap::{Tap, TapBuilder};

pub use crate::sequencer::Before;
pub use crate::words::cursor::{Epoch, Gap, GapCause, Since};
pub use crate::words::filter::{Filter, Words};

use self::core::Core;
use crate::hub::Hub;
use crate::sequencer::{Done, IdempotencyKey, Order, Publication};
use crate::sync::Ordering;
use crate::words::limits::Limits;

/// A handle on an engine; clones are handles on the same one.
pub struct Engine(Arc<Core>);

/// The numbers that events published together got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Of the first.
    pub first: u64,
    /// Of the last.
    pub last: u64,
    /// They were published by an earlier attempt with the same key; nothing was published now.
    pub is_repeat: bool,
}

/// What was cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// How many events can no longer be read.
    pub count: u64,
    /// The oldest that can, or the next to be published.
    pub oldest: u64,
}

impl Engine {
    /// An engine with default bounds.
    #[must_use]
    pub fn new() -> Engine {
        Engine::builder().start().expect("the default bounds are what they must be")
    }

    /// An engine to be set up.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// A handle on the middle of a server: what is published through it goes to the server's clients, and its taps and
    /// clients read what the server's publishers send. `clock` tells the time as the server's own does.
    #[must_use]
    pub fn of_hub(hub: Arc<Hub>, clock: Clock) -> Engine {
        Engine::of_core(Core::new(hub, clock))
    }

    fn of_core(core: Core) -> Engine {
        Engine(Arc::new(core))
    }

    /// Publishes one event and returns its sequence number.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was published then.
    ///
    /// ```
    /// use fanfare::engine::{Draft, Engine};
    ///
    /// let engine = Engine::new();
    /// assert_eq!(engine.publish(Draft::new("jobs:42", "acme.started")), Ok(1));
    /// let error = engine.publish(Draft::new("jobs", "acme.started")).unwrap_err();
    /// assert_eq!(error.code(), "bad_channel");
    /// ```
    pub fn publish(&self, draft: Draft) -> Result<u64, PublishError> {
        let publication = draft.rendered(self.limits())?;
        let (seq, _, _) = self.0.publish(std::iter::once(publication).collect(), None)?;
        Ok(seq)
    }

    /// [`Engine::publish`] of `data` in one go.
    ///
    /// # Errors
    /// As [`Engine::publish`].
    ///
    /// ```
    /// let engine = fanfare::engine::Engine::new();
    /// assert_eq!(engine.emit("repo:alice/demo", "push", &["a commit"]), Ok(1));
    /// ```
    pub fn emit(
        &self,
        channel: &str,
        kind: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Result<u64, PublishError> {
        self.publish(Draft::new(channel, kind).data(data))
    }

    /// Publishes events together: they get consecutive sequence numbers, or none is published.
    ///
    /// # Errors
    /// As [`Engine::publish`], and for none or too many.
    ///
    /// ```
    /// use fanfare::engine::{Draft, Engine};
    ///
    /// let engine = Engine::new();
    /// let steps = ["started", "done"].map(|step| Draft::new("jobs:42", step));
    /// let published = engine.publish_batch(steps)?;
    /// assert_eq!((published.first, published.last), (1, 2));
    /// # Ok::<(), fanfare::engine::PublishError>(())
    /// ```
    pub fn publish_batch(&self, drafts: impl IntoIterator<Item = Draft>) -> Result<Published, PublishError> {
        let publications = self.rendered(drafts, &mut |_| {})?;
        let (first, last, is_repeat) = self.0.publish(publications, None)?;
        Ok(Published { first, last, is_repeat })
    }

    /// As [`Engine::publish_batch`], but a second attempt with the same `key` and the same events publishes nothing and
    /// gets the first answer, as long as the key is remembered.
    ///
    /// # Errors
    /// As [`Engine::publish_batch`]; `idempotency_key_reused` if the key was used for other events.
    ///
    /// ```
    /// use fanfare::engine::{Draft, Engine};
    ///
    /// let engine = Engine::new();
    /// let attempt = || engine.publish_once("job 42", [Draft::new("jobs:42", "done")]);
    /// assert!(!attempt()?.is_repeat);
    /// assert_eq!(attempt()?.first, 1);
    /// assert_eq!(engine.current_seq(), 2);
    /// # Ok::<(), fanfare::engine::PublishError>(())
    /// ```
    pub fn publish_once(
        &self,
        key: &str,
        drafts: impl IntoIterator<Item = Draft>,
    ) -> Result<Published, PublishError> {
        let mut asked = Vec::new();
        let publications = self.rendered(drafts, &mut |draft| {
            // Rendered already, so it serialises; each ends with a brace, so that none runs into the next.
            asked.extend(serde_json::to_vec(draft).unwrap_or_default());
        })?;
        let key = IdempotencyKey::new(PRINCIPAL, key, &asked);
        let (first, last, is_repeat) = self.0.publish(publications, Some(key))?;
        Ok(Published { first, last, is_repeat })
    }

    /// Checks and renders events that are to be published together, and shows each to `see`.
    fn rendered(
        &self,
        drafts: impl IntoIterator<Item = Draft>,
        see: &mut dyn FnMut(&Draft),
    ) -> Result<SmallVec<[Publication; 1]>, PublishError> {
        let limits = self.limits();
        let refuse = |code, detail: String| PublishError::Invalid { code, detail };
        let mut publications = SmallVec::new();
        for draft in drafts {
            if limits.batch_events_max <= publications.len() {
                let detail = format!("a batch has at most {} events", limits.batch_events_max);
                return Err(refuse("batch_too_large", detail));
            }
            publications.push(draft.rendered(limits)?);
            see(&draft);
        }
        if publications.is_empty() {
            return Err(refuse("empty_batch", "the batch has no events".to_owned()));
        }
        Ok(publications)
    }

    /// Tells everybody, whatever they are subscribed to. Returns the sequence number.
    ///
    /// # Errors
    /// `event_too_large` for a text longer than an event's data may be, and as [`Engine::publish`].
    ///
    /// ```
    /// use fanfare::engine::{Engine, Item, Metadata};
    ///
    /// let engine = Engine::new();
    /// let client = engine.connect(Metadata::default())?;
    /// engine.announce("back in five minutes")?;
    /// let Some(Item::Announcement(announcement)) = client.try_recv() else { unreachable!() };
    /// assert_eq!((announcement.seq, &*announcement.message), (1, "back in five minutes"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn announce(&self, text: &str) -> Result<u64, PublishError> {
        let max = self.limits().event_bytes_max;
        if max < text.len() {
            let detail = format!("the announcement is longer than {max} bytes");
            return Err(PublishError::Invalid { code: "event_too_large", detail });
        }
        let publication = Publication::announcement(text);
        let (seq, _, _) = self.0.publish(std::iter::once(publication).collect(), None)?;
        Ok(seq)
    }

    /// Clears old events: nobody reads them from now on.
    ///
    /// # Errors
    /// Those of [`PublishError::Refused`].
    ///
    /// ```
    /// use fanfare::engine::{Before, Engine};
    ///
    /// let engine = Engine::new();
    /// (0..5).try_for_each(|n| engine.emit("t:a", "k", &n).map(drop))?;
    /// let cleared = engine.clear(Before::Keep(2))?;
    /// assert_eq!((cleared.count, cleared.oldest), (3, 4));
    /// assert_eq!(engine.after(0, 10).gap.unwrap().range, Some((1, 3)));
    /// # Ok::<(), fanfare::engine::PublishError>(())
    /// ```
    pub fn clear(&self, before: Before) -> Result<Cleared, PublishError> {
        match self.0.carry_out(Order::Clear { before })? {
            Done::Cleared { count, oldest } => Ok(Cleared { count, oldest }),
            Done::Published { .. } => unreachable!("a clear is not answered as a publish"),
        }
    }

    /// At most `limit` events after the number `seq`, ascending, of every channel in every workspace. A number that was
    /// not issued yet has nothing after it, which is said to be not complete.
    ///
    /// ```
    /// let engine = fanfare::engine::Engine::builder().retain_events(3).start()?;
    /// for n in 0..5 {
    ///     engine.emit("t:a", "k", &n)?;
    /// }
    /// let history = engine.after(3, 10);
    /// assert!(history.complete && history.events.iter().map(|event| event.seq()).eq([4, 5]));
    /// let history = engine.after(0, 10);
    /// assert_eq!((history.complete, history.gap.unwrap().range), (false, Some((1, 2))));
    /// assert_eq!(history.events.len(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn after(&self, seq: u64, limit: usize) -> History {
        let current = self.current_seq();
        if current <= seq {
            let gap = Gap::of_epoch(seq.to_string());
            let next = self.0.hub.log.oldest() - 1;
            return History {
                events: Vec::new(),
                complete: false,
                gap: Some(gap),
                next,
                more: next + 1 < current,
            };
        }
        let query = self.history().after(seq).limit(limit);
        query.read().expect("it names no channels and asks for no newest events")
    }

    /// A look back at some channels, through a filter.
    ///
    /// ```
    /// use fanfare::engine::{Engine, Filter, Words};
    ///
    /// let engine = Engine::new();
    /// for kind in ["push", "pr_opened", "push"] {
    ///     engine.emit("repo:alice/demo", kind, &())?;
    /// }
    /// let pushes = Filter { kinds: Some(Words::new(["push"])), ..Filter::default() };
    /// let history = engine.history().channels(["repo:alice/*"]).filter(pushes).read()?;
    /// assert!(history.complete && history.events.iter().map(|event| event.seq()).eq([1, 3]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn history(&self) -> Query<'_> {
        Query::new(&self.0)
    }

    /// The next sequence number to be issued: 1 on a new engine.
    #[must_use]
    pub fn current_seq(&self) -> u64 {
        self.0.hub.log.published()
    }

    /// The oldest sequence number that can be looked back at; the next one where there is none.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.0.expire();
        self.0.hub.log.oldest()
    }

    /// The name of this unbroken log. A cursor is `<epoch>-<seq>`.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.hub.epoch
    }

    /// A tap: a cursor into the log that begins now unless it is told otherwise.
    ///
    /// ```
    /// use fanfare::engine::{Engine, Filter, Since, Words};
    ///
    /// let engine = Engine::new();
    /// engine.emit("repo:alice/demo", "push", &1)?;
    /// engine.emit("repo:alice/demo", "pr_opened", &2)?;
    /// let pushes = Filter { kinds: Some(Words::new(["push"])), ..Filter::default() };
    /// let mut tap = engine.tap().channels(["repo:alice/demo"]).filter(pushes).since(Since::Earliest).open()?;
    /// assert_eq!(tap.behind(), 2);
    /// assert_eq!(tap.try_next().unwrap().event().unwrap().data(), "1");
    /// assert!(tap.try_next().is_none());
    /// assert_eq!(tap.behind(), 0);
    ///
    /// drop(engine);
    /// assert_eq!(tap.count(), 0, "it ends with the engine");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tap(&self) -> TapBuilder<'_> {
        TapBuilder::new(&self.0)
    }

    /// Connects a client: a reader with an id whose subscriptions can change. It begins now, with no subscriptions.
    ///
    /// # Errors
    /// [`TooMany`] at the bound on clients.
    pub fn connect(&self, metadata: Metadata) -> Result<Client, TooMany> {
        Client::connect(&self.0, metadata)
    }

    /// The connected client of that id.
    ///
    /// ```
    /// use fanfare::engine::{Engine, Metadata};
    ///
    /// let engine = Engine::new();
    /// let client = engine.connect(Metadata { agent: Some("test".into()), ..Metadata::default() })?;
    /// assert_eq!(engine.client(client.id()).unwrap().metadata().agent.as_deref(), Some("test"));
    /// engine.disconnect(client.id());
    /// assert!(engine.client(client.id()).is_none() && !client.is_connected());
    /// # Ok::<(), fanfare::engine::TooMany>(())
    /// ```
    #[must_use]
    pub fn client(&self, id: &str) -> Option<Client> {
        let held = self.0.registry().clients.get(id).cloned();
        held?.upgrade().map(Client::of)
    }

    /// Disconnects the client of that id; if there is none, nothing happens.
    pub fn disconnect(&self, id: &str) {
        if let Some(client) = self.client(id) {
            client.disconnect();
        }
    }

    /// Keeps a filter under an id of one's own, or sets that of the connected client of this id; one that was there is
    /// replaced.
    ///
    /// # Errors
    /// [`TooMany`] at the bound on clients.
    ///
    /// ```
    /// use fanfare::engine::{Engine, Filter, Words};
    ///
    /// let engine = Engine::new();
    /// let created = Filter { kinds: Some(Words::new(["memory_created"])), ..Filter::default() };
    /// engine.register("client-1", created.clone())?;
    /// assert_eq!((engine.client_count(), engine.filter("client-1")), (1, Some(created)));
    /// engine.unregister("client-1");
    /// assert_eq!((engine.client_count(), engine.filter("client-1")), (0, None));
    /// # Ok::<(), fanfare::engine::TooMany>(())
    /// ```
    pub fn register(&self, id: &str, filter: Filter) -> Result<(), TooMany> {
        if let Some(client) = self.client(id) {
            client.set_filter(filter);
            return Ok(());
        }
        let clients_max = self.limits().clients_max;
        let mut registry = self.0.registry();
        if !registry.filters.contains_key(id) && clients_max <= registry.len() {
            return Err(TooMany(clients_max));
        }
        registry.filters.insert(id.to_owned(), Arc::new(filter));
        Ok(())
    }

    /// Forgets the filter kept under `id`, or disconnects that client; if there is neither, nothing happens.
    pub fn unregister(&self, id: &str) {
        self.0.registry().filters.remove(id);
        self.disconnect(id);
    }

    /// The filter of that id, a registered one or a client's.
    #[must_use]
    pub fn filter(&self, id: &str) -> Option<Filter> {
        let registered = self.0.registry().filters.get(id).cloned();
        match registered {
            Some(filter) => Some((*filter).clone()),
            None => self.client(id).map(|client| client.filter()),
        }
    }

    /// Clients connected in this process, and registered filters.
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.0.registry().len()
    }

    /// Who is connected now: clients in this process, and beside a server its streams.
    #[must_use]
    pub fn connection_count(&self) -> u64 {
        self.0.hub.counters.streams()
    }

    /// What was counted.
    ///
    /// ```
    /// use fanfare::engine::{Engine, Metadata};
    ///
    /// let engine = Engine::new();
    /// let client = engine.connect(Metadata::default())?;
    /// client.subscribe("repo:alice/demo")?;
    /// engine.emit("repo:alice/demo", "push", &())?;
    /// assert_eq!(
    ///     engine.stats().totals.to_json(),
    ///     r#"{"current_connections":1,"total_connections":1,"total_subscriptions":1,"total_events":1}"#
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of(&self.0)
    }

    fn limits(&self) -> &Limits {
        &self.0.hub.limits
    }
}

/// Whose idempotency keys an engine's are.
const PRINCIPAL: &str = "engine";

impl Default for Engine {
    fn default() -> Engine {
        Engine::new()
    }
}

impl Clone for Engine {
    fn clone(&self) -> Engine {
        // Relaxed: there is another handle meanwhile.
        self.0.handles.fetch_add(1, Ordering::Relaxed);
        Engine(Arc::clone(&self.0))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // What was done through other handles comes before the end.
        let is_last = self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last && self.0.is_alone() {
            self.0.hub.drain();
        }
    }
}
