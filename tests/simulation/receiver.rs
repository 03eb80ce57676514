//! What a receiver of events was promised, checked at every message it gets.

use serde_json::Value;

use crate::channels::{canonical, matches};
use crate::context::Context;
use crate::twin::Twin;

/// The receiving side of one client.
pub(crate) struct Receiver {
    pub(crate) name: String,
    /// Everything up to this that it wants it has, or was told that it will not get.
    pub(crate) cursor: u64,
    /// Whether `cursor` says anything.
    pub(crate) has_cursor: bool,
    /// What this connection subscribes to.
    held: Vec<Held>,
    opening: Option<Opening>,
}

struct Held {
    /// Canonical.
    pattern: String,
    /// It gets what comes after this.
    after: u64,
}

/// Where a stream was asked to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// From now on.
    Now,
    Earliest,
    /// After an event of the current epoch; the text is the cursor as it was given.
    After(u64, String),
    /// After an event of another epoch.
    Foreign(String),
}

/// The log at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    pub(crate) oldest: u64,
    pub(crate) published: u64,
}

impl Marks {
    /// The log now.
    pub(crate) fn now(context: &Context) -> Marks {
        let published = context.hub.log.published();
        Marks { oldest: context.hub.log.oldest(), published }
    }
}

/// A stream that was told where it begins, and may yet be told of a gap before that.
struct Opening {
    since: Since,
    /// The cursor that it begins after.
    told: u64,
    asked: Marks,
}

/// A gap as it was told.
#[derive(Debug)]
pub(crate) struct Gap {
    range: Option<(u64, u64)>,
    cause: String,
    old: Option<String>,
}

impl Gap {
    /// Reads a `gap` message.
    pub(crate) fn parse(message: &Value) -> Gap {
        let range = match (&message["from"], &message["to"]) {
            (Value::Null, Value::Null) => None,
            (from, to) => Some((from.as_u64().expect("from"), to.as_u64().expect("to"))),
        };
        let text = |name: &str| message[name].as_str().map(str::to_owned);
        Gap { range, cause: text("cause").expect("a gap has a cause"), old: text("old") }
    }

    /// The last event that is missing, where it can be told.
    pub(crate) fn to(&self) -> Option<u64> {
        self.range.map(|(_, to)| to)
    }
}

impl Receiver {
    /// A receiver without a connection.
    pub(crate) fn new(name: String) -> Receiver {
        Receiver { name, cursor: 0, has_cursor: false, held: Vec::new(), opening: None }
    }

    /// A new connection subscribes to nothing yet.
    pub(crate) fn connect(&mut self) {
        self.held.clear();
        self.opening = None;
        self.cursor = 0;
    }

    /// Canonical patterns of this connection, sorted.
    pub(crate) fn patterns(&self) -> Vec<&str> {
        let mut patterns: Vec<&str> = self.held.iter().map(|held| held.pattern.as_str()).collect();
        patterns.sort_unstable();
        patterns
    }

