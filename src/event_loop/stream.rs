//! Subscriptions of a connection: opening a stream, adding to it, changing its filter, ending it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::connection::{Connection, Delivery, Details, Listening, NO_MARK, Older, Replay, Session, Speech};
use super::{EventLoop, Link};
use crate::log::Form;
use crate::reader::{Selector, Sieve, Start, Subscription, newest, start};
use crate::session::command::{filter_limit_message, limit_message};
use crate::session::dialect::guts;
use crate::session::http::Flow;
use crate::session::reply;
use crate::session::wish::Wish;
use crate::wire::http::{CrossOrigin, RequestHead, ResponseContext, websocket_accept};
use crate::wire::sse::push_stream_head;
use crate::wire::websocket::push_text;
use crate::words::channel::Pattern;
use crate::words::cursor::{Gap, Since};
use crate::words::dialect::Dialect;
use crate::words::filter::Filter;
use crate::words::on_slow::OnSlow;
use crate::words::spread::spread;

/// A command to subscribe, as far as the loop is concerned.
pub(super) struct Subscribing<'a> {
    pub(super) wanted: &'a [(Pattern, String)],
    pub(super) since: Option<&'a Since>,
    pub(super) last: Option<usize>,
    pub(super) filter: Option<Filter>,
    pub(super) on_slow: Option<OnSlow>,
    pub(super) id: Option<&'a str>,
}

impl<L: Link> EventLoop<L> {
    /// Turns an HTTP connection into a WebSocket.
    pub(super) fn open_websocket(
        &mut self,
        key: usize,
        head: &RequestHead<'_>,
        wish: Wish,
        details: Details,
        context: ResponseContext,
    ) -> Flow {
        let accept = match websocket_accept(head) {
            Ok(accept) => accept,
            Err(error) => {
                return self.respond(
                    key,
                    &error.response(),
                    ResponseContext { keep_alive: false, ..context },
                );
            }
        };
        let filter = self.interned(wish.filter);
        let Some(connection) = self.connections.get_mut(key) else { return Flow::Stop };
        accept.write_to(connection.out.tail(), wish.protocol, &[]);
        connection.session = Session::WebSocket(Listening::default());
        connection.pace.choose(wish.on_slow.unwrap_or(self.settings.on_slow));
        connection.speech = Speech { form: Form::WebSocket, dialect: wish.dialect };
        connection.filter = filter;
        connection.note_filters();
        self.edit(|this| this.begin_stream(key, details));
        if !wish.patterns.is_empty() {
            let (since, last) = (wish.since.as_ref(), wish.last);
            let (filter, on_slow, id) = (None, None, None);
            self.subscribe(key, Subscribing { wanted: &wish.patterns, since, last, filter, on_slow, id });
        }
        self.want_flush(key);
        Flow::Stop
    }

    /// Turns an HTTP connection into a stream of server-sent events.
    pub(super) fn open_events(
        &mut self,
        key: usize,
        wish: Wish,
        unnamed: bool,
        details: Details,
        context: ResponseContext,
    ) -> Flow {
        let retry_ms = self.retry_ms(key, wish.dialect);
        let filter = self.interned(wish.filter);
        let position = self.newest_position();
        let mut subscriptions: SmallVec<[Subscription; 1]> = SmallVec::new();
        for (pattern, _) in wish.patterns {
            if !subscriptions.iter().any(|held| held.pattern == pattern) {
                subscriptions.push(Subscription::new(pattern, None, filter.as_deref(), position));
            }
        }
        let list =
            match wish.last.map(|count| self.newest(&subscriptions, filter.as_deref(), count, position)) {
                Some(Err(error)) => {
                    // A proxy may go on for somebody else, and this connection was counted for who has asked.
                    let context = ResponseContext { keep_alive: false, ..context };
                    let answer = crate::wire::http::problem(400, "too_many", &error.to_string());
                    return self.respond(key, &answer, context);
                }
                Some(Ok(list)) => Some(list),
                None => None,
            };
        let Some(connection) = self.connections.get_mut(key) else { return Flow::Stop };
        let cross_origin = context.cross_origin.map(CrossOrigin::fields);
        push_stream_head(connection.out.tail(), cross_origin.as_ref().map_or(&[], |fields| &fields[..]));
        connection.session = Session::Sse;
        connection.pace.choose(wish.on_slow.unwrap_or(self.settings.on_slow));
        let form = if unnamed { Form::SseUnnamed } else { Form::Sse };
        connection.speech = Speech { form, dialect: wish.dialect };
        connection.filter = filter;
        connection.note_filters();
        self.tell_retry(key, retry_ms);
        self.edit(|this| this.begin_stream(key, details));
        let begin = self.begin_at(key, &subscriptions, wish.since.as_ref());
        match &begin.gap {
            Some(gap) => self.tell_gap(key, gap),
            // The first id moves the client's cursor at once, so that a reconnect before the first event misses nothing.
            // A client that first gets the newest events asks for them again in that case.
            None if list.as_ref().is_none_or(Vec::is_empty) && wish.dialect != Dialect::Engram => {
                self.tell_cursor(key, begin.next - 1)
            }
            None => {}
        }
        self.add_subscriptions(key, subscriptions);
        if let Some(list) = list {
            let what = Older::List(list.into());
            let replay = Replay { added: SmallVec::new(), bracket: None, what, is_asked: true };
            self.begin_replay(key, position, replay);
        }
        self.want_flush(key);
        Flow::Stop
    }

