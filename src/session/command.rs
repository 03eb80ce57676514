//! What a WebSocket client asks for, one JSON object a message.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::auth::Secret;
use super::authority::Act;
use super::filter;
use super::publish::{Envelope, Openings, ordinary_command, publication};
use crate::sequencer::Publication;
use crate::words::channel::Pattern;
use crate::words::cursor::Since;
use crate::words::filter::Filter;
use crate::words::limits::{LAST_EVENTS_MAX, Limits};
use crate::words::on_slow::OnSlow;
use crate::words::workspace::Scope;

/// What a command names, each with the text to echo.
pub type Wanted = SmallVec<[(Pattern, String); 1]>;

/// A command, and what its answer shall echo.
#[derive(Debug)]
pub struct Command {
    /// What is asked for.
    pub verb: Verb,
    /// The client's own id of the command: a JSON string or number, as it was written.
    pub id: Option<String>,
}

/// What is asked for.
#[derive(Debug)]
pub enum Verb {
    /// Get the events of these channels, from `since` on.
    Subscribe {
        /// What to get, with the text to echo.
        patterns: Wanted,
        /// From where on; from now on unless given.
        since: Option<Since>,
        /// First the newest events of each channel, so many.
        last: Option<usize>,
        /// What must be true of the events of these channels.
        filter: Option<Filter>,
        /// What shall happen to the connection when it is behind; as before, unless given.
        on_slow: Option<OnSlow>,
    },
    /// Get only what passes this, on every channel.
    Filter(Filter),
    /// No longer get the events of these channels.
    Unsubscribe {
        /// What to end, with the text to echo.
        patterns: Wanted,
    },
    /// Say what is subscribed to.
    List,
    /// Publish an event.
    Publish(Box<Publication>),
    /// Answer.
    Ping,
    /// Be who this token says, from now on.
    Auth(Secret),
}

/// What a connection already has, when it says something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading<'a> {
    /// Which workspaces its own filter looks into.
    pub scope: Option<&'a Scope>,
    /// What it is subscribed to, each with the workspaces that this subscription's filter looks into.
    pub held: &'a [(&'a Pattern, Option<&'a Scope>)],
}

impl Verb {
    /// Calls `on` with everything that this command would do; the first refusal is the answer.
    ///
    /// # Errors
    /// Whatever `on` refuses with.
    pub fn each_act<E>(
        &self,
        reading: Reading<'_>,
        mut on: impl FnMut(&Act<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut read = |pattern: &Pattern, connection: Option<&Scope>, own: Option<&Scope>| {
            let scope = Scope::both(connection, own).filter(|scope| *scope != Scope::None);
            on(&Act::Read { pattern, scope: scope.as_ref() })
        };
        match self {
            Verb::Subscribe { patterns, filter, .. } => {
                let own = filter.as_ref().and_then(|filter| filter.scope.as_ref());
                patterns.iter().try_for_each(|(pattern, _)| read(pattern, reading.scope, own))
            }
            // What is held already is read elsewhere from then on: outside of all workspaces, if it names none.
            Verb::Filter(filter) if filter.scope.as_ref() != reading.scope => {
                reading.held.iter().try_for_each(|(pattern, own)| read(pattern, filter.scope.as_ref(), *own))
            }
            Verb::Publish(publication) => {
                on(&Act::Publish { channel: publication.channel(), workspace: publication.workspace() })
            }
            // To show a token is what everybody may; what comes of it is the authority's to say.
            Verb::Filter(_) | Verb::Unsubscribe { .. } | Verb::List | Verb::Ping | Verb::Auth(_) => Ok(()),
        }
    }
}

/// Why a command is refused; the connection lives on.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandError {
    /// Stable code.
    pub code: &'static str,
    /// A sentence for the person who wrote the client.
    pub message: String,
    /// The client's own id of the command, if it could be read.
    pub id: Option<String>,
}

/// Any command as it stands in the message.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "type", borrow)]
    verb: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, alias = "repository")]
    channel: Option<Cow<'a, str>>,
    channels: Option<Vec<String>>,
    #[serde(borrow)]
    since: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    event_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ids: Option<&'a RawValue>,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
    #[serde(borrow)]
    workspace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    filter: Option<&'a RawValue>,
    #[serde(borrow)]
    on_slow: Option<&'a RawValue>,
    #[serde(borrow)]
    last: Option<&'a RawValue>,
    #[serde(borrow)]
    token: Option<Cow<'a, str>>,
}