    /// Those of `texts` that are not held yet, canonical, each once.
    pub(crate) fn added(&self, texts: &[&'static str]) -> Vec<String> {
        let mut added: Vec<String> = Vec::new();
        for pattern in texts.iter().map(|text| canonical(text)) {
            if !added.contains(&pattern) && self.held.iter().all(|held| held.pattern != pattern) {
                added.push(pattern);
            }
        }
        added
    }

    /// Whether the event `seq` is to be delivered. What nobody could see is nobody's due.
    fn wants(&self, twin: &Twin, seq: u64) -> bool {
        let gets =
            |route: &str| self.held.iter().any(|held| held.after < seq && matches(&held.pattern, route));
        twin.route(seq).is_some_and(gets)
    }

    /// The first wanted event of a range.
    fn first_wanted(&self, twin: &Twin, mut range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        range.find(|&seq| self.wants(twin, seq))
    }

    fn pass_over(&self, twin: &Twin, end: u64, what: &str) {
        let missed = self.first_wanted(twin, self.cursor + 1..=end.max(1) - 1);
        assert!(missed.is_none(), "{} missed {missed:?} before {what} ({end})", self.name);
    }

    /// Subscribes to `texts` as the answer says: everything after `told` follows.
    pub(crate) fn subscribed(
        &mut self,
        context: &Context,
        texts: &[&'static str],
        since: Since,
        told: u64,
        asked: Marks,
    ) {
        let is_first = self.held.is_empty();
        let added = self.added(texts);
        let after = match (&since, is_first) {
            (Since::After(seq, _), true) => (*seq).min(told),
            _ => told,
        };
        if !is_first {
            assert_eq!(since, Since::Now, "{}: 'since' is served for first subscriptions only", self.name);
            self.position(context, told, "subscribed");
        } else {
            if since == Since::Now {
                assert!(self.cursor <= told, "{}: from now on is not before {}", self.name, self.cursor);
            }
            self.opening = Some(Opening { since, told, asked });
        }
        self.held.extend(added.into_iter().map(|pattern| Held { pattern, after }));
    }

    /// Ends the subscription to `text`.
    pub(crate) fn unsubscribed(&mut self, context: &Context, text: &str) {
        self.settle(context, None);
        let pattern = canonical(text);
        self.held.retain(|held| held.pattern != pattern);
    }

    /// The stream goes on behind its beginning, or with `gap`: now it shows whether that was right.
    pub(crate) fn settle(&mut self, context: &Context, gap: Option<&Gap>) -> bool {
        let Some(Opening { since, told, asked }) = self.opening.take() else { return false };
        let now = Marks::now(context);
        let name = &self.name;
        let what = || {
            format!(
                "{name} opened since {since:?}, is told {told} and {gap:?}, between {asked:?} and {now:?}"
            )
        };
        let is_oldest = (asked.oldest..=now.oldest).contains(&(told + 1));
        let is_epoch = gap.is_some_and(|gap| gap.cause == "epoch");
        if let (true, Some(gap)) = (is_epoch, gap) {
            let old = match &since {
                Since::After(seq, text) if asked.published <= *seq => text,
                Since::Foreign(text) => text,
                _ => panic!("a false gap: {}", what()),
            };
            assert!(gap.range.is_none() && gap.old.as_ref() == Some(old), "{}", what());
            assert!(is_oldest, "{}", what());
        } else {
            match &since {
                Since::Now => assert!(gap.is_none() && told < now.published, "{}", what()),
                Since::Earliest => assert!(gap.is_none() && is_oldest, "{}", what()),
                Since::Foreign(_) => panic!("no gap: {}", what()),
                Since::After(seq, _) => {
                    assert!(*seq < now.published && *seq <= told, "{}", what());
                    if *seq == told {
                        assert!(asked.oldest <= seq + 1 && gap.is_none(), "{}", what());
                    } else {
                        assert!(is_oldest, "{}", what());
                        self.cursor = *seq;
                        match gap {
                            None => self.pass_over(&context.twin.borrow(), told + 1, "its beginning"),
                            Some(gap) => {
                                assert_eq!(gap.range, Some((seq + 1, told)), "{}", what());
                                assert_eq!(gap.cause, "evicted", "{}", what());
                                self.check_loss(context, seq + 1, told);
                            }
                        }
                    }
                }
            }
        }
        if let Some(gap) = gap {
            context.tally.count(&format!("gap {}", gap.cause));
        }
        self.cursor = told;
        self.has_cursor = true;
        gap.is_some()
    }

    /// An event comes.
    pub(crate) fn event(&mut self, context: &Context, seq: u64, json: &[u8]) {
        self.settle(context, None);
        let mut twin = context.twin.borrow_mut();
        twin.verify(seq, json, context.now_ms.get());
        assert!(self.cursor < seq, "{} gets {seq} after {}", self.name, self.cursor);
        self.pass_over(&twin, seq, "an event");
        assert!(self.wants(&twin, seq), "{} does not want {seq}", self.name);
        context.tally.count("event");
        self.cursor = seq;
    }

    /// It is told that it has everything up to `seq`.
    pub(crate) fn position(&mut self, context: &Context, seq: u64, what: &str) {
        self.settle(context, None);
        assert!(self.cursor <= seq, "{}: {what} says {seq} after {}", self.name, self.cursor);
        let twin = context.twin.borrow();
        assert!(seq < twin.end(), "{}: {what} says {seq}, which is not published", self.name);
        self.pass_over(&twin, seq + 1, what);
        self.cursor = seq;
    }

    /// It is told of events that it will not get.
    pub(crate) fn gap(&mut self, context: &Context, gap: &Gap) {
        if gap.cause == "lapped" {
            self.settle(context, None);
        } else {
            assert!(self.settle(context, Some(gap)), "{}: a gap in the middle: {gap:?}", self.name);
            return;
        }
        let (from, to) = gap.range.expect("only an opening stream is told of another epoch");
        assert!(self.cursor < from && from <= to, "{}: {gap:?} after {}", self.name, self.cursor);
        self.pass_over(&context.twin.borrow(), from, "a gap");
        self.check_loss(context, from, to);
        context.tally.count("gap lapped");
        self.cursor = to;
    }

    /// A gap is told only where something is lost, and only what is.
    fn check_loss(&self, context: &Context, from: u64, to: u64) {
        let twin = context.twin.borrow();
        assert!(to < context.hub.log.oldest(), "{}: {from}..={to} is said to be lost, and held", self.name);
        let is_lost = self.first_wanted(&twin, from..=to).is_some();
        let is_unseen = (from..=to).any(|seq| twin.route(seq).is_none());
        assert!(
            is_lost || is_unseen || from < context.hub.log.forgotten_below(),
            "{}: nothing that it wants is in {from}..={to}",
            self.name
        );
    }

    /// Everybody had time: it must have all that it wants.
    pub(crate) fn check_caught_up(&mut self, context: &Context) {
        self.settle(context, None);
        if !self.held.is_empty() {
            let twin = context.twin.borrow();
            self.pass_over(&twin, twin.end(), "the end");
        }
    }

    /// A subscriber to anything.
    pub(crate) fn is_subscribed(&self) -> bool {
        !self.held.is_empty()
    }
}
