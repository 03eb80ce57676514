//! What is asked of the notifications over HTTP, and what is answered.
//!
//! | request | answer |
//! | --- | --- |
//! | `POST /notifications` with `{"user_id","notification_type","title","body","url"?,"metadata"?}` | 201 `{"stored":true,"delivered":…,"unread":n,"notification":{…}}`; 200 `{"stored":false,"delivered":false,"reason":"type_disabled"}` if the user does not want the type |
//! | `GET /notifications?user=&unread=&limit=&before=` | `{"notifications":[…],"unread":n,"total":n,"more":…,"next":…}`, newest first; go on with `before=<next>`; an id does too |
//! | `GET /notifications/count?user=` | `{"unread":n,"total":n}` |
//! | `POST /notifications/{id}/read?user=` | `{"id":"…","unread":n}` |
//! | `POST /notifications/read-all?user=` | `{"all":true,"unread":0,"marked":n}` |
//! | `DELETE /notifications/{id}?user=` | `{"id":"…","unread":n}` |
//! | `GET`, `PUT /notifications/preferences?user=` | the preferences; `PUT` takes `{"user_id"?,"enabled_types","email_enabled"?,"push_enabled"?}` |
//! | `GET /notifications/types` | `{"types":[{"type","label","icon","default"},…]}` |
//!
//! Every other answer is a problem document with a `code`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Deserialize;
use uuid::Uuid;

use super::request::Refused;
use crate::notify::{
    Answer, Before, Draft, Listing, Metadata, NotificationKind, Notified, Outcome, Page, Preferences,
    Refusal, Request, User,
};
use crate::wire::http::{Method, Response, problem, query_pairs};
use crate::words::limits::{Limits, RETRY_AFTER_SECONDS};
use crate::words::spread::spread;

/// Understands a request for one of the paths of notifications, with its whole body; nothing if the path is none of
/// them. `OPTIONS` is for the caller, who knows the methods from [`allowed_methods`].
#[must_use]
pub fn parse(
    method: Method,
    path: &str,
    query: Option<&str>,
    body: &[u8],
    limits: &Limits,
) -> Option<Result<Request, Refused>> {
    let endpoint = Endpoint::parse(path)?;
    Some(endpoint.request(method, query.unwrap_or_default(), body, limits))
}

/// The methods of `path`, or nothing if it is none of the paths of notifications.
#[must_use]
pub fn allowed_methods(path: &str) -> Option<&'static str> {
    Endpoint::parse(path).map(Endpoint::methods)
}

/// The response that says `answer`. `seed` decides when somebody for whom there is no room may try again.
#[must_use]
pub fn respond(answer: &Answer, seed: u64) -> Response {
    let outcome = match answer {
        Ok(outcome) => outcome,
        Err(refusal) => return refusal_response(refusal, seed),
    };
    let status = if matches!(outcome, Outcome::Notified(Notified::Stored { .. })) { 201 } else { 200 };
    Response::new(status)
        .header("Cache-Control", "no-store")
        .body("application/json", (outcome_json(outcome) + "\n").into_bytes())
}