/// Reads a text message. Members that no command knows are ignored, as clients of other versions may send them. What
/// `openings` remember makes no difference but in cost.
///
/// # Errors
/// [`CommandError`], to be answered as an `error` message.
pub fn parse(text: &str, limits: &Limits, openings: &mut Openings) -> Result<Command, CommandError> {
    if let Some((publication, id)) = ordinary_command(text, limits, openings)
        && id.is_none_or(is_id)
    {
        let verb = Verb::Publish(Box::new(publication));
        return Ok(Command { verb, id: id.map(str::to_owned) });
    }
    parse_any(text, limits)
}

/// Whether a JSON value may be the id of a command.
fn is_id(text: &str) -> bool {
    let is_short = text.len() <= ID_BYTES_MAX;
    is_short && text.starts_with(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
}

/// Reads a command of any kind and form.
fn parse_any(text: &str, limits: &Limits) -> Result<Command, CommandError> {
    let refuse =
        |code, message: String, id: Option<&str>| CommandError { code, message, id: id.map(str::to_owned) };
    let raw: Raw<'_> = serde_json::from_str(text)
        .map_err(|error| refuse("bad_message", format!("Invalid message format: {error}"), None))?;
    let id = match raw.id.map(RawValue::get) {
        Some(id) if !is_id(id) => {
            let message = format!(
                "Invalid message format: id must be a string or a number of at most {ID_BYTES_MAX} bytes"
            );
            return Err(refuse("bad_message", message, None));
        }
        id => id,
    };
    let refuse = |code, message: String| refuse(code, message, id);
    let filter = raw.filter.map(|filter| filter::parse(filter.get(), limits)).transpose();
    let filter = filter.map_err(|error| refuse(error.code, error.message))?;
    let verb = match &*raw.verb {
        "subscribe" => {
            let since =
                raw.since.map(since_of).transpose().map_err(|message| refuse("bad_cursor", message))?;
            let last = raw.last.map(|raw| last(raw.get())).transpose();
            let last = last.map_err(|message| refuse("bad_last", message))?;
            if since.is_some() && last.is_some() {
                return Err(refuse("bad_last", "'since' and 'last' exclude each other".to_owned()));
            }
            let on_slow = raw.on_slow.map(on_slow_of).transpose();
            let on_slow = on_slow.map_err(|message| refuse("bad_on_slow", message.to_owned()))?;
            Verb::Subscribe {
                patterns: patterns_of(&raw, limits).map_err(|(code, message)| refuse(code, message))?,
                since,
                last,
                filter,
                on_slow,
            }
        }
        "unsubscribe" => Verb::Unsubscribe {
            patterns: patterns_of(&raw, limits).map_err(|(code, message)| refuse(code, message))?,
        },
        "filter" => {
            let message = "Invalid message format: missing field `filter`";
            Verb::Filter(filter.ok_or_else(|| refuse("bad_message", message.to_owned()))?)
        }
        "list" => Verb::List,
        "ping" => Verb::Ping,
        "auth" => {
            let message = "Invalid message format: missing field `token`";
            let token = raw.token.ok_or_else(|| refuse("bad_message", message.to_owned()))?;
            Verb::Auth(Secret::new(token.into_owned()))
        }
        "publish" => {
            let (Some(channel), Some(event)) = (raw.channel, raw.event) else {
                let message = "Invalid message format: publish needs 'channel' and 'event'";
                return Err(refuse("bad_message", message.to_owned()));
            };
            let envelope = Envelope {
                channel,
                event,
                data: raw.data,
                event_id: raw.event_id,
                ids: raw.ids,
                tags: raw.tags,
                workspace: raw.workspace,
            };
            let publication =
                publication(&envelope, limits).map_err(|error| refuse(error.code, error.detail))?;
            Verb::Publish(Box::new(publication))
        }
        other => {
            let message = format!(
                "Invalid message format: unknown type `{}`",
                other.chars().take(40).collect::<String>()
            );
            return Err(refuse("bad_message", message));
        }
    };
    Ok(Command { verb, id: id.map(str::to_owned) })
}

fn patterns_of(raw: &Raw<'_>, limits: &Limits) -> Result<Wanted, (&'static str, String)> {
    let one = raw.channel.as_deref().into_iter();
    let many = raw.channels.iter().flatten().map(String::as_str);
    let mut patterns: Wanted = SmallVec::new();
    for text in one.chain(many) {
        if limits.subscriptions_max <= patterns.len() {
            return Err(("subscription_limit", limit_message(limits)));
        }
        let pattern = Pattern::parse(text).and_then(|pattern| limits.check_namespace(text).map(|()| pattern));
        let pattern = pattern.map_err(|error| ("bad_channel", format!("invalid channel: {error}")))?;
        patterns.push((pattern, text.to_owned()));
    }
    if patterns.is_empty() {
        return Err(("bad_message", "Invalid message format: missing field `channel`".to_owned()));
    }
    Ok(patterns)
}

/// What is said at the bound on subscriptions.
#[must_use]
pub fn limit_message(limits: &Limits) -> String {
    format!("subscription limit exceeded: max {} subscriptions", limits.subscriptions_max)
}

/// What is said to who has filters of more bytes than one connection may have.
#[must_use]
pub fn filter_limit_message(limits: &Limits) -> String {
    format!("filter limit exceeded: max {} bytes of filters", limits.filter_bytes_max)
}

/// A cursor may come as a string or as a bare number.
fn since_of(raw: &RawValue) -> Result<Since, String> {
    let text: Cow<'_, str> = match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(raw.get()),
    };
    Since::parse(&text).map_err(|error| error.to_string())
}

