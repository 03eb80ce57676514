//! CloudEvents 1.0 as they come in over HTTP: one in JSON, a list of them, or one with its attributes in headers.
//!
//! | attribute | becomes |
//! | --- | --- |
//! | `type` | the kind, in lower case |
//! | `id` | the event's id |
//! | `channel` (extension) | the channel; else the one the request names, else `subject` if that is a channel |
//! | `subject` | an entry of `ids`, unless it is the channel |
//! | `tags` (extension), with commas | the tags |
//! | `workspace` (extension) | the workspace |
//! | `data` | the data, as it was sent; it must be JSON |
//!
//! `specversion`, `source`, `id` and `type` must be there; `time`, `dataschema` and other extensions are not looked at.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::mapped::{Mapped, bare, checked_event_id, essence, is_label, refused};
use super::publish::PublishError;
use crate::wire::http::{RequestHead, decode_path_segment};
use crate::words::channel::Channel;
use crate::words::kind;
use crate::words::limits::{LABEL_BYTES_MAX, LABELS_MAX, Limits};

/// How events lie in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One event as a JSON object: `application/cloudevents+json`.
    Structured,
    /// A JSON array of them: `application/cloudevents-batch+json`.
    Batch,
    /// The attributes in `ce-…` headers, the data in the body.
    Binary,
}

impl Mode {
    /// The mode of a request, or nothing if it brings no CloudEvents.
    ///
    /// # Errors
    /// 415 for another format of CloudEvents than JSON.
    pub fn of(head: &RequestHead<'_>) -> Result<Option<Mode>, PublishError> {
        let media_type = head.header("content-type").map(bare).unwrap_or_default();
        let begins = |start: &str| {
            media_type.get(..start.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(start))
        };
        if !begins("application/cloudevents") {
            // Binary, if the attributes stand in headers.
            let is_binary = ["ce-specversion", "ce-type"].iter().any(|name| head.header(name).is_some());
            return Ok(is_binary.then_some(Mode::Binary));
        }
        match media_type.to_ascii_lowercase().as_str() {
            "application/cloudevents+json" => Ok(Some(Mode::Structured)),
            "application/cloudevents-batch+json" => Ok(Some(Mode::Batch)),
            _ => {
                let detail =
                    "CloudEvents are taken as application/cloudevents+json, in batches or in binary mode.";
                Err(refused(415, "unsupported_media_type", detail))
            }
        }
    }
}

/// Reads the events of a request in `mode`; a batch is taken whole or not at all. `channel` is where those go that do not
/// name a channel themselves.
///
/// ```
/// use fanfare::session::cloud_event::{Mode, parse};
/// use fanfare::wire::http::{HeadLimits, parse_head};
/// use fanfare::words::limits::Limits;
///
/// let head = b"POST /publish HTTP/1.1\r\nHost: h\r\nContent-Type: application/cloudevents+json\r\n\r\n";
/// let (head, _) = parse_head(head, &HeadLimits::default()).unwrap().unwrap();
/// let body = br#"{"specversion":"1.0","id":"7","source":"/shop","type":"com.example.Sold","subject":"lamp","data":{"n":1}}"#;
/// let mode = Mode::of(&head)?.unwrap();
/// let events = parse(mode, &head, body, Some("shop:berlin"), &Limits::default())?;
/// assert_eq!((&*events[0].channel, &*events[0].kind), ("shop:berlin", "com.example.sold"));
/// assert_eq!((&*events[0].data, &*events[0].ids), (r#"{"n":1}"#, &["lamp".to_owned()][..]));
/// # Ok::<(), fanfare::session::publish::PublishError>(())
/// ```
///
/// # Errors
/// 400 `bad_json`, `bad_cloud_event` (an attribute is missing, stands twice or is of another type or version),
/// `no_channel`, `bad_channel`, `bad_event`, `bad_event_id`, `bad_labels`, `empty_batch`; 413 `batch_too_large`; 415
/// `unsupported_media_type` if the data is not JSON.
pub fn parse<'a>(
    mode: Mode,
    head: &RequestHead<'_>,
    body: &'a [u8],
    channel: Option<&str>,
    limits: &Limits,
) -> Result<Vec<Mapped<'a>>, PublishError> {
    let text = str::from_utf8(body).map_err(|error| refused(400, "bad_json", error))?;
    match mode {
        Mode::Structured => Ok(vec![structured(text, channel)?]),
        Mode::Batch => batch(text, channel, limits),
        Mode::Binary => Ok(vec![binary(head, text, channel)?]),
    }
}

