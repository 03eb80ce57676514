//! What a receiver of events was promised, checked at every message it gets.

use serde_json::Value;

use crate::bracket::Bracket;
use crate::channels::canonical;
use crate::context::Context;
use crate::dialect::Dialect;
use crate::filter::Filter;
use crate::held::{Begin, Holdings};
use crate::newest::Newest;

/// The receiving side of one client.
pub(crate) struct Receiver {
    pub(crate) name: String,
    /// Everything up to this that it wants it has, or was told that it will not get.
    pub(crate) cursor: u64,
    /// Whether `cursor` says anything.
    pub(crate) has_cursor: bool,
    /// What this connection subscribes to.
    pub(crate) holdings: Holdings,
    opening: Option<Opening>,
    /// A replay goes on, and the stream itself stands still.
    bracket: Option<Bracket>,
    /// The stream began with the newest events of each channel.
    newest: Option<Newest>,
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
    /// With the newest events of each channel, so many.
    Last(usize),
}

impl Since {
    /// Whether `gap` says that this is a cursor of another log.
    pub(crate) fn is_old(&self, gap: &Gap) -> bool {
        let (Since::After(_, text) | Since::Foreign(text)) = self else { return false };
        gap.cause == "epoch" && gap.old.as_ref() == Some(text)
    }
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

    /// A gap of these events.
    pub(crate) fn of(from: u64, to: u64, cause: &str) -> Gap {
        Gap { range: Some((from, to)), cause: cause.to_owned(), old: None }
    }

    /// The first and last event that is missing, where they can be told.
    pub(crate) fn range(&self) -> Option<(u64, u64)> {
        self.range
    }

    /// Why they are.
    pub(crate) fn cause(&self) -> &str {
        &self.cause
    }

    /// The last event that is missing, where it can be told.
    pub(crate) fn to(&self) -> Option<u64> {
        self.range.map(|(_, to)| to)
    }
}

impl Receiver {
    /// A receiver without a connection.
    pub(crate) fn new(name: String) -> Receiver {
        Receiver {
            name,
            cursor: 0,
            has_cursor: false,
            holdings: Holdings::default(),
            opening: None,
            bracket: None,
            newest: None,
        }
    }

    /// A new connection, which subscribes to nothing yet and has this filter.
    pub(crate) fn connect(&mut self, filter: Option<Filter>) {
        self.holdings = Holdings::new(filter);
        (self.opening, self.bracket, self.newest) = (None, None, None);
        self.cursor = 0;
    }

    /// The connection is a stream; where it begins was not said.
    pub(crate) fn opened(&mut self, context: &Context) {
        let must_after = context.twin.borrow().end() - 1;
        self.holdings.open(Begin { may_after: 0, must_after });
    }

