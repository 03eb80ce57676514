//! The ends of connections: deadlines, goodbyes, removal.

use super::connection::{Connection, Delivery, Listening, NO_MARK, Outbox, Ping, Session};
use super::meter::{too_many_connections, too_many_connects};
use super::{EventLoop, Link};
use crate::counters::Traffic;
use crate::log::Form;
use crate::session::http::Standing;
use crate::wire::http::{ResponseContext, problem};
use crate::wire::websocket::{close, push_close, push_ping};
use crate::words::channel::Pattern;
use crate::words::door::Door;
use crate::words::limits::{ANSWER_BYTES_MIN, RETRY_AFTER_SECONDS};
use crate::words::spread::spread;

impl<L: Link> EventLoop<L> {
    /// Deals with every deadline that has come.
    pub(super) fn expire(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.expire(self.now.mono_ms, &mut due);
        let mut keys = due.drain(..).map(|key| key as usize);
        self.one_by_one(|this| {
            for key in keys.by_ref() {
                this.handle(key);
                this.look_at_clock(key);
            }
        });
        drop(keys);
        // A crowd whose deadlines came at once must not hold on to the list.
        due.shrink_to(DUE_KEPT);
        self.due = due;
    }

    /// The reminder of a connection has come, or one that does not count any more.
    fn look_at_clock(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if self.now.mono_ms < connection.clock.reminder_ms {
            // An older reminder than the one that counts, or one of an earlier connection of this number.
            return;
        }
        connection.clock.reminder_ms = u64::MAX;
        connection.waiting.give_back();
        if connection.deadline_ms(&self.hub.limits) <= self.now.mono_ms {
            self.deadline_has_come(key);
        }
        self.remind(key);
    }

    /// Sees to it that a reminder comes no later than the connection's deadline.
    pub(super) fn remind(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let deadline_ms = connection.deadline_ms(&self.hub.limits);
        if deadline_ms < connection.clock.reminder_ms && deadline_ms != u64::MAX {
            let already_ms = connection.clock.reminder_ms;
            connection.clock.reminder_ms = self.timers.remind(key as u32, deadline_ms, already_ms);
        }
    }

    fn deadline_has_come(&mut self, key: usize) {
        let hub = std::sync::Arc::clone(&self.hub);
        let (now_ms, limits) = (self.now.mono_ms, &hub.limits);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let is_over = |since_ms: u64, wait: std::time::Duration| {
            since_ms != 0 && since_ms.saturating_add(wait.as_millis() as u64) <= now_ms
        };
        if is_over(connection.clock.stalled_ms, limits.stall_max) {
            // It takes nothing, so there is no use in telling it anything.
            Traffic::add(&hub.desks()[self.index].traffic.cut_stalled, 1);
            return self.remove(key);
        }
        let is_stream =
            matches!(connection.session, Session::WebSocket(_) | Session::Sse | Session::Watching);
        if let Some(taken) = connection.out.taken_in_time().filter(|_| !is_stream) {
            if taken < ANSWER_BYTES_MIN {
                return self.remove(key);
            }
            connection.out.begin_time();
            connection.clock.until_ms = now_ms + limits.answer_deadline.as_millis() as u64;
            return;
        }
        if is_over(connection.clock.stalled_ms, connection.patience(limits)) {
            return self.close_slow(key);
        }
        // A message of which the rest lies here unread has not taken too long.
        let may_hear_more = connection.is_paused(limits) || connection.has_input();
        match &connection.session {
            Session::Http(reader) => {
                let standing = reader.standing(connection.unread.len());
                return self.request_is_late(key, standing);
            }
            Session::Closing | Session::Taken => return self.remove(key),
            Session::WebSocket(Listening { half_read, .. }) => {
                let since_ms = half_read.as_ref().map_or(0, |half_read| half_read.since_ms);
                if is_over(since_ms, limits.message_deadline) && !may_hear_more {
                    push_close(connection.out.tail(), close::POLICY_VIOLATION, "message took too long");
                    return self.part(key);
                }
                match connection.ping {
                    // A peer whose input waits cannot be heard.
                    _ if connection.replay.is_some() => {}
                    Ping::Sent if is_over(connection.clock.ping_ms, limits.pong_deadline) => {
                        return self.remove(key);
                    }
                    Ping::None if is_over(connection.clock.ping_ms, limits.ping_every) => {
                        push_ping(connection.out.tail(), b"");
                        connection.ping = Ping::Queued;
                        self.want_flush(key);
                    }
                    _ => {}
                }
            }
            Session::Sse | Session::Watching => {}
        }
        let Some(connection) = self.connections.get(key) else { return };
        // What this turn has for it goes first: a cursor must not run ahead of events that it covers.
        let is_quiet = connection.delivery == Delivery::Live && connection.marks == NO_MARK;
        if is_quiet && is_over(connection.clock.event_ms, limits.quiet_after) {
            self.send_cursor(key);
        }
    }