/// The attributes that are looked at.
#[derive(Default)]
struct Attributes<'a> {
    specversion: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    event_type: Option<Cow<'a, str>>,
    subject: Option<Cow<'a, str>>,
    content_type: Option<Cow<'a, str>>,
    channel: Option<Cow<'a, str>>,
    workspace: Option<Cow<'a, str>>,
    tags: Option<Cow<'a, str>>,
}

impl Attributes<'_> {
    fn mapped<'a>(
        self,
        data: Cow<'a, str>,
        default_channel: Option<&str>,
    ) -> Result<Mapped<'a>, PublishError> {
        if required("specversion", self.specversion)? != "1.0" {
            return Err(bad("only version 1.0 of CloudEvents is understood"));
        }
        required("source", self.source)?;
        let event_id = checked_event_id(&required("id", self.id)?)?;
        let event_type = required("type", self.event_type)?.to_ascii_lowercase();
        let kind = kind::normalise(&event_type).map_err(|error| refused(400, "bad_event", error))?;
        if !self.content_type.is_none_or(|media_type| is_json(&media_type)) {
            let detail =
                "The data of a CloudEvent must be JSON: application/json or a type that ends in +json.";
            return Err(refused(415, "unsupported_media_type", detail));
        }
        let subject = self.subject.as_deref().filter(|subject| !subject.is_empty());
        let channel = channel(self.channel.as_deref().or(default_channel), subject)?;
        let ids: Vec<_> = subject.filter(|&id| id != channel).map(str::to_owned).into_iter().collect();
        let listed = self.tags.as_deref().unwrap_or_default().split(',');
        let tags: Vec<_> = listed.map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        let workspace = self.workspace.map(Cow::into_owned);
        if LABELS_MAX < tags.len() || !ids.iter().chain(&tags).chain(&workspace).all(|text| is_label(text)) {
            let detail = format!(
                "the subject, the workspace and at most {LABELS_MAX} tags must be 1 to {LABEL_BYTES_MAX} bytes each \
                 without control characters"
            );
            return Err(refused(400, "bad_labels", detail));
        }
        let kind = kind.into_owned();
        Ok(Mapped { channel, kind, data, event_id: Some(event_id), ids, tags, workspace })
    }
}

/// Where the event goes: where it is told to, else to its subject.
fn channel(told: Option<&str>, subject: Option<&str>) -> Result<String, PublishError> {
    match (told, subject) {
        (Some(name), _) => match Channel::parse(name) {
            Ok(channel) => Ok(channel.as_str().to_owned()),
            Err(error) => Err(refused(400, "bad_channel", error)),
        },
        (None, Some(subject)) if Channel::parse(subject).is_ok() => Ok(subject.to_owned()),
        (None, _) => {
            let detail =
                "Name a channel: in the attribute 'channel', in the address, or as the event's subject.";
            Err(refused(400, "no_channel", detail))
        }
    }
}

/// An event in the JSON format.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    specversion: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    event_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    subject: Option<Cow<'a, str>>,
    #[serde(borrow)]
    datacontenttype: Option<Cow<'a, str>>,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    workspace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tags: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<IgnoredAny>,
}

fn structured<'a>(text: &'a str, channel: Option<&str>) -> Result<Mapped<'a>, PublishError> {
    // Without this a list of values would do for a struct.
    if text.trim_start().starts_with('[') {
        return Err(bad(
            "one CloudEvent is a JSON object; a list of them is application/cloudevents-batch+json",
        ));
    }
    let envelope: Envelope<'a> = from_json(text)?;
    if envelope.data_base64.is_some() {
        let detail = "The data of a CloudEvent must be JSON, in 'data' and not in 'data_base64'.";
        return Err(refused(415, "unsupported_media_type", detail));
    }
    let attributes = Attributes {
        specversion: envelope.specversion,
        id: envelope.id,
        source: envelope.source,
        event_type: envelope.event_type,
        subject: envelope.subject,
        content_type: envelope.datacontenttype,
        channel: envelope.channel,
        workspace: envelope.workspace,
        tags: envelope.tags,
    };
    attributes.mapped(Cow::Borrowed(envelope.data.map_or(NO_DATA, RawValue::get)), channel)
}

