//! What an HTTP request asks for.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::dialect::engram;
use super::dialect::guts::{self, Spelling};
use super::publish::{Framing, Heading, Publications, PublishError, parse_body, parse_data};
use super::settings::Settings;
use super::{command, filter, origin};
use crate::wire::http::{
    HttpError, Method, RequestHead, Response, decode_path_segment, problem, query_pairs,
};
use crate::words::channel::Pattern;
use crate::words::cursor::Since;
use crate::words::dialect::Dialect;
use crate::words::filter::{Filter, Words};
use crate::words::limits::Limits;
use crate::words::workspace::Workspace;

/// What is asked for.
#[derive(Debug)]
pub enum Request {
    /// Become a WebSocket.
    WebSocket(Wish),
    /// Stream events as server-sent events.
    Events {
        /// What, and from where on.
        wish: Wish,
        /// Without `event:` lines.
        unnamed: bool,
    },
    /// Publish.
    Publish {
        /// The events.
        publications: Publications,
        /// Whether to answer with first and last.
        is_batch: bool,
    },
    /// Events after a cursor, in one answer.
    History {
        /// What, and from where on.
        wish: Wish,
        /// At most so many events.
        limit: usize,
    },
    /// How the server is.
    Health(Health),
    /// Counters.
    Stats,
    /// Counters as the dialect `guts` has them.
    RealtimeStats,
    /// A file of the page at `/`.
    Page(String),
    /// What is allowed here: a list of methods.
    Options(&'static str),
}

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
}

/// The answer to a request that is refused.
pub type Refused = Box<Response>;

/// Which question about the server's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Does the process live?
    Live,
    /// Does it take work?
    Ready,
}

/// Which listener a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The one for everybody.
    Public,
    /// The one for operators.
    Admin,
}

/// Understands a request with its whole body.
///
/// # Errors
/// The answer that refuses it; the connection may be kept.
pub fn parse(
    head: &RequestHead<'_>,
    body: &[u8],
    door: Door,
    limits: &Limits,
    settings: &Settings,
) -> Result<Request, Refused> {
    let is_get = matches!(head.method, Method::Get | Method::Head);
    let is_post = head.method == Method::Post;
    let allowed = match allowed_methods(head.path, door) {
        Some(allowed) => allowed,
        None => return Err(refused(404, "not_found", "There is nothing at this path.")),
    };
    if head.method == Method::Options {
        return Ok(Request::Options(allowed));
    }
    let fits =
        if allowed == POST { is_post } else { is_get && !(head.method == Method::Head && allowed == GET) };
    if !fits {
        let answer = problem(405, "method_not_allowed", "This path does not take this method.");
        return Err(answer.header("Allow", allowed).into());
    }
    if !origin::is_allowed(head) {
        return Err(refused(403, "origin_not_allowed", "Pages of other origins may not use this server."));
    }
    match head.path {
        "/ws" => Ok(Request::WebSocket(websocket_wish(head, limits, settings)?)),
        "/v1/events" => Ok(Request::Events { wish: engram_wish(head, limits)?, unnamed: false }),
        "/api/events" | "/ws/subscribe" => {
            let wish = sdk_wish(head, limits)?;
            let is_upgrade = head.headers("upgrade").any(|value| value.eq_ignore_ascii_case("websocket"));
            if is_upgrade {
                return Ok(Request::WebSocket(wish));
            }
            if wish.patterns.is_empty() {
                return Err(refused(400, "no_channel", "Name a channel: /api/events?channel=..."));
            }
            Ok(Request::Events { wish, unnamed: true })
        }
        "/api/realtime/stats" => Ok(Request::RealtimeStats),
        "/events" => {
            let mut wish = wish(head, limits)?;
            if wish.patterns.is_empty() {
                return Err(refused(400, "no_channel", "Name at least one channel: /events?channel=..."));
            }
            // The header is the newer of the two: a browser that reconnects asks for the same address again.
            if let Some(id) = head.header("last-event-id").filter(|id| !id.is_empty()) {
                wish.since = Some(since(id)?);
                wish.last = None;
            }
            let unnamed = query(head)?.iter().any(|(name, value)| name == "unnamed" && value != "0");
            Ok(Request::Events { wish, unnamed })
        }
        "/publish" => {
            let (publications, is_batch) =
                parse_body(body, framing(head)?, limits).map_err(|error| refusal(&error))?;
            Ok(Request::Publish { publications, is_batch })
        }
        "/history" => history(head, limits),
        "/health" | "/healthz" | "/health/live" | "/health/startup" => Ok(Request::Health(Health::Live)),
        "/health/ready" | "/readyz" => Ok(Request::Health(Health::Ready)),
        "/stats" => Ok(Request::Stats),
        path => match path.strip_prefix("/publish/") {
            Some(channel) => publish_data(head, channel, body, limits),
            None => Ok(Request::Page(path.to_owned())),
        },
    }
}