    /// When an event stream of this dialect shall come back after it was cut off, in milliseconds.
    fn retry_ms(&self, key: usize, dialect: Dialect) -> u32 {
        let limits = &self.hub.limits;
        let (retry_ms, spread_ms) = (limits.retry.as_millis() as u64, limits.retry_spread.as_millis() as u64);
        if dialect == Dialect::Engram {
            return retry_ms as u32;
        }
        spread(self.seed_of(key), retry_ms - spread_ms..=retry_ms + spread_ms) as u32
    }

    /// From now on the connection lives by other deadlines, and gets announcements.
    fn begin_stream(&mut self, key: usize, details: Details) {
        let now_ms = self.now.mono_ms;
        let position = self.newest_position();
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.clock.event_ms = now_ms;
        connection.clock.ping_ms = now_ms;
        connection.clock.until_ms = u64::MAX;
        connection.details = Some(details);
        connection.next = position;
        connection.delivery = Delivery::Live;
        if connection.speech.form != Form::WebSocket {
            self.hub.log.open_blocks();
        }
        self.enter(key, &Pattern::announcements());
        self.hub.counters.open_stream();
        self.tell_client(key, "client_connected");
        self.begin_time(key);
        self.remind(key);
    }

    /// Subscribes a WebSocket client. The subscription takes effect at the connection's position in the stream, which
    /// the answer names: everything after it follows. What is asked for from further back comes before that answer, in
    /// a bracket of its own, unless it is the beginning of the stream.
    pub(super) fn subscribe(&mut self, key: usize, order: Subscribing<'_>) {
        let Subscribing { wanted, since, last, id, .. } = order;
        if let Some(filter) = &order.filter
            && self.exceeds_filters(
                key,
                filter,
                |held| wanted.iter().any(|(new, _)| *new == held.pattern),
                true,
            )
        {
            let message = filter_limit_message(&self.hub.limits);
            return self.refuse(key, "filter_limit", &message, id);
        }
        self.stand_apart(key);
        let filter = order.filter.and_then(|filter| self.interned(filter));
        let position = self.position_of(key);
        let Some(connection) = self.connections.get(key) else { return };
        let own = connection.filter.clone();
        let mut added: SmallVec<[Subscription; 1]> = SmallVec::new();
        for (pattern, _) in wanted {
            let is_same = |held: &Subscription| held.pattern == *pattern && held.filter == filter;
            // What is held already is asked for anew only for the sake of older events.
            let is_held = since.is_none() && last.is_none() && connection.subscriptions.iter().any(is_same);
            if !is_held && !added.iter().any(|held| held.pattern == *pattern) {
                added.push(Subscription::new(pattern.clone(), filter.clone(), own.as_deref(), position));
            }
        }
        let is_known =
            |new: &&Subscription| !connection.subscriptions.iter().any(|held| held.pattern == new.pattern);
        let limits = &self.hub.limits;
        if limits.subscriptions_max < connection.subscriptions.len() + added.iter().filter(is_known).count() {
            let message = limit_message(limits);
            return self.refuse(key, "subscription_limit", &message, id);
        }
        // Whoever has had an event cannot begin again outside a bracket.
        let is_first = connection.subscriptions.is_empty() && connection.delivered == 0;
        let newest = last.map(|count| self.newest(&added, own.as_deref(), count, position)).transpose();
        let newest = match newest {
            Err(error) => return self.refuse(key, "too_many", &error.to_string(), id),
            Ok(newest) => newest,
        };
        if let (Some(on_slow), Some(connection)) = (order.on_slow, self.connections.get_mut(key)) {
            connection.pace.choose(on_slow);
        }
        if let Some(list) = newest {
            return self.bracket(key, wanted, added, Older::List(list.into()), None, id);
        }
        if since.is_some() && !is_first {
            let patterns: SmallVec<[Pattern; 4]> =
                added.iter().filter_map(|held| held.scoped.clone()).collect();
            let begin = start(&self.hub.log, self.hub.epoch, &patterns, since, position);
            // What is lost from the connection's own position on, the stream itself will name.
            let Start { next, gap } = begin.before(position).counted(&self.hub.log, &patterns);
            if next < position || gap.is_some() {
                for held in &mut added {
                    held.from = next;
                }
                let what = Older::Range { next, end: position };
                return self.bracket(key, wanted, added, what, gap, id);
            }
        }
        let begin = match is_first && since.is_some() {
            true => self.begin_at(key, &added, since),
            false => Start { next: position, gap: None },
        };
        for held in &mut added {
            held.from = begin.next;
        }
        self.confirm(key, wanted.iter().map(|(_, text)| text), begin.next, id);
        if let Some(gap) = &begin.gap {
            self.tell_gap(key, gap);
        }
        self.add_subscriptions(key, added);
        self.want_flush(key);
    }

