//! What the log says of requests: refusals, and what operators do, always; everything, if that is wanted.
//!
//! # Contract     nothing here concerns the delivery of events. A path is logged without its query; headers, bodies and what
//!   clients say over a WebSocket are not
//! # Bounds       while every request is logged: what [`Access`] holds for each that waits for its answer, and each stream

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::Range;

use serde::Deserialize;

use super::{EventLoop, Link};
use crate::journal::{self, Field, Value};
use crate::session::authority::Principal;
use crate::session::http::Flow;
use crate::session::request::Door;
use crate::session::settings::Settings;
use crate::wire::http::{Method, RequestHead, Response};
use crate::words::level::Level;

/// What is known of requests whose end will be logged.
#[derive(Debug, Default)]
pub(super) struct Accesses {
    /// Who asks, of the request that is being dealt with.
    who: Principal,
    /// How it was refused: status and code.
    refusal: Option<(u16, String)>,
    /// Requests whose answer is due, in order, and the one that became a stream, by connection. Empty unless every request
    /// is logged.
    open: HashMap<usize, VecDeque<Access>, foldhash::fast::RandomState>,
}

/// A request whose end will be logged.
#[derive(Debug)]
struct Access {
    method: &'static str,
    /// Without its query; nothing of a request that could not be read.
    path: Option<Box<str>>,
    /// For whom a trusted proxy asks.
    client: Option<IpAddr>,
    who: Principal,
    /// In milliseconds of the loop's clock.
    since_ms: u64,
}

/// Bytes of a path that are logged.
const PATH_BYTES_MAX: usize = 256;

/// The refusals that are always logged; others help to find a fault.
const AUDITED: [u16; 4] = [401, 403, 421, 429];

/// The same of commands, by their code.
const AUDITED_CODES: [&str; 4] = ["unauthorized", "invalid_token", "forbidden", "rate_limited"];

impl Accesses {
    /// The request that was being dealt with is given up.
    pub(super) fn forget(&mut self) {
        if !self.who.is_nobody() {
            self.who = Principal::default();
        }
    }

    /// The request that is being dealt with is this one's.
    pub(super) fn asks(&mut self, principal: &Principal) {
        if !principal.is_nobody() {
            self.who.clone_from(principal);
        }
    }
}

impl<L: Link> EventLoop<L> {
    /// Deals with a request, and logs what is to be logged of it at once.
    pub(super) fn logged_request(
        &mut self,
        key: usize,
        head: &RequestHead<'_>,
        body: &[u8],
        settings: &Settings,
    ) -> Flow {
        if self.accesses.refusal.is_some() {
            // An answer that was no answer to a request: a late one, or to what could not be read.
            self.accesses.refusal = None;
        }
        if journal::logs_access() {
            self.begin_access(key, Some(head));
        }
        let waiting = self.open_accesses(key);
        // Most loops have no operators.
        let is_deed = self.operators != 0
            && !matches!(head.method, Method::Get | Method::Head | Method::Options)
            && self.connections.get(key).is_some_and(|connection| connection.door == Door::Admin);
        let flow = self.request(key, head, body, settings);
        if waiting != 0 && self.open_accesses(key) == waiting {
            self.note_who(key);
        }
        if is_deed || self.accesses.refusal.is_some() {
            self.audit(key, head);
        }
        self.accesses.forget();
        flow
    }

    /// The request that is being dealt with is not answered yet, or has become a stream.
    #[cold]
    fn note_who(&mut self, key: usize) {
        let who = self.accesses.who.clone();
        if let Some(access) = self.accesses.open.get_mut(&key).and_then(VecDeque::back_mut) {
            access.who = who;
        }
    }

    /// Requests of a connection whose end will be logged.
    fn open_accesses(&self, key: usize) -> usize {
        if self.accesses.open.is_empty() { 0 } else { self.accesses.open.get(&key).map_or(0, VecDeque::len) }
    }

    /// Logs a refusal, or what an operator does.
    #[cold]
    fn audit(&mut self, key: usize, head: &RequestHead<'_>) {
        let who = std::mem::take(&mut self.accesses.who);
        let refusal = self.accesses.refusal.take();
        let (level, message) = match refusal {
            Some((status, _)) if AUDITED.contains(&status) => (Level::Warn, "refused"),
            Some(_) => (Level::Debug, "refused"),
            None => (Level::Info, "an operator acts"),
        };
        let (status, code) = refusal.unzip();
        let fields = [
            ("method", method(head).into()),
            ("path", cut(head.path).into()),
            ("status", status.map_or(Value::Unknown, |status| u64::from(status).into())),
            ("code", code.as_deref().into()),
            ("user", who.shown().into()),
        ];
        if journal::is_on(level) {
            say_from(self.client_of_request(key, head).as_deref(), level, "audit", message, &fields);
        }
    }

    /// A stream's command was refused.
    pub(super) fn audit_command(&mut self, key: usize, code: &str) {
        if AUDITED_CODES.contains(&code) {
            let user = self.connections.get(key).and_then(|connection| connection.user()).map(str::to_owned);
            let fields = [("code", code.into()), ("user", user.as_deref().into())];
            self.say_of(key, Level::Warn, "audit", "command refused", &fields);
        }
    }

    /// A connection was refused before it could ask anything.
    pub(super) fn audit_connection(&self, key: usize, code: &str) {
        self.say_of(key, Level::Warn, "audit", "connection refused", &[("code", code.into())]);
    }

