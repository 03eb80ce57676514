//! What an HTTP request asks for.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::authority::{Act, Principal};
use super::hooks::Source;
use super::publish::{Openings, Publications};
use super::settings::Settings;
use super::submit::Submitting;
use super::wish::{self, Wish};
use super::{notifications, operate, submit};
use crate::latency::Format;
use crate::mail::Whom;
use crate::metrics;
use crate::notify;
use crate::sequencer::{Before, IdempotencyKey, Publication};
use crate::wire::http::{HttpError, Method, RequestHead, Response, problem, query_pairs};
use crate::words::channel::{Channel, Pattern};
pub use crate::words::door::Door;
use crate::words::level::Level;
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
        /// By what a second attempt is known.
        key: Option<IdempotencyKey>,
        /// The webhook that it came by.
        hook: Option<Source>,
    },
    /// A webhook asks whether we are here.
    HookPing,
    /// Events after a cursor, in one answer.
    History {
        /// What, and from where on.
        wish: Wish,
        /// At most so many events.
        limit: usize,
    },
    /// Answer when everything up to a sequence number has been handed to the kernel.
    Delivered {
        /// The sequence number.
        seq: u64,
        /// How long to wait for it, in milliseconds.
        patience_ms: u64,
    },
    /// Notifications.
    Notifications(notify::Request),
    /// Who is on a channel.
    Presence {
        /// Which channel.
        channel: Channel,
        /// In which workspace, if any.
        workspace: Option<Workspace>,
    },
    /// How the server is.
    Health(Health),
    /// Say how much is logged; before that, log so much.
    LogLevel(Option<Level>),
    /// Counters.
    Stats,
    /// Counters once a second, as server-sent events.
    Watch,
    /// Counters for Prometheus.
    Metrics(metrics::Format),
    /// How long events take.
    Latency(Format),
    /// Counters as the dialect `guts` has them.
    RealtimeStats,
    /// Tell everybody.
    Announce(Box<Publication>),
    /// Clear old events.
    Clear(Before),
    /// Who is connected.
    Clients {
        /// At most so many.
        limit: usize,
        /// Those that are furthest behind, and these first.
        by_lag: bool,
    },
    /// Disconnect a client, by its id or all of a user.
    Disconnect(Whom),
    /// Disconnect somebody, who may not come back for so long.
    Revoke {
        /// Whom.
        whom: Whom,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// Which channels there are, and how many subscribe to them.
    Channels {
        /// Those that this matches.
        pattern: Pattern,
        /// At most so many.
        limit: usize,
    },
    /// A file of the page at `/`.
    Page(String),
    /// What is allowed here: a list of methods.
    Options(&'static str),
}

/// The answer to a request that is refused.
pub type Refused = Box<Response>;

/// Which question about the server's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Does the process live?
    Live,
    /// Is it well, though it may be about to end?
    Well,
    /// Does it take work?
    Ready,
}

/// Understands a request with its whole body, which [`super::gate`] has let in. What `openings` and the head's note remember
/// makes no difference but in cost.
///
/// # Errors
/// The answer that refuses it; the connection may be kept.
pub fn parse(
    head: &RequestHead<'_>,
    body: &[u8],
    door: Door,
    principal: &Principal,
    limits: &Limits,
    settings: &Settings,
    openings: &mut Openings,
) -> Result<Request, Refused> {
    let submitting = Submitting { head, body, principal, limits };
    if door == Door::Public
        && let Some(framing) = submit::noted(head)
    {
        return submitting.plain_envelope(framing, openings);
    }
    let allowed = match allowed_methods(head.path, door) {
        Some(allowed) => allowed,
        None => return Err(refused(404, "not_found", "There is nothing at this path.")),
    };
    if head.method == Method::Options {
        return Ok(Request::Options(allowed));
    }
    // What is asked for most is found without a search.
    let is_publish = allowed == POST && head.method == Method::Post;
    if !is_publish && !allowed.split(", ").any(|method| method == head.method.as_str()) {
        let answer = problem(405, "method_not_allowed", "This path does not take this method.");
        return Err(answer.header("Allow", allowed).into());
    }
    if let Some(request) = notifications::parse(head.method, head.path, head.query, body, limits) {
        return request.map(Request::Notifications);
    }
    if door == Door::Admin
        && let Some(request) = operate::parse(head, body)
    {
        return request;
    }
    match head.path {
        "/ws" => Ok(Request::WebSocket(wish::websocket(head, limits, settings)?)),
        "/v1/events" => Ok(Request::Events { wish: wish::engram(head, limits)?, unnamed: false }),
        "/api/events" | "/ws/subscribe" => {
            let wish = wish::sdk(head, limits)?;
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
            let wish = wish::events(head, limits)?;
            let unnamed = query(head)?.iter().any(|(name, value)| name == "unnamed" && value != "0");
            Ok(Request::Events { wish, unnamed })
        }
        "/publish" => submitting.envelope(openings),
        "/history" => {
            let (wish, limit) = wish::history(head, limits)?;
            Ok(Request::History { wish, limit })
        }
        "/delivered" => delivered(head),
        "/presence" => presence(head),
        "/health" | "/healthz" => Ok(Request::Health(Health::Well)),
        "/health/live" | "/health/startup" => Ok(Request::Health(Health::Live)),
        "/health/ready" | "/readyz" => Ok(Request::Health(Health::Ready)),
        path => {
            if let Some(channel) = path.strip_prefix("/publish/") {
                return submitting.data(channel);
            }
            match Source::of_path(path) {
                Some(source) => submitting.hook(source, &settings.policy.load().secrets),
                None => Ok(Request::Page(path.to_owned())),
            }
        }
    }
}

