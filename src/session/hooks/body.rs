//! The payload in the body of a webhook.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::session::mapped::{media_type, refused};
use crate::session::publish::PublishError;
use crate::wire::http::{RequestHead, query_pairs};

/// The text of the payload: the body, or the member `payload` of a form.
pub(super) fn payload<'a>(head: &RequestHead<'_>, body: &'a [u8]) -> Result<Cow<'a, str>, PublishError> {
    let is_form = match media_type(head).as_deref() {
        None | Some("application/json") => false,
        Some("application/x-www-form-urlencoded") => true,
        Some(_) => {
            let detail = "Send application/json or application/x-www-form-urlencoded.";
            return Err(refused(415, "unsupported_media_type", detail));
        }
    };
    let text = str::from_utf8(body).map_err(|error| refused(400, "bad_json", error))?;
    if is_form { member(text) } else { Ok(Cow::Borrowed(text)) }
}

fn member(form: &str) -> Result<Cow<'_, str>, PublishError> {
    let mut found = None;
    for pair in query_pairs(form) {
        let (name, value) = pair.map_err(|error| refused(400, "bad_form", error.detail))?;
        if name == "payload" && found.replace(value).is_some() {
            return Err(refused(400, "bad_form", "The form has more than one payload."));
        }
    }
    found.ok_or_else(|| refused(400, "bad_form", "The form has no payload."))
}

/// Reads what is asked for of a payload, which must be a JSON object.
pub(super) fn read<'a, T: Deserialize<'a>>(payload: &'a str) -> Result<T, PublishError> {
    // Without this a list of values would do for a struct.
    if payload.trim_start().starts_with('[') {
        return Err(refused(400, "bad_json", "The payload must be a JSON object."));
    }
    serde_json::from_str(payload).map_err(|error| refused(400, "bad_json", error))
}

/// For a member that counts as absent when it is not what we know under this name: forges have hundreds of events, and
/// may use a word differently in one that we let pass as it is.
pub(super) fn lenient<'de, D, T>(source: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let raw = <&RawValue>::deserialize(source)?;
    Ok(serde_json::from_str::<Option<T>>(raw.get()).ok().flatten())
}