    /// The request that is being dealt with, or was the last one, has this answer, of so many bytes with its head.
    pub(super) fn note_answer(&mut self, key: usize, response: &Response, bytes: usize) {
        let status = response.status();
        if AUDITED.contains(&status) || (400 <= status && journal::is_on(Level::Debug)) {
            let problem = serde_json::from_slice::<Problem<'_>>(response.content());
            let code = problem.map(|problem| problem.code.to_owned()).unwrap_or_default();
            self.accesses.refusal = Some((status, code));
        }
        if journal::logs_access() {
            let access = self.accesses.open.get_mut(&key).and_then(VecDeque::pop_back);
            self.log_access(key, access, Some(status.into()), bytes as u64);
        }
    }

    /// The first request that waits for a receipt has its answer, in this part of the outbox.
    #[cold]
    pub(super) fn note_receipt(&mut self, key: usize, range: Range<usize>) {
        let Some(connection) = self.connections.get(key) else { return };
        let answer = connection.out.as_slice().get(range).unwrap_or_default();
        let digits = answer.get(STATUS_AT..STATUS_AT + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let status = digits.and_then(|digits| digits.parse().ok());
        let bytes = answer.len();
        let access = self.accesses.open.get_mut(&key).and_then(VecDeque::pop_front);
        self.log_access(key, access, status, bytes as u64);
    }

    /// A request is there, or a part of one that cannot be read.
    #[cold]
    pub(super) fn begin_access(&mut self, key: usize, head: Option<&RequestHead<'_>>) {
        if !journal::logs_access() {
            return;
        }
        let access = Access {
            method: head.map_or("-", method),
            path: head.map(|head| cut(head.path).into()),
            client: head.and_then(|head| self.forwarded_client(key, &self.settings.policy.load(), head)),
            who: Principal::default(),
            since_ms: self.now.mono_ms,
        };
        self.accesses.open.entry(key).or_default().push_back(access);
    }

    /// A stream has ended.
    pub(super) fn end_stream_access(&mut self, key: usize) {
        if !journal::logs_access() {
            return;
        }
        let Some(connection) = self.connections.get(key) else { return };
        let status = if connection.speech.form == crate::log::Form::WebSocket { 101 } else { 200 };
        let bytes = connection.sent_bytes;
        let access = self.accesses.open.get_mut(&key).and_then(VecDeque::pop_back);
        self.log_access(key, access, Some(status), bytes);
    }

    /// The connection is about to go: what it has asked will not be answered.
    pub(super) fn end_accesses(&mut self, key: usize) {
        if self.accesses.open.is_empty() {
            return;
        }
        for access in self.accesses.open.remove(&key).into_iter().flatten() {
            self.log_access(key, Some(access), None, 0);
        }
    }

    fn log_access(&self, key: usize, access: Option<Access>, status: Option<u64>, bytes: u64) {
        let access = access.as_ref();
        let who =
            access.map(|access| &access.who).filter(|who| !who.is_nobody()).unwrap_or(&self.accesses.who);
        let since_ms = access.map_or(self.now.mono_ms, |access| access.since_ms);
        let fields = [
            ("method", access.map_or("-", |access| access.method).into()),
            ("path", access.and_then(|access| access.path.as_deref()).into()),
            ("status", status.map_or(Value::Unknown, Value::Number)),
            ("bytes", bytes.into()),
            ("ms", self.now.mono_ms.saturating_sub(since_ms).into()),
            ("user", who.shown().into()),
        ];
        match access.and_then(|access| access.client) {
            Some(client) => say_from(Some(&client.to_string()), Level::Info, "access", "request", &fields),
            None => self.say_of(key, Level::Info, "access", "request", &fields),
        }
    }

    /// Says something about a connection. Its address is asked of the system, as it is not kept.
    fn say_of(&self, key: usize, level: Level, target: &'static str, message: &str, fields: &[Field<'_>]) {
        if !journal::is_on(level) {
            return;
        }
        let address = self.connections.get(key).and_then(|connection| self.address_text(key, connection));
        say_from(address.as_deref(), level, target, message, fields);
    }

    /// Who asks: behind a trusted proxy, whom it speaks for in this request.
    fn client_of_request(&self, key: usize, head: &RequestHead<'_>) -> Option<String> {
        let client = self.forwarded_client(key, &self.settings.policy.load(), head);
        let address = || self.address_text(key, self.connections.get(key)?);
        client.map(|client| client.to_string()).or_else(address)
    }
}

/// Says something about somebody at this address.
fn say_from(address: Option<&str>, level: Level, target: &'static str, message: &str, fields: &[Field<'_>]) {
    let mut all = fields.to_vec();
    all.push(("address", address.into()));
    journal::say(level, target, message, &all);
}

/// What is looked at of a body that says what is wrong.
#[derive(Deserialize)]
struct Problem<'a> {
    code: &'a str,
}

/// Where the status stands in an answer.
const STATUS_AT: usize = "HTTP/1.1 ".len();

fn method(head: &RequestHead<'_>) -> &'static str {
    if head.method == Method::Other { "-" } else { head.method.as_str() }
}

fn cut(path: &str) -> &str {
    &path[..path.floor_char_boundary(PATH_BYTES_MAX)]
}