/// A path of notifications.
#[derive(Clone, Copy)]
enum Endpoint<'a> {
    All,
    Count,
    ReadAll,
    Preferences,
    Types,
    One(&'a str),
    OneRead(&'a str),
}

impl<'a> Endpoint<'a> {
    fn parse(path: &'a str) -> Option<Endpoint<'a>> {
        let rest = path.strip_prefix("/notifications")?;
        if rest.is_empty() {
            return Some(Endpoint::All);
        }
        let (first, more) = match rest.strip_prefix('/')?.split_once('/') {
            Some((first, more)) => (first, Some(more)),
            None => (rest.strip_prefix('/')?, None),
        };
        match (first, more) {
            ("", _) => None,
            ("count", None) => Some(Endpoint::Count),
            ("read-all", None) => Some(Endpoint::ReadAll),
            ("preferences", None) => Some(Endpoint::Preferences),
            ("types", None) => Some(Endpoint::Types),
            (id, None) => Some(Endpoint::One(id)),
            (id, Some("read")) => Some(Endpoint::OneRead(id)),
            _ => None,
        }
    }

    fn methods(self) -> &'static str {
        match self {
            Endpoint::All => "GET, HEAD, POST, OPTIONS",
            Endpoint::Count | Endpoint::Types => "GET, HEAD, OPTIONS",
            Endpoint::ReadAll | Endpoint::OneRead(_) => "POST, OPTIONS",
            Endpoint::Preferences => "GET, HEAD, PUT, OPTIONS",
            Endpoint::One(_) => "DELETE, OPTIONS",
        }
    }

    fn request(self, method: Method, query: &str, body: &[u8], limits: &Limits) -> Result<Request, Refused> {
        let method = if method == Method::Head { Method::Get } else { method };
        match (self, method) {
            (Endpoint::All, Method::Get) => list(query, limits),
            (Endpoint::All, Method::Post) => {
                Query::parse(query, WHO_ASKS)?;
                notify(body)
            }
            (Endpoint::Count, Method::Get) => Ok(Request::Count { user: user(query)? }),
            (Endpoint::ReadAll, Method::Post) => Ok(Request::MarkAllRead { user: user(query)? }),
            (Endpoint::Preferences, Method::Get) => Ok(Request::Preferences { user: user(query)? }),
            (Endpoint::Preferences, Method::Put) => set_preferences(user(query)?, body),
            (Endpoint::Types, Method::Get) => {
                Query::parse(query, WHO_ASKS)?;
                Ok(Request::Kinds)
            }
            (Endpoint::One(id), Method::Delete) => Ok(Request::Delete { user: user(query)?, id: id_of(id)? }),
            (Endpoint::OneRead(id), Method::Post) => {
                Ok(Request::MarkRead { user: user(query)?, id: id_of(id)? })
            }
            _ => {
                let answer = problem(405, "method_not_allowed", "This path does not take this method.");
                Err(answer.header("Allow", self.methods()).into())
            }
        }
    }
}

fn list(query: &str, limits: &Limits) -> Result<Request, Refused> {
    let query = Query::parse(query, &["user", "unread", "limit", "before"])?;
    let unread_only = match query.value("unread") {
        None | Some("false" | "0") => false,
        Some("true" | "1") => true,
        Some(_) => return Err(bad("bad_unread", "unread is true or false")),
    };
    let limit_max = limits.notification_page_max;
    let limit = match query.value("limit") {
        None => LIMIT_DEFAULT.min(limit_max),
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=limit_max).contains(limit))
            .ok_or_else(|| bad("bad_limit", &format!("limit is a number from 1 to {limit_max}")))?,
    };
    let before = query.value("before").map(before_of).transpose()?;
    Ok(Request::List { user: query.user()?, listing: Listing { unread_only, before, limit } })
}

/// Notifications in an answer of `GET /notifications` unless the query says otherwise.
const LIMIT_DEFAULT: usize = 50;

fn before_of(text: &str) -> Result<Before, Refused> {
    let place = if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None };
    let before = place.map(Before::Place).or_else(|| uuid(text).map(Before::Id));
    before.ok_or_else(|| {
        bad("bad_cursor", "before is the 'next' of an earlier answer, or the id of a notification")
    })
}

/// A notification as its sender writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NotificationBody {
    user_id: String,
    notification_type: String,
    title: String,
    body: String,
    url: Option<String>,
    metadata: Option<Metadata>,
}

fn notify(body: &[u8]) -> Result<Request, Refused> {
    let body: NotificationBody = from_json(body)?;
    let kind = kind_of(&body.notification_type)?;
    let draft = Draft::new(user_of(&body.user_id)?, kind, body.title, body.body)
        .and_then(|draft| match body.url {
            Some(url) => draft.url(url),
            None => Ok(draft),
        })
        .and_then(|draft| draft.metadata(body.metadata.unwrap_or_default()))
        .map_err(|error| bad(error.code, &error.detail))?;
    Ok(Request::Notify(Box::new(draft)))
}

