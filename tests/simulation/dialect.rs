//! In whose words a client is spoken to, and how every event must read in them.

use serde_json::Value;

use crate::context::{Context, UNIX_MS};
use crate::receiver::Gap;
use crate::twin::{Intent, number_after};

/// A dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Native,
    Engram,
    Guts,
    /// Over a WebSocket its events are those of `Guts`.
    Sdk,
    CloudEvents,
}

impl Dialect {
    /// Its name in a query.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Dialect::Native => "native",
            Dialect::Engram => "engram",
            Dialect::Guts => "guts",
            Dialect::Sdk => "sdk",
            Dialect::CloudEvents => "cloudevents",
        }
    }

    /// Whether its commands and answers are the native ones.
    pub(crate) fn has_native_answers(self) -> bool {
        matches!(self, Dialect::Native | Dialect::CloudEvents)
    }

    /// In whose words its events over a WebSocket are.
    pub(crate) fn events_of_websocket(self) -> Dialect {
        if self == Dialect::Sdk { Dialect::Guts } else { self }
    }

    /// The number of the event that `text` is, if it is one.
    pub(crate) fn seq_of(self, context: &Context, text: &str) -> Option<u64> {
        let begins = |start: &[&str]| start.iter().any(|start| text.starts_with(start));
        match self {
            Dialect::Native if begins(&[r#"{"type":"event","#, r#"{"type":"system","#]) => {
                number_after(text, r#""seq":"#)
            }
            Dialect::Engram if begins(&[r#"{"seq_id":"#]) => number_after(text, r#""seq_id":"#),
            Dialect::Guts if begins(&[r#"{"type":"event","#]) => Some(
                context
                    .twin
                    .borrow()
                    .seq_of(text)
                    .expect("an event that clients see is one the log was seen to have"),
            ),
            Dialect::Sdk if text.contains(r#","payload":"#) => {
                text.rfind(r#","seq":"#).and_then(|at| number_after(&text[at..], r#""seq":"#))
            }
            Dialect::CloudEvents if begins(&[r#"{"specversion":"1.0","#]) => {
                number_after(text, r#""sequence":""#)
            }
            _ => None,
        }
    }

    /// Checks `text`, which is said to be the event `seq`, byte for byte.
    pub(crate) fn verify(self, context: &Context, seq: u64, text: &str) {
        if self == Dialect::Native {
            return context.twin.borrow_mut().verify(seq, text.as_bytes(), context.now_ms.get());
        }
        let twin = context.twin.borrow();
        let Some((event, at_ms)) = twin.dated(seq) else { return };
        context.tally.count(&format!("event in {}", self.name()));
        let epoch = twin.epoch();
        let (channel, kind, data) = (&event.channel, &event.kind, &event.data);
        let told_id = || {
            let (_, rest) = text.split_once(r#","event_id":""#).expect("an event has an id");
            let id = rest.split('"').next().unwrap_or_default();
            assert!(event.event_id.is_some() || id.len() == 36, "an id in the shape of a UUID: {text}");
            event.event_id.clone().unwrap_or_else(|| id.to_owned())
        };
        let unix_ms = UNIX_MS + at_ms;
        let expected = match self {
            Dialect::Native => unreachable!("checked by the twin"),
            Dialect::Guts => format!(
                r#"{{"type":"event","channel":"{channel}","event":"{kind}","data":{data},"timestamp":{},"event_id":"{}"}}"#,
                unix_ms / 1000,
                told_id()
            ),
            Dialect::Sdk => format!(
                r#"{{"type":"{kind}","channel":"{channel}","payload":{data},"timestamp":"{}Z","data":{data},"event_id":"{}","seq":{seq}}}"#,
                date(at_ms),
                told_id()
            ),
            Dialect::Engram => {
                let memory_id = event.ids.iter().find(|id| id.parse::<i64>().is_ok()).unwrap_or(&"null");
                format!(
                    r#"{{"seq_id":{seq},"type":"{kind}","timestamp":"{}000000Z","memory_id":{memory_id},"preview":null,"changes":null,"data":{data}}}"#,
                    date(at_ms)
                )
            }
            Dialect::CloudEvents => cloud_event(event, epoch, seq, at_ms),
        };
        assert_eq!(text, expected, "event {seq} in the dialect {}", self.name());
    }
}

fn cloud_event(event: &Intent, epoch: &str, seq: u64, at_ms: u64) -> String {
    let (channel, kind, data) = (&event.channel, &event.kind, &event.data);
    let id = event.event_id.clone().unwrap_or_else(|| format!("{epoch}-{seq}"));
    let member = |name: &str, value: Option<&str>| {
        value.map(|value| format!(r#","{name}":"{value}""#)).unwrap_or_default()
    };
    let subject = member("subject", event.ids.first().copied());
    let workspace = member("workspace", event.workspace.as_deref());
    let time = date(at_ms);
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/channels/{channel}","type":"{kind}"{subject},"time":"{time}Z","datacontenttype":"application/json","sequence":"{seq}","channel":"{channel}"{workspace},"data":{data}}}"#
    )
}

/// The time of the play as a date, with milliseconds: it begins on 22 November 2026 at 02:54:20, and ends that day.
fn date(at_ms: u64) -> String {
    let ms = (2 * 3600 + 54 * 60 + 20) * 1000 + at_ms;
    let seconds = ms / 1000;
    assert!(seconds < 24 * 3600, "a play is over within the day");
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("2026-11-22T{hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, ms % 1000)
}

/// What an error of the dialect `guts` is about: its code in our words, or the gap that it tells of.
pub(crate) fn guts_error(message: &Value) -> Result<&'static str, Gap> {
    let text = message["message"].as_str().expect("an error has a message");
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
    if text.starts_with("events ") {
        let (from, to) = (numbers.next().expect("from"), numbers.next().expect("to"));
        return Err(Gap::of(from, to, text.rsplit(' ').next().unwrap_or_default()));
    }
    let codes = [
        ("invalid channel: ", "bad_channel"),
        ("subscription limit exceeded: ", "subscription_limit"),
        ("Invalid message format: ", "bad_message"),
    ];
    let known = codes.iter().find(|(start, _)| text.starts_with(start));
    Ok(known.unwrap_or_else(|| panic!("an unknown error: {message}")).1)
}
