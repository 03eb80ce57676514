//! What comes to a loop from elsewhere: receipts of the sequencer, and the wish to shut down.

use smallvec::SmallVec;

use super::connection::{Delivery, Session};
use super::waiting::Waiting;
use super::{ConnectionId, EventLoop, Link, Stage};
use crate::journal;
use crate::sequencer::{Done, Receipt, Refusal, Step};
use crate::session::http::Standing;
use crate::session::reply;
use crate::wire::http::{Response, ResponseContext, Version, problem, push_json};
use crate::wire::json::Digits;
use crate::wire::websocket::push_text;
use crate::words::door::Door;
use crate::words::limits::RETRY_AFTER_SECONDS;
use crate::words::spread::spread;

impl<L: Link> EventLoop<L> {
    /// Answers what the sequencer has dealt with.
    pub(super) fn take_receipts(&mut self) {
        self.one_by_one(|this| {
            while let Some(receipt) = this.desk().take_receipt() {
                this.in_flight -= 1;
                this.answer(&receipt);
            }
        });
    }

    /// Answers what a step of the sequencer has dealt with, made by this loop: those receipts take no way over the desk.
    pub(super) fn take_own_receipts(&mut self, step: &Step) {
        let index = self.index;
        let mut receipts = step.receipts.iter().filter(|(origin, _)| origin.loop_index == index);
        self.one_by_one(|this| {
            for (_, receipt) in receipts.by_ref() {
                this.in_flight -= 1;
                this.answer(receipt);
            }
        });
    }

