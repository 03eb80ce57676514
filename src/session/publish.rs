//! What publishers send: one event, an array of them, or one a line.

mod lean;
mod opening;

pub use opening::Openings;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::sequencer::{EventParts, Publication, WordList};
use crate::wire::json::minify;
use crate::words::channel::{ChannelName, is_reserved};
use crate::words::kind;
use crate::words::limits::{JSON_DEPTH_MAX, LABEL_BYTES_MAX, LABELS_MAX, Limits};
use crate::words::workspace::Workspace;

/// The events of one atomic submission.
pub type Publications = SmallVec<[Publication; 1]>;

/// How the events lie in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A JSON object, or an array of them.
    Json,
    /// One JSON object a line.
    Lines,
}

/// One event as a publisher writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope<'a> {
    /// Where to.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// Of what kind.
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    /// What happened; `null` unless given.
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
    /// The publisher's own id.
    #[serde(borrow)]
    pub event_id: Option<Cow<'a, str>>,
    /// Entities it is about.
    #[serde(borrow)]
    pub ids: Option<&'a RawValue>,
    /// Its tags.
    #[serde(borrow)]
    pub tags: Option<&'a RawValue>,
    /// The workspace that it belongs to.
    #[serde(borrow)]
    pub workspace: Option<Cow<'a, str>>,
}

/// Why a publish is refused; nothing of it was published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct PublishError {
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: &'static str,
    /// A sentence for the person who wrote the publisher.
    pub detail: String,
}

impl PublishError {
    fn bad(code: &'static str, detail: impl ToString) -> PublishError {
        PublishError { status: 400, code, detail: detail.to_string() }
    }

    fn too_large(code: &'static str, detail: String) -> PublishError {
        PublishError { status: 413, code, detail }
    }
}

/// Reads a body. Returns the events, and whether they came as a batch (an array or lines, of whatever length). What
/// `openings` remember makes no difference but in cost.
///
/// # Errors
/// 400 for anything malformed, 413 for too many or too large events. One bad event refuses the whole batch.
pub fn parse_body(
    body: &[u8],
    framing: Framing,
    limits: &Limits,
    openings: &mut Openings,
) -> Result<(Publications, bool), PublishError> {
    let text = std::str::from_utf8(body).map_err(|error| PublishError::bad("bad_json", error))?;
    match lean::events(text, framing, limits, &mut openings.of_bodies) {
        Some(events) => Ok(events),
        // It is unusual, or bad: then this says why.
        None => parse_text(text, framing, limits),
    }
}

/// Reads a body of any form that is allowed.
fn parse_text(text: &str, framing: Framing, limits: &Limits) -> Result<(Publications, bool), PublishError> {
    match framing {
        Framing::Lines => {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            let envelopes = lines.enumerate().map(|(at, line)| {
                serde_json::from_str(line)
                    .map_err(|error| PublishError::bad("bad_json", format!("event {}: {error}", at + 1)))
            });
            Ok((batch(envelopes, limits)?, true))
        }
        Framing::Json if text.trim_start().starts_with('[') => {
            let envelopes: Vec<Envelope<'_>> = from_json(text)?;
            Ok((batch(envelopes.into_iter().map(Ok), limits)?, true))
        }
        Framing::Json => Ok((std::iter::once(publication(&from_json(text)?, limits)?).collect(), false)),
    }
}

/// Reads a command to publish one event, if it is an ordinary one: the event, and the command's own id as it was
/// written. Whether that may be an id is for the reader of commands to say, as it is to read any other command.
#[must_use]
pub fn ordinary_command<'a>(
    text: &'a str,
    limits: &Limits,
    openings: &mut Openings,
) -> Option<(Publication, Option<&'a str>)> {
    lean::command(text, limits, &mut openings.of_commands)
}

