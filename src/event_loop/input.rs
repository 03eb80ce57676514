//! The input phase: what connections say, and what is done about it.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::connection::{Connection, Details, HalfRead, Listening, Ping, Rates, Session};
use super::control::{JSON, published};
use super::meter::Payers;
use super::stream::Subscribing;
use super::waiting::Waiting;
use super::{ConnectionId, EventLoop, Link};
use crate::journal;
use crate::mail::About;
use crate::sequencer::{Order, Origin, Refusal, Submission};
use crate::session::authority::{Act, Denied, Principal};
use crate::session::command::{self, Reading, Verb};
use crate::session::dialect::engram::{self, FilterUpdate};
use crate::session::dialect::guts::{self, Spelling};
use crate::session::dialect::health;
use crate::session::gate;
use crate::session::http::{Flow, HttpReader, Standing};
use crate::session::rates::Toll;
use crate::session::reply;
use crate::session::request::{self, Health, Request};
use crate::session::settings::Settings;
use crate::session::submit::key_of;
use crate::web;
use crate::wire::http::{RequestHead, Response, ResponseContext, problem};
use crate::wire::websocket::{Decoder, Message, WebSocketLimits, close, push_close, push_text};
use crate::words::channel::Pattern;
use crate::words::dialect::Dialect;
use crate::words::door::Door;
use crate::words::filter::{Filter, Words};
use crate::words::level::Level;
use crate::words::limits::AGENT_BYTES_MAX;
use crate::words::rate::{Bucket, Rate};
use crate::words::workspace::Scope;

/// Reads of one connection before others have their turn.
const READS_PER_TURN: usize = 4;

/// Connections read in one turn; what is left is taken in the next.
const READERS_PER_TURN: usize = 4096;

impl<L: Link> EventLoop<L> {
    pub(super) fn input(&mut self) {
        let mut left = self.to_read.len().min(READERS_PER_TURN);
        self.one_by_one(|this| {
            while 0 < left
                && let Some(key) = this.to_read.pop_front()
            {
                left -= 1;
                if let Some(connection) = this.connections.get_mut(key) {
                    connection.in_input = false;
                    this.handle(key);
                    this.read(key);
                }
            }
        });
    }

    /// Reads a connection, a bounded number of times. What was left unread is dealt with before more is read, so that
    /// it never grows by more than one read.
    fn read(&mut self, key: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut has_looked = false;
        for _ in 0..READS_PER_TURN {
            let Some(connection) = self.connections.get_mut(key) else { break };
            if connection.is_paused(&self.hub.limits) {
                break;
            }
            let can_read = connection.readable && !connection.peer_done;
            // Only a request is joined to what is read behind it.
            let may_wait = has_looked && matches!(connection.session, Session::Http(_));
            let is_left = !may_wait && !connection.unread.is_empty();
            if is_left || (!has_looked && !can_read) {
                has_looked = true;
                self.take_unread(key);
                continue;
            }
            if !can_read {
                break;
            }
            match connection.link.read(&mut buffer) {
                Ok(0) => {
                    connection.peer_done = true;
                    break;
                }
                Ok(count) => {
                    // A short read says that the socket is empty; edges tell when it is not. But one edge may have
                    // told of bytes and of the end behind them.
                    connection.readable =
                        connection.ending || count == buffer.len() || connection.link.has_more();
                    self.take_input(key, &mut buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.readable = false;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.remove(key);
                    break;
                }
            }
        }
        self.buffer = buffer;
        let Some(connection) = self.connections.get(key) else { return };
        if connection.peer_done {
            self.peer_is_done(key);
        } else if connection.readable && !connection.is_paused(&self.hub.limits) {
            self.want_read(key);
        }
        self.remind(key);
    }

    /// Deals with what was left unread; what still cannot be taken is left again.
    fn take_unread(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if matches!(connection.session, Session::Http(_)) {
            // It joins what it is given to what was left.
            return self.take_input(key, &mut []);
        }
        let mut unread = std::mem::take(&mut connection.unread);
        self.take_input(key, &mut unread);
    }

    /// Hands `input` to whatever the connection speaks.
    fn take_input(&mut self, key: usize, input: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        match std::mem::replace(&mut connection.session, Session::Taken) {
            Session::Http(reader) => self.take_http(key, reader, input),
            Session::WebSocket(listening) => self.take_frames(key, listening, input),
            other => connection.session = other,
        }
    }

    fn take_http(&mut self, key: usize, mut reader: HttpReader, input: &[u8]) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let joined;
        let bytes = if connection.unread.is_empty() {
            input
        } else {
            let mut unread = std::mem::take(&mut connection.unread).into_vec();
            unread.extend_from_slice(input);
            joined = unread;
            &joined
        };
        let (hub, settings) = (Arc::clone(&self.hub), Arc::clone(&self.settings));
        let before = (reader.standing(bytes.len() - input.len()), reader.requests());
        let mut known = std::mem::take(&mut self.known_head);
        let mut on = |head: &RequestHead<'_>, body: &[u8]| self.logged_request(key, head, body, &settings);
        let outcome = reader.read(bytes, &mut known, &hub.limits, &mut on);
        self.known_head = known;
        let Some(connection) = self.connections.get_mut(key) else { return };
        match outcome {
            Ok(taken) => {
                if !matches!(connection.session, Session::Closing) {
                    connection.unread = bytes[taken..].into();
                }
                if matches!(connection.session, Session::Taken) {
                    // The interim answer to a request comes after the final ones of those before it.
                    if connection.waiting.is_empty() && reader.wants_continue() {
                        connection.out.tail().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                        self.want_flush(key);
                    }
                    self.restore_http(key, reader, before);
                } else if !connection.unread.is_empty() {
                    // It was upgraded, and has gone on speaking.
                    self.want_read(key);
                }
            }
            Err(error) => {
                connection.session = Session::Http(reader);
                let answer = error.response();
                self.begin_access(key, None);
                self.respond(key, &answer, ResponseContext::LAST);
            }
        }
    }