    /// Receipts of one connection come in the order it submitted: the first request that waits for one gets it.
    fn answer(&mut self, receipt: &Receipt) {
        let id = ConnectionId(receipt.token);
        let key = id.key();
        self.handle(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.generation != id.generation() {
            return;
        }
        let Some(waiting) = connection.waiting.pop_front() else { return };
        // One that waits in the outbox until its client reads says more of the client than of the server.
        if connection.writable
            && connection.delivery != Delivery::Lagging
            && let Ok(Done::Published { .. }) = receipt.outcome
        {
            self.handed.answer(receipt.accepted_ns);
        }
        let seed = receipt.token ^ self.now.mono_ms << 40;
        let (mut close, mut logged) = (false, None);
        if connection.out.is_empty() {
            // Its other answers follow at once.
            connection.out.tail().reserve(ANSWER_BYTES * (1 + connection.waiting.len()));
        }
        match waiting {
            Waiting::Http { context, is_batch } => {
                let before = connection.out.len();
                push_published(connection.out.tail(), receipt.outcome, is_batch, seed, &context);
                if journal::logs_access() {
                    logged = Some(before..connection.out.len());
                }
                close = !context.keep_alive;
            }
            Waiting::Command { id } => {
                let text = match receipt.outcome {
                    Ok(Done::Published { first, .. }) => reply::published(first, id.as_deref()),
                    Ok(Done::Cleared { count, oldest }) => reply::cleared(count, oldest, id.as_deref()),
                    Err(refusal) => reply::error(refusal.code(), &refusal.to_string(), id.as_deref()),
                };
                push_text(connection.out.tail(), &text);
            }
            Waiting::Ready { .. } | Waiting::Service { .. } => {
                debug_assert!(false, "an answer that is ready is sent before the next receipt")
            }
        }
        while let Some((answer, then_close)) = connection.waiting.pop_ready() {
            connection.out.tail().extend_from_slice(&answer);
            close |= then_close;
        }
        // If it was paused, the flush goes on reading; but a peer that holds its body back says nothing.
        let holds_back =
            matches!(&connection.session, Session::Http(reader) if reader.standing(0) == Standing::Body);
        if close && matches!(connection.session, Session::Http(_)) {
            self.part(key);
        }
        self.want_flush(key);
        if holds_back {
            self.want_read(key);
        }
        if let Some(range) = logged {
            self.note_receipt(key, range);
        }
    }

    /// Shuts down step by step: refuse, finish, say goodbye to whoever has everything, then to the others.
    pub(super) fn advance_stage(&mut self) {
        if self.stage == Stage::Serving && self.hub.is_draining() {
            self.stage = Stage::Draining;
        }
        if self.stage == Stage::Draining {
            if self.in_flight == 0 && self.services_due == 0 {
                self.desk().set_quiet();
            }
            let has_routed_all = self.fan_out.base() == self.hub.log.published();
            if self.hub.is_quiet() && has_routed_all {
                // Who is behind now may take what was accepted, but must not use up the time for our last words.
                let limits = &self.hub.limits;
                let patience = limits.drain_deadline.saturating_sub(limits.linger_max);
                self.stage = Stage::Leaving { until_ms: self.now.mono_ms + patience.as_millis() as u64 };
                self.say_goodbye_to(|delivery| delivery != Delivery::Lagging);
            }
        }
        if let Stage::Leaving { until_ms } = self.stage
            && until_ms <= self.now.mono_ms
        {
            self.stage = Stage::Left;
            self.say_goodbye_to(|delivery| delivery == Delivery::Lagging);
        }
    }

    /// Operators may look on to the end.
    fn say_goodbye_to(&mut self, is_meant: impl Fn(Delivery) -> bool) {
        let guests = self.connections.iter().filter(|(_, connection)| connection.door == Door::Public);
        let meant = guests.filter(|(_, connection)| is_meant(connection.delivery));
        let mut keys = meant.map(|(key, _)| key).collect::<Vec<usize>>().into_iter();
        self.one_by_one(|this| {
            for key in keys.by_ref() {
                this.handle(key);
                this.say_goodbye(key);
            }
        });
    }
}

/// What the answer to a publish takes over HTTP, in bytes.
const ANSWER_BYTES: usize = 112;

/// Appends the HTTP answer to a publish, or to whatever else the sequencer was asked for. `seed`: as for [`published`].
pub(super) fn push_published(
    out: &mut Vec<u8>,
    outcome: Result<Done, Refusal>,
    is_batch: bool,
    seed: u64,
    context: &ResponseContext,
) {
    let Ok(Done::Published { first, last, .. }) = outcome else {
        return published(outcome, is_batch, seed).write_to(out, context);
    };
    let is_usual = context.keep_alive && !context.head_only && context.version == Version::Http11;
    if !is_batch && is_usual && context.cross_origin.is_none() {
        return push_seq(out, first);
    }
    let (first, last) = (Digits::of(first), Digits::of(last));
    let parts: &[&[u8]] = if is_batch {
        &[b"{\"first\":", first.as_bytes(), b",\"last\":", last.as_bytes(), b"}\n"]
    } else {
        &[b"{\"seq\":", first.as_bytes(), b"}\n"]
    };
    let mut body = SmallVec::<[u8; 64]>::new();
    parts.iter().for_each(|part| body.extend_from_slice(part));
    push_json(out, 202, &body, context);
}

/// Appends the answer that nearly every publish gets: in it only digits are ever different.
fn push_seq(out: &mut Vec<u8>, seq: u64) {
    let digits = Digits::of(seq);
    let digits = digits.as_bytes();
    // Between 10 and 29, whatever the number.
    let body_len = digits.len() as u8 + (SEQ_START.len() + SEQ_END.len()) as u8;
    out.reserve(ANSWER_BYTES);
    out.extend_from_slice(ACCEPTED);
    out.extend_from_slice(&[b'0' + body_len / 10, b'0' + body_len % 10]);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(SEQ_START);
    out.extend_from_slice(digits);
    out.extend_from_slice(SEQ_END);
}

const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: ";
const SEQ_START: &[u8] = b"{\"seq\":";
const SEQ_END: &[u8] = b"}\n";

/// The HTTP answer to a publish, or to whatever else the sequencer was asked for. `seed` decides when one that is refused may
/// try again.
pub(super) fn published(outcome: Result<Done, Refusal>, is_batch: bool, seed: u64) -> Response {
    let done = |status: u16, body: String| Response::new(status).body(JSON, body.into_bytes());
    match outcome {
        Ok(Done::Published { first, .. }) if !is_batch => done(202, format!("{{\"seq\":{first}}}\n")),
        Ok(Done::Published { first, last, .. }) => {
            done(202, format!("{{\"first\":{first},\"last\":{last}}}\n"))
        }
        Ok(Done::Cleared { count, oldest }) => {
            done(200, format!("{{\"cleared\":{count},\"oldest\":{oldest}}}\n"))
        }
        // Trying again would not help.
        Err(refusal @ Refusal::KeyReused) => problem(422, refusal.code(), &refusal.to_string()),
        Err(refusal) => {
            let seconds = spread(seed, RETRY_AFTER_SECONDS).to_string();
            problem(503, refusal.code(), &refusal.to_string()).header("Retry-After", seconds)
        }
    }
}

/// The media type of our answers.
pub(super) const JSON: &str = "application/json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_sequencer_says_and_how_it_is_answered() {
        let check = |outcome: Result<Done, Refusal>, is_batch: bool, status: u16, expected: &str| {
            let response = published(outcome, is_batch, 7);
            let written = |version: Version, keep_alive: bool| {
                let context = ResponseContext { keep_alive, version, ..ResponseContext::LAST };
                let (mut text, mut pushed) = (Vec::new(), Vec::new());
                response.write_to(&mut text, &context);
                push_published(&mut pushed, outcome, is_batch, 7, &context);
                assert_eq!(pushed, text);
                text
            };
            written(Version::Http10, true);
            written(Version::Http11, false);
            let text = written(Version::Http11, true);
            let text = String::from_utf8(text).unwrap();
            assert_eq!(response.status(), status, "{text}");
            assert!(text.contains(expected), "{text}");
            assert_eq!(
                text.contains("Retry-After"),
                status == 503,
                "only where trying again may help: {text}"
            );
        };
        for is_repeat in [false, true] {
            let done = Ok(Done::Published { first: 4, last: 6, is_repeat });
            check(done, true, 202, "{\"first\":4,\"last\":6}\n");
            check(done, false, 202, "{\"seq\":4}\n");
        }
        for seq in [1, 9, 10, 99_999, u64::MAX] {
            let done = Ok(Done::Published { first: seq, last: seq, is_repeat: false });
            check(done, false, 202, &format!("\r\n\r\n{{\"seq\":{seq}}}\n"));
        }
        check(Ok(Done::Cleared { count: 3, oldest: 9 }), false, 200, "{\"cleared\":3,\"oldest\":9}\n");
        check(Err(Refusal::KeyReused), false, 422, "\"code\":\"idempotency_key_reused\"");
        check(Err(Refusal::Overloaded), false, 503, "\"code\":\"overloaded\"");
    }
}
