//! Blocks of arbitrary text, read back by a parser that knows nothing of the encoder.

use fanfare::wire::sse::{Field, push_block, push_comment, push_id_only};

/// Runs one input.
pub(crate) fn run(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let mut out = Vec::new();
    let mut expected = Vec::new();
    let mut last_id = String::new();
    // A unit separator divides the input into blocks, a record separator into id, kind and data.
    for (index, block) in text.split('\u{1f}').enumerate() {
        let mut parts = block.splitn(3, '\u{1e}');
        let (data, id, kind) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let (id_field, kind_field) = (id.map(Field::new), kind.map(Field::new));
        for (text, field) in [(id, &id_field), (kind, &kind_field)] {
            if let (Some(text), Some(field)) = (text, field) {
                assert_eq!(field.is_err(), text.contains(['\r', '\n', '\0']));
            }
        }
        let (id, kind) = (id_field.and_then(Result::ok), kind_field.and_then(Result::ok));
        last_id = id.map_or(last_id, |id| id.as_str().to_owned());
        match (index % 3, id) {
            (1, Some(id)) => push_id_only(&mut out, id),
            (2, _) => {
                push_comment(&mut out, data);
                push_block(&mut out, id, kind, "");
                expected.push((last_id.clone(), kind.map_or("", Field::as_str).to_owned(), String::new()));
            }
            _ => {
                push_block(&mut out, id, kind, data);
                let data = data.replace("\r\n", "\n").replace('\r', "\n");
                expected.push((last_id.clone(), kind.map_or("", Field::as_str).to_owned(), data));
            }
        }
    }
    assert_eq!(read(str::from_utf8(&out).expect("a stream is text")), expected);
}

/// Id, kind and data of every event that a browser would dispatch.
fn read(stream: &str) -> Vec<(String, String, String)> {
    let mut events = Vec::new();
    let (mut id, mut kind, mut data) = (String::new(), String::new(), None::<String>);
    let lines = stream.replace("\r\n", "\n").replace('\r', "\n");
    for line in lines.split_terminator('\n') {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" if line.is_empty() => {
                let kind = std::mem::take(&mut kind);
                if let Some(data) = data.take() {
                    events.push((id.clone(), kind, data));
                }
            }
            "id" => value.clone_into(&mut id),
            "event" => value.clone_into(&mut kind),
            "data" => data = Some(data.map_or(value.to_owned(), |data| data + "\n" + value)),
            _ => {}
        }
    }
    assert!(kind.is_empty() && data.is_none(), "the last block is complete");
    events
}