/// Preferences as a user writes them: what is read may be sent back changed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PreferencesBody<'a> {
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    enabled_types: Vec<Cow<'a, str>>,
    #[serde(default)]
    email_enabled: bool,
    #[serde(default)]
    push_enabled: bool,
}

fn set_preferences(user: User, body: &[u8]) -> Result<Request, Refused> {
    let body: PreferencesBody<'_> = from_json(body)?;
    if body.user_id.is_some_and(|user_id| user_id != user.as_str()) {
        return Err(bad("bad_user", "user_id in the body is another one than user in the query"));
    }
    let enabled_types: BTreeSet<NotificationKind> =
        body.enabled_types.iter().map(|name| kind_of(name)).collect::<Result<_, _>>()?;
    Ok(Request::SetPreferences(Preferences {
        user_id: user,
        enabled_types,
        email_enabled: body.email_enabled,
        push_enabled: body.push_enabled,
    }))
}

/// The members of a query.
struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Takes only members named in `known`, each at most once: a mistyped filter must not look like none. Credentials
    /// and what keeps caches away are not meant for us.
    fn parse(query: &'a str, known: &[&str]) -> Result<Query<'a>, Refused> {
        let mut members: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for pair in query_pairs(query) {
            let (name, value) =
                pair.map_err(|error| Refused::from(problem(error.status, error.code, error.detail)))?;
            if NOT_FOR_US.contains(&&*name) {
                continue;
            }
            if !known.contains(&&*name) {
                let shown: String = name.chars().take(NAME_CHARS_SHOWN).collect();
                return Err(bad("unknown_member", &format!("this path takes no '{shown}' in its query")));
            }
            if members.iter().any(|(earlier, _)| *earlier == name) {
                return Err(bad("repeated_member", &format!("'{name}' stands twice in the query")));
            }
            members.push((name, value));
        }
        Ok(Query(members))
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    fn user(&self) -> Result<User, Refused> {
        let name = self.value("user").ok_or_else(|| bad("no_user", "Name the user: ?user=..."))?;
        user_of(name)
    }
}

const NOT_FOR_US: &[&str] = &["access_token", "_"];

/// What a query may say where it is not asked for anybody's notifications.
const WHO_ASKS: &[&str] = &["user"];

/// Characters of an unknown name that are repeated to its sender.
const NAME_CHARS_SHOWN: usize = 40;

fn user(query: &str) -> Result<User, Refused> {
    Query::parse(query, &["user"])?.user()
}

fn user_of(name: &str) -> Result<User, Refused> {
    User::parse(name).map_err(|error| bad("bad_user", &error.to_string()))
}

fn kind_of(name: &str) -> Result<NotificationKind, Refused> {
    NotificationKind::parse(name).map_err(|error| bad("bad_notification_type", &error.to_string()))
}

fn id_of(text: &str) -> Result<Uuid, Refused> {
    uuid(text).ok_or_else(|| bad("bad_id", "the id of a notification is a UUID"))
}

/// A UUID in its hyphenated form; the others (braces, a URN, no hyphens) are not taken for addresses of ours.
fn uuid(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    (text.len() == uuid::fmt::Hyphenated::LENGTH).then_some(id)
}

fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refused> {
    // Without this a list of values would do for a struct.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(bad("bad_json", "Send a JSON object."));
    }
    serde_json::from_slice(body).map_err(|error| bad("bad_json", &error.to_string()))
}

fn bad(code: &str, detail: &str) -> Refused {
    problem(400, code, detail).into()
}

fn refusal_response(refusal: &Refusal, seed: u64) -> Response {
    let detail = refusal.to_string();
    match refusal {
        Refusal::Overloaded | Refusal::Stopped => {
            let seconds = spread(seed, RETRY_AFTER_SECONDS).to_string();
            problem(503, refusal.code(), &detail).header("Retry-After", seconds)
        }
        Refusal::NotFound => problem(404, refusal.code(), &detail),
        Refusal::UsersFull | Refusal::StoreFull => problem(507, refusal.code(), &detail),
        // What exactly failed is for the operator.
        Refusal::Failed(_) => problem(500, refusal.code(), "The store of notifications has failed."),
    }
}