impl Request {
    /// Calls `on` with everything that this request would do; the first refusal is the answer.
    ///
    /// # Errors
    /// Whatever `on` refuses with.
    pub fn each_act<E>(&self, mut on: impl FnMut(&Act<'_>) -> Result<(), E>) -> Result<(), E> {
        match self {
            Request::WebSocket(wish) | Request::Events { wish, .. } | Request::History { wish, .. } => {
                let scope = wish.filter.scope.as_ref();
                wish.patterns.iter().try_for_each(|(pattern, _)| on(&Act::Read { pattern, scope }))
            }
            Request::Publish { hook: Some(source), .. } => on(&Act::Hook(*source)),
            Request::Publish { publications, .. } => publications.iter().try_for_each(|publication| {
                on(&Act::Publish { channel: publication.channel(), workspace: publication.workspace() })
            }),
            Request::Notifications(request) => match (request, request.user()) {
                (notify::Request::Notify(_), Some(user)) => on(&Act::Notify(user.as_str())),
                (_, Some(user)) => on(&Act::Notifications(user.as_str())),
                (_, None) => on(&Act::Look),
            },
            Request::Presence { channel, workspace } => {
                on(&Act::Presence { channel, workspace: workspace.as_ref() })
            }
            Request::Announce(_) => on(&Act::Announce),
            Request::Metrics(_) => on(&Act::Measure),
            Request::Stats
            | Request::Watch
            | Request::Latency(_)
            | Request::LogLevel(_)
            | Request::Clear(_)
            | Request::Clients { .. }
            | Request::Disconnect(_)
            | Request::Revoke { .. }
            | Request::Channels { .. } => on(&Act::Administer),
            Request::HookPing
            | Request::Delivered { .. }
            | Request::Health(_)
            | Request::RealtimeStats
            | Request::Page(_)
            | Request::Options(_) => on(&Act::Look),
        }
    }
}

const GET: &str = "GET, OPTIONS";
const GET_OR_HEAD: &str = "GET, HEAD, OPTIONS";
const POST: &str = "POST, OPTIONS";

/// The methods of `path`, or nothing if there is no such path.
pub(super) fn allowed_methods(path: &str, door: Door) -> Option<&'static str> {
    match (path, door) {
        (path, _) if HEALTH_PATHS.contains(&path) => Some(GET_OR_HEAD),
        ("*", _) => Some("GET, HEAD, POST, PUT, DELETE, OPTIONS"),
        (path, Door::Admin) => operate::allowed_methods(path),
        ("/ws" | "/events" | "/v1/events" | "/api/events" | "/ws/subscribe", _) => Some(GET),
        ("/api/realtime/stats" | "/history" | "/delivered" | "/presence", _) => Some(GET_OR_HEAD),
        ("/publish", _) => Some(POST),
        (path, _) if path.starts_with("/publish/") || Source::of_path(path).is_some() => Some(POST),
        (path, _) if PAGE_PATHS.contains(&path) => Some(GET_OR_HEAD),
        (path, _) => notifications::allowed_methods(path),
    }
}

const HEALTH_PATHS: &[&str] =
    &["/health", "/healthz", "/health/live", "/health/startup", "/health/ready", "/readyz"];

/// Whether nothing at this path depends on who asks: health, the pages, and webhooks, which prove themselves otherwise.
#[must_use]
pub fn is_open_to_all(path: &str) -> bool {
    HEALTH_PATHS.contains(&path)
        || PAGE_PATHS.contains(&path)
        || DASHBOARD_PATHS.contains(&path)
        || Source::of_path(path).is_some()
}

/// The files of the page at `/`, and the descriptions of what can be asked.
pub const PAGE_PATHS: &[&str] =
    &["/", "/page.css", "/page.js", "/client.js", "/favicon.svg", "/openapi.yaml", "/asyncapi.yaml"];

/// The files of the page that operators find at `/`.
pub const DASHBOARD_PATHS: &[&str] = &[
    "/",
    "/dashboard",
    "/dashboard.css",
    "/dashboard.js",
    "/charts.js",
    "/figures.js",
    "/history.js",
    "/words.js",
    "/client.js",
    "/favicon.svg",
];

