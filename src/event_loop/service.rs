//! Requests that are answered elsewhere or later: by the store of notifications, by all loops together, or by time.
//!
//! Such a request is the last one that its connection reads until the answer is there; so answers keep their order, and
//! there is never more than one under way per connection.

use std::sync::Arc;

use super::connection::Session;
use super::waiting::Waiting;
use super::{ConnectionId, EventLoop, Link};
use crate::mail::{About, Letter, Question};
use crate::notify;
use crate::session::http::Flow;
use crate::session::notifications;
use crate::wire::http::{Response, ResponseContext, problem};

/// A request that waits until everything up to `seq` was handed to the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeliveryWait {
    token: u64,
    seq: u64,
    /// When it is told that it has waited in vain, in milliseconds of the loop's clock.
    until_ms: u64,
}

/// How often a loop with such waits looks at the others, in milliseconds.
pub(super) const DELIVERY_LOOK_MS: u64 = 1;

impl<L: Link> EventLoop<L> {
    /// Hands a request to the store of notifications.
    pub(super) fn ask_notifications(
        &mut self,
        key: usize,
        request: notify::Request,
        context: ResponseContext,
    ) -> Flow {
        let Some(service) = self.settings.notifications.clone() else {
            let answer = problem(503, "no_notifications", "This server keeps no notifications.");
            return self.respond(key, &answer, context);
        };
        let Some(token) = self.await_service(key, context) else { return Flow::Stop };
        let (hub, index, seed) = (Arc::clone(&self.hub), self.index, self.seed_of(key));
        let reply = move |answer: notify::Answer| {
            let answer = Box::new(notifications::respond(&answer, seed));
            hub.desks()[index].post(Letter::Answer { token, answer });
        };
        service.submit(request, Box::new(reply));
        Flow::Stop
    }

    /// Asks all loops; the last one to answer sees to the answer.
    pub(super) fn ask_everybody(&mut self, key: usize, about: About, context: ResponseContext) -> Flow {
        let Some(token) = self.await_service(key, context) else { return Flow::Stop };
        let desks = self.hub.desks();
        let question = Arc::new(Question::new(about, self.index, token, desks.len()));
        for desk in desks {
            desk.post(Letter::Question(Arc::clone(&question)));
        }
        Flow::Stop
    }

    /// Answers when everything up to `seq` was handed to the kernel.
    pub(super) fn await_delivery(
        &mut self,
        key: usize,
        seq: u64,
        patience_ms: u64,
        context: ResponseContext,
    ) -> Flow {
        let Some(token) = self.await_service(key, context) else { return Flow::Stop };
        let until_ms = self.now.mono_ms + patience_ms;
        self.delivery_waits.push(DeliveryWait { token, seq, until_ms });
        Flow::Stop
    }

    /// The connection's last request waits from now on; returns by what its answer finds it.
    fn await_service(&mut self, key: usize, context: ResponseContext) -> Option<u64> {
        let connection = self.connections.get_mut(key)?;
        connection.waiting.push_back(Waiting::Service { context });
        connection.awaits_service = true;
        self.services_due += 1;
        Some(ConnectionId::new(key, connection.generation).0)
    }

    /// Deals with what others have sent.
    pub(super) fn take_letters(&mut self) {
        self.one_by_one(|this| {
            while let Some(letter) = this.desk().take_letter() {
                match letter {
                    Letter::Answer { token, answer } => this.answer_service(token, &answer),
                    // It is about all of them, and the other loops wait for the answer.
                    Letter::Question(question) => this.edit(|this| this.answer_question(&question)),
                    Letter::Slowest(parts) => this.take_slowest(parts),
                    Letter::Review => this.reviewing = Some(0),
                }
            }
        });
    }

    /// Answers those whose events are out, and those who have waited long enough.
    pub(super) fn answer_delivery_waits(&mut self) {
        let mut waits = std::mem::take(&mut self.delivery_waits).into_iter();
        self.one_by_one(|this| {
            for wait in waits.by_ref() {
                if this.hub.has_delivered(wait.seq) {
                    let body = format!("{{\"seq\":{},\"delivered\":true}}\n", wait.seq);
                    let answer = Response::new(200).header("Cache-Control", "no-store");
                    this.answer_service(wait.token, &answer.body(super::control::JSON, body.into_bytes()));
                } else if wait.until_ms <= this.now.mono_ms || this.hub.is_draining() {
                    let detail = "Not every loop has handed the event on yet; ask again.";
                    let retry_after = this.retry_after(ConnectionId(wait.token).key());
                    let answer = problem(504, "not_delivered", detail).header("Retry-After", retry_after);
                    this.answer_service(wait.token, &answer);
                } else {
                    this.delivery_waits.push(wait);
                }
            }
        });
    }

    /// When to look again, in milliseconds of the loop's clock.
    pub(super) fn delivery_look_ms(&self) -> Option<u64> {
        (!self.delivery_waits.is_empty()).then_some(self.now.mono_ms + DELIVERY_LOOK_MS)
    }

    /// The answer of a service is there.
    pub(super) fn answer_service(&mut self, token: u64, answer: &Response) {
        self.services_due -= 1;
        let id = ConnectionId(token);
        let key = id.key();
        self.handle(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.generation != id.generation() || !connection.awaits_service {
            return;
        }
        connection.awaits_service = false;
        // It is the last one; those before it may still wait for receipts.
        let Some(Waiting::Service { context }) = connection.waiting.pop_back() else { return };
        if matches!(connection.session, Session::Http(_)) {
            self.respond(key, answer, context);
        }
        self.want_read(key);
    }
}