    /// Puts the reader back and sets the deadline of what it stands in. A deadline is absolute: it is set when the
    /// reader comes to stand there, and more bytes of the same request do not move it.
    fn restore_http(&mut self, key: usize, reader: HttpReader, before: (Standing, u32)) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let standing = reader.standing(connection.unread.len());
        let is_same = before == (standing, reader.requests());
        // The time for the first head runs since the connection was accepted.
        let is_first_head = before == (Standing::Idle, 0) && standing == Standing::Head;
        connection.session = Session::Http(reader);
        if !is_same && !is_first_head {
            self.renew_deadline(key);
        }
    }

    /// Gives an HTTP connection the time for what it stands in, from now on.
    pub(super) fn renew_deadline(&mut self, key: usize) {
        let limits = &self.hub.limits;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Session::Http(reader) = &connection.session else { return };
        if connection.out.taken_in_time().is_some() {
            // It is to take its answers first, and what it asks meanwhile gives it no more time for that.
            return;
        }
        let wait = match reader.standing(connection.unread.len()) {
            Standing::Idle => limits.keep_alive,
            Standing::Head => limits.head_deadline,
            Standing::Body => limits.body_deadline,
        };
        connection.clock.until_ms = self.now.mono_ms + wait.as_millis() as u64;
    }

    /// One request, whole.
    pub(super) fn request(
        &mut self,
        key: usize,
        head: &RequestHead<'_>,
        body: &[u8],
        settings: &Settings,
    ) -> Flow {
        let Some(connection) = self.connections.get(key) else { return Flow::Stop };
        let keep_alive = head.keep_alive && !self.hub.is_draining();
        let mut context = ResponseContext {
            keep_alive,
            head_only: head.method == crate::wire::http::Method::Head,
            version: head.version,
            cross_origin: None,
        };
        let must_wait = !connection.waiting.is_empty();
        self.handling.note_whole(connection.out.len());
        let (policy, door) = (settings.policy.load(), connection.door);
        match gate::admit(&policy, head, door) {
            Ok(cross_origin) => context.cross_origin = cross_origin,
            Err(refusal) => return self.respond(key, &refusal, context),
        }
        if let Some(answer) = gate::preflight(head, door) {
            return self.respond(key, &answer, context);
        }
        let is_metered = policy.is_metered() && door == Door::Public;
        let senders = if is_metered { self.charge_sender(key, &policy, head) } else { Ok(Payers::new()) };
        let senders = match senders {
            Ok(senders) => senders,
            Err(refusal) => return self.respond(key, &refusal, context),
        };
        let known = &mut self.known_tokens;
        let principal = match policy.authority.identify(head, door, self.now.unix_ms, known) {
            Ok(principal) => principal,
            Err(denied) => {
                // To judge a token takes longer than to make one up.
                context.keep_alive &= denied != Denied::BadToken;
                return self.respond(key, &denial(denied), context);
            }
        };
        if is_metered && let Err(refusal) = self.charge_user(&policy, head, &principal, &senders) {
            return self.respond(key, &refusal, context);
        }
        self.accesses.asks(&principal);
        let limits = &self.hub.limits;
        let request = request::parse(head, body, door, &principal, limits, settings, &mut self.openings);
        let request = match request {
            Ok(request) => request,
            Err(refusal) => return self.respond(key, &refusal, context),
        };
        if let Err(denied) = request.each_act(|act| policy.authority.allow(&principal, act)) {
            return self.respond(key, &denial(denied), context);
        }
        let response = match request {
            Request::Publish { publications, is_batch, key: known_by, .. } => {
                if is_metered {
                    self.charge_batch(key, &policy, head, &principal, publications.len());
                }
                let order = Order::Publish { publications, idempotency: known_by };
                return self.order_http(key, order, is_batch, context);
            }
            Request::Announce(publication) => {
                let publications = std::iter::once(*publication).collect();
                let order = Order::Publish { publications, idempotency: None };
                return self.order_http(key, order, false, context);
            }
            Request::Clear(before) => return self.order_http(key, Order::Clear { before }, false, context),
            Request::WebSocket(_) | Request::Events { .. } | Request::Watch if must_wait => problem(
                400,
                "pipelined_stream",
                "A stream cannot follow requests whose answers are still due.",
            ),
            Request::Events { .. } if !body.is_empty() => {
                problem(400, "unexpected_body", "A request for a stream has no body.")
            }
            Request::WebSocket(_) | Request::Events { .. }
                if let Err(refusal) = self.note_client(key, &policy, head) =>
            {
                *refusal
            }
            Request::WebSocket(wish) => {
                let details = self.details_of(head, principal);
                return self.open_websocket(key, head, wish, details, context);
            }
            Request::Events { wish, unnamed } => {
                let details = self.details_of(head, principal);
                return self.open_events(key, wish, unnamed, details, context);
            }
            Request::Watch if body.is_empty() => {
                let details = self.details_of(head, principal);
                match self.watch(key, details, context) {
                    Ok(()) => return Flow::Stop,
                    Err(refusal) => *refusal,
                }
            }
            Request::Watch => problem(400, "unexpected_body", "A request for a stream has no body."),
            Request::Notifications(request) => return self.ask_notifications(key, request, context),
            Request::Clients { limit, by_lag } => {
                return self.ask_everybody(key, About::Clients { limit, by_lag }, context);
            }
            Request::Revoke { whom, for_ms } => return self.revoke(key, whom, for_ms, context),
            Request::Disconnect(whom) => return self.ask_everybody(key, About::Disconnect(whom), context),
            Request::Delivered { seq, patience_ms } => {
                return self.await_delivery(key, seq, patience_ms, context);
            }
            Request::HookPing => Response::new(200).body(JSON, b"{\"pong\":true}\n".to_vec()),
            Request::History { wish, limit } => self.history(wish, limit),
            Request::Presence { channel, workspace } => self.presence(&channel, workspace),
            Request::Channels { pattern, limit } => self.channels(&pattern, limit),
            Request::Health(which) => self.health(which),
            Request::Stats => self.stats(),
            Request::Metrics(format) => self.metrics(format),
            Request::Latency(format) => self.latency(format),
            Request::RealtimeStats => self.realtime_stats(),
            Request::LogLevel(level) => log_level(level),
            Request::Page(path) if door == Door::Admin => web::dashboard(&path),
            Request::Page(path) => web::page(&path),
            Request::Options(allowed) => Response::new(204).header("Allow", allowed),
        };
        self.respond(key, &response, context)
    }

    /// Who a connection is that is about to become a stream.
    fn details_of(&mut self, head: &RequestHead<'_>, principal: Principal) -> Details {
        let agent = head.header("user-agent").unwrap_or_default();
        let end = agent.floor_char_boundary(AGENT_BYTES_MAX);
        let agent = self.agents.get(&agent[..end]);
        Details { principal, agent, connected_ms: self.now.unix_ms }
    }

    fn order_http(&mut self, key: usize, order: Order, is_batch: bool, context: ResponseContext) -> Flow {
        if let Err(refusal) = self.submit(key, order) {
            let refused = published(Err(refusal), is_batch, self.seed_of(key));
            return self.respond(key, &refused, context);
        }
        let Some(connection) = self.connections.get_mut(key) else { return Flow::Stop };
        connection.waiting.push_back(Waiting::Http { context, is_batch });
        connection.deaf = !context.keep_alive;
        // A request that is the last one is followed by nothing; one too many waits for an answer first.
        if context.keep_alive && !connection.is_paused(&self.hub.limits) {
            Flow::Continue
        } else {
            Flow::Stop
        }
    }

    /// Gives events to the sequencer; the receipt will come.
    fn submit(&mut self, key: usize, order: Order) -> Result<(), Refusal> {
        let limits = &self.hub.limits;
        if limits.ingest_items_max * 2 <= self.in_flight {
            if matches!(order, Order::Publish { .. }) {
                self.hub.counters.refuse_publish();
            }
            return Err(Refusal::Overloaded);
        }
        let Some(connection) = self.connections.get(key) else { return Err(Refusal::Draining) };
        let token = ConnectionId::new(key, connection.generation).0;
        let origin = Origin { loop_index: self.index, token };
        let accepted_ns = self.handed.turn_ns();
        self.hub.submit(Submission { origin, order, accepted_ns })?;
        self.in_flight += 1;
        Ok(())
    }

    /// Answers a request, after those before it.
    pub(super) fn respond(&mut self, key: usize, response: &Response, context: ResponseContext) -> Flow {
        let Some(connection) = self.connections.get_mut(key) else { return Flow::Stop };
        let bytes;
        if connection.waiting.is_empty() {
            let before = connection.out.len();
            response.write_to(connection.out.tail(), &context);
            bytes = connection.out.len() - before;
            if !context.keep_alive {
                self.part(key);
            }
        } else {
            let mut answer = Vec::new();
            response.write_to(&mut answer, &context);
            bytes = answer.len();
            connection.deaf = !context.keep_alive;
            connection.waiting.push_back(Waiting::Ready { answer, then_close: !context.keep_alive });
        }
        self.note_answer(key, response, bytes);
        self.want_flush(key);
        let is_paused =
            self.connections.get(key).is_none_or(|connection| connection.is_paused(&self.hub.limits));
        if context.keep_alive && !is_paused { Flow::Continue } else { Flow::Stop }
    }

    fn take_frames(&mut self, key: usize, listening: Listening, input: &mut [u8]) {
        let Listening { half_read, rates } = listening;
        let limits = WebSocketLimits {
            message_bytes_max: self.hub.limits.body_bytes_max,
            fragments_max: self.hub.limits.fragments_max,
        };
        let since_ms = self.now.mono_ms.max(1);
        let begin = || HalfRead { decoder: Decoder::new(limits), since_ms };
        let HalfRead { mut decoder, since_ms } = half_read.map_or_else(begin, |half_read| *half_read);
        self.rates = rates;
        let frame_rate = self.hub.live.frame_rate().map(|rate| (rate, self.rates().frames));
        let frames_left = frame_rate.map_or(u32::MAX, |(rate, used)| used.left(rate, self.now.mono_ms));
        decoder.allow_frames(frames_left);
        let outcome = decoder.decode(input, &mut |message| self.message(key, message));
        if let Some((rate, _)) = frame_rate {
            let now_ms = self.now.mono_ms;
            self.rates().frames.take_many(rate, now_ms, frames_left - decoder.frames_left());
        }
        let rates = self.rates.take();
        let Some(connection) = self.connections.get_mut(key) else { return };
        let was_taken = matches!(connection.session, Session::Taken);
        if let Err(violation) = outcome {
            connection.session = Session::WebSocket(Listening::default());
            push_close(connection.out.tail(), violation.close_code, violation.reason);
            self.part(key);
            return;
        }
        if let Ok(taken) = outcome
            && taken < input.len()
            && !matches!(connection.session, Session::Closing)
        {
            connection.unread = input[taken..].into();
        }
        if was_taken {
            // Nearly every message comes whole, and then there is nothing to keep.
            let is_half_read = decoder.is_mid_message();
            let half_read = is_half_read.then(|| Box::new(HalfRead { decoder, since_ms }));
            connection.session = Session::WebSocket(Listening { half_read, rates });
        }
    }

    /// One message of a WebSocket client.
    fn message(&mut self, key: usize, message: Message<'_>) -> ControlFlow<()> {
        let Some(connection) = self.connections.get_mut(key) else { return ControlFlow::Break(()) };
        let is_asked_for = connection.ping != Ping::None;
        // Whoever speaks is there.
        connection.heard(self.now.mono_ms);
        self.handling.note_whole(connection.out.len());
        let is_control = match message {
            Message::Text(_) | Message::Binary(_) | Message::Close { .. } => false,
            Message::Ping(_) => true,
            Message::Pong(_) => !is_asked_for,
        };
        if is_control && !self.may(self.hub.live.control_frame_rate(), |rates| &mut rates.control_frames) {
            self.say_close(key, close::POLICY_VIOLATION, "more control frames in a second than allowed");
            return ControlFlow::Break(());
        }
        let Some(connection) = self.connections.get_mut(key) else { return ControlFlow::Break(()) };
        match message {
            Message::Text(text) => self.command(key, text),
            // The reference dialects never had an answer to it.
            Message::Binary(_)
                if !matches!(connection.speech.dialect, Dialect::Native | Dialect::CloudEvents) => {}
            Message::Binary(_) => {
                self.say_close(key, close::UNSUPPORTED_DATA, "binary messages are not taken here");
                return ControlFlow::Break(());
            }
            Message::Ping(payload) => {
                // A peer that does not read is owed the last one only.
                let instead = !connection.writable;
                connection.out.push_pong(payload, instead);
                self.want_flush(key);
            }
            Message::Pong(_) => {}
            Message::Close { code, .. } => {
                self.say_close(key, code.unwrap_or(close::NORMAL), "");
                return ControlFlow::Break(());
            }
        }
        match self.connections.get(key) {
            // A command may have ended the conversation.
            Some(connection)
                if !connection.is_paused(&self.hub.limits)
                    && !matches!(connection.session, Session::Closing) =>
            {
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        }
    }

    /// Ends a WebSocket for this reason.
    fn say_close(&mut self, key: usize, code: u16, reason: &str) {
        if let Some(connection) = self.connections.get_mut(key) {
            push_close(connection.out.tail(), code, reason);
            self.part(key);
        }
    }

    /// What the client whose input is being read has used of its rates.
    fn rates(&mut self) -> &mut Rates {
        self.rates.get_or_insert_default()
    }

    /// Whether the client whose input is being read may do once more what is bounded by `rate`.
    fn may(&mut self, rate: Option<Rate>, bucket: impl FnOnce(&mut Rates) -> &mut Bucket) -> bool {
        let now_ms = self.now.mono_ms;
        rate.is_none_or(|rate| bucket(self.rates()).take(rate, now_ms))
    }

    fn command(&mut self, key: usize, text: &str) {
        let is_in_time = self.may(self.hub.live.command_rate(), |rates| &mut rates.commands)
            && self.may_client(key, Toll::Command);
        match self.dialect_of(key) {
            Dialect::Native | Dialect::CloudEvents => {}
            // It has no word for it.
            Dialect::Engram if !is_in_time => return,
            Dialect::Guts | Dialect::Sdk if !is_in_time => {
                return self.refuse_haste(key, Toll::Command, None);
            }
            Dialect::Guts => return self.guts_command(key, text, Spelling::Hub),
            Dialect::Sdk => return self.guts_command(key, text, Spelling::Sdk),
            Dialect::Engram => return self.engram_update(key, text),
        }
        let command = match command::parse(text, &self.hub.limits, &mut self.openings) {
            Ok(command) => command,
            Err(error) => {
                return self.say(key, &reply::error(error.code, &error.message, error.id.as_deref()));
            }
        };
        let id = command.id.as_deref();
        if !is_in_time {
            return self.refuse_haste(key, Toll::Command, id);
        }
        if let Err(denied) = self.allow_command(key, &command.verb) {
            return self.refuse(key, denied.code(), &denied.to_string(), id);
        }
        match command.verb {
            Verb::Subscribe { patterns, since, last, filter, on_slow } => {
                let since = since.as_ref();
                self.subscribe(key, Subscribing { wanted: &patterns, since, last, filter, on_slow, id });
            }
            Verb::Filter(filter) => self.set_filter(key, filter, id),
            Verb::Unsubscribe { patterns } => self.unsubscribe(key, &patterns, id),
            Verb::Auth(token) => self.authenticate(key, &token, id),
            Verb::List => self.list(key, id),
            Verb::Ping => {
                let seq = self.position_of(key) - 1;
                self.say(key, &reply::pong(seq, id));
            }
            Verb::Publish(_) if !self.may_client(key, Toll::Publish) => {
                self.refuse_haste(key, Toll::Publish, id);
            }
            Verb::Publish(publication) => {
                let nobody = Principal::default();
                let details = self.connections.get(key).and_then(|connection| connection.details.as_ref());
                let principal = details.map_or(&nobody, |details| &details.principal);
                let idempotency = key_of(principal, &publication);
                let publications = std::iter::once(*publication).collect();
                match self.submit(key, Order::Publish { publications, idempotency }) {
                    Ok(()) => {
                        if let Some(connection) = self.connections.get_mut(key) {
                            connection.waiting.push_back(Waiting::Command { id: command.id });
                        }
                    }
                    Err(refusal) => self.refuse(key, refusal.code(), &refusal.to_string(), id),
                }
            }
        }
    }

    /// Tells a WebSocket client that it does something too often.
    fn refuse_haste(&mut self, key: usize, toll: Toll, id: Option<&str>) {
        self.refuse(key, "rate_limited", toll.complaint(), id);
    }

    /// Whether the client of a stream may do what it commands.
    fn allow_command(&self, key: usize, verb: &Verb) -> Result<(), Denied> {
        let Some(connection) = self.connections.get(key) else { return Err(Denied::Unknown) };
        if let Verb::Publish(_) = verb {
            // What is read already has no part in it.
            return verb.each_act(Reading::default(), |act| self.allow(key, act));
        }
        let scope_of =
            |filter: &'_ Option<Arc<Filter>>| filter.as_ref().and_then(|filter| filter.scope.clone());
        let scope = scope_of(&connection.filter);
        let owns: Vec<Option<Scope>> =
            connection.subscriptions.iter().map(|held| scope_of(&held.filter)).collect();
        let held: Vec<(&Pattern, Option<&Scope>)> = connection
            .subscriptions
            .iter()
            .zip(&owns)
            .map(|(held, own)| (&held.pattern, own.as_ref()))
            .collect();
        verb.each_act(Reading { scope: scope.as_ref(), held: &held }, |act| self.allow(key, act))
    }

    /// Whether the client of a stream may do this.
    fn allow(&self, key: usize, act: &Act<'_>) -> Result<(), Denied> {
        let nobody = Principal::default();
        let details = self.connections.get(key).and_then(|connection| connection.details.as_ref());
        let principal = details.map_or(&nobody, |details| &details.principal);
        if principal.expires_ms().is_some_and(|expires_ms| expires_ms <= self.now.unix_ms) {
            // Its stream ends before this turn is over.
            return Err(Denied::BadToken);
        }
        self.settings.policy.load().authority.allow(principal, act)
    }

    /// A command in the dialect `guts`.
    fn guts_command(&mut self, key: usize, text: &str, spelling: Spelling) {
        match guts::parse_command(text, spelling) {
            Ok(guts::Command::Subscribe { pattern, text }) => {
                if let Err(denied) = self.allow(key, &Act::Read { pattern: &pattern, scope: None }) {
                    return self.refuse(key, denied.code(), &denied.to_string(), None);
                }
                let wanted = [(pattern, text)];
                let (since, last, filter, on_slow, id) = (None, None, None, None, None);
                self.subscribe(key, Subscribing { wanted: &wanted, since, last, filter, on_slow, id });
            }
            Ok(guts::Command::Unsubscribe { pattern, text }) => {
                self.unsubscribe(key, &[(pattern, text)], None);
            }
            Ok(guts::Command::Ping) => self.say(key, &guts::pong()),
            Err(error) => self.say(key, &guts::error(&error.to_string())),
        }
    }

    /// What a client of the dialect `engram` says: a filter, or nothing that is understood.
    fn engram_update(&mut self, key: usize, text: &str) {
        let filter = match engram::parse_filter_update(text) {
            FilterUpdate::Ignored => return,
            FilterUpdate::Reset => Filter::default(),
            FilterUpdate::Set { event_types, memory_ids, tags } => Filter {
                kinds: event_types.map(Words::new),
                ids: memory_ids.map(|ids| Words::new(ids.into_iter().map(|id| id.to_string()))),
                without_ids: true,
                tags: tags.map(Words::new),
                scope: None,
            },
        };
        // What it lets through is what the client may read already.
        self.set_filter(key, filter, None);
    }

    /// Tells a WebSocket client that a command was refused.
    pub(super) fn refuse(&mut self, key: usize, code: &str, message: &str, id: Option<&str>) {
        self.audit_command(key, code);
        let answer = match self.dialect_of(key) {
            Dialect::Guts | Dialect::Sdk => guts::error(message),
            _ => reply::error(code, message, id),
        };
        self.say(key, &answer);
    }

    /// Sends a WebSocket client a text.
    pub(super) fn say(&mut self, key: usize, text: &str) {
        if let Some(connection) = self.connections.get_mut(key) {
            push_text(connection.out.tail(), text);
            self.want_flush(key);
        }
    }

    fn health(&self, which: Health) -> Response {
        let streams = self.hub.counters.streams() as usize;
        let of_loop = self.hub.stalled().map(|stall| (Some(stall.loop_index), stall.for_ms));
        let of_sequencer = Some((None, self.hub.ingest().stalled_ms())).filter(|(_, for_ms)| *for_ms != 0);
        let stall = of_loop.or(of_sequencer).filter(|_| which != Health::Live);
        let is_up = stall.is_none() && (which != Health::Ready || !self.hub.is_draining());
        let mut body = match (which, stall) {
            (_, Some((loop_index, for_ms))) => health::stalled(streams, loop_index, for_ms),
            (Health::Live | Health::Well, None) => health::live(streams),
            (Health::Ready, None) => health::ready(is_up, streams),
        };
        body.push('\n');
        Response::new(if is_up { 200 } else { 503 })
            .header("Cache-Control", "no-store")
            .body(JSON, body.into_bytes())
    }
}

/// Sets how much is logged, if that is wanted, and says how much is.
fn log_level(level: Option<Level>) -> Response {
    level.into_iter().for_each(journal::change_level);
    let body = format!("{{\"level\":\"{}\"}}\n", journal::level().name());
    Response::new(200).header("Cache-Control", "no-store").body(JSON, body.into_bytes())
}

/// The answer to somebody who may not.
fn denial(denied: Denied) -> Response {
    let answer = problem(denied.status(), denied.code(), &denied.to_string());
    match denied.challenge() {
        Some(challenge) => answer.header("WWW-Authenticate", challenge),
        None => answer,
    }
}

impl<L> Connection<L> {
    /// Something came from the peer: it is there.
    fn heard(&mut self, now_ms: u64) {
        self.ping = Ping::None;
        self.clock.ping_ms = now_ms;
    }
}