/// What is said of an event beside its data, when the body is the data.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heading<'a> {
    /// Where to.
    pub channel: &'a str,
    /// Of what kind.
    pub kind: &'a str,
    /// The publisher's own id.
    pub event_id: Option<&'a str>,
    /// The workspace that it belongs to.
    pub workspace: Option<&'a str>,
    /// Entities it is about.
    pub ids: &'a [String],
    /// Its tags.
    pub tags: &'a [String],
}

/// Reads a body that is the data of one event.
///
/// # Errors
/// As [`parse_body`].
pub fn parse_data(heading: &Heading<'_>, data: &[u8], limits: &Limits) -> Result<Publication, PublishError> {
    let checked = checked(heading.channel, heading.kind, heading.event_id, heading.workspace, limits)?;
    for (name, words) in [("ids", heading.ids), ("tags", heading.tags)] {
        if LABELS_MAX < words.len() || words.iter().any(|word| LABEL_BYTES_MAX < word.len()) {
            return Err(bad_words(name));
        }
    }
    let ids = WordList::of_strings(heading.ids.to_vec());
    let tags = WordList::of_strings(heading.tags.to_vec());
    render(&checked, data, &ids, &tags, limits)
}

/// Checks one event and renders it.
///
/// # Errors
/// As [`parse_body`].
pub fn publication(envelope: &Envelope<'_>, limits: &Limits) -> Result<Publication, PublishError> {
    let event = Event {
        channel: &envelope.channel,
        kind: &envelope.event,
        data: envelope.data.map_or("null", RawValue::get),
        is_tight: false,
        event_id: envelope.event_id.as_deref(),
        ids: envelope.ids.map(RawValue::get),
        tags: envelope.tags.map(RawValue::get),
        workspace: envelope.workspace.as_deref(),
    };
    event.publication(limits)
}

/// One event, its parts where they were found.
#[derive(Clone, Copy)]
struct Event<'a> {
    channel: &'a str,
    kind: &'a str,
    /// One JSON value.
    data: &'a str,
    /// Whether the data is known to be valid, no deeper than [`JSON_DEPTH_MAX`], and without white space to lose.
    is_tight: bool,
    event_id: Option<&'a str>,
    /// A JSON value that should be a list of words.
    ids: Option<&'a str>,
    /// The same.
    tags: Option<&'a str>,
    workspace: Option<&'a str>,
}

impl Event<'_> {
    fn publication(&self, limits: &Limits) -> Result<Publication, PublishError> {
        let checked = checked(self.channel, self.kind, self.event_id, self.workspace, limits)?;
        let ids = words("ids", self.ids, |value| value.is_string() || value.is_i64() || value.is_u64())?;
        let tags = words("tags", self.tags, serde_json::Value::is_string)?;
        if self.is_tight {
            check_length(self.data.as_bytes(), limits)?;
            return checked.render(self.data.as_bytes(), &ids, &tags);
        }
        render(&checked, self.data.as_bytes(), &ids, &tags, limits)
    }
}

struct Checked<'a> {
    channel: ChannelName<'a>,
    kind: Cow<'a, str>,
    event_id: Option<&'a str>,
    workspace: Option<Workspace>,
}

fn checked<'a>(
    channel: &'a str,
    kind: &'a str,
    event_id: Option<&'a str>,
    workspace: Option<&str>,
    limits: &Limits,
) -> Result<Checked<'a>, PublishError> {
    let channel = ChannelName::parse(channel).and_then(|channel| {
        limits.check_namespace(channel.as_str())?;
        Ok(channel)
    });
    let channel = channel.map_err(|error| PublishError::bad("bad_channel", error))?;
    if is_reserved(channel.as_str()) {
        return Err(PublishError::bad("bad_channel", "channels of the namespace sys are the server's own"));
    }
    let kind = kind::normalise(kind).map_err(|error| PublishError::bad("bad_event", error))?;
    let fits = |id: &str| !id.is_empty() && id.len() <= LABEL_BYTES_MAX && !id.chars().any(char::is_control);
    if event_id.is_some_and(|id| !fits(id)) {
        let detail = format!("event_id must be 1 to {LABEL_BYTES_MAX} bytes without control characters");
        return Err(PublishError::bad("bad_event_id", detail));
    }
    let workspace = match workspace {
        None => None,
        Some(text) => Some(Workspace::parse(text).ok_or_else(|| {
            PublishError::bad("bad_workspace", "a workspace is 1 to 64 characters of a-z, 0-9, '_', '-'")
        })?),
    };
    Ok(Checked { channel, kind, event_id, workspace })
}