fn batch<'a>(text: &'a str, channel: Option<&str>, limits: &Limits) -> Result<Vec<Mapped<'a>>, PublishError> {
    let events: Vec<&'a RawValue> = from_json(text)?;
    if events.is_empty() {
        return Err(refused(400, "empty_batch", "the batch has no events"));
    }
    if limits.batch_events_max < events.len() {
        let detail = format!("a batch has at most {} events", limits.batch_events_max);
        return Err(refused(413, "batch_too_large", detail));
    }
    let named = |at: usize, mut error: PublishError| {
        error.detail = format!("event {}: {}", at + 1, error.detail);
        error
    };
    let events = events.into_iter().enumerate();
    events.map(|(at, raw)| structured(raw.get(), channel).map_err(|error| named(at, error))).collect()
}

fn binary<'a>(
    head: &RequestHead<'_>,
    text: &'a str,
    channel: Option<&str>,
) -> Result<Mapped<'a>, PublishError> {
    let mut attributes =
        Attributes { content_type: head.header("content-type").map(Cow::Borrowed), ..Attributes::default() };
    for (name, value) in head.all_headers() {
        let name = name.to_ascii_lowercase();
        let place = match name.strip_prefix("ce-") {
            Some("specversion") => &mut attributes.specversion,
            Some("id") => &mut attributes.id,
            Some("source") => &mut attributes.source,
            Some("type") => &mut attributes.event_type,
            Some("subject") => &mut attributes.subject,
            Some("channel") => &mut attributes.channel,
            Some("workspace") => &mut attributes.workspace,
            Some("tags") => &mut attributes.tags,
            _ => continue,
        };
        if place.replace(header_text(value)?).is_some() {
            return Err(bad(format!("the header {name} stands twice")));
        }
    }
    let data = if text.is_empty() { NO_DATA } else { text };
    let mapped = attributes.mapped(Cow::Borrowed(data), channel)?;
    from_json::<IgnoredAny>(data)?;
    Ok(mapped)
}

/// The data of an event that has none.
const NO_DATA: &str = "null";

/// The text of an attribute in a header: first out of its double quotes, if it has them, then out of percent escapes.
fn header_text(value: &str) -> Result<Cow<'_, str>, PublishError> {
    let unquoted = match value.strip_prefix('"') {
        Some(quoted) => {
            Cow::Owned(unquote(quoted).ok_or_else(|| bad("a header's double quotes do not match"))?)
        }
        None => Cow::Borrowed(value),
    };
    let wrong = |error: crate::wire::http::HttpError| bad(error.detail);
    match unquoted {
        Cow::Borrowed(text) => decode_path_segment(text).map_err(wrong),
        Cow::Owned(text) => Ok(Cow::Owned(decode_path_segment(&text).map_err(wrong)?.into_owned())),
    }
}

/// What stood in double quotes, of which `rest` lacks the first; nothing if the text does not end with the last.
fn unquote(rest: &str) -> Option<String> {
    let mut text = String::with_capacity(rest.len());
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return characters.as_str().is_empty().then_some(text),
            '\\' => text.push(characters.next()?),
            other => text.push(other),
        }
    }
}

fn required<'a>(name: &str, value: Option<Cow<'a, str>>) -> Result<Cow<'a, str>, PublishError> {
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| bad(format!("a CloudEvent needs the attribute '{name}'")))
}

fn is_json(media_type: &str) -> bool {
    let essence = essence(media_type);
    essence == "application/json" || essence.ends_with("+json")
}

fn from_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, PublishError> {
    serde_json::from_str(text).map_err(|error| {
        let code = if error.is_data() { "bad_cloud_event" } else { "bad_json" };
        refused(400, code, error)
    })
}

fn bad(detail: impl ToString) -> PublishError {
    refused(400, "bad_cloud_event", detail)
}

#[cfg(test)]
mod tests;