fn on_slow_of(raw: &RawValue) -> Result<OnSlow, &'static str> {
    let name: Cow<'_, str> = serde_json::from_str(raw.get()).map_err(|_| BAD_ON_SLOW)?;
    OnSlow::parse(&name).ok_or(BAD_ON_SLOW)
}

/// What is said of a policy that there is not.
pub(super) const BAD_ON_SLOW: &str = "on_slow is 'gap', 'latest' or 'close'";

/// Reads how many of the newest events are asked for.
///
/// # Errors
/// A sentence for the person who wrote the client.
pub fn last(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=LAST_EVENTS_MAX).contains(count));
    count.ok_or_else(|| format!("last is a number from 1 to {LAST_EVENTS_MAX}"))
}

/// Longest command id, in bytes of its JSON text.
const ID_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, limits: &Limits) -> Result<Command, CommandError> {
        parse(text, limits, &mut Openings::default())
    }

    fn code(text: &str) -> Result<(), &'static str> {
        let limits = Limits { subscriptions_max: 2, ..Limits::default() };
        read(text, &limits).map(|_| ()).map_err(|error| error.code)
    }

    #[test]
    fn commands_and_refusals() {
        let check = |text: &str, expected: Result<(), &str>| assert_eq!(code(text), expected, "{text}");
        check(r#"{"type":"subscribe","channel":"repo:a/b"}"#, Ok(()));
        check(r#"{"type":"subscribe","repository":"repo:a/b"}"#, Ok(()));
        check(r#"{"type":"subscribe","channels":["repo:a/b","user:x"],"since":"abc-7","id":1}"#, Ok(()));
        check(r#"{"type":"subscribe","channel":"repo:a/b","since":7,"later":true}"#, Ok(()));
        check(r#"{"type":"subscribe","channels":["t:a","t:b","t:c"]}"#, Err("subscription_limit"));
        check(r#"{"type":"subscribe","channel":"nonsense"}"#, Err("bad_channel"));
        check(r#"{"type":"subscribe"}"#, Err("bad_message"));
        check(r#"{"type":"subscribe","channels":[]}"#, Err("bad_message"));
        check(r#"{"type":"subscribe","channel":"t:a","since":"x y"}"#, Err("bad_cursor"));
        check(r#"{"type":"subscribe","channel":"t:a","since":-1}"#, Err("bad_cursor"));
        check(r#"{"type":"subscribe","channel":"t:a","filter":{},"last":1}"#, Ok(()));
        check(r#"{"type":"subscribe","channel":"t:a","filter":{"types":[]}}"#, Err("bad_filter"));
        check(r#"{"type":"subscribe","channel":"t:a","last":0}"#, Err("bad_last"));
        check(r#"{"type":"subscribe","channel":"t:a","last":1,"since":1}"#, Err("bad_last"));
        check(r#"{"type":"subscribe","channel":"t:a","on_slow":"latest"}"#, Ok(()));
        check(r#"{"type":"subscribe","channel":"t:a","on_slow":"late"}"#, Err("bad_on_slow"));
        check(r#"{"type":"subscribe","channel":"t:a","on_slow":{}}"#, Err("bad_on_slow"));
        check(r#"{"type":"filter","filter":{"event_types":["push"]}}"#, Ok(()));
        check(r#"{"type":"filter","filter":{"event_types":["bogus"]}}"#, Err("unknown_event_type"));
        check(r#"{"type":"filter"}"#, Err("bad_message"));
        check(r#"{"type":"unsubscribe","channel":"t:a","id":"x"}"#, Ok(()));
        check(r#"{"type":"list"}"#, Ok(()));
        check(r#"{"type":"auth","token":"a.b.c","id":1}"#, Ok(()));
        check(r#"{"type":"auth"}"#, Err("bad_message"));
        check(r#"{"type":"auth","token":7}"#, Err("bad_message"));
        check(r#"{"type":"ping","id":{}}"#, Err("bad_message"));
        check(r#"{"type":"publish","channel":"t:a","event":"k","data":{"a":[1]}}"#, Ok(()));
        check(r#"{"type":"publish","channel":"t:a"}"#, Err("bad_message"));
        check(r#"{"type":"publish","channel":"t:*","event":"k"}"#, Err("bad_channel"));
        check(r#"{"type":"dance"}"#, Err("bad_message"));
        check("{}", Err("bad_message"));
        check("[]", Err("bad_message"));
        check("nonsense", Err("bad_message"));
    }

    #[test]
    fn an_ordinary_publish_is_read_as_any_other() {
        let said = |command: Result<Command, CommandError>| {
            command.map(|command| match command.verb {
                Verb::Publish(publication) => (publication.rendered().to_vec(), command.id),
                other => panic!("{other:?}"),
            })
        };
        let check = |text: &str, is_ordinary: bool| {
            let limits = Limits::default();
            let mut openings = Openings::default();
            assert_eq!(ordinary_command(text, &limits, &mut openings).is_some(), is_ordinary, "{text}");
            // The second time it begins like one before.
            for _ in 0..2 {
                let read = parse(text, &limits, &mut openings);
                assert_eq!(said(read), said(parse_any(text, &limits)), "{text}");
            }
        };
        check(r#"{"type":"publish","channel":"t:a","event":"k","data":{"a": [1]},"id":7}"#, true);
        check(r#" {"id":"a\u0041","channel":"t:a","event":"k","tags":["x"],"type":"publish"} "#, true);
        check(r#"{"type":"publish","channel":"t:a","event":"k","id":true}"#, true);
        check(r#"{"type":"publish","channel":"t:a","event":"k","id":[]}"#, false);
        check(r#"{"type":"publish","channel":"t:a","event":"k","id":null}"#, true);
        check(r#"{"type":"publish","channel":"t:a","event":"k","id":1,"id":2}"#, false);
        check(r#"{"type":"publish","type":"publish","channel":"t:a","event":"k"}"#, false);
        check(r#"{"type":"publish","channel":"t:a","event":"k","unknown":1}"#, false);
        check(r#"{"type":"publish","repository":"t:a","event":"k"}"#, false);
        check(r#"{"type":"publish","channel":"t:a"}"#, false);
        check(r#"{"type":"publish","channel":"t:a","event":"K"}"#, false);
        check(r#"{"type":"publish","channel":"t:a","event":"k"} x"#, false);
    }

    #[test]
    fn what_a_filter_makes_readable_is_asked_for() {
        let (held, acme) = (Pattern::parse("t:a").unwrap(), Scope::parse("acme").unwrap());
        let reading = Reading { scope: Some(&acme), held: &[(&held, None)] };
        let check = |text: &str, expected: Option<&Scope>| {
            let mut asked = Vec::new();
            let verb = read(text, &Limits::default()).unwrap().verb;
            let outcome = verb.each_act(reading, |act| {
                asked.push(format!("{act:?}"));
                Ok::<(), ()>(())
            });
            assert_eq!(outcome, Ok(()));
            assert_eq!(asked, [format!("{:?}", Act::Read { pattern: &held, scope: expected })], "{text}");
        };
        check(r#"{"type":"filter","filter":{"workspace":"other"}}"#, Scope::parse("other").as_ref());
        // It leaves the workspace: what belongs to none is read from then on.
        check(r#"{"type":"filter","filter":{}}"#, None);
        check(r#"{"type":"subscribe","channel":"t:a"}"#, Some(&acme));
    }

    #[test]
    fn the_id_is_echoed_as_it_was_written() {
        let id = |text: &str| read(text, &Limits::default()).unwrap().id;
        assert_eq!(id(r#"{"type":"ping","id":"a\u0041"}"#).as_deref(), Some(r#""a\u0041""#));
        assert_eq!(id(r#"{"type":"ping","id":1.50}"#).as_deref(), Some("1.50"));
        assert_eq!(id(r#"{"type":"ping"}"#), None);
        let refused = read(r#"{"type":"dance","id":7}"#, &Limits::default()).unwrap_err();
        assert_eq!(refused.id.as_deref(), Some("7"));
    }
}
