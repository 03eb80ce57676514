//! What holds of every form, whatever the event.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{cloud_event, engram, guts, sdk};
use crate::reader::EventView;
use crate::wire::json::minify;
use crate::words::cursor::Epoch;

type Push = fn(&mut Vec<u8>, &EventView<'_>);

const FORMS: [Push; 4] =
    [engram::push_event_json, guts::push_event_json, sdk::push_event_json, cloud_event::push_event_json];
const BLOCKS: [(Push, Push); 3] = [
    (engram::push_event_block, engram::push_event_json),
    (sdk::push_event_block, sdk::push_event_json),
    (cloud_event::push_event_block, cloud_event::push_event_json),
];

/// The parts of an event, owned.
#[derive(Clone, Debug)]
struct Parts {
    bits: u64,
    seq: u64,
    timestamp_ms: u64,
    kind: String,
    data: String,
    event_id: Option<String>,
    ids: Vec<String>,
    workspace: Option<String>,
}

impl Parts {
    fn view(&self) -> EventView<'_> {
        EventView {
            epoch: Epoch::from_bits(self.bits),
            seq: self.seq,
            timestamp_ms: self.timestamp_ms,
            channel: "memory:default",
            kind: &self.kind,
            data: self.data.as_bytes(),
            event_id: self.event_id.as_deref(),
            ids: self.ids.iter().map(String::as_str).collect(),
            tags: ["t"].into_iter().collect(),
            workspace: self.workspace.as_deref(),
        }
    }
}

/// Minified JSON in spellings that no encoder would choose, and with members that one dialect looks for.
fn data() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "1.0e+2",
            "-0",
            "\"\\u0061\\/\"",
            "\"\u{2028}\"",
            "[]",
            "{}"
        ])
        .prop_map(str::to_owned),
        any::<String>().prop_map(|text| serde_json::json!(text).to_string()),
    ];
    let name = || {
        prop_oneof![
            prop::sample::select(vec![
                "\"preview\"",
                "\"changes\"",
                "\"workspace\"",
                "\"pr\\u0065view\"",
                "\"a\""
            ])
            .prop_map(str::to_owned),
            any::<String>().prop_map(|text| serde_json::json!(text).to_string()),
        ]
    };
    leaf.prop_recursive(3, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((name(), inner), 0..5).prop_map(|members| {
                let members: Vec<String> =
                    members.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn parts() -> impl Strategy<Value = Parts> {
    (
        any::<(u64, u64, u64)>(),
        "[a-z0-9_.-]{1,64}",
        data(),
        prop::option::of("[^\\pC]{1,20}"),
        prop::collection::vec(prop_oneof!["-?[0-9]{1,20}", any::<String>()], 0..4),
        prop::option::of("[a-z0-9-][a-z0-9_-]{0,9}"),
    )
        .prop_map(|((bits, seq, timestamp_ms), kind, data, event_id, ids, workspace)| Parts {
            bits,
            seq,
            timestamp_ms,
            kind,
            data,
            event_id,
            ids,
            workspace,
        })
}

fn pushed(push: Push, event: &EventView<'_>) -> String {
    let mut out = b"before".to_vec();
    push(&mut out, event);
    String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned()
}

/// The text of the member `name`.
fn member(text: &str, name: &str) -> String {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap();
    members.get(name).unwrap_or_else(|| panic!("{text} has no {name}")).get().to_owned()
}

proptest! {
    #[test]
    fn every_form_is_one_line_of_valid_minified_json_and_the_same_every_time(parts in parts()) {
        for push in FORMS {
            let text = pushed(push, &parts.view());
            let mut minified = Vec::new();
            minify(text.as_bytes(), &mut minified, 128).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
            prop_assert_eq!(&minified, text.as_bytes());
            prop_assert!(!text.contains(['\n', '\r']));
            prop_assert_eq!(text, pushed(push, &parts.clone().view()));
        }
    }

    #[test]
    fn data_passes_byte_for_byte(parts in parts()) {
        let view = parts.view();
        prop_assert_eq!(member(&pushed(guts::push_event_json, &view), "data"), &parts.data[..]);
        prop_assert_eq!(member(&pushed(cloud_event::push_event_json, &view), "data"), &parts.data[..]);
        let text = pushed(sdk::push_event_json, &view);
        prop_assert_eq!(member(&text, "data"), &parts.data[..]);
        prop_assert_eq!(member(&text, "payload"), &parts.data[..]);
    }

    #[test]
    fn nothing_of_the_data_is_lost_between_its_three_places(parts in parts()) {
        let text = pushed(engram::push_event_json, &parts.view());
        let (preview, changes) = (member(&text, "preview"), member(&text, "changes"));
        prop_assert!(preview == "null" || preview.starts_with('"'));
        prop_assert!(changes == "null" || serde_json::from_str::<Vec<String>>(&changes).is_ok());
        let Ok(Value::Object(mut expected)) = serde_json::from_str(&parts.data) else {
            prop_assert_eq!(member(&text, "data"), &parts.data[..]);
            return Ok(());
        };
        // The tree keeps the last of each name only: what it has must be in one of the places.
        let rest: Value = serde_json::from_str(&member(&text, "data")).unwrap();
        for (name, text) in [("preview", preview), ("changes", changes)] {
            if let Some(value) = expected.remove(name) {
                let is_beside = serde_json::from_str::<Value>(&text).unwrap() == value;
                prop_assert!(is_beside || rest.get(name) == Some(&value), "{} {}", name, value);
            }
        }
        for (name, value) in expected {
            prop_assert_eq!(rest.get(&name), Some(&value));
        }
    }

    #[test]
    fn a_block_carries_exactly_its_json_as_one_data_line(parts in parts()) {
        for (block, json) in BLOCKS {
            let text = pushed(block, &parts.view());
            prop_assert!(text.ends_with("\n\n"));
            let lines: Vec<&str> = text.trim_end_matches('\n').split('\n').collect();
            prop_assert!(lines.iter().all(|line| !line.is_empty()));
            let data: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("data: ")).collect();
            prop_assert_eq!(data, [&pushed(json, &parts.view())]);
        }
    }
}