const GET: &str = "GET, OPTIONS";
const GET_OR_HEAD: &str = "GET, HEAD, OPTIONS";
const POST: &str = "POST, OPTIONS";

/// The methods of `path`, or nothing if there is no such path.
fn allowed_methods(path: &str, door: Door) -> Option<&'static str> {
    match (path, door) {
        ("/health" | "/healthz" | "/health/live" | "/health/startup" | "/health/ready" | "/readyz", _) => {
            Some(GET_OR_HEAD)
        }
        ("/stats", Door::Admin) => Some(GET_OR_HEAD),
        (_, Door::Admin) | ("/stats", Door::Public) => None,
        ("*", _) => Some("GET, HEAD, POST, OPTIONS"),
        ("/ws" | "/events" | "/v1/events" | "/api/events" | "/ws/subscribe", _) => Some(GET),
        ("/api/realtime/stats", _) => Some(GET_OR_HEAD),
        ("/publish", _) => Some(POST),
        ("/history", _) => Some(GET_OR_HEAD),
        (path, _) if path.starts_with("/publish/") => Some(POST),
        (path, _) if PAGE_PATHS.contains(&path) => Some(GET_OR_HEAD),
        _ => None,
    }
}

/// The files of the page at `/`.
pub const PAGE_PATHS: &[&str] = &["/", "/page.css", "/page.js", "/client.js", "/favicon.svg"];

