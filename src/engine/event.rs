//! Events as they were published, and what else a reader is given.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::log::{Held, Log};
use crate::reader::EventText;
use crate::wire::json::{minify, push_string};
use crate::words::channel::{Channel, Route};
use crate::words::cursor::{Epoch, Gap};
use crate::words::kind;
use crate::words::labels::{self, Labels};
use crate::words::limits::{JSON_DEPTH_MAX, LABEL_BYTES_MAX, LABELS_MAX};
use crate::words::workspace::Workspace;

/// One published event, owned. It serialises to exactly the JSON text that the server sends, and can be read from it, in
/// serde_json.
///
/// ```
/// use fanfare::engine::{Draft, Engine, Event};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::new();
/// engine.publish(Draft::new("repo:alice/demo", "pr.opened").data(&[1, 2]).id(7))?;
/// let event = &engine.after(0, 10).events[0];
/// assert_eq!((event.seq(), event.channel(), event.kind()), (1, "repo:alice/demo", "pr_opened"));
/// assert_eq!((event.data(), event.data_as::<Vec<u32>>()?), ("[1,2]", vec![1, 2]));
/// let text = serde_json::to_string(event)?;
/// assert!(text.starts_with(r#"{"type":"event","seq":1,"channel":"repo:alice/demo""#));
/// assert_eq!(serde_json::from_str::<Event>(&text)?, *event);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Event {
    seq: u64,
    timestamp_ms: u64,
    json: Box<str>,
    labels: Box<[u8]>,
}

impl Event {
    /// Its sequence number.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// When it got that, in Unix milliseconds.
    #[must_use]
    pub fn timestamp_ms(&self) -> u64 {
        self.timestamp_ms
    }

    /// The name of the channel that it was published on.
    #[must_use]
    pub fn channel(&self) -> &str {
        self.text().channel()
    }

    /// Its kind in wire form.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.labels().kind()
    }

    /// What happened, as a JSON text on one line.
    #[must_use]
    pub fn data(&self) -> &str {
        std::str::from_utf8(self.text().data()).unwrap_or("null")
    }

    /// What happened, read as a `T`.
    ///
    /// # Errors
    /// If it is none.
    pub fn data_as<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.data())
    }

    /// Its id: the publisher's own, or else its cursor, `<epoch>-<seq>`.
    #[must_use]
    pub fn event_id(&self) -> &str {
        self.text().event_id()
    }

    /// Entities that it is about; numbers as they are written.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.labels().ids()
    }

    /// Its tags.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.labels().tags()
    }

    /// The workspace that it belongs to.
    #[must_use]
    pub fn workspace(&self) -> Option<&str> {
        Some(self.labels().workspace()).filter(|name| !name.is_empty())
    }

    /// The whole event as the server sends it.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.json
    }

    /// What it is matched on.
    pub(super) fn route(&self) -> Option<Route> {
        let workspace = self.workspace().and_then(Workspace::parse);
        Channel::parse(self.channel()).ok()?.route(self.kind(), workspace.as_ref()).ok()
    }

    pub(super) fn labels(&self) -> Labels<'_> {
        Labels::new(&self.labels)
    }

    fn text(&self) -> EventText<'_> {
        EventText { json: self.json.as_bytes(), labels: self.labels() }
    }
}

/// Two events are the same if they are sent as the same text.
impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        self.json == other.json
    }
}

impl Eq for Event {}