fn outcome_json(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Notified(Notified::Stored { notification, unread, delivered }) => format!(
            r#"{{"stored":true,"delivered":{delivered},"unread":{unread},"notification":{}}}"#,
            notification.to_json()
        ),
        Outcome::Notified(Notified::Disabled(_)) => {
            r#"{"stored":false,"delivered":false,"reason":"type_disabled"}"#.to_owned()
        }
        Outcome::Page(page) => page_json(page),
        Outcome::Counts(counts) => format!(r#"{{"unread":{},"total":{}}}"#, counts.unread, counts.total),
        Outcome::Read { id, unread } | Outcome::Deleted { id, unread } => {
            format!(r#"{{"id":"{id}","unread":{unread}}}"#)
        }
        Outcome::AllRead { marked } => format!(r#"{{"all":true,"unread":0,"marked":{marked}}}"#),
        Outcome::Preferences(preferences) => preferences.to_json(),
        Outcome::Kinds => kinds_json(),
    }
}

fn page_json(page: &Page) -> String {
    let notifications: Vec<String> = page.notifications.iter().map(|one| one.to_json()).collect();
    let next = page.next.map_or_else(|| "null".to_owned(), |place| format!("\"{place}\""));
    format!(
        r#"{{"notifications":[{}],"unread":{},"total":{},"more":{},"next":{next}}}"#,
        notifications.join(","),
        page.counts.unread,
        page.counts.total,
        page.next.is_some()
    )
}

/// The catalogue. Labels and icons are our own words, none of which JSON would escape.
fn kinds_json() -> String {
    let mut out = String::from(r#"{"types":["#);
    for (at, kind) in NotificationKind::ALL.into_iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let (label, icon, default) = (kind.label(), kind.icon(), kind.is_on_by_default());
        let written = write!(
            out,
            r#"{comma}{{"type":"{kind}","label":"{label}","icon":"{icon}","default":{default}}}"#
        );
        debug_assert!(written.is_ok(), "a string takes every text");
    }
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{Counts, Notification};
    use crate::wire::http::ResponseContext;

    const ID: &str = "0b9cb6e4-0f6f-4f3c-9d53-3f6d1f3c2a10";

    fn understood(line: &str, body: &str) -> Option<Result<Request, Refused>> {
        let (method, target) = line.split_once(' ').unwrap();
        let method = match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            _ => Method::Other,
        };
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let limits = Limits { notification_page_max: 100, ..Limits::default() };
        parse(method, path, query, body.as_bytes(), &limits)
    }

    /// The status, the fields and the body of a response.
    fn written(response: &Response) -> (u16, String, String) {
        let mut out = Vec::new();
        let context = ResponseContext { keep_alive: true, ..ResponseContext::LAST };
        response.write_to(&mut out, &context);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (response.status(), head.to_owned(), body.to_owned())
    }

    fn alice() -> User {
        User::parse("alice").unwrap()
    }

    fn id() -> Uuid {
        ID.parse().unwrap()
    }

    #[test]
    fn requests_of_every_path() {
        let check = |line: &str, expected: Request| {
            assert_eq!(understood(&line.replace("{id}", ID), "").unwrap().unwrap(), expected, "{line}");
        };
        let listing = Listing { unread_only: false, before: None, limit: 50 };
        let list = |listing| Request::List { user: alice(), listing };
        check("GET /notifications?user=alice", list(listing));
        check("HEAD /notifications?user=alice&access_token=x&_=7", list(listing));
        check(
            "GET /notifications?user=alice&unread=true&limit=7",
            list(Listing { unread_only: true, limit: 7, ..listing }),
        );
        check("GET /notifications?user=alice&unread=0", list(listing));
        check(
            "GET /notifications?user=alice&before=17",
            list(Listing { before: Some(Before::Place(17)), ..listing }),
        );
        check(
            "GET /notifications?user=alice&before={id}",
            list(Listing { before: Some(Before::Id(id())), ..listing }),
        );
        check("GET /notifications/count?user=%61lice", Request::Count { user: alice() });
        check("POST /notifications/{id}/read?user=alice", Request::MarkRead { user: alice(), id: id() });
        check("POST /notifications/read-all?user=alice", Request::MarkAllRead { user: alice() });
        check("DELETE /notifications/{id}?user=alice", Request::Delete { user: alice(), id: id() });
        check("GET /notifications/preferences?user=alice", Request::Preferences { user: alice() });
        check("GET /notifications/types", Request::Kinds);
        check("GET /notifications/types?user=alice", Request::Kinds);
    }

    #[test]
    fn requests_that_are_refused_and_their_codes() {
        let check = |line: &str, body: &str, status: u16, code: &str| {
            let refused = understood(&line.replace("{id}", ID), body).unwrap().unwrap_err();
            let (got, head, text) = written(&refused);
            assert_eq!(got, status, "{line} {body}: {text}");
            assert!(text.contains(&format!("\"code\":\"{code}\"")), "{line} {body}: {text}");
            assert!(head.contains("application/problem+json"), "{line}: {head}");
        };
        check("GET /notifications", "", 400, "no_user");
        check("GET /notifications?user=", "", 400, "bad_user");
        check("GET /notifications?user=a/b", "", 400, "bad_user");
        check("GET /notifications?user=*", "", 400, "bad_user");
        check("GET /notifications?user=%ff", "", 400, "bad_escape");
        check("GET /notifications?user=alice&user=bob", "", 400, "repeated_member");
        check("GET /notifications?user=alice&unraed=true", "", 400, "unknown_member");
        check("GET /notifications?user=alice&unread=yes", "", 400, "bad_unread");
        check("GET /notifications?user=alice&limit=0", "", 400, "bad_limit");
        check("GET /notifications?user=alice&limit=101", "", 400, "bad_limit");
        check("GET /notifications?user=alice&limit=x", "", 400, "bad_limit");
        check("GET /notifications?user=alice&before=", "", 400, "bad_cursor");
        check("GET /notifications?user=alice&before=-1", "", 400, "bad_cursor");
        check("GET /notifications?user=alice&before=99999999999999999999", "", 400, "bad_cursor");
        check("GET /notifications/count", "", 400, "no_user");
        check("GET /notifications/types?page=1", "", 400, "unknown_member");
        check("POST /notifications/seven/read?user=alice", "", 400, "bad_id");
        check("POST /notifications/{id}/read", "", 400, "no_user");
        check("DELETE /notifications/{id}0?user=alice", "", 400, "bad_id");
        check("DELETE /notifications/0b9cb6e40f6f4f3c9d533f6d1f3c2a10?user=alice", "", 400, "bad_id");
        check("PATCH /notifications", "", 405, "method_not_allowed");
        check("DELETE /notifications?user=alice", "", 405, "method_not_allowed");
        check("GET /notifications/{id}?user=alice", "", 405, "method_not_allowed");
        check("GET /notifications/read-all?user=alice", "", 405, "method_not_allowed");
        check("POST /notifications/preferences?user=alice", "", 405, "method_not_allowed");
        let put = "PUT /notifications/preferences?user=alice";
        check(put, "", 400, "bad_json");
        check(put, "{}", 400, "bad_json");
        check(put, r#"{"enabled_types":["mention"],"sms_enabled":true}"#, 400, "bad_json");
        check(put, r#"{"enabled_types":["sms"]}"#, 400, "bad_notification_type");
        check(put, r#"{"user_id":"bob","enabled_types":[]}"#, 400, "bad_user");
    }

    #[test]
    fn other_paths_are_left_to_others() {
        for path in [
            "/",
            "/notification",
            "/notificationsx",
            "/notifications/",
            "/notifications//read",
            "/notifications/x/y",
            "/notifications/x/read/z",
        ] {
            assert!(understood(&format!("GET {path}"), "").is_none(), "{path}");
            assert_eq!(allowed_methods(path), None, "{path}");
        }
        assert_eq!(allowed_methods("/notifications/x"), Some("DELETE, OPTIONS"));
        assert_eq!(allowed_methods("/notifications/preferences"), Some("GET, HEAD, PUT, OPTIONS"));
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let refused = understood("PUT /notifications/count?user=alice", "").unwrap().unwrap_err();
        assert!(written(&refused).1.contains("Allow: GET, HEAD, OPTIONS"));
    }

    #[test]
    fn notifications_as_they_are_sent() {
        let check = |body: &str, expected: Result<Draft, &str>| {
            let got = understood("POST /notifications", body).unwrap();
            match (got, expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, Request::Notify(Box::new(expected)), "{body}"),
                (Err(refused), Err(code)) => {
                    let (status, _, text) = written(&refused);
                    assert_eq!(status, 400, "{body}");
                    assert!(text.contains(&format!("\"code\":\"{code}\"")), "{body}: {text}");
                }
                (got, expected) => panic!("{body}: {got:?}, not {expected:?}"),
            }
        };
        let plain = || Draft::new(alice(), NotificationKind::Mention, "t", "b").unwrap();
        let with = |more: &str| {
            format!(r#"{{"user_id":"alice","notification_type":"mention","title":"t","body":"b"{more}}}"#)
        };
        check(&with(""), Ok(plain()));
        check(&with(r#","url":null,"metadata":{}"#), Ok(plain()));
        check(&with(r#","url":"/a""#), Ok(plain().url("/a").unwrap()));
        let metadata = Metadata { pr_number: Some(7), actor: Some("bob".into()), ..Metadata::default() };
        check(&with(r#","metadata":{"pr_number":7,"actor":"bob"}"#), Ok(plain().metadata(metadata).unwrap()));
        check(&with(r#","read":true"#), Err("bad_json"));
        check(&with(r#","metadata":{"pr":7}"#), Err("bad_json"));
        check(&with(r#","metadata":{"pr_number":-7}"#), Err("bad_json"));
        check(&with(r#","url":"javascript:x""#), Err("bad_url"));
        check(&with(r#","title":"twice""#), Err("bad_json"));
        check(&with("").replace("alice", "a b"), Err("bad_user"));
        check(&with("").replace("mention", "mentioned"), Err("bad_notification_type"));
        check(&with("").replace(r#""t""#, r#""""#), Err("bad_title"));
        check(&with("").replace(r#","body":"b""#, ""), Err("bad_json"));
        let long = "b".repeat(crate::notify::BODY_BYTES_MAX + 1);
        check(&with("").replace(r#""b""#, &format!("\"{long}\"")), Err("bad_body"));
        check("", Err("bad_json"));
        check("[]", Err("bad_json"));
    }

    #[test]
    fn preferences_may_be_sent_back_as_they_were_read() {
        let mut preferences = Preferences::for_user(alice());
        preferences.enabled_types.insert(NotificationKind::Push);
        preferences.email_enabled = true;
        let line = "PUT /notifications/preferences?user=alice";
        let got = understood(line, &preferences.to_json()).unwrap().unwrap();
        assert_eq!(got, Request::SetPreferences(preferences));
        let got = understood(line, r#"{"enabled_types":["push","push"]}"#).unwrap().unwrap();
        let only_pushes = Preferences {
            user_id: alice(),
            enabled_types: [NotificationKind::Push].into(),
            email_enabled: false,
            push_enabled: false,
        };
        assert_eq!(got, Request::SetPreferences(only_pushes));
    }

    #[test]
    fn outcomes_and_their_texts() {
        let check = |outcome: Outcome, status: u16, expected: &str| {
            let (got, head, body) = written(&respond(&Ok(outcome), 0));
            assert_eq!((got, body.as_str()), (status, format!("{expected}\n").as_str()));
            assert!(head.contains("Cache-Control: no-store\r\nContent-Type: application/json\r\n"), "{head}");
        };
        let draft = Draft::new(alice(), NotificationKind::Mention, "t", "b").unwrap();
        let notification = Notification::new(draft, id(), 7);
        let text = notification.to_json();
        check(
            Outcome::Notified(Notified::Stored {
                notification: Box::new(notification.clone()),
                unread: 3,
                delivered: true,
            }),
            201,
            &format!(r#"{{"stored":true,"delivered":true,"unread":3,"notification":{text}}}"#),
        );
        check(
            Outcome::Notified(Notified::Disabled(NotificationKind::Push)),
            200,
            r#"{"stored":false,"delivered":false,"reason":"type_disabled"}"#,
        );
        let counts = Counts { total: 2, unread: 1 };
        check(
            Outcome::Page(Page {
                notifications: vec![notification.clone(), notification],
                counts,
                next: Some(9),
            }),
            200,
            &format!(r#"{{"notifications":[{text},{text}],"unread":1,"total":2,"more":true,"next":"9"}}"#),
        );
        check(
            Outcome::Page(Page::default()),
            200,
            r#"{"notifications":[],"unread":0,"total":0,"more":false,"next":null}"#,
        );
        check(Outcome::Counts(counts), 200, r#"{"unread":1,"total":2}"#);
        let one = format!(r#"{{"id":"{ID}","unread":4}}"#);
        check(Outcome::Read { id: id(), unread: 4 }, 200, &one);
        check(Outcome::Deleted { id: id(), unread: 4 }, 200, &one);
        check(Outcome::AllRead { marked: 5 }, 200, r#"{"all":true,"unread":0,"marked":5}"#);
        let preferences = Preferences::for_user(alice());
        check(Outcome::Preferences(preferences.clone()), 200, &preferences.to_json());
    }

    #[test]
    fn the_catalogue_is_json_with_twelve_entries() {
        let (_, _, body) = written(&respond(&Ok(Outcome::Kinds), 0));
        let first = r#"{"types":[{"type":"mention","label":"Mentioned","icon":"at","default":true},"#;
        assert!(body.starts_with(first), "{body}");
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        let entries = value["types"].as_array().unwrap();
        assert_eq!(entries.len(), 12);
        for (entry, kind) in entries.iter().zip(NotificationKind::ALL) {
            assert_eq!(entry["type"], kind.as_str());
            assert_eq!((&entry["label"], &entry["icon"]), (&kind.label().into(), &kind.icon().into()));
            assert_eq!(entry["default"], kind.is_on_by_default());
        }
    }

    #[test]
    fn refusals_and_their_statuses() {
        let check = |refusal: Refusal, status: u16, has_retry: bool| {
            let code = refusal.code();
            let (got, head, body) = written(&respond(&Err(refusal), 0));
            assert_eq!((got, head.contains("Retry-After: ")), (status, has_retry), "{code}");
            assert!(body.contains(&format!("\"code\":\"{code}\"")), "{body}");
            assert!(!body.contains("/var/lib"), "what failed is for the operator: {body}");
        };
        check(Refusal::Overloaded, 503, true);
        check(Refusal::Stopped, 503, true);
        check(Refusal::NotFound, 404, false);
        check(Refusal::UsersFull, 507, false);
        check(Refusal::StoreFull, 507, false);
        check(Refusal::Failed("/var/lib/x".into()), 500, false);
    }

    #[test]
    fn those_who_are_refused_are_told_to_come_back_at_different_times() {
        let told = |seed: u64| {
            let (_, head, _) = written(&respond(&Err(Refusal::Overloaded), seed));
            let (_, seconds) = head.split_once("Retry-After: ").unwrap();
            seconds.lines().next().unwrap().parse::<u64>().unwrap()
        };
        let told: BTreeSet<u64> = (0..100).map(told).collect();
        assert!(told.into_iter().eq(RETRY_AFTER_SECONDS));
    }
}
