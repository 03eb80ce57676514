//! Subscriptions of a connection: opening a stream, adding to it, ending it.

use smallvec::SmallVec;

use super::connection::{Delivery, Session};
use super::resume::{Start, start};
use super::{EventLoop, Link};
use crate::log::Form;
use crate::session::http::Flow;
use crate::session::reply;
use crate::session::request::Subscription;
use crate::wire::http::{RequestHead, ResponseContext, websocket_accept};
use crate::wire::sse::{Field, push_block, push_id_only, push_retry, push_stream_head};
use crate::wire::websocket::{Decoder, WebSocketLimits, push_text};
use crate::words::channel::Pattern;
use crate::words::cursor::Since;

impl<L: Link> EventLoop<L> {
    /// Turns an HTTP connection into a WebSocket.
    pub(super) fn open_websocket(
        &mut self,
        key: usize,
        head: &RequestHead<'_>,
        subscription: &Subscription,
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
        let limits = WebSocketLimits {
            message_bytes_max: self.hub.limits.body_bytes_max,
            fragments_max: self.hub.limits.fragments_max,
        };
        let Some(connection) = self.connections.get_mut(key) else { return Flow::Stop };
        accept.write_to(connection.out.tail(), None, &[]);
        connection.session = Session::WebSocket(Box::new(Decoder::new(limits)));
        connection.form = Form::WebSocket;
        self.begin_stream(key);
        if !subscription.patterns.is_empty() {
            self.subscribe(key, &subscription.patterns, subscription.since.as_ref(), None);
        }
        self.want_flush(key);
        Flow::Stop
    }

    /// Turns an HTTP connection into a stream of server-sent events.
    pub(super) fn open_events(&mut self, key: usize, subscription: &Subscription, unnamed: bool) -> Flow {
        let retry_ms = self.hub.limits.retry.as_millis() as u32;
        let epoch = self.hub.epoch;
        let Some(connection) = self.connections.get_mut(key) else { return Flow::Stop };
        push_stream_head(connection.out.tail(), &[]);
        push_retry(connection.out.tail(), retry_ms);
        connection.session = Session::Sse;
        connection.form = if unnamed { Form::SseUnnamed } else { Form::Sse };
        self.begin_stream(key);
        let patterns: SmallVec<[Pattern; 1]> =
            subscription.patterns.iter().map(|(pattern, _)| pattern.clone()).collect();
        let begin = self.begin_at(key, &patterns, subscription.since.as_ref());
        let Some(connection) = self.connections.get_mut(key) else { return Flow::Stop };
        // The first id moves the client's cursor at once, so that a reconnect before the first event misses nothing.
        let id = format!("{epoch}-{}", begin.next - 1);
        let Ok(id) = Field::new(&id) else { return Flow::Stop };
        match &begin.gap {
            None => push_id_only(connection.out.tail(), id),
            Some(gap) => {
                let name = Field::new("gap").ok();
                let name = if unnamed { None } else { name };
                push_block(connection.out.tail(), Some(id), name, &reply::gap(gap));
            }
        }
        self.add_patterns(key, &patterns);
        self.want_flush(key);
        Flow::Stop
    }

    /// From now on the connection lives by other deadlines.
    fn begin_stream(&mut self, key: usize) {
        let now_ms = self.now.mono_ms;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.clock.event_ms = now_ms;
            connection.clock.ping_ms = now_ms;
            connection.clock.until_ms = u64::MAX;
        }
    }

    /// Subscribes a WebSocket client. The subscription takes effect at the connection's position in the stream, which
    /// the answer names: everything after it follows.
    pub(super) fn subscribe(
        &mut self,
        key: usize,
        wanted: &[(Pattern, String)],
        since: Option<&Since>,
        id: Option<&str>,
    ) {
        let limits = &self.hub.limits;
        let Some(connection) = self.connections.get(key) else { return };
        let mut patterns: SmallVec<[Pattern; 1]> = SmallVec::new();
        for (pattern, _) in wanted {
            if !connection.patterns.contains(pattern) && !patterns.contains(pattern) {
                patterns.push(pattern.clone());
            }
        }
        if limits.subscriptions_max < connection.patterns.len() + patterns.len() {
            let message = crate::session::command::limit_message(limits);
            return self.say(key, &reply::error("subscription_limit", &message, id));
        }
        if since.is_some() && !connection.patterns.is_empty() {
            let message = "'since' is served for the first subscriptions of a connection only";
            return self.say(key, &reply::error("unsupported", message, id));
        }
        let begin = if connection.patterns.is_empty() {
            self.begin_at(key, &patterns, since)
        } else {
            Start { next: self.position_of(key), gap: None }
        };
        let epoch = self.hub.epoch;
        let Some(connection) = self.connections.get_mut(key) else { return };
        for (_, text) in wanted {
            push_text(connection.out.tail(), &reply::subscribed(text, begin.next - 1, epoch, id));
        }
        if let Some(gap) = &begin.gap {
            push_text(connection.out.tail(), &reply::gap(gap));
        }
        self.add_patterns(key, &patterns);
        self.want_flush(key);
    }

    /// Ends subscriptions; of what is not held there is nothing to end.
    pub(super) fn unsubscribe(&mut self, key: usize, ended: &[(Pattern, String)], id: Option<&str>) {
        for (pattern, text) in ended {
            let Some(connection) = self.connections.get_mut(key) else { return };
            if let Some(at) = connection.patterns.iter().position(|held| held == pattern) {
                connection.patterns.remove(at);
                if connection.patterns.is_empty() {
                    connection.delivery = Delivery::None;
                }
                self.end_subscription(key, pattern);
            }
            self.say(key, &reply::unsubscribed(text, id));
        }
    }

    pub(super) fn list(&mut self, key: usize, id: Option<&str>) {
        let seq = self.position_of(key) - 1;
        let Some(connection) = self.connections.get(key) else { return };
        let channels: Vec<&str> = connection.patterns.iter().map(Pattern::as_str).collect();
        let text = reply::subscriptions(&channels, seq, self.hub.epoch, id);
        self.say(key, &text);
    }

    /// The first sequence number that the connection has not been sent, were it to match.
    pub(super) fn position_of(&self, key: usize) -> u64 {
        let loop_position = self.fan_out.position();
        match self.connections.get(key) {
            Some(connection) if connection.delivery == Delivery::Lagging => connection.next,
            Some(connection) => connection.next.max(loop_position),
            None => loop_position,
        }
    }

    /// Sets the cursor of a connection that has no subscription yet.
    fn begin_at(&mut self, key: usize, patterns: &[Pattern], since: Option<&Since>) -> Start {
        let live = self.fan_out.position();
        let begin = start(&self.hub, patterns, since, live);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.next = begin.next;
            connection.delivery = if begin.next < live { Delivery::Lagging } else { Delivery::Live };
        }
        begin
    }

    fn add_patterns(&mut self, key: usize, patterns: &[Pattern]) {
        for pattern in patterns {
            let Some(connection) = self.connections.get_mut(key) else { return };
            if connection.patterns.contains(pattern) {
                continue;
            }
            connection.patterns.push(pattern.clone());
            self.table.subscribe(pattern, key as u32);
            self.fan_out.forget(&self.hub.log, pattern);
            self.table_changed = true;
        }
        self.remind(key);
    }

    /// Takes one subscription out of the table.
    pub(super) fn end_subscription(&mut self, key: usize, pattern: &Pattern) {
        self.table.unsubscribe(pattern, key as u32);
        self.fan_out.forget(&self.hub.log, pattern);
        self.table_changed = true;
    }
}