    /// Answers are left that the peer does not take at once: it has some time for a part of them, unless goodbye was said to it
    /// for a moment. Streams are watched in other ways.
    pub(super) fn time_answers(&mut self, key: usize) {
        let until_ms = self.now.mono_ms + self.hub.limits.answer_deadline.as_millis() as u64;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let is_timed = connection.out.taken_in_time().is_some();
        let is_meant = match connection.session {
            Session::Http(_) => true,
            Session::Closing => connection.clock.until_ms == u64::MAX,
            _ => false,
        };
        if !is_timed && is_meant {
            connection.out.begin_time();
            connection.clock.until_ms = until_ms;
        }
    }

    /// Moves the cursor of a client on that nothing has matched for a while.
    fn send_cursor(&mut self, key: usize) {
        let seq = self.position_of(key) - 1;
        let now_ms = self.now.mono_ms;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.clock.event_ms = now_ms;
        }
        self.tell_cursor(key, seq);
        self.want_flush(key);
    }

    fn request_is_late(&mut self, key: usize, standing: Standing) {
        let answer = match standing {
            // Nothing was asked, or everything was answered.
            Standing::Idle => return self.part(key),
            Standing::Head => problem(408, "head_timeout", "The request's head took too long."),
            Standing::Body => problem(408, "body_timeout", "The request's body took too long."),
        };
        self.begin_access(key, None);
        self.respond(key, &answer, ResponseContext::LAST);
    }

    /// Gives a new connection a place, if there is one.
    pub(super) fn give_place(&mut self, key: usize) -> Result<(), NoPlace> {
        let Some(connection) = self.connections.get(key) else { return Err(NoPlace::Anywhere) };
        let (door, admission) = (connection.door, &self.hub.admission);
        if !admission.enter(door, self.hub.places(door)) {
            return Err(NoPlace::Anywhere);
        }
        let per_address_max = self.hub.live.connections_per_address_max();
        let is_counted = per_address_max != 0;
        if door != Door::Public || !(is_counted || self.settings.policy.is_metered()) {
            return Ok(());
        }
        let (Some(peer), policy) = (connection.link.peer(), self.settings.policy.load()) else {
            return Ok(());
        };
        // Those of a proxy are many, and are counted one by one when they open streams.
        if policy.proxies.is_trusted(peer.ip()) {
            return Ok(());
        }
        if self.charge_connect(&policy, peer.ip()).is_err() {
            admission.leave(door);
            return Err(NoPlace::TooOften);
        }
        if is_counted {
            if !admission.enter_from(peer.ip(), per_address_max) {
                admission.leave(door);
                return Err(NoPlace::ForAddress);
            }
            self.addresses.insert(key, peer.ip());
        }
        Ok(())
    }

    /// There is no place for the connection: says so, and goodbye. Whoever has too many already must not keep others
    /// waiting to be told so, and is told only while few are.
    pub(super) fn turn_away(&mut self, key: usize, no_place: NoPlace) {
        let retry_after = self.retry_after(key);
        match no_place {
            NoPlace::Anywhere => {}
            NoPlace::ForAddress => self.audit_connection(key, "too_many_connections"),
            NoPlace::TooOften => self.audit_connection(key, "rate_limited"),
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.has_place = false;
        let (door, admission) = (connection.door, &self.hub.admission);
        admission.turn_away(door);
        let answer = match no_place {
            NoPlace::Anywhere => problem(503, "connections_full", "All connections are taken; try again."),
            NoPlace::ForAddress | NoPlace::TooOften if admission.is_half_crowded(door) => {
                return self.remove(key);
            }
            NoPlace::ForAddress => too_many_connections(),
            NoPlace::TooOften => too_many_connects(),
        };
        let context = ResponseContext::LAST;
        answer.header("Retry-After", retry_after).write_to(connection.out.tail(), &context);
        self.part(key);
    }

    /// When a connection for which there is no room just now may try again, in seconds: some sooner, some later.
    pub(super) fn retry_after(&self, key: usize) -> String {
        spread(self.seed_of(key), RETRY_AFTER_SECONDS).to_string()
    }

    /// What makes this connection, at this time, differ from others.
    pub(super) fn seed_of(&self, key: usize) -> u64 {
        let generation = self.connections.get(key).map_or(0, |connection| connection.generation);
        self.now.mono_ms << 40 ^ (self.index as u64) << 32 ^ u64::from(generation)
    }

    /// Ends the conversation: what is in the outbox still goes out, then our half closes, and the peer has a moment to
    /// close its own, so that our last words are not lost to a reset.
    pub(super) fn part(&mut self, key: usize) {
        self.edit(|this| this.end_subscriptions(key));
        let Some(connection) = self.connections.get_mut(key) else { return };
        if matches!(connection.session, Session::Closing) {
            // Goodbye was said; its moment must not begin anew.
            return;
        }
        connection.session = Session::Closing;
        connection.deaf = false;
        // As long as it takes our last words, and not too slowly, it may; the moment begins when they are out.
        if connection.out.taken_in_time().is_none() {
            connection.clock.until_ms = u64::MAX;
        }
        connection.unread = Box::default();
        connection.waiting.clear();
        connection.awaits_service = false;
        self.want_flush(key);
        self.remind(key);
    }

    /// The server shuts down: tells the connection where it stands.
    pub(super) fn say_goodbye(&mut self, key: usize) {
        let seq = self.first_unsent(key) - 1;
        let (epoch, retry) = (self.hub.epoch, self.hub.limits.retry);
        let retry_after = self.retry_after(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        match &connection.session {
            Session::WebSocket(_) => {
                push_close(connection.out.tail(), close::GOING_AWAY, &format!("{epoch}-{seq}"))
            }
            Session::Sse => {
                // Over one more retry time, so that they do not all come back at once.
                let retry_ms = retry.as_millis() as u64;
                self.tell_retry(key, spread(self.seed_of(key), retry_ms..=retry_ms * 2) as u32);
                self.tell_cursor(key, seq);
            }
            Session::Http(reader) if reader.standing(connection.unread.len()) != Standing::Idle => {
                let answer = problem(503, "draining", "The server is shutting down.")
                    .header("Retry-After", retry_after);
                let context = ResponseContext::LAST;
                answer.write_to(connection.out.tail(), &context);
            }
            // Operators are let go of when everybody else is gone.
            Session::Http(_) | Session::Watching | Session::Closing | Session::Taken => {}
        }
        self.part(key);
    }

    /// The peer has closed its half, and everything it sent was read. Called again whenever some of it was dealt with.
    pub(super) fn peer_is_done(&mut self, key: usize) {
        let Some(connection) = self.connections.get(key) else { return };
        match connection.session {
            // It may wait for our answers: to requests that are under way, or that wait for others to be answered.
            Session::Http(_) if !connection.waiting.is_empty() || connection.is_paused(&self.hub.limits) => {}
            Session::Http(_) if connection.owes_bytes() => self.part(key),
            Session::Closing if connection.owes_bytes() => {}
            _ => self.remove(key),
        }
    }

    /// Closes a connection whose last words are out. Called by the flush when the outbox is empty, and the link has sent it all.
    pub(super) fn finish(&mut self, key: usize) {
        let until_ms = self.now.mono_ms + self.hub.limits.linger_max.as_millis() as u64;
        let Some(connection) = self.connections.get_mut(key) else { return };
        if matches!(connection.session, Session::Closing) && !connection.finished {
            connection.finished = true;
            connection.out.end_time();
            connection.clock.until_ms = until_ms;
            connection.link.finish();
            if connection.peer_done {
                self.remove(key);
            }
        }
    }

    /// Takes a connection out of everything.
    pub(super) fn remove(&mut self, key: usize) {
        self.edit(|this| this.end_subscriptions(key));
        self.end_accesses(key);
        let Some(connection) = self.connections.try_remove(key) else { return };
        let (door, admission) = (connection.door, &self.hub.admission);
        self.operators -= usize::from(door == Door::Admin);
        if connection.has_place {
            admission.leave(door);
        } else {
            admission.forget(door);
        }
        // Most servers count no addresses, and trust no proxies.
        if !self.addresses.is_empty() {
            self.leave_address(key);
        }
        if !self.forwarded.is_empty() {
            self.forwarded.remove(&key);
        }
    }

    fn end_subscriptions(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let was_stream = connection.delivery != Delivery::None;
        if matches!(connection.session, Session::Watching) {
            self.end_watch(key);
        }
        if was_stream {
            self.tell_client(key, "client_disconnected");
            self.end_time(key);
            self.end_stream_access(key);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.delivery = Delivery::None;
        connection.replay = None;
        self.note_lag(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if was_stream && connection.speech.form != Form::WebSocket {
            self.hub.log.close_blocks();
        }
        for held in std::mem::take(&mut connection.subscriptions) {
            self.end_subscription(key, &held);
        }
        if was_stream {
            self.leave(key, &Pattern::announcements());
            self.hub.counters.close_stream();
        }
    }
}

/// Connections for which the list of those whose reminder has come keeps its memory.
const DUE_KEPT: usize = 1024;

/// Where there is no place for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// All are taken.
    Anywhere,
    /// Its address has as many as one may have.
    ForAddress,
    /// Its address connects more often than one may.
    TooOften,
}

impl<L: Link> Connection<L> {
    /// Whether some of what it was told has not reached the kernel.
    fn owes_bytes(&self) -> bool {
        !self.out.is_empty() || self.link.has_unsent()
    }

    /// Bytes went out, or none did although there were some: keeps the books of stalling and of pings.
    pub(super) fn wrote(&mut self, some: bool, now_ms: u64) {
        let outbox: &Outbox = &self.out;
        if some || outbox.is_empty() {
            self.clock.stalled_ms = 0;
        }
        if !self.writable {
            self.pace.stalled();
            if self.clock.stalled_ms == 0 {
                self.clock.stalled_ms = now_ms.max(1);
            }
        }
        if outbox.is_empty() && self.ping == Ping::Queued && !self.link.has_unsent() {
            self.ping = Ping::Sent;
            self.clock.ping_ms = now_ms;
        }
    }
}