fn delivered(head: &RequestHead<'_>) -> Result<Request, Refused> {
    let (mut seq, mut patience_ms) = (None, PATIENCE_MS_DEFAULT);
    for (name, value) in query(head)? {
        match &*name {
            "seq" => seq = value.parse().ok(),
            "timeout_ms" => {
                let given = value.parse().ok().filter(|given| (0..=PATIENCE_MS_MAX).contains(given));
                let detail = format!("timeout_ms is a number from 0 to {PATIENCE_MS_MAX}");
                patience_ms = given.ok_or_else(|| refused(400, "bad_timeout", &detail))?;
            }
            _ => {}
        }
    }
    let seq = seq.ok_or_else(|| refused(400, "bad_seq", "Name a sequence number: /delivered?seq=41"))?;
    Ok(Request::Delivered { seq, patience_ms })
}

/// How long `GET /delivered` waits unless the query says otherwise, in milliseconds.
const PATIENCE_MS_DEFAULT: u64 = 5000;

/// How long it may be told to wait.
const PATIENCE_MS_MAX: u64 = 60_000;

fn presence(head: &RequestHead<'_>) -> Result<Request, Refused> {
    let (mut channel, mut workspace) = (None, None);
    for (name, value) in query(head)? {
        match &*name {
            "channel" => channel = Some(value),
            "workspace" => {
                let detail = "A workspace is 1 to 64 characters of a-z, 0-9, '_', '-'.";
                let parsed = Workspace::parse(&value);
                workspace = Some(parsed.ok_or_else(|| refused(400, "bad_workspace", detail))?);
            }
            _ => {}
        }
    }
    let text = channel.ok_or_else(|| refused(400, "no_channel", "Name a channel: /presence?channel=..."))?;
    let channel = Channel::parse(&text);
    let channel =
        channel.map_err(|error| refused(400, "bad_channel", &format!("invalid channel: {error}")))?;
    Ok(Request::Presence { channel, workspace })
}

/// A name and a value of a query, decoded.
pub(super) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The members of the query; most have a few, which take no allocation.
pub(super) fn query<'a>(head: &RequestHead<'a>) -> Result<SmallVec<[Pair<'a>; 4]>, Refused> {
    query_pairs(head.query.unwrap_or_default()).collect::<Result<_, _>>().map_err(|error| malformed(&error))
}

pub(super) fn refused(status: u16, code: &str, detail: &str) -> Refused {
    problem(status, code, detail).into()
}

pub(super) fn malformed(error: &HttpError) -> Refused {
    refused(error.status, error.code, error.detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{HeadLimits, KnownHead, parse_head};

    fn outcome(request: &str, body: &str, door: Door) -> Result<String, u16> {
        let text = format!("{request}\r\nHost: x\r\n\r\n");
        let (head, _) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
        let (principal, limits, settings) = (Principal::default(), Limits::default(), Settings::default());
        parse(&head, body.as_bytes(), door, &principal, &limits, &settings, &mut Openings::default())
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
    fn what_is_noted_about_a_head_changes_no_answer() {
        let (principal, limits, settings) = (Principal::default(), Limits::default(), Settings::default());
        let check = |target: &str, fields: &str, is_noted: bool| {
            let mut known = KnownHead::default();
            let mut openings = Openings::default();
            let event = r#"{"channel":"t:a","event":"k","data":1,"event_id":"e"}"#;
            let bodies = [event, &format!("[{event},{event}]"), &format!("{event}\n{event}"), "{", ""];
            for (at, body) in bodies.iter().cycle().take(3 * bodies.len()).enumerate() {
                let length = body.len();
                let text = format!(
                    "POST {target} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {length:04}\r\n\r\n"
                );
                let (parsed, len) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
                let said = |head: &RequestHead<'_>, door: Door, openings: &mut Openings| {
                    let request =
                        parse(head, body.as_bytes(), door, &principal, &limits, &settings, openings);
                    format!("{request:?}")
                };
                if at == 0 {
                    known.learn(&parsed, len);
                }
                for door in [Door::Public, Door::Admin] {
                    let (head, _) = known.recognise(text.as_bytes()).unwrap();
                    let expected = said(&parsed, door, &mut Openings::default());
                    assert_eq!(said(&head, door, &mut openings), expected, "{text}{body}");
                    assert_eq!(head.note.unwrap().get() != 0, is_noted, "{text}{body}");
                }
            }
        };
        check("/publish", "", true);
        check("/publish", "Content-Type: application/json\r\n", true);
        check("/publish", "Content-Type: application/x-ndjson\r\n", true);
        check("/publish", "Content-Type: text/html\r\n", false);
        check("/publish", "Content-Type: application/cloudevents+json\r\n", false);
        check("/publish", "ce-type: k\r\n", false);
        check("/publish", "Idempotency-Key: k\r\n", false);
        check("/publish", "Idempotency-Key: k\r\nIdempotency-Key: k\r\n", false);
        check("/publish?validate=1", "", false);
        check("/publish/t:a", "", false);
        check("/history", "", false);
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
