//! What operators ask for, on their own door.

use serde::Deserialize;

use super::request::{DASHBOARD_PATHS, Refused, Request, query, refused};
use super::wish::time;
use crate::latency::Format;
use crate::mail::Whom;
use crate::metrics;
use crate::sequencer::{Before, Publication};
use crate::wire::http::{Method, RequestHead, decode_path_segment};
use crate::words::channel::Pattern;
use crate::words::cursor::Since;
use crate::words::level::Level;
use crate::words::limits::{
    ANNOUNCEMENT_BYTES_MAX, CHANNELS_LISTED_MAX, CLIENTS_LISTED_MAX, REVOCATION_DEFAULT, REVOCATION_MAX,
    USER_BYTES_MAX,
};
use crate::words::workspace::Scope;

/// The methods of `path`, or nothing if operators find nothing there.
#[must_use]
pub fn allowed_methods(path: &str) -> Option<&'static str> {
    match path {
        "/stats" | "/metrics" | "/latency" | "/channels" | "/clients" | "/openapi.yaml" => {
            Some("GET, HEAD, OPTIONS")
        }
        "/stats/events" => Some("GET, OPTIONS"),
        path if DASHBOARD_PATHS.contains(&path) => Some("GET, HEAD, OPTIONS"),
        "/log-level" => Some("GET, HEAD, PUT, OPTIONS"),
        "/announce" | "/clear" | "/revoke" => Some("POST, OPTIONS"),
        _ if path.starts_with("/channels/") => Some("GET, HEAD, OPTIONS"),
        _ if path.starts_with("/clients/") || path.starts_with("/users/") => Some("DELETE, OPTIONS"),
        _ => None,
    }
}

/// Understands an operator's request; nothing if the path is not one of theirs. The method has been checked.
pub(super) fn parse(head: &RequestHead<'_>, body: &[u8]) -> Option<Result<Request, Refused>> {
    debug_assert!(head.method != Method::Options);
    Some(match head.path {
        "/stats" => Ok(Request::Stats),
        "/stats/events" => Ok(Request::Watch),
        "/metrics" => Ok(Request::Metrics(metrics::Format::accepted(head.headers("accept")))),
        // Under another name: this door's is another description.
        "/openapi.yaml" => Ok(Request::Page("/openapi-operators.yaml".to_owned())),
        "/latency" => latency(head),
        "/clients" => clients(head),
        "/channels" => channels(head, None),
        "/log-level" => log_level(head.method, body),
        "/announce" => announce(body),
        "/clear" => clear(body),
        "/revoke" => revoke(body),
        path => {
            let (folder, name) = path.strip_prefix('/')?.split_once('/')?;
            match (folder, decode_path_segment(name)) {
                ("channels", Ok(name)) => channels(head, Some(&name)),
                ("clients", Ok(id)) => Ok(Request::Disconnect(Whom::Client(id.into_owned()))),
                ("users", Ok(user)) => Ok(Request::Disconnect(Whom::User(user.into_owned()))),
                ("channels" | "clients" | "users", Err(error)) => Err(super::request::malformed(&error)),
                _ => return None,
            }
        }
    })
}

/// `GET /latency?format=`.
fn latency(head: &RequestHead<'_>) -> Result<Request, Refused> {
    let format = query(head)?.into_iter().find(|(name, _)| name == "format");
    let format = format.map_or(Some(Format::default()), |(_, name)| Format::parse(&name));
    let format = format.ok_or_else(|| refused(400, "bad_format", "format is 'json', 'hgrm' or 'hlog'."))?;
    Ok(Request::Latency(format))
}

/// `GET /clients?sort=lag&limit=`.
fn clients(head: &RequestHead<'_>) -> Result<Request, Refused> {
    let limit = limit(head, CLIENTS_LISTED_MAX)?;
    let sort = query(head)?.into_iter().find(|(name, _)| name == "sort");
    match sort.as_ref().map(|(_, by)| &**by) {
        None => Ok(Request::Clients { limit, by_lag: false }),
        Some("lag") => Ok(Request::Clients { limit, by_lag: true }),
        Some(_) => Err(refused(400, "bad_sort", "sort is 'lag', or left out.")),
    }
}