/// Renders an event whose data may be anything that is no longer than allowed.
fn render(
    checked: &Checked<'_>,
    data: &[u8],
    ids: &WordList,
    tags: &WordList,
    limits: &Limits,
) -> Result<Publication, PublishError> {
    check_length(data, limits)?;
    let mut minified = Vec::with_capacity(data.len());
    minify(data, &mut minified, JSON_DEPTH_MAX).map_err(|error| PublishError::bad("bad_json", error))?;
    checked.render(&minified, ids, tags)
}

fn check_length(data: &[u8], limits: &Limits) -> Result<(), PublishError> {
    if data.len() <= limits.event_bytes_max {
        return Ok(());
    }
    let detail = format!("the event's data is longer than {} bytes", limits.event_bytes_max);
    Err(PublishError::too_large("event_too_large", detail))
}

impl Checked<'_> {
    /// Renders an event whose data is on one line.
    fn render(&self, data: &[u8], ids: &WordList, tags: &WordList) -> Result<Publication, PublishError> {
        let parts = EventParts {
            channel: self.channel,
            kind: &self.kind,
            data,
            event_id: self.event_id,
            ids,
            tags,
            workspace: self.workspace.as_ref(),
        };
        Publication::new(&parts).map_err(|error| PublishError::bad("bad_workspace", error))
    }
}

fn batch<'a>(
    envelopes: impl Iterator<Item = Result<Envelope<'a>, PublishError>>,
    limits: &Limits,
) -> Result<Publications, PublishError> {
    let mut publications = Publications::new();
    for (at, envelope) in envelopes.enumerate() {
        if limits.batch_events_max <= at {
            let detail = format!("a batch has at most {} events", limits.batch_events_max);
            return Err(PublishError::too_large("batch_too_large", detail));
        }
        let publication = publication(&envelope?, limits).map_err(|mut error| {
            error.detail = format!("event {}: {}", at + 1, error.detail);
            error
        })?;
        publications.push(publication);
    }
    if publications.is_empty() {
        return Err(PublishError::bad("empty_batch", "the batch has no events"));
    }
    Ok(publications)
}

/// Reads `ids` or `tags`.
fn words(
    name: &'static str,
    json_text: Option<&str>,
    is_word: impl Fn(&serde_json::Value) -> bool,
) -> Result<WordList, PublishError> {
    let Some(json_text) = json_text else { return Ok(WordList::default()) };
    let values: Vec<serde_json::Value> = from_json(json_text)?;
    let fits = |value: &serde_json::Value| {
        is_word(value) && value.as_str().is_none_or(|text| text.len() <= LABEL_BYTES_MAX)
    };
    if LABELS_MAX < values.len() || !values.iter().all(fits) {
        return Err(bad_words(name));
    }
    let mut json = Vec::new();
    minify(json_text.as_bytes(), &mut json, JSON_DEPTH_MAX)
        .map_err(|error| PublishError::bad("bad_json", error))?;
    let word = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        number => number.to_string(),
    };
    Ok(WordList { json, words: values.into_iter().map(word).collect() })
}

fn bad_words(name: &'static str) -> PublishError {
    let what = if name == "ids" { "strings or whole numbers" } else { "strings" };
    let detail = format!("{name} must be at most {LABELS_MAX} {what} of at most {LABEL_BYTES_MAX} bytes");
    PublishError::bad("bad_labels", detail)
}