    /// Says that subscriptions hold from `next` on.
    pub(super) fn confirm<'a>(
        &mut self,
        key: usize,
        texts: impl Iterator<Item = &'a String>,
        next: u64,
        id: Option<&str>,
    ) {
        let epoch = self.hub.epoch;
        let Some(connection) = self.connections.get_mut(key) else { return };
        for text in texts {
            let answer = match connection.speech.dialect {
                Dialect::Native | Dialect::CloudEvents => reply::subscribed(text, next - 1, epoch, id),
                Dialect::Guts | Dialect::Sdk => guts::subscribed(text),
                // Its clients are never answered.
                Dialect::Engram => continue,
            };
            push_text(connection.out.tail(), &answer);
        }
    }

    /// Sends older events of `added` in a bracket, after which they are subscribed to.
    fn bracket(
        &mut self,
        key: usize,
        wanted: &[(Pattern, String)],
        added: SmallVec<[Subscription; 1]>,
        what: Older,
        gap: Option<Gap>,
        id: Option<&str>,
    ) {
        let end = self.position_of(key);
        let from = match &what {
            Older::Range { next, .. } => *next,
            Older::List(list) => list.front().copied().unwrap_or(end),
        };
        let texts: Vec<String> = wanted.iter().map(|(_, text)| text.clone()).collect();
        self.say(key, &reply::replay(&texts, from, end - 1, id));
        if let Some(gap) = &gap {
            self.tell_gap(key, gap);
        }
        let bracket = Some((texts, id.map(str::to_owned)));
        self.begin_replay(key, end, Replay { added, bracket, what, is_asked: true });
    }

    /// The connection stands still at `position` until the replay is over.
    pub(super) fn begin_replay(&mut self, key: usize, position: u64, replay: Replay) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.next = position;
        connection.delivery = Delivery::Lagging;
        connection.replay = Some(Box::new(replay));
        self.want_flush(key);
    }

    /// The newest events of each channel that `added` are of.
    fn newest(
        &self,
        added: &[Subscription],
        own: Option<&Filter>,
        count: usize,
        end: u64,
    ) -> Result<Vec<u64>, crate::reader::TooMany> {
        let names = self.hub.log.names();
        let Some(names) = names.as_ref() else { return Ok(Vec::new()) };
        let patterns: SmallVec<[Pattern; 4]> = added.iter().filter_map(|held| held.scoped.clone()).collect();
        let selector = Selector::new(&patterns, names, Sieve { filter: own, subscriptions: added });
        newest(&self.hub.log, &selector, count, end)
    }

    /// Ends subscriptions; of what is not held there is nothing to end.
    pub(super) fn unsubscribe(&mut self, key: usize, ended: &[(Pattern, String)], id: Option<&str>) {
        self.stand_apart(key);
        for (pattern, text) in ended {
            self.let_go(key, pattern);
            let answer = match self.dialect_of(key) {
                Dialect::Guts | Dialect::Sdk => guts::unsubscribed(text),
                _ => reply::unsubscribed(text, id),
            };
            self.say(key, &answer);
        }
    }

    /// Ends subscriptions of a WebSocket client that are no longer granted, and says so.
    pub(super) fn withdraw(&mut self, key: usize, ended: &[Pattern]) {
        self.stand_apart(key);
        for pattern in ended {
            self.let_go(key, pattern);
            let told = match self.dialect_of(key) {
                Dialect::Guts | Dialect::Sdk => guts::unsubscribed(pattern.as_str()),
                _ => reply::withdrawn(pattern.as_str()),
            };
            self.say(key, &told);
        }
    }

    /// Ends the subscription to `pattern`, if there is one.
    fn let_go(&mut self, key: usize, pattern: &Pattern) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Some(at) = connection.subscriptions.iter().position(|held| held.pattern == *pattern) {
            let held = connection.subscriptions.remove(at);
            connection.note_filters();
            self.edit(|this| this.end_subscription(key, &held));
        }
    }

    /// Sets what must be true of every event from the connection's position on.
    pub(super) fn set_filter(&mut self, key: usize, filter: Filter, id: Option<&str>) {
        if self.exceeds_filters(key, &filter, |_| false, false) {
            let message = filter_limit_message(&self.hub.limits);
            // Its clients are never answered; the filter stays, as with everything that is not understood.
            if self.dialect_of(key) != Dialect::Engram {
                self.refuse(key, "filter_limit", &message, id);
            }
            return;
        }
        self.stand_apart(key);
        let filter = self.interned(filter);
        let position = self.position_of(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let mut moved: SmallVec<[(Subscription, Subscription); 2]> = SmallVec::new();
        for held in &mut connection.subscriptions {
            let scoped = held.scoped_for(filter.as_deref());
            held.from = position;
            if scoped != held.scoped {
                let old = held.clone();
                held.scoped = scoped;
                moved.push((old, held.clone()));
            }
        }
        connection.filter = filter;
        connection.note_filters();
        self.edit(|this| {
            for (old, new) in moved {
                this.tell_exit(key, &old);
                this.tell_entry(key, &new);
                if let Some(pattern) = &old.scoped {
                    this.leave(key, pattern);
                }
                if let Some(pattern) = &new.scoped {
                    this.enter(key, pattern);
                }
            }
        });
        // Its clients are never answered.
        if self.dialect_of(key) != Dialect::Engram {
            self.say(key, &reply::filtered(position - 1, id));
        }
    }

    /// Whether a connection would have too many bytes of filters with `new` besides those it has, less those of
    /// subscriptions that `goes` away and, unless it `stays`, its own. Equal ones are kept, and count, once.
    fn exceeds_filters(
        &self,
        key: usize,
        new: &Filter,
        goes: impl Fn(&Subscription) -> bool,
        stays: bool,
    ) -> bool {
        let Some(connection) = self.connections.get(key) else { return false };
        let own = connection.filter.iter().filter(|_| stays);
        let others = connection.subscriptions.iter().filter(|held| !goes(held));
        let mut kept: SmallVec<[&Filter; 8]> = SmallVec::new();
        kept.push(new);
        for filter in own.chain(others.filter_map(|held| held.filter.as_ref())) {
            if !kept.iter().any(|known| std::ptr::eq(*known, &**filter)) {
                kept.push(filter);
            }
        }
        self.hub.limits.filter_bytes_max < kept.into_iter().map(Filter::bytes).sum()
    }

    /// The dialect that the connection speaks.
    pub(super) fn dialect_of(&self, key: usize) -> Dialect {
        self.connections.get(key).map_or(Dialect::Native, |connection| connection.speech.dialect)
    }

    pub(super) fn list(&mut self, key: usize, id: Option<&str>) {
        let seq = self.position_of(key) - 1;
        let Some(connection) = self.connections.get(key) else { return };
        let channels: Vec<&str> = connection.subscriptions.iter().map(|held| held.pattern.as_str()).collect();
        let text = reply::subscriptions(&channels, seq, self.hub.epoch, id);
        self.say(key, &text);
    }

    /// The first sequence number that the connection has not been sent, were it to match.
    pub(super) fn position_of(&self, key: usize) -> u64 {
        let base = self.fan_out.base();
        match self.connections.get(key) {
            Some(connection) if connection.delivery == Delivery::Lagging => connection.next,
            Some(connection) => connection.next.max(base),
            None => base,
        }
    }

    /// The first sequence number that a client who came back would have to be sent: that position, unless older events of
    /// the stream itself are still on their way. A bracket stands beside the stream.
    pub(super) fn first_unsent(&self, key: usize) -> u64 {
        let replay = self.connections.get(key).and_then(|connection| connection.replay.as_ref());
        replay.and_then(|replay| replay.unsent_of_stream()).unwrap_or_else(|| self.position_of(key))
    }

    /// Before it is changed what a connection wants: what the fan-out has for it goes by what it wanted so far, and what
    /// was routed without it will not come again. So unless it has had everything it goes on by itself, from where it
    /// stands.
    fn stand_apart(&mut self, key: usize) {
        let next = self.position_of(key);
        let position = self.fan_out.position();
        let Some(connection) = self.connections.get_mut(key) else { return };
        let is_behind = connection.marks != NO_MARK || next < position;
        if connection.delivery == Delivery::Live && is_behind {
            connection.marks = NO_MARK;
            connection.delivery = Delivery::Lagging;
            connection.pace.excused();
            connection.next = next;
            self.want_flush(key);
        }
    }

    /// Where a stream begins that begins now: after everything that is published, which may be ahead of the loop. So
    /// whoever opens one after a publish was answered does not get that event.
    fn newest_position(&self) -> u64 {
        self.hub.log.published().max(self.fan_out.position())
    }

    /// Sets the cursor of a stream that has not begun yet.
    fn begin_at(&mut self, key: usize, subscriptions: &[Subscription], since: Option<&Since>) -> Start {
        let live = self.newest_position();
        let mut patterns: SmallVec<[Pattern; 4]> =
            subscriptions.iter().filter_map(|held| held.scoped.clone()).collect();
        patterns.push(Pattern::announcements());
        let begin = start(&self.hub.log, self.hub.epoch, &patterns, since, live);
        let begin = begin.counted(&self.hub.log, &patterns);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.next = begin.next;
            let is_behind = begin.next < self.fan_out.position();
            connection.delivery = if is_behind { Delivery::Lagging } else { Delivery::Live };
            if since.is_some() && begin.next < live {
                connection.pace.asked();
            }
        }
        begin
    }

    /// Adds subscriptions; one whose pattern is held already takes its place.
    pub(super) fn add_subscriptions(&mut self, key: usize, added: SmallVec<[Subscription; 1]>) {
        self.edit(|this| this.enter_all(key, added));
        self.remind(key);
    }

    fn enter_all(&mut self, key: usize, added: SmallVec<[Subscription; 1]>) {
        for mut new in added {
            self.patterns.share(&mut new.pattern);
            if let Some(scoped) = &mut new.scoped {
                self.patterns.share(scoped);
            }
            let Some(connection) = self.connections.get_mut(key) else { return };
            let place = connection.subscriptions.iter().position(|held| held.pattern == new.pattern);
            let old = place.map(|at| connection.subscriptions.remove(at));
            if let Some(same) = old.as_ref().filter(|old| old.filter == new.filter) {
                new.from = new.from.min(same.from);
            }
            connection.subscriptions.push(new.clone());
            connection.note_filters();
            // First the new one: whoever only changes a filter has never been away.
            self.tell_entry(key, &new);
            if let Some(old) = &old {
                self.end_subscription(key, old);
            }
            self.hub.counters.subscribe(old.is_none());
            if let Some(pattern) = &new.scoped {
                self.enter(key, pattern);
            }
        }
    }

    /// Takes one subscription out of the table.
    pub(super) fn end_subscription(&mut self, key: usize, held: &Subscription) {
        self.hub.counters.unsubscribe();
        self.tell_exit(key, held);
        if let Some(pattern) = &held.scoped {
            self.leave(key, pattern);
        }
    }

    fn enter(&mut self, key: usize, pattern: &Pattern) {
        self.table.subscribe(pattern, key as u32);
        self.fan_out.forget(&self.hub.log, pattern);
        self.table_changed = true;
    }

    /// Takes a pattern of the connection out of the table; announcements reach every stream, also one that had asked
    /// for them besides.
    pub(super) fn leave(&mut self, key: usize, pattern: &Pattern) {
        let is_stream = |connection: &Connection<L>| connection.delivery != Delivery::None;
        if *pattern == Pattern::announcements() && self.connections.get(key).is_some_and(is_stream) {
            return;
        }
        self.table.unsubscribe(pattern, key as u32);
        self.fan_out.forget(&self.hub.log, pattern);
        self.table_changed = true;
    }

    /// The one copy of `filter` that this loop keeps; nothing for one that holds nothing back.
    fn interned(&mut self, filter: Filter) -> Option<Arc<Filter>> {
        if filter.is_open() && filter.scope.is_none() {
            return None;
        }
        if let Some(known) = self.filters.get(&filter) {
            return Some(Arc::clone(known));
        }
        if self.filters_high <= self.filters.len() {
            self.filters.retain(|known| 1 < Arc::strong_count(known));
            self.filters_high = FILTERS_HIGH.max(self.filters.len() * 2);
        }
        let filter = Arc::new(filter);
        self.filters.insert(Arc::clone(&filter));
        Some(filter)
    }
}

/// Filters kept before those that nobody uses any more are looked for: bounded by those in use, and as many again.
pub(super) const FILTERS_HIGH: usize = 64;
