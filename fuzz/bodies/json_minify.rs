//! Arbitrary bytes as JSON.

use fanfare::wire::json::{JsonFault, minify, push_string};
use serde_json::{Value, value::RawValue};

const DEPTH_MAX: usize = 16;

/// Runs one input.
pub(crate) fn run(bytes: &[u8]) {
    let mut out = b"kept".to_vec();
    match minify(bytes, &mut out, DEPTH_MAX) {
        Ok(()) => {
            let minified = out.strip_prefix(b"kept").expect("appended, not overwritten");
            assert!(minified.len() <= bytes.len() && !minified.iter().any(|byte| b"\r\n\t".contains(byte)));
            assert_eq!(significant(minified), significant(bytes));
            let mut again = Vec::new();
            assert_eq!(minify(minified, &mut again, DEPTH_MAX), Ok(()));
            assert_eq!(again, minified);
            assert!(depth(minified) <= DEPTH_MAX);
            if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
                assert_eq!(serde_json::from_slice::<Value>(minified).ok(), Some(value));
            }
        }
        Err(error) => {
            assert_eq!(out, b"kept");
            assert!(error.position <= bytes.len());
            let is_valid = serde_json::from_slice::<&RawValue>(bytes).is_ok();
            assert_eq!(is_valid, error.fault == JsonFault::TooDeep);
        }
    }
    if let Ok(text) = str::from_utf8(bytes) {
        let mut quoted = Vec::new();
        push_string(&mut quoted, text);
        assert_eq!(serde_json::from_slice::<String>(&quoted).ok().as_deref(), Some(text));
    }
}

/// The bytes that are no insignificant white space, one at a time.
fn significant(json: &[u8]) -> Vec<u8> {
    let (mut in_string, mut escaped) = (false, false);
    let mut kept = Vec::new();
    for &byte in json {
        if in_string || !b" \t\r\n".contains(&byte) {
            kept.push(byte);
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ => {}
        }
    }
    kept
}

fn depth(json: &[u8]) -> usize {
    let (mut in_string, mut escaped, mut depth, mut deepest) = (false, false, 0_usize, 0);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
