//! What an HTTP request asks for.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::origin;
use super::publish::{Framing, Publications, PublishError, parse_body, parse_data};
use crate::wire::http::{
    HttpError, Method, RequestHead, Response, decode_path_segment, problem, query_pairs,
};
use crate::words::channel::Pattern;
use crate::words::cursor::Since;
use crate::words::limits::Limits;

/// What is asked for.
#[derive(Debug)]
pub enum Request {
    /// Become a WebSocket.
    WebSocket(Subscription),
    /// Stream events as server-sent events.
    Events {
        /// What, and from where on.
        subscription: Subscription,
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
        subscription: Subscription,
        /// At most so many events.
        limit: usize,
    },
    /// How the server is.
    Health(Health),
    /// Counters.
    Stats,
    /// A file of the page at `/`.
    Page(String),
    /// What is allowed here: a list of methods.
    Options(&'static str),
}

/// What a stream or an answer is made of.
#[derive(Debug, Default)]
pub struct Subscription {
    /// What, with the text to echo.
    pub patterns: SmallVec<[(Pattern, String); 1]>,
    /// From where on; from now on unless given.
    pub since: Option<Since>,
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
pub fn parse(head: &RequestHead<'_>, body: &[u8], door: Door, limits: &Limits) -> Result<Request, Refused> {
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
        "/ws" => Ok(Request::WebSocket(subscription(head, limits)?)),
        "/events" => {
            let mut subscription = subscription(head, limits)?;
            if subscription.patterns.is_empty() {
                return Err(refused(400, "no_channel", "Name at least one channel: /events?channel=..."));
            }
            // The header is the newer of the two: a browser that reconnects asks for the same address again.
            if let Some(id) = head.header("last-event-id").filter(|id| !id.is_empty()) {
                subscription.since = Some(since(id)?);
            }
            let unnamed = query(head)?.iter().any(|(name, value)| name == "unnamed" && value != "0");
            Ok(Request::Events { subscription, unnamed })
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
        ("/ws" | "/events", _) => Some(GET),
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
    let (mut kind, mut event_id) = (None, None);
    for (name, value) in query(head)? {
        match &*name {
            "event" => kind = Some(value),
            "event_id" => event_id = Some(value),
            _ => {}
        }
    }
    let kind = kind.as_deref().unwrap_or(DEFAULT_KIND);
    let publications =
        parse_data(&channel, kind, event_id.as_deref(), body, limits).map_err(|error| refusal(&error))?;
    Ok(Request::Publish { publications, is_batch: false })
}

/// The kind of an event published by its data alone, unless the query says another.
const DEFAULT_KIND: &str = "message";

fn history(head: &RequestHead<'_>, limits: &Limits) -> Result<Request, Refused> {
    let mut subscription = subscription(head, limits)?;
    if subscription.patterns.is_empty() {
        return Err(refused(400, "no_channel", "Name at least one channel: /history?channel=..."));
    }
    let mut limit = HISTORY_LIMIT_DEFAULT.min(limits.history_events_max);
    for (name, value) in query(head)? {
        match &*name {
            "after" => subscription.since = Some(since(&value)?),
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
    subscription.since.get_or_insert(Since::Earliest);
    Ok(Request::History { subscription, limit })
}

/// Events in an answer of `GET /history` unless the query says otherwise.
const HISTORY_LIMIT_DEFAULT: usize = 100;

/// The channels and the start of a stream, from the query.
fn subscription(head: &RequestHead<'_>, limits: &Limits) -> Result<Subscription, Refused> {
    let mut subscription = Subscription::default();
    for (name, value) in query(head)? {
        match &*name {
            "channel" | "channels" | "repository" => {
                for text in value.split(',').filter(|text| !text.is_empty()) {
                    if limits.subscriptions_max <= subscription.patterns.len() {
                        return Err(refused(
                            400,
                            "subscription_limit",
                            &super::command::limit_message(limits),
                        ));
                    }
                    let pattern = Pattern::parse(text)
                        .map_err(|error| refused(400, "bad_channel", &format!("invalid channel: {error}")))?;
                    subscription.patterns.push((pattern, text.to_owned()));
                }
            }
            "since" | "last_event_id" => subscription.since = Some(since(&value)?),
            "event_types" | "ids" | "tags" | "workspace" | "filter" | "on_slow" | "last" | "dialect" => {
                return Err(refused(400, "unsupported", &format!("'{name}' is not served by this version")));
            }
            _ => {}
        }
    }
    Ok(subscription)
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
        parse(&head, body.as_bytes(), door, &Limits::default())
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
        check("GET /ws?channel=t:a&event_types=push", Err(400));
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