impl Hash for Event {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.json.hash(state);
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({})", self.json)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.json)
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.json).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// The members of an event's JSON.
#[derive(Deserialize)]
struct Members {
    #[serde(rename = "type")]
    class: String,
    seq: u64,
    channel: String,
    event: String,
    data: Box<RawValue>,
    timestamp: u64,
    event_id: String,
    ids: Option<Box<RawValue>>,
    tags: Option<Box<RawValue>>,
    workspace: Option<String>,
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Event, D::Error> {
        Event::of_members(&Members::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Event {
    fn of_members(members: &Members) -> Result<Event, String> {
        if members.class != "event" {
            return Err(format!("a message of type '{}' is no event", members.class));
        }
        let channel = Channel::parse(&members.channel).map_err(|error| error.to_string())?;
        let kind = kind::normalise(&members.event).map_err(|error| error.to_string())?;
        let workspace = match &members.workspace {
            Some(name) => Some(Workspace::parse(name).ok_or("the workspace has no such name")?),
            None => None,
        };
        let own_workspace = channel.route(&kind, workspace.as_ref()).map_err(|error| error.to_string())?;
        if members.event_id.is_empty() || LABEL_BYTES_MAX < members.event_id.len() {
            return Err(format!("event_id has 1 to {LABEL_BYTES_MAX} bytes"));
        }
        let mut json = format!("{{\"type\":\"event\",\"seq\":{}", members.seq).into_bytes();
        let after_seq = json.len();
        json.extend_from_slice(
            format!(",\"channel\":\"{channel}\",\"event\":\"{kind}\",\"data\":").as_bytes(),
        );
        let data_start = json.len();
        push_minified(&mut json, &members.data)?;
        let data = ((data_start - after_seq) as u32, (json.len() - data_start) as u32);
        json.extend_from_slice(format!(",\"timestamp\":{},\"event_id\":", members.timestamp).as_bytes());
        push_string(&mut json, &members.event_id);
        for (name, list) in [("ids", &members.ids), ("tags", &members.tags)] {
            if let Some(list) = list {
                json.extend_from_slice(format!(",\"{name}\":").as_bytes());
                push_minified(&mut json, list)?;
            }
        }
        if let Some(workspace) = &workspace {
            json.extend_from_slice(format!(",\"workspace\":\"{}\"", workspace.as_str()).as_bytes());
        }
        json.push(b'}');
        let is_cursor = is_cursor_of(&members.event_id, members.seq);
        let mut labels = Vec::new();
        let parts = labels::Parts {
            data,
            kind: &kind,
            workspace: own_workspace.parts().0.unwrap_or_default(),
            event_id: if is_cursor { "" } else { &members.event_id },
            ids: &words(members.ids.as_deref())?,
            tags: &words(members.tags.as_deref())?,
        };
        labels::push(&mut labels, &parts);
        Ok(Event {
            seq: members.seq,
            timestamp_ms: members.timestamp,
            json: String::from_utf8(json).map_err(|error| error.to_string())?.into(),
            labels: labels.into(),
        })
    }
}

fn push_minified(json: &mut Vec<u8>, value: &RawValue) -> Result<(), String> {
    minify(value.get().as_bytes(), json, JSON_DEPTH_MAX).map_err(|error| error.to_string())
}

/// Whether `id` is what an event of number `seq` is called by if its publisher gave it no id.
fn is_cursor_of(id: &str, seq: u64) -> bool {
    let epoch = id.strip_suffix(&seq.to_string()).and_then(|rest| rest.strip_suffix('-'));
    epoch.is_some_and(|epoch| {
        epoch.len() == Epoch::LEN && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// The words of `ids` or `tags`.
fn words(list: Option<&RawValue>) -> Result<Vec<String>, String> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let values: Vec<serde_json::Value> =
        serde_json::from_str(list.get()).map_err(|error| error.to_string())?;
    if LABELS_MAX < values.len() {
        return Err(format!("an event has at most {LABELS_MAX} ids and as many tags"));
    }
    let word = |value: serde_json::Value| match value {
        serde_json::Value::String(text) if text.len() <= LABEL_BYTES_MAX => Ok(text),
        serde_json::Value::Number(number) => Ok(number.to_string()),
        _ => Err(format!("ids and tags are numbers, or strings of at most {LABEL_BYTES_MAX} bytes")),
    };
    values.into_iter().map(word).collect()
}

/// What somebody told everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Its sequence number, in one order with events.
    pub seq: u64,
    /// When it got that, in Unix milliseconds.
    pub timestamp_ms: u64,
    /// The text.
    pub message: String,
}

/// What a reader is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The next event.
    Event(Event),
    /// Events that it will not get.
    Gap(Gap),
    /// What everybody is told.
    Announcement(Announcement),
}

impl Item {
    /// The event, if it is one.
    #[must_use]
    pub fn event(self) -> Option<Event> {
        match self {
            Item::Event(event) => Some(event),
            _ => None,
        }
    }

    /// The gap, if it is one.
    #[must_use]
    pub fn gap(self) -> Option<Gap> {
        match self {
            Item::Gap(gap) => Some(gap),
            _ => None,
        }
    }

    /// The event or announcement `seq`, or nothing if it is no longer held. Cost: a copy of its text.
    pub(super) fn read(log: &Log, seq: u64) -> Option<Item> {
        let pass = log.pass();
        let (Held::Here(slot), Held::Here(labels), Held::Here(json)) =
            (pass.slot(seq), pass.labels(seq), pass.json(seq))
        else {
            return None;
        };
        let timestamp_ms = slot.timestamp_ms;
        if json.starts_with(ANNOUNCEMENT_START) {
            let message = serde_json::from_slice(EventText { json, labels }.data()).unwrap_or_default();
            return Some(Item::Announcement(Announcement { seq, timestamp_ms, message }));
        }
        let json = std::str::from_utf8(json).unwrap_or_default().into();
        Some(Item::Event(Event { seq, timestamp_ms, json, labels: labels.as_bytes().into() }))
    }
}

/// What an announcement's text begins with.
const ANNOUNCEMENT_START: &[u8] = b"{\"type\":\"system\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_from_any_spelling_and_written_in_ours() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let got = serde_json::from_str::<Event>(text).map(|event| event.to_string());
            match (got, expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected),
                (Err(got), Err(expected)) => assert!(got.to_string().contains(expected), "{got}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        };
        check(
            r#"{"event_id":"x","timestamp":5,"data":{"b" : 1,"a":1.0},"event":"pr.opened","channel":"t:a","seq":7,"type":"event"}"#,
            Ok(
                r#"{"type":"event","seq":7,"channel":"t:a","event":"pr_opened","data":{"b":1,"a":1.0},"timestamp":5,"event_id":"x"}"#,
            ),
        );
        let same = r#"{"type":"event","seq":7,"channel":"t:a","event":"k","data":null,"timestamp":5,"event_id":"aaaaaaaa-7","ids":[7,"\u00fc"],"tags":[],"workspace":"acme"}"#;
        check(same, Ok(same));
        let event: Event = serde_json::from_str(same).unwrap();
        assert_eq!((event.event_id(), event.data(), event.workspace()), ("aaaaaaaa-7", "null", Some("acme")));
        assert!(event.ids().eq(["7", "ü"]) && event.tags().next().is_none());
        check(&same.replace("\"event\",\"seq", "\"gap\",\"seq"), Err("is no event"));
        check(&same.replace("t:a", "t"), Err("missing channel type prefix"));
        check(&same.replace("acme", "a b"), Err("workspace"));
        check(&same.replace("[7,", "[{},"), Err("ids and tags"));
        check("{}", Err("missing field"));
    }
}