/// `GET /channels?channel=&workspace=&limit=` and `GET /channels/{channel}`.
fn channels(head: &RequestHead<'_>, name: Option<&str>) -> Result<Request, Refused> {
    let (mut text, mut scope) = (name.unwrap_or("*").to_owned(), Scope::Any);
    for (name, value) in query(head)? {
        match &*name {
            "channel" => text = value.into_owned(),
            "workspace" => {
                scope = Scope::parse(&value)
                    .ok_or_else(|| refused(400, "bad_workspace", "There is no workspace of this name."))?;
            }
            _ => {}
        }
    }
    let pattern = Pattern::parse(&text);
    let pattern =
        pattern.map_err(|error| refused(400, "bad_channel", &format!("invalid channel: {error}")))?;
    let pattern = pattern.scoped(&scope);
    let detail = "The channel belongs to another workspace.";
    let pattern = pattern.ok_or_else(|| refused(400, "bad_workspace", detail))?;
    Ok(Request::Channels { pattern, limit: limit(head, CHANNELS_LISTED_MAX)? })
}

fn limit(head: &RequestHead<'_>, max: usize) -> Result<usize, Refused> {
    let Some((_, text)) = query(head)?.into_iter().find(|(name, _)| name == "limit") else { return Ok(max) };
    let limit = text.parse().ok().filter(|limit| (1..=max).contains(limit));
    limit.ok_or_else(|| refused(400, "bad_limit", &format!("limit is a number from 1 to {max}")))
}

/// How much is to be logged, as an operator writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogLevel {
    level: String,
}

/// `GET /log-level` and `PUT /log-level`.
fn log_level(method: Method, body: &[u8]) -> Result<Request, Refused> {
    if method != Method::Put {
        return Ok(Request::LogLevel(None));
    }
    let LogLevel { level } = object(body)?;
    let detail = "level is 'error', 'warn', 'info' or 'debug'.";
    let level = Level::parse(&level).ok_or_else(|| refused(400, "bad_level", detail))?;
    Ok(Request::LogLevel(Some(level)))
}

/// An announcement as an operator writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Announcement {
    message: String,
}

fn announce(body: &[u8]) -> Result<Request, Refused> {
    let Announcement { message } = object(body)?;
    if message.is_empty() || ANNOUNCEMENT_BYTES_MAX < message.len() {
        let status = if message.is_empty() { 400 } else { 413 };
        let detail = format!("message has 1 to {ANNOUNCEMENT_BYTES_MAX} bytes");
        return Err(refused(status, "bad_message", &detail));
    }
    Ok(Request::Announce(Box::new(Publication::announcement(&message))))
}

/// What to clear. There is no "everything": whoever wants that keeps 0.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clear {
    before: Option<serde_json::Value>,
    before_time: Option<serde_json::Value>,
    keep: Option<u64>,
}

fn clear(body: &[u8]) -> Result<Request, Refused> {
    let clear: Clear = object(body)?;
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    let before = match clear {
        Clear { before: Some(before), before_time: None, keep: None } => match Since::parse(&text(before)) {
            Ok(Since::After { epoch: None, seq }) => Before::Seq(seq),
            _ => return Err(refused(400, "bad_cursor", "before is a sequence number.")),
        },
        Clear { before: None, before_time: Some(at), keep: None } => {
            Before::Time { unix_ms: time(&text(at))? }
        }
        Clear { before: None, before_time: None, keep: Some(newest) } => Before::Keep(newest),
        _ => {
            let detail = "Say exactly one of before (a sequence number), before_time, keep (how many).";
            return Err(refused(400, "bad_clear", detail));
        }
    };
    Ok(Request::Clear(before))
}

/// Whom to refuse from now on, and for how long.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocation {
    jti: Option<String>,
    user: Option<String>,
    key: Option<String>,
    #[serde(rename = "for")]
    duration: Option<String>,
}

fn revoke(body: &[u8]) -> Result<Request, Refused> {
    let whom = match object(body)? {
        Revocation { jti: Some(id), user: None, key: None, duration } => (Whom::Token(id), duration),
        Revocation { jti: None, user: Some(user), key: None, duration } => (Whom::User(user), duration),
        Revocation { jti: None, user: None, key: Some(key), duration } => (Whom::Key(key), duration),
        _ => return Err(refused(400, "bad_revocation", "Say exactly one of jti, user, key.")),
    };
    let (whom, duration) = whom;
    let (Whom::Token(name) | Whom::User(name) | Whom::Key(name) | Whom::Client(name)) = &whom;
    if name.is_empty() || USER_BYTES_MAX < name.len() {
        let detail = format!("A name has 1 to {USER_BYTES_MAX} bytes.");
        return Err(refused(400, "bad_revocation", &detail));
    }
    let duration = match duration.as_deref().map(humantime::parse_duration) {
        None => REVOCATION_DEFAULT,
        Some(Ok(duration)) if (1..=REVOCATION_MAX.as_millis()).contains(&duration.as_millis()) => duration,
        Some(_) => {
            let days = REVOCATION_MAX.as_secs() / 86_400;
            let detail = format!("for is a time such as \"1h\", of at most {days} days.");
            return Err(refused(400, "bad_revocation", &detail));
        }
    };
    Ok(Request::Revoke { whom, for_ms: duration.as_millis() as u64 })
}

