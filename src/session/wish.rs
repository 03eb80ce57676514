//! What a stream or an answer shall be made of, from a request's query and head, in each dialect.

use smallvec::SmallVec;

use super::dialect::guts::Spelling;
use super::request::{Refused, query, refused};
use super::settings::Settings;
use super::{command, dialect, filter};
use crate::wire::http::RequestHead;
use crate::words::channel::Pattern;
use crate::words::cursor::Since;
use crate::words::dialect::Dialect;
use crate::words::filter::{Filter, Words};
use crate::words::limits::Limits;
use crate::words::on_slow::OnSlow;
use crate::words::workspace::Workspace;

/// What a stream or an answer is made of.
#[derive(Debug, Default)]
pub struct Wish {
    /// What, with the text to echo.
    pub patterns: SmallVec<[(Pattern, String); 1]>,
    /// From where on; from now on unless given.
    pub since: Option<Since>,
    /// First the newest events of each channel, so many.
    pub last: Option<usize>,
    /// What must be true of every event.
    pub filter: Filter,
    /// In whose words.
    pub dialect: Dialect,
    /// The sub-protocol to confirm.
    pub protocol: Option<&'static str>,
    /// What shall happen to the stream when it is behind; what the server says unless given.
    pub on_slow: Option<OnSlow>,
    /// For history: only events stamped after this time, in Unix milliseconds.
    pub after_time_ms: Option<u64>,
}

/// What `GET /history` asks for, and at most how many events.
pub(super) fn history(head: &RequestHead<'_>, limits: &Limits) -> Result<(Wish, usize), Refused> {
    let mut wish = wish(head, limits, HISTORY_MEMBERS)?;
    if wish.patterns.is_empty() {
        return Err(refused(400, "no_channel", "Name at least one channel: /history?channel=..."));
    }
    let mut limit = HISTORY_LIMIT_DEFAULT.min(limits.history_events_max);
    for (name, value) in query(head)? {
        match &*name {
            "after" => wish.since = Some(since(&value)?),
            "after_time" => wish.after_time_ms = Some(time(&value)?),
            "limit" => {
                let asked: Option<usize> =
                    value.parse().ok().filter(|asked| (1..=limits.history_events_max).contains(asked));
                limit = asked.ok_or_else(|| {
                    refused(
                        400,
                        "bad_limit",
                        &format!("limit is a number from 1 to {}", limits.history_events_max),
                    )
                })?;
            }
            _ => {}
        }
    }
    if wish.last.is_some() && wish.since.is_some() {
        return Err(refused(400, "bad_last", "'last' says by itself where to begin."));
    }
    if wish.last.is_none() {
        wish.since.get_or_insert(Since::Earliest);
    }
    Ok((wish, limit))
}

/// Events in an answer of `GET /history` unless the query says otherwise.
const HISTORY_LIMIT_DEFAULT: usize = 100;

/// What a WebSocket asks for, in the dialect that it names: by a sub-protocol, in the query, or not at all.
pub(super) fn websocket(
    head: &RequestHead<'_>,
    limits: &Limits,
    settings: &Settings,
) -> Result<Wish, Refused> {
    let mut dialect = settings.dialect;
    let mut offered = head.headers("sec-websocket-protocol").flat_map(|value| value.split(','));
    let protocol = offered.find_map(|name| Dialect::parse(name.trim()));
    dialect = protocol.unwrap_or(dialect);
    for (name, value) in query(head)? {
        if name == "dialect" {
            dialect = named_dialect(&value)?;
        }
    }
    let wish = match dialect {
        Dialect::Engram => engram(head, limits)?,
        Dialect::Native | Dialect::CloudEvents => Wish { dialect, ..wish(head, limits, WEBSOCKET_MEMBERS)? },
        Dialect::Guts | Dialect::Sdk => {
            let mut wish = Wish { dialect, ..Wish::default() };
            let spelling = if dialect == Dialect::Sdk { Spelling::Sdk } else { Spelling::Hub };
            add_guts_channels(head, limits, spelling, &mut wish)?;
            wish
        }
    };
    Ok(Wish { protocol: protocol.map(Dialect::name), on_slow: on_slow(head)?, ..wish })
}