fn from_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, PublishError> {
    serde_json::from_str(text).map_err(|error| PublishError::bad("bad_json", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(body: &str, framing: Framing) -> Result<(usize, bool), (u16, &'static str)> {
        let namespaces = Some(vec!["t".to_owned()]);
        let limits = Limits { batch_events_max: 3, event_bytes_max: 32, namespaces, ..Limits::default() };
        parse_body(body.as_bytes(), framing, &limits, &mut Openings::default())
            .map(|(publications, is_batch)| (publications.len(), is_batch))
            .map_err(|error| (error.status, error.code))
    }

    #[test]
    fn bodies_and_what_becomes_of_them() {
        let json = |body: &str, expected| assert_eq!(outcome(body, Framing::Json), expected, "{body}");
        json(r#"{"channel":"t:a","event":"k","data":{"x":1}}"#, Ok((1, false)));
        json(r#"{"channel":"t:a","event":"k"}"#, Ok((1, false)));
        json(r#" [{"channel":"t:a","event":"k","data":1}]"#, Ok((1, true)));
        json(r#"[{"channel":"t:a","event":"k"},{"channel":"t:b","event":"k"}]"#, Ok((2, true)));
        json(r#"{"channel":"other:a","event":"k"}"#, Err((400, "bad_channel")));
        json("[]", Err((400, "empty_batch")));
        json("", Err((400, "bad_json")));
        json("{", Err((400, "bad_json")));
        json(r#"{"channel":"t:a"}"#, Err((400, "bad_json")));
        json(r#"{"channel":"t:a","event":"k","dta":1}"#, Err((400, "bad_json")));
        json(r#"{"channel":"t:*","event":"k"}"#, Err((400, "bad_channel")));
        json(r#"{"channel":"t:a","event":"K"}"#, Err((400, "bad_event")));
        json(r#"{"channel":"t:a","event":"k","event_id":""}"#, Err((400, "bad_event_id")));
        json(r#"{"channel":"t:a","event":"k","event_id":"a\nb"}"#, Err((400, "bad_event_id")));
        json(r#"{"channel":"t:a","event":"k","ids":["a",7],"tags":["x"]}"#, Ok((1, false)));
        json(r#"{"channel":"t:a","event":"k","tags":[7]}"#, Err((400, "bad_labels")));
        json(r#"{"channel":"t:a","event":"k","workspace":"Acme"}"#, Ok((1, false)));
        json(r#"{"channel":"t:a","event":"k","workspace":"a b"}"#, Err((400, "bad_workspace")));
        json(r#"{"channel":"memory:a","event":"k","workspace":"b"}"#, Err((400, "bad_workspace")));
        json(r#"{"channel":"sys:announcements","event":"k"}"#, Err((400, "bad_channel")));
        json(r#"{"channel":"t:a","event":"k","ids":"a"}"#, Err((400, "bad_json")));
        json(
            &format!(r#"{{"channel":"t:a","event":"k","data":"{}"}}"#, "x".repeat(31)),
            Err((413, "event_too_large")),
        );
        let four = r#"{"channel":"t:a","event":"k"},"#.repeat(4);
        json(&format!("[{}]", &four[..four.len() - 1]), Err((413, "batch_too_large")));
        let lines = |body: &str, expected| assert_eq!(outcome(body, Framing::Lines), expected, "{body}");
        lines(
            "{\"channel\":\"t:a\",\"event\":\"k\"}\n\n{\"channel\":\"t:a\",\"event\":\"k\"}\n",
            Ok((2, true)),
        );
        lines("{\"channel\":\"t:a\",\"event\":\"k\"}\nnonsense\n", Err((400, "bad_json")));
        lines("", Err((400, "empty_batch")));
    }

    #[test]
    fn the_error_of_a_batch_names_its_event() {
        let body = r#"[{"channel":"t:a","event":"k"},{"channel":"t:","event":"k"}]"#;
        let openings = &mut Openings::default();
        let error = parse_body(body.as_bytes(), Framing::Json, &Limits::default(), openings).unwrap_err();
        assert_eq!(error.detail, "event 2: channel identifier cannot be empty: ");
    }
}