fn publish_data(
    head: &RequestHead<'_>,
    channel: &str,
    body: &[u8],
    limits: &Limits,
) -> Result<Request, Refused> {
    let channel = decode_path_segment(channel).map_err(|error| malformed(&error))?;
    let (mut kind, mut event_id, mut workspace) = (None, None, None);
    let (mut ids, mut tags) = (Vec::new(), Vec::new());
    let words =
        |value: &str| -> Vec<String> { value.split(',').map(|word| word.trim().to_owned()).collect() };
    for (name, value) in query(head)? {
        match &*name {
            "event" => kind = Some(value),
            "event_id" => event_id = Some(value),
            "workspace" => workspace = Some(value),
            "ids" => ids.extend(words(&value)),
            "tags" => tags.extend(words(&value)),
            _ => {}
        }
    }
    let heading = Heading {
        channel: &channel,
        kind: kind.as_deref().unwrap_or(DEFAULT_KIND),
        event_id: event_id.as_deref(),
        workspace: workspace.as_deref(),
        ids: &ids,
        tags: &tags,
    };
    let one = |data: &[u8]| parse_data(&heading, data, limits).map_err(|error| refusal(&error));
    if framing(head)? != Framing::Lines {
        return Ok(Request::Publish { publications: std::iter::once(one(body)?).collect(), is_batch: false });
    }
    // Each line is the data of an event: a log, say.
    let lines = body.split(|&b| b == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let publications: Publications =
        lines.take(limits.batch_events_max + 1).map(one).collect::<Result<_, _>>()?;
    if publications.is_empty() || limits.batch_events_max < publications.len() || event_id.is_some() {
        let detail = format!("Send 1 to {} lines, and no event_id.", limits.batch_events_max);
        return Err(refused(400, "bad_batch", &detail));
    }
    Ok(Request::Publish { publications, is_batch: true })
}

/// The kind of an event published by its data alone, unless the query says another.
const DEFAULT_KIND: &str = "message";

fn history(head: &RequestHead<'_>, limits: &Limits) -> Result<Request, Refused> {
    let mut wish = wish(head, limits)?;
    if wish.patterns.is_empty() {
        return Err(refused(400, "no_channel", "Name at least one channel: /history?channel=..."));
    }
    let mut limit = HISTORY_LIMIT_DEFAULT.min(limits.history_events_max);
    for (name, value) in query(head)? {
        match &*name {
            "after" => wish.since = Some(since(&value)?),
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
    if wish.last.is_none() {
        wish.since.get_or_insert(Since::Earliest);
    }
    Ok(Request::History { wish, limit })
}

/// Events in an answer of `GET /history` unless the query says otherwise.
const HISTORY_LIMIT_DEFAULT: usize = 100;

/// What a WebSocket asks for, in the dialect that it names: by a sub-protocol, in the query, or not at all.
fn websocket_wish(head: &RequestHead<'_>, limits: &Limits, settings: &Settings) -> Result<Wish, Refused> {
    let mut dialect = settings.dialect;
    let offered = head.headers("sec-websocket-protocol").flat_map(|value| value.split(','));
    if let Some(known) = offered.filter_map(|name| Dialect::parse(name.trim())).next() {
        dialect = known;
    }
    for (name, value) in query(head)? {
        if name == "dialect" {
            dialect = named_dialect(&value)?;
        }
    }
    match dialect {
        Dialect::Engram => engram_wish(head, limits),
        Dialect::Native | Dialect::CloudEvents => Ok(Wish { dialect, ..wish(head, limits)? }),
        Dialect::Guts | Dialect::Sdk => {
            let mut wish = Wish { dialect, ..Wish::default() };
            add_guts_channels(head, limits, Spelling::Hub, &mut wish)?;
            Ok(wish)
        }
    }
}

/// What a client of the dialect `engram` asks for: the memory of one workspace.
fn engram_wish(head: &RequestHead<'_>, limits: &Limits) -> Result<Wish, Refused> {
    let mut workspace = None;
    let mut wish = Wish { dialect: Dialect::Engram, ..Wish::default() };
    for (name, value) in query(head)? {
        match &*name {
            "event_types" => {
                let types = engram::parse_event_types(&value);
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
    // What is no number means nothing to its clients either: they begin with what is new.
    let id = head.header("last-event-id").unwrap_or_default();
    wish.since = id.parse().ok().map(|seq| Since::After { epoch: None, seq });
    Ok(wish)
}

/// The workspace of a client of the dialect `engram` that names none.
const DEFAULT_WORKSPACE: &str = "default";

/// What the client library of the dialect `guts` asks for, or its load test.
fn sdk_wish(head: &RequestHead<'_>, limits: &Limits) -> Result<Wish, Refused> {
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
        let pattern = guts::parse_channel(&value, spelling)
            .map_err(|error| refused(400, "bad_channel", &format!("invalid channel: {error}")))?;
        wish.patterns.push((pattern, value.into_owned()));
    }
    Ok(())
}

/// Members of a stream's query that are read elsewhere, or that clients add to get past caches.
const OTHER_MEMBERS: &[&str] = &["unnamed", "after", "limit", "access_token", "token", "_"];

fn named_dialect(name: &str) -> Result<Dialect, Refused> {
    Dialect::parse(name).ok_or_else(|| refused(400, "unknown_dialect", "There is no dialect of this name."))
}

/// The channels, the start and the filter of a stream, from the query.
fn wish(head: &RequestHead<'_>, limits: &Limits) -> Result<Wish, Refused> {
    let mut wish = Wish::default();
    for (name, value) in query(head)? {
        match &*name {
            "channel" | "channels" | "repository" => {
                for text in value.split(',').filter(|text| !text.is_empty()) {
                    if limits.subscriptions_max <= wish.patterns.len() {
                        return Err(refused(400, "subscription_limit", &command::limit_message(limits)));
                    }
                    let pattern = Pattern::parse(text)
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
            "on_slow" => {
                return Err(refused(400, "unsupported", "'on_slow' is not served by this version"));
            }
            name => {
                let is_condition = filter::add_query_member(&mut wish.filter, name, &value, limits)
                    .map_err(|error| refused(400, error.code, &error.message))?;
                // A misspelt condition must not mean "everything".
                if !is_condition && !OTHER_MEMBERS.contains(&name) {
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

fn since(text: &str) -> Result<Since, Refused> {
    Since::parse(text).map_err(|error| refused(400, "bad_cursor", &error.to_string()))
}

/// A name and a value of a query, decoded.
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

fn query<'a>(head: &RequestHead<'a>) -> Result<Vec<Pair<'a>>, Refused> {
    query_pairs(head.query.unwrap_or_default()).collect::<Result<_, _>>().map_err(|error| malformed(&error))
}

fn refused(status: u16, code: &str, detail: &str) -> Refused {
    problem(status, code, detail).into()
}

fn malformed(error: &HttpError) -> Refused {
    refused(error.status, error.code, error.detail)
}

fn refusal(error: &PublishError) -> Refused {
    refused(error.status, error.code, &error.detail)
}

/// How the events lie in the body, by its media type. Types that plain tools send unasked count as JSON.
fn framing(head: &RequestHead<'_>) -> Result<Framing, Refused> {
    let media_type = head.header("content-type").unwrap_or("application/json");
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" | "text/plain" | "application/x-www-form-urlencoded" => Ok(Framing::Json),
        "application/x-ndjson" | "application/jsonl" => Ok(Framing::Lines),
        _ => Err(refused(415, "unsupported_media_type", "Send application/json or application/x-ndjson.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{HeadLimits, parse_head};

    fn outcome(request: &str, body: &str, door: Door) -> Result<String, u16> {
        let text = format!("{request}\r\nHost: x\r\n\r\n");
        let (head, _) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
        parse(&head, body.as_bytes(), door, &Limits::default(), &Settings::default())
            .map(|request| format!("{request:?}").split(['(', ' ']).next().unwrap_or_default().to_owned())
            .map_err(|response| response.status())
    }

    #[test]
    fn paths_methods_and_parameters() {
        let check = |request: &str, expected: Result<&str, u16>| {
            let got =
                outcome(&format!("{request} HTTP/1.1"), r#"{"channel":"t:a","event":"k"}"#, Door::Public);
            assert_eq!(got, expected.map(str::to_owned), "{request}");
        };
        check("GET /ws?channel=t:a&channel=t:b", Ok("WebSocket"));
        check("GET /ws", Ok("WebSocket"));
        check("GET /ws?channel=nonsense", Err(400));
        check("GET /ws?channel=t:a&since=abc-1", Ok("WebSocket"));
        check("GET /ws?channel=t:a&since=x%20y", Err(400));
        check("GET /ws?channel=t:a&event_types=push&last=3", Ok("WebSocket"));
        check("GET /ws?channel=t:a&event_types=bogus", Err(400));
        check("GET /ws?channel=t:a&last=0", Err(400));
        check("GET /ws?channel=t:a&last=3&since=1", Err(400));
        check("GET /ws?channel=%ff", Err(400));
        check("HEAD /ws", Err(405));
        check("GET /events?channel=t:a&_=123", Ok("Events"));
        check("GET /events", Err(400));
        check("POST /events", Err(405));
        check("POST /publish", Ok("Publish"));
        check("GET /publish", Err(405));
        check("POST /publish/t:a/b?event=k", Ok("Publish"));
        check("POST /publish/t%3Aa", Ok("Publish"));
        check("POST /publish/", Err(400));
        check("GET /history?channel=t:a&after=5&limit=10", Ok("History"));
        check("GET /history?channel=t:a&limit=0", Err(400));
        check("GET /history?channel=t:a&limit=1001", Err(400));
        check("GET /history", Err(400));
        check("HEAD /health", Ok("Health"));
        check("GET /readyz", Ok("Health"));
        check("GET /stats", Err(404));
        check("GET /", Ok("Page"));
        check("GET /nothing", Err(404));
        check("OPTIONS /publish", Ok("Options"));
        check("OPTIONS *", Ok("Options"));
        check("DELETE /publish", Err(405));
    }

    #[test]
    fn the_admin_door_leads_to_other_rooms() {
        let check = |request: &str, expected: Result<&str, u16>| {
            assert_eq!(outcome(&format!("{request} HTTP/1.1"), "", Door::Admin), expected.map(str::to_owned));
        };
        check("GET /stats", Ok("Stats"));
        check("GET /health/live", Ok("Health"));
        check("GET /ws", Err(404));
        check("POST /publish", Err(404));
    }
}