/// What a client of the dialect `engram` asks for: the memory of one workspace.
pub(super) fn engram(head: &RequestHead<'_>, limits: &Limits) -> Result<Wish, Refused> {
    let mut workspace = None;
    let mut wish = Wish { dialect: Dialect::Engram, ..Wish::default() };
    for (name, value) in query(head)? {
        match &*name {
            "event_types" => {
                let types = dialect::engram::parse_event_types(&value);
                let types = types.map_err(|error| refused(400, "unknown_event_type", &error.to_string()))?;
                wish.filter.kinds = Some(Words::new(types));
            }
            "workspace" => {
                let parsed = Workspace::parse(&value);
                workspace = Some(parsed.ok_or_else(|| {
                    refused(400, "bad_workspace", "A workspace is 1 to 64 characters of a-z, 0-9, '_', '-'.")
                })?);
            }
            _ => {}
        }
    }
    let workspace = workspace.as_ref().map_or(DEFAULT_WORKSPACE, Workspace::as_str);
    let text = format!("memory:{workspace}");
    let pattern = Pattern::parse(&text).map_err(|error| refused(400, "bad_workspace", &error.to_string()))?;
    wish.patterns.push((pattern, text));
    debug_assert!(wish.patterns.len() <= limits.subscriptions_max);
    wish.on_slow = on_slow(head)?;
    // What is no number means nothing to its clients either: they begin with what is new.
    let id = head.header("last-event-id").unwrap_or_default();
    wish.since = id.parse().ok().map(|seq| Since::After { epoch: None, seq });
    Ok(wish)
}

/// The workspace of a client of the dialect `engram` that names none.
const DEFAULT_WORKSPACE: &str = "default";

/// What the client library of the dialect `guts` asks for, or its load test.
pub(super) fn sdk(head: &RequestHead<'_>, limits: &Limits) -> Result<Wish, Refused> {
    let mut wish = Wish { dialect: Dialect::Sdk, ..Wish::default() };
    add_guts_channels(head, limits, Spelling::Sdk, &mut wish)?;
    for (name, value) in query(head)? {
        if matches!(&*name, "since" | "last_event_id") {
            wish.since = Some(since(&value)?);
        }
    }
    if let Some(id) = head.header("last-event-id").filter(|id| !id.is_empty()) {
        wish.since = Some(since(id)?);
    }
    wish.on_slow = on_slow(head)?;
    Ok(wish)
}

fn add_guts_channels(
    head: &RequestHead<'_>,
    limits: &Limits,
    spelling: Spelling,
    wish: &mut Wish,
) -> Result<(), Refused> {
    for (name, value) in query(head)? {
        if !matches!(&*name, "channel" | "repository") {
            continue;
        }
        if limits.subscriptions_max <= wish.patterns.len() {
            return Err(refused(400, "subscription_limit", &command::limit_message(limits)));
        }
        let pattern = dialect::guts::parse_channel(&value, spelling)
            .map_err(|error| refused(400, "bad_channel", &format!("invalid channel: {error}")))?;
        wish.patterns.push((pattern, value.into_owned()));
    }
    Ok(())
}

/// Members of a query that are read elsewhere, or that clients add to get past caches.
const OTHER_MEMBERS: &[&str] = &["user", "access_token", "token", "_"];

/// Members of a query that only some paths know.
const EVENTS_MEMBERS: &[&str] = &["unnamed", "on_slow"];
const WEBSOCKET_MEMBERS: &[&str] = &["on_slow"];
const HISTORY_MEMBERS: &[&str] = &["after", "after_time", "limit"];