    /// Subscriptions hold; where they begin was not said.
    pub(crate) fn subscribed_somewhere(&mut self, context: &Context, texts: &[&'static str]) {
        let must_after = context.twin.borrow().end() - 1;
        let begin = Begin { may_after: self.cursor, must_after };
        let added = self.holdings.added(texts, &None, begin, false);
        self.holdings.add(added, begin, must_after);
    }

    /// A stream begins after the event `seq`, without saying so.
    pub(crate) fn resumed(&mut self, texts: &[&'static str], seq: u64) {
        let begin = Begin::after(seq);
        let added = self.holdings.added(texts, &None, begin, false);
        self.holdings.add(added, begin, seq);
        self.holdings.open(begin);
        self.cursor = seq;
    }

    /// A stream begins with the newest events of each channel.
    pub(crate) fn subscribed_newest(&mut self, context: &Context, texts: &[&'static str], count: usize) {
        let end = context.twin.borrow().end();
        self.begin_newest(texts, count, 1, end);
        self.holdings.open(Begin { may_after: 0, must_after: end - 1 });
    }

    /// What is read begins with the newest events of each channel, looked up somewhere in `low..=high`.
    pub(crate) fn begin_newest(&mut self, texts: &[&'static str], count: usize, low: u64, high: u64) {
        let added = self.holdings.added(texts, &None, Begin::after(0), false);
        self.holdings.add(added, Begin::after(0), 0);
        self.newest = Some(Newest::new(count, low, high));
    }

    fn pass_over(&mut self, context: &Context, end: u64, what: &str) {
        let (oldest, twin) = (context.hub.log.oldest(), context.twin.borrow());
        for seq in self.cursor + 1..end {
            if !self.holdings.requires(&twin, seq) {
                continue;
            }
            match &mut self.newest {
                Some(newest) if seq < newest.high() => {
                    newest.missed(&twin, seq, oldest, |event| self.holdings.gets(event));
                }
                _ => panic!("{} missed {seq} before {what} ({end})", self.name),
            }
        }
    }

    /// Subscribes to `texts` as the answer says: everything after `told` follows.
    pub(crate) fn subscribed(
        &mut self,
        context: &Context,
        texts: &[&'static str],
        filter: &Option<Filter>,
        since: Since,
        told: u64,
        asked: Marks,
    ) {
        if let Some(bracket) = self.bracket.take() {
            return bracket.end(context, &mut self.holdings, told);
        }
        // On a connection that has begun, what is asked for from here on begins here like anything else.
        let anew = since != Since::Now;
        let is_elsewhere = matches!(since, Since::Foreign(_) | Since::Last(_));
        if self.holdings.has_begun() && !is_elsewhere {
            self.position(context, told, "subscribed");
            let added = self.holdings.added(texts, filter, Begin::after(told), anew);
            let (oldest, twin) = (context.hub.log.oldest(), context.twin.borrow());
            match &since {
                Since::Earliest => assert!(told < oldest, "{}: {told} with {oldest}", self.name),
                Since::After(seq, _) if *seq < told => {
                    let missed = (seq + 1..=told).find(|seq| self.holdings.is_new_to(&added, &twin, *seq));
                    assert!(
                        told < oldest && missed.is_none(),
                        "{}: {since:?}, {told}, {missed:?}",
                        self.name
                    );
                }
                _ => {}
            }
            self.holdings.add(added, Begin::after(told), told);
            return;
        }
        if since == Since::Now {
            assert!(self.cursor <= told, "{}: from now on is not before {}", self.name, self.cursor);
            self.pass_over(context, told + 1, "subscribed");
        }
        let after = match &since {
            Since::After(seq, _) => (*seq).min(told),
            _ => told,
        };
        let added = self.holdings.added(texts, filter, Begin::after(after), anew);
        self.holdings.add(added, Begin::after(after), told);
        self.holdings.open(Begin::after(after));
        self.opening = Some(Opening { since, told, asked });
    }

    /// The server says that it replays `from..=to` of `texts`.
    pub(crate) fn replayed(
        &mut self,
        context: &Context,
        texts: &[&'static str],
        filter: &Option<Filter>,
        asked: (Since, Marks),
        (from, to): (u64, u64),
    ) {
        self.position(context, to, "a replay");
        let added = self.holdings.added(texts, filter, Begin::after(to), true);
        self.bracket = Some(Bracket::new(context, &self.name, &self.holdings, added, asked, (from, to)));
    }

    /// Ends the subscription to `text`.
    pub(crate) fn unsubscribed(&mut self, context: &Context, text: &str) {
        self.settle(context, None);
        self.holdings.end(&canonical(text));
    }

    /// The connection's own filter is another one after `seq`.
    pub(crate) fn filtered(&mut self, context: &Context, filter: Option<Filter>, seq: u64) {
        self.position(context, seq, "filtered");
        self.holdings.refilter(filter, seq);
    }

    /// The filter called `serial` holds by now.
    pub(crate) fn is_in_force(&mut self, context: &Context, serial: u64) {
        let last = context.twin.borrow().end() - 1;
        self.holdings.is_in_force(serial, last, self.cursor);
    }

    /// The stream goes on behind its beginning, or with `gap`: now it shows whether that was right.
    pub(crate) fn settle(&mut self, context: &Context, gap: Option<&Gap>) -> bool {
        assert!(self.bracket.is_none(), "{}: a replay goes on", self.name);
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
                Since::Foreign(_) | Since::Last(_) => panic!("no gap: {}", what()),
                Since::After(seq, _) => {
                    assert!(*seq < now.published && *seq <= told, "{}", what());
                    if *seq == told {
                        assert!(asked.oldest <= seq + 1 && gap.is_none(), "{}", what());
                    } else {
                        assert!(is_oldest, "{}", what());
                        self.cursor = *seq;
                        match gap {
                            None => self.pass_over(context, told + 1, "its beginning"),
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

    /// An event comes, in the words of `dialect`.
    pub(crate) fn event(&mut self, context: &Context, dialect: Dialect, seq: u64, text: &str) {
        dialect.verify(context, seq, text);
        context.tally.count("event");
        if let Some(bracket) = &mut self.bracket {
            return bracket.event(context, &self.holdings, seq);
        }
        self.settle(context, None);
        assert!(self.cursor < seq, "{} gets {seq} after {}", self.name, self.cursor);
        self.pass_over(context, seq, "an event");
        let twin = context.twin.borrow();
        assert!(self.holdings.accept(&twin, seq), "{} does not want {seq}", self.name);
        self.holdings.note_event();
        if let Some(newest) = &mut self.newest {
            newest.got(&twin, seq, |event| self.holdings.gets(event));
        }
        if twin.event(seq).is_some_and(|event| event.is_announcement) {
            context.tally.count("announcement");
        }
        (self.cursor, self.has_cursor) = (seq, true);
    }

    /// It is told that it has everything up to `seq`.
    pub(crate) fn position(&mut self, context: &Context, seq: u64, what: &str) {
        self.settle(context, None);
        assert!(self.cursor <= seq, "{}: {what} says {seq} after {}", self.name, self.cursor);
        let end = context.twin.borrow().end();
        assert!(seq < end, "{}: {what} says {seq}, which is not published", self.name);
        self.pass_over(context, seq + 1, what);
        self.holdings.stands_at(seq);
        (self.cursor, self.has_cursor) = (seq, true);
    }

    /// The server says goodbye: everything up to `seq` was sent, but for a replay that goes on.
    pub(crate) fn goodbye(&mut self, context: &Context, seq: u64) {
        if let Some(bracket) = self.bracket.take() {
            assert_eq!(bracket.to(), seq, "{}: goodbye in a replay", self.name);
            context.tally.count("goodbye in a bracket");
        }
        self.position(context, seq, "goodbye");
    }

    /// It is told of events that it will not get.
    pub(crate) fn gap(&mut self, context: &Context, gap: &Gap) {
        if let Some(bracket) = &mut self.bracket {
            return bracket.gap(context, &self.holdings, gap);
        }
        if gap.cause == "lapped" {
            self.settle(context, None);
        } else {
            assert!(self.settle(context, Some(gap)), "{}: a gap in the middle: {gap:?}", self.name);
            return;
        }
        let (from, to) = gap.range.expect("only an opening stream is told of another epoch");
        assert!(self.cursor < from && from <= to, "{}: {gap:?} after {}", self.name, self.cursor);
        self.pass_over(context, from, "a gap");
        self.check_loss(context, from, to);
        if let Some(newest) = self.newest.as_mut().filter(|_| from == to) {
            newest.got(&context.twin.borrow(), from, |event| self.holdings.gets(event));
        }
        context.tally.count("gap lapped");
        self.cursor = to;
    }

    /// A gap is told only where something is lost, and only what is.
    fn check_loss(&self, context: &Context, from: u64, to: u64) {
        let twin = context.twin.borrow();
        assert!(to < context.hub.log.oldest(), "{}: {from}..={to} is said to be lost, and held", self.name);
        let is_lost = (from..=to).any(|seq| self.holdings.may_lose(&twin, seq));
        assert!(
            is_lost || from < context.hub.log.forgotten_below(),
            "{}: nothing that it wants is in {from}..={to}",
            self.name
        );
    }

    /// Everybody had time: it must have all that it wants.
    pub(crate) fn check_caught_up(&mut self, context: &Context) {
        self.settle(context, None);
        let end = context.twin.borrow().end();
        self.pass_over(context, end, "the end");
    }
}