/// Reads a JSON object.
fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refused> {
    // Without this a list of values would do for a struct.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(refused(400, "bad_json", "Send a JSON object."));
    }
    serde_json::from_slice(body).map_err(|error| refused(400, "bad_json", &error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{HeadLimits, parse_head};

    #[test]
    fn what_operators_may_ask() {
        let check = |target: &str, body: &str, expected: Result<&str, u16>| {
            let method = if target == "/log-level" && !body.is_empty() { "PUT" } else { "GET" };
            let text = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            let (head, _) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
            let got = parse(&head, body.as_bytes()).expect("a path of operators");
            let got = got.map(|request| format!("{request:?}")).map_err(|response| response.status());
            match expected {
                Ok(expected) => {
                    assert!(got.as_ref().is_ok_and(|got| got.starts_with(expected)), "{target}: {got:?}")
                }
                Err(status) => assert_eq!(got.err(), Some(status), "{target} {body}"),
            }
        };
        check("/stats/events", "", Ok("Watch"));
        check("/log-level", "", Ok("LogLevel(None)"));
        check("/log-level", r#"{"level":"debug"}"#, Ok("LogLevel(Some(Debug))"));
        check("/log-level", r#"{"level":"loud"}"#, Err(400));
        check("/log-level", r#"{"level":"debug","x":1}"#, Err(400));
        check("/latency", "", Ok("Latency(Json)"));
        check("/latency?format=hgrm", "", Ok("Latency(Hgrm)"));
        check("/latency?format=hlog", "", Ok("Latency(IntervalLog)"));
        check("/latency?format=xml", "", Err(400));
        check("/clients", "", Ok("Clients { limit: 1000, by_lag: false }"));
        check("/clients?limit=5&sort=lag", "", Ok("Clients { limit: 5, by_lag: true }"));
        check("/clients?sort=name", "", Err(400));
        check("/clients?limit=0", "", Err(400));
        check("/clients/0-1f", "", Ok("Disconnect(Client(\"0-1f\"))"));
        check("/users/alice", "", Ok("Disconnect(User(\"alice\"))"));
        check("/channels", "", Ok("Channels { pattern: Pattern(*@*), limit: 1000 }"));
        check(
            "/channels/t%3Aa?workspace=acme",
            "",
            Ok("Channels { pattern: Pattern(acme@t:a), limit: 1000 }"),
        );
        check("/channels?channel=nonsense", "", Err(400));
        check("/announce", r#"{"message":"hello"}"#, Ok("Announce"));
        check("/announce", r#"{"message":""}"#, Err(400));
        check("/announce", r#"["hello"]"#, Err(400));
        check("/announce", r#"{"text":"hello"}"#, Err(400));
        check("/clear", r#"{"before":7}"#, Ok("Clear(Seq(7))"));
        check(
            "/clear",
            r#"{"before_time":"2026-11-22T00:00:00Z"}"#,
            Ok("Clear(Time { unix_ms: 1795305600000 })"),
        );
        check("/clear", r#"{"keep":0}"#, Ok("Clear(Keep(0))"));
        check("/clear", "{}", Err(400));
        check("/clear", r#"{"before":7,"keep":1}"#, Err(400));
        check("/revoke", r#"{"jti":"t1","for":"1h"}"#, Ok("Revoke { whom: Token(\"t1\"), for_ms: 3600000 }"));
        check("/revoke", r#"{"user":"alice"}"#, Ok("Revoke { whom: User(\"alice\"), for_ms: 86400000 }"));
        check("/revoke", r#"{"key":"k1","for":"30days"}"#, Ok("Revoke { whom: Key(\"k1\"),"));
        check("/revoke", r#"{"key":"k1","for":"31days"}"#, Err(400));
        check("/revoke", r#"{"key":"k1","for":"0s"}"#, Err(400));
        check("/revoke", r#"{"key":"k1","for":"soon"}"#, Err(400));
        check("/revoke", r#"{"key":"k1","user":"alice"}"#, Err(400));
        check("/revoke", r#"{"key":""}"#, Err(400));
        check("/revoke", r#"{"client":"0-1"}"#, Err(400));
        check("/revoke", "{}", Err(400));
        check("/clear", "", Err(400));
        check("/clear", "[null,null,0]", Err(400));
    }
}
