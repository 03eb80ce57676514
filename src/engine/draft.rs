//! Events before they are published.

use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::error::PublishError;
use crate::payload::Composed;
use crate::sequencer::Publication;
use crate::session::publish::{Envelope, publication};
use crate::words::limits::Limits;

/// An event to be published. Everything is checked when it is; it serialises to what `POST /publish` takes.
///
/// ```
/// use fanfare::engine::Draft;
/// use serde_json::json;
///
/// let draft = Draft::new("repo:alice/demo", "pr_opened").data(&json!({"number": 7})).id(7).tags(["urgent"]);
/// assert_eq!(
///     serde_json::to_string(&draft).unwrap(),
///     r#"{"channel":"repo:alice/demo","event":"pr_opened","data":{"number":7},"ids":[7],"tags":["urgent"]}"#
/// );
/// ```
#[derive(Clone, Debug, Serialize)]
#[must_use]
pub struct Draft {
    channel: String,
    event: String,
    #[serde(serialize_with = "serialize_data")]
    data: Result<Box<RawValue>, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ids: Vec<Id>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<String>,
}

/// An id of an entity that an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Id {
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

impl Draft {
    /// An event of `kind` on `channel`, without data (`null`).
    pub fn new(channel: impl Into<String>, kind: impl Into<String>) -> Draft {
        Draft {
            channel: channel.into(),
            event: kind.into(),
            data: Ok(RawValue::NULL.to_owned()),
            event_id: None,
            ids: Vec::new(),
            tags: Vec::new(),
            workspace: None,
        }
    }

    /// An event composed by one of the helpers of [`crate::payload`], on `channel`.
    ///
    /// ```
    /// use fanfare::engine::{Draft, Engine};
    /// use fanfare::payload::memory_created;
    ///
    /// let engine = Engine::new();
    /// engine.publish(Draft::composed("memory:default", memory_created(42, "hello", None)))?;
    /// let event = &engine.after(0, 1).events[0];
    /// assert_eq!((event.kind(), event.ids().next()), ("memory_created", Some("42")));
    /// assert!(event.as_json().contains(r#""ids":[42]"#));
    /// # Ok::<(), fanfare::engine::PublishError>(())
    /// ```
    pub fn composed(channel: impl Into<String>, composed: Composed) -> Draft {
        // An id that is a number's own spelling was a number.
        let id = |text: String| match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Id::Number(number),
            _ => Id::Text(text),
        };
        Draft::new(channel, composed.kind).json(composed.data).ids(composed.ids.into_iter().map(id))
    }

    /// What happened, as `value` serialises. What cannot be serialised is refused when the event is published.
    pub fn data(mut self, value: &(impl Serialize + ?Sized)) -> Draft {
        self.data = to_raw_value(value).map_err(|error| error.to_string());
        self
    }

    /// What happened, as a JSON text, which is kept but for insignificant white space. What is no JSON is refused when
    /// the event is published.
    pub fn json(mut self, text: impl Into<String>) -> Draft {
        self.data = RawValue::from_string(text.into()).map_err(|error| error.to_string());
        self
    }

    /// An id of one's own for the event, in place of its cursor.
    pub fn event_id(mut self, id: impl Into<String>) -> Draft {
        self.event_id = Some(id.into());
        self
    }

    /// An entity that the event is about; may be repeated.
    pub fn id(mut self, id: impl Into<Id>) -> Draft {
        self.ids.push(id.into());
        self
    }

    /// Entities that the event is about, added to those said before.
    pub fn ids(mut self, ids: impl IntoIterator<Item = impl Into<Id>>) -> Draft {
        self.ids.extend(ids.into_iter().map(Into::into));
        self
    }

    /// Tags, added to those said before.
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Draft {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// The workspace that the event belongs to.
    pub fn workspace(mut self, name: impl Into<String>) -> Draft {
        self.workspace = Some(name.into());
        self
    }

    /// Checks the event and renders it.
    pub(super) fn rendered(&self, limits: &Limits) -> Result<Publication, PublishError> {
        let data = self.data.as_deref().map_err(|detail| PublishError::bad_json(detail.clone()))?;
        let raw = |list: serde_json::Result<Box<RawValue>>| {
            list.map_err(|error| PublishError::bad_json(error.to_string()))
        };
        let ids = if self.ids.is_empty() { None } else { Some(raw(to_raw_value(&self.ids))?) };
        let tags = if self.tags.is_empty() { None } else { Some(raw(to_raw_value(&self.tags))?) };
        let envelope = Envelope {
            channel: self.channel.as_str().into(),
            event: self.event.as_str().into(),
            data: Some(data),
            event_id: self.event_id.as_deref().map(Into::into),
            ids: ids.as_deref(),
            tags: tags.as_deref(),
            workspace: self.workspace.as_deref().map(Into::into),
        };
        Ok(publication(&envelope, limits)?)
    }
}

impl From<i64> for Id {
    fn from(number: i64) -> Id {
        Id::Number(number)
    }
}

impl From<i32> for Id {
    fn from(number: i32) -> Id {
        Id::Number(number.into())
    }
}

impl From<u32> for Id {
    fn from(number: u32) -> Id {
        Id::Number(number.into())
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Id {
        Id::Text(text.to_owned())
    }
}

impl From<String> for Id {
    fn from(text: String) -> Id {
        Id::Text(text)
    }
}

fn serialize_data<S: Serializer>(
    data: &Result<Box<RawValue>, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match data {
        Ok(data) => data.serialize(serializer),
        Err(detail) => Err(serde::ser::Error::custom(detail)),
    }
}
