//! What a receiver of events was promised, checked at every message it gets.

use serde_json::Value;

use crate::bracket::Bracket;
use crate::channels::canonical;
use crate::context::Context;
use crate::dialect::Dialect;
use crate::filter::Filter;
use crate::held::{Begin, Holdings};
use crate::newest::Newest;
use crate::policy::{Conflated, Policies, Policy};

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
    /// What may happen to this connection when it is slow.
    pub(crate) policies: Policies,
    /// A range was thinned out, and what is kept of it follows.
    conflated: Option<Conflated>,
    /// What lies before this was asked for, and must not be thinned out.
    asked_end: u64,
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
    /// How many events it has cost; `is_terse` where the dialect has no word for that.
    matched: Option<u64>,
    is_terse: bool,
}

impl Gap {
    /// Reads a `gap` message.
    pub(crate) fn parse(message: &Value) -> Gap {
        let range = match (&message["from"], &message["to"]) {
            (Value::Null, Value::Null) => None,
            (from, to) => Some((from.as_u64().expect("from"), to.as_u64().expect("to"))),
        };
        let text = |name: &str| message[name].as_str().map(str::to_owned);
        let matched = message.get("matched").map(|matched| matched.as_u64().expect("matched"));
        let cause = text("cause").expect("a gap has a cause");
        Gap { range, cause, old: text("old"), matched, is_terse: false }
    }

    /// A gap of these events.
    pub(crate) fn of(from: u64, to: u64, cause: &str) -> Gap {
        Gap { range: Some((from, to)), cause: cause.to_owned(), old: None, matched: None, is_terse: true }
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

    /// The number after which a stream goes on that has had this gap.
    pub(crate) fn resume_after(&self) -> Option<u64> {
        self.range.map(|(from, to)| if self.cause == "skipped" { from - 1 } else { to })
    }

    /// The number of events that it has cost is exact: `least` to `most` as far as anybody knows.
    pub(crate) fn check_matched(&self, context: &Context, what: &str, least: u64, most: u64) {
        let (Some((from, _)), false) = (self.range, self.is_terse) else { return };
        match self.matched {
            Some(matched) => {
                assert!((least..=most).contains(&matched), "{what}: {self:?} of {least} to {most}");
                context.tally.count("matched");
            }
            None => assert!(from < context.hub.log.forgotten_below(), "{what}: {self:?} says not how many"),
        }
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
            policies: Policies::new(None),
            conflated: None,
            asked_end: 0,
        }
    }

    /// A new connection, which subscribes to nothing yet and has this filter and policy.
    pub(crate) fn connect(&mut self, filter: Option<Filter>, policy: Option<Policy>) {
        self.holdings = Holdings::new(filter);
        self.policies = Policies::new(policy);
        (self.opening, self.bracket, self.newest, self.conflated) = (None, None, None, None);
        (self.cursor, self.asked_end) = (0, 0);
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
            if let Some(conflated) = self.conflated.as_ref().filter(|conflated| conflated.has(seq)) {
                conflated.missed(&twin, &self.holdings, seq);
                continue;
            }
            match &mut self.newest {
                Some(newest) if seq < newest.high() => {
                    newest.missed(&twin, seq, oldest, |event| self.holdings.gets(event));
                }
                _ => panic!("{} missed {seq} before {what} ({end})", self.name),
            }
        }
        drop(twin);
        if let Some(conflated) = self.conflated.take_if(|conflated| conflated.is_before(end)) {
            conflated.end(context);
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
        self.asked_end = if since == Since::Now { 0 } else { asked.published };
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
                                self.check_loss(context, gap, seq + 1, told);
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
        if let Some(conflated) = self.conflated.as_mut().filter(|conflated| conflated.has(seq)) {
            conflated.got(&twin, &self.holdings, seq);
        }
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
        if gap.cause == "skipped" {
            return self.thinned(context, gap);
        }
        if gap.cause == "lapped" {
            // Whoever was overtaken is behind like any other.
            self.asked_end = 0;
            self.settle(context, None);
        } else {
            assert!(self.settle(context, Some(gap)), "{}: a gap in the middle: {gap:?}", self.name);
            return;
        }
        let (from, to) = gap.range.expect("only an opening stream is told of another epoch");
        assert!(self.cursor < from && from <= to, "{}: {gap:?} after {}", self.name, self.cursor);
        self.pass_over(context, from, "a gap");
        self.check_loss(context, gap, from, to);
        if let Some(conflated) = self.conflated.as_mut().filter(|conflated| conflated.has(from)) {
            assert_eq!(from, to, "{}: {gap:?} of what is kept", self.name);
            conflated.got(&context.twin.borrow(), &self.holdings, from);
        }
        if let Some(newest) = self.newest.as_mut().filter(|_| from == to) {
            newest.got(&context.twin.borrow(), from, |event| self.holdings.gets(event));
        }
        context.tally.count("gap lapped");
        self.cursor = to;
    }

    /// A range is thinned out: nothing before it is missing, and what is kept of it follows.
    fn thinned(&mut self, context: &Context, gap: &Gap) {
        self.settle(context, None);
        assert!(self.policies.may_be("latest"), "{}: {gap:?} that was not asked for", self.name);
        let (from, to) = gap.range.expect("what is thinned out has numbers");
        let end = context.twin.borrow().end();
        assert!(self.cursor < from && from <= to && to < end, "{}: {gap:?} after {}", self.name, self.cursor);
        assert!(self.asked_end <= from, "{}: {gap:?} of what it asked for", self.name);
        self.pass_over(context, from, "a gap");
        assert!(self.conflated.is_none(), "{}: {gap:?} in another", self.name);
        if let Some(newest) = &mut self.newest {
            newest.lie_before(from);
        }
        context.tally.count("gap skipped");
        let twin = context.twin.borrow();
        self.conflated = Some(Conflated::new(&twin, &self.holdings, (from, to), gap.matched));
        // Whoever is cut off now and comes back from here has lost nothing.
        self.cursor = from - 1;
    }

    /// A gap is told only where something is lost, and only what is.
    fn check_loss(&self, context: &Context, gap: &Gap, from: u64, to: u64) {
        let twin = context.twin.borrow();
        let limits = &context.hub.limits;
        let has_bound = limits.lag_events_max.is_some() || limits.lag_age_max.is_some();
        let is_held = context.hub.log.oldest() <= to;
        if is_held && gap.cause == "lapped" && has_bound && self.policies.may_be("gap") {
            context.tally.count("gap by a bound on lag");
        } else {
            assert!(!is_held, "{}: {from}..={to} is said to be lost, and held", self.name);
        }
        let count = |is_it: &dyn Fn(u64) -> bool| (from..=to).filter(|seq| is_it(*seq)).count() as u64;
        let is_kept = |seq: u64| self.conflated.as_ref().is_some_and(|conflated| conflated.has(seq));
        if !(from..=to).any(is_kept) {
            let least = count(&|seq| self.holdings.must_lose(&twin, seq));
            let most = count(&|seq| self.holdings.may_lose(&twin, seq));
            gap.check_matched(context, &self.name, least, most);
        }
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
