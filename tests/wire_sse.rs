//! Property of the event stream encoder: an independent parser reads back exactly what was meant.

use fanfare::wire::sse::{
    EVENT_TAIL, Field, push_block, push_comment, push_event_head, push_id_only, push_retry,
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};

/// An event as a browser dispatches it.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    id: String,
    kind: String,
    data: String,
}

/// The WHATWG's "interpreting an event stream", line by line as the standard words it.
#[derive(Debug, Default)]
struct Browser {
    data: String,
    kind: String,
    id_buffer: String,
    last_id: String,
    retry_ms: Option<u32>,
    events: Vec<Event>,
}

impl Browser {
    fn read(stream: &str) -> Self {
        let mut browser = Self::default();
        let stream =
            stream.strip_prefix('\u{feff}').unwrap_or(stream).replace("\r\n", "\n").replace('\r', "\n");
        // What follows the last line end is an incomplete line and is discarded.
        let complete = &stream[..stream.rfind('\n').map_or(0, |end| end + 1)];
        complete.split_terminator('\n').for_each(|line| browser.line(line));
        browser
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            return self.dispatch();
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => self.kind = value.to_owned(),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.id_buffer = value.to_owned(),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry_ms = value.parse().ok();
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        self.last_id.clone_from(&self.id_buffer);
        let (mut data, kind) = (std::mem::take(&mut self.data), std::mem::take(&mut self.kind));
        if data.is_empty() {
            return;
        }
        data.pop();
        let kind = if kind.is_empty() { "message".to_owned() } else { kind };
        self.events.push(Event { id: self.last_id.clone(), kind, data });
    }
}

/// One call of the encoder.
#[derive(Debug, Clone)]
enum Push {
    Block(Option<String>, Option<String>, String),
    Event(String, u64, String, String),
    IdOnly(String),
    Comment(String),
    Retry(u32),
}

fn push() -> impl Strategy<Value = Push> {
    let field = || "[^\r\n\0]{0,12}";
    let nasty =
        || prop_oneof!["[ :\r\n\0a-z\u{feff}ü]{0,24}", "(data|id|event|retry)?: ?[\r\n]{0,3}[a-z]{0,3}"];
    prop_oneof![
        4 => (prop::option::of(field()), prop::option::of(field()), nasty())
            .prop_map(|(id, kind, data)| Push::Block(id, kind, data)),
        2 => ("[a-z0-9]{1,8}", any::<u64>(), "[a-z0-9_.-]{1,64}", "[^\r\n]{0,24}")
            .prop_map(|(epoch, seq, kind, json)| Push::Event(epoch, seq, kind, json)),
        1 => field().prop_map(Push::IdOnly),
        1 => nasty().prop_map(Push::Comment),
        1 => any::<u32>().prop_map(Push::Retry),
    ]
}

fn field(text: &str) -> Field<'_> {
    Field::new(text).unwrap()
}

proptest! {
    #![proptest_config(Config { cases: 2000, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_browser_reads_back_what_was_pushed(pushes in prop::collection::vec(push(), 0..8)) {
        let mut out = Vec::new();
        push_retry(&mut out, 3000);
        let mut expected = Browser { retry_ms: Some(3000), ..Browser::default() };
        for push in &pushes {
            match push {
                Push::Block(id, kind, data) => {
                    push_block(&mut out, id.as_deref().map(field), kind.as_deref().map(field), data);
                    expected.last_id = id.clone().unwrap_or(expected.last_id);
                    let kind = kind.clone().filter(|kind| !kind.is_empty()).unwrap_or("message".to_owned());
                    let data = data.replace("\r\n", "\n").replace('\r', "\n");
                    expected.events.push(Event { id: expected.last_id.clone(), kind, data });
                }
                Push::Event(epoch, seq, kind, json) => {
                    push_event_head(&mut out, field(epoch), *seq, field(kind));
                    out.extend_from_slice(json.as_bytes());
                    out.extend_from_slice(EVENT_TAIL);
                    expected.last_id = format!("{epoch}-{seq}");
                    let (id, kind) = (expected.last_id.clone(), kind.clone());
                    expected.events.push(Event { id, kind, data: json.clone() });
                }
                Push::IdOnly(id) => {
                    push_id_only(&mut out, field(id));
                    expected.last_id.clone_from(id);
                }
                Push::Comment(text) => push_comment(&mut out, text),
                Push::Retry(retry_ms) => {
                    push_retry(&mut out, *retry_ms);
                    expected.retry_ms = Some(*retry_ms);
                }
            }
        }
        let browser = Browser::read(str::from_utf8(&out).unwrap());
        prop_assert_eq!(browser.events, expected.events);
        prop_assert_eq!(browser.last_id, expected.last_id);
        prop_assert_eq!(browser.retry_ms, expected.retry_ms);
        prop_assert!(browser.data.is_empty() && browser.kind.is_empty(), "the last block is complete");
    }

    #[test]
    fn a_field_is_refused_exactly_when_it_could_forge_another(text in "[\r\n\0a: ]{0,6}") {
        prop_assert_eq!(Field::new(&text).is_err(), text.contains(['\r', '\n', '\0']));
    }
}
