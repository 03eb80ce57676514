//! An event out of somebody else's envelope: a webhook, a CloudEvent.

use std::borrow::Cow;

use super::publish::PublishError;
use crate::wire::http::RequestHead;
use crate::words::limits::LABEL_BYTES_MAX;

/// One event, mapped: it may be published as it is, if its data is not too large and not nested too deeply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped<'a> {
    /// Where to; fits the grammar of channels.
    pub channel: String,
    /// Of what kind; in wire form.
    pub kind: String,
    /// What happened: one JSON value as it was sent.
    pub data: Cow<'a, str>,
    /// The sender's own id, by which a repeated delivery can be told.
    pub event_id: Option<String>,
    /// Entities it is about.
    pub ids: Vec<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// The workspace it belongs to, as it was sent; its own grammar has not been checked.
    pub workspace: Option<String>,
}

/// The refusal of an envelope.
pub(super) fn refused(status: u16, code: &'static str, detail: impl ToString) -> PublishError {
    PublishError { status, code, detail: detail.to_string() }
}

/// Whether `text` may be an id or a tag.
pub(super) fn is_label(text: &str) -> bool {
    !text.is_empty() && text.len() <= LABEL_BYTES_MAX && !text.chars().any(char::is_control)
}

/// `id`, if it may be the id of an event.
///
/// # Errors
/// 400 `bad_event_id`.
pub(super) fn checked_event_id(id: &str) -> Result<String, PublishError> {
    if is_label(id) {
        return Ok(id.to_owned());
    }
    let detail = format!("the event's id must be 1 to {LABEL_BYTES_MAX} bytes without control characters");
    Err(refused(400, "bad_event_id", detail))
}

/// The media type of the body in lower case, without its parameters.
pub(super) fn media_type(head: &RequestHead<'_>) -> Option<String> {
    head.header("content-type").map(essence)
}

/// A media type in lower case, without its parameters.
pub(super) fn essence(media_type: &str) -> String {
    bare(media_type).to_ascii_lowercase()
}

/// A media type as it was written, without its parameters.
pub(super) fn bare(media_type: &str) -> &str {
    // Most have none, which takes no search for what could be trimmed.
    if media_type == "application/json" {
        return media_type;
    }
    media_type.split(';').next().unwrap_or_default().trim()
}