fn named_dialect(name: &str) -> Result<Dialect, Refused> {
    Dialect::parse(name).ok_or_else(|| refused(400, "unknown_dialect", "There is no dialect of this name."))
}

/// What `GET /events` asks for.
pub(super) fn events(head: &RequestHead<'_>, limits: &Limits) -> Result<Wish, Refused> {
    let mut wish = wish(head, limits, EVENTS_MEMBERS)?;
    if wish.patterns.is_empty() {
        return Err(refused(400, "no_channel", "Name at least one channel: /events?channel=..."));
    }
    wish.on_slow = on_slow(head)?;
    // The header is the newer of the two: a browser that reconnects asks for the same address again.
    if let Some(id) = head.header("last-event-id").filter(|id| !id.is_empty()) {
        wish.since = Some(since(id)?);
        wish.last = None;
    }
    Ok(wish)
}

/// The channels, the start and the filter of a stream, from the query.
fn wish(head: &RequestHead<'_>, limits: &Limits, own_members: &[&str]) -> Result<Wish, Refused> {
    let mut wish = Wish::default();
    for (name, value) in query(head)? {
        match &*name {
            "channel" | "channels" | "repository" => {
                for text in value.split(',').filter(|text| !text.is_empty()) {
                    if limits.subscriptions_max <= wish.patterns.len() {
                        return Err(refused(400, "subscription_limit", &command::limit_message(limits)));
                    }
                    let pattern = Pattern::parse(text)
                        .and_then(|pattern| limits.check_namespace(text).map(|()| pattern))
                        .map_err(|error| refused(400, "bad_channel", &format!("invalid channel: {error}")))?;
                    wish.patterns.push((pattern, text.to_owned()));
                }
            }
            "since" | "last_event_id" => wish.since = Some(since(&value)?),
            "last" => {
                wish.last =
                    Some(command::last(&value).map_err(|message| refused(400, "bad_last", &message))?);
            }
            "dialect" => wish.dialect = named_dialect(&value)?,
            name => {
                let is_condition = filter::add_query_member(&mut wish.filter, name, &value, limits)
                    .map_err(|error| refused(400, error.code, &error.message))?;
                // A misspelt condition must not mean "everything", nor a start in the wrong place "from now on".
                if !is_condition && !OTHER_MEMBERS.contains(&name) && !own_members.contains(&name) {
                    let name: String = name.chars().take(80).collect();
                    let detail = format!("'{name}' means nothing here, and might be a misspelt filter.");
                    return Err(refused(400, "unknown_parameter", &detail));
                }
            }
        }
    }
    if wish.since.is_some() && wish.last.is_some() {
        return Err(refused(400, "bad_last", "'since' and 'last' exclude each other."));
    }
    Ok(wish)
}

/// What a stream of any dialect chooses to happen when it is behind.
fn on_slow(head: &RequestHead<'_>) -> Result<Option<OnSlow>, Refused> {
    let Some((_, text)) = query(head)?.into_iter().rfind(|(name, _)| name == "on_slow") else {
        return Ok(None);
    };
    OnSlow::parse(&text).map(Some).ok_or_else(|| refused(400, "bad_on_slow", command::BAD_ON_SLOW))
}

fn since(text: &str) -> Result<Since, Refused> {
    Since::parse(text).map_err(|error| refused(400, "bad_cursor", &error.to_string()))
}

/// Reads a time: Unix milliseconds, or RFC 3339 in UTC.
pub(super) fn time(text: &str) -> Result<u64, Refused> {
    if let Ok(unix_ms) = text.parse() {
        return Ok(unix_ms);
    }
    let time = humantime::parse_rfc3339(text).ok();
    let since = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let detail = "A time is a number of Unix milliseconds, or 2026-11-22T12:00:00Z.";
    since.map(|since| since.as_millis() as u64).ok_or_else(|| refused(400, "bad_time", detail))
}
