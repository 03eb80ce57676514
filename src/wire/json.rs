//! JSON as bytes: validated, stripped of insignificant white space, never rebuilt.
//!
//! # Contract       `minify` keeps every byte that is not insignificant white space, in order
//! # Invariants     what is appended is one valid value without line ends, so that it is one `data:` line
//! # Bounds         no recursion; output ≤ input; the validator's stack is one byte per open bracket
//! # Cost           one pass ([`Walk`]) and one copy; a second look at what has white space to lose, and at what is no
//!   JSON, to say what is wrong with it
//! # Why not …      a parsed tree: it is many times slower, and loses member order, duplicates and number texts

mod digits;
mod walk;

pub use digits::Digits;
pub use walk::{Value, Walk};

use memchr::memchr2;
use serde_json::value::RawValue;

/// Nesting that a value may have unless the caller says otherwise.
pub const DEPTH_MAX: usize = 128;

/// Appends the one JSON value in `input` to `out` without insignificant white space, otherwise byte for byte.
///
/// `depth_max` is how many arrays and objects may be open at once. On an error `out` is as it was.
///
/// # Errors
/// [`JsonError`] with the position, if `input` is not UTF-8, not one value of RFC 8259, or nested too deeply.
pub fn minify(input: &[u8], out: &mut Vec<u8>, depth_max: usize) -> Result<(), JsonError> {
    let text = str::from_utf8(input)
        .map_err(|error| JsonError { position: error.valid_up_to(), fault: JsonFault::NotText })?;
    let mut walk = Walk::new(text);
    walk.skip_space();
    if let Some(value) = walk.value(depth_max) {
        walk.skip_space();
        if walk.is_done() && value.is_tight {
            out.extend_from_slice(value.text.as_bytes());
            return Ok(());
        }
        if walk.is_done() {
            // What is no deeper than that has been walked through.
            return copy_significant(value.text.as_bytes(), out, depth_max);
        }
    }
    if let Err(error) = serde_json::from_str::<&RawValue>(text) {
        return Err(JsonError { position: position_of(&error, text), fault: JsonFault::Syntax });
    }
    let length_before = out.len();
    copy_significant(input, out, depth_max).inspect_err(|_| out.truncate(length_before))
}

/// Appends `text` as a JSON string, quotes included.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut run_start = 0;
    for (position, &byte) in bytes.iter().enumerate() {
        let letter = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[run_start..position]);
        out.extend_from_slice(&[b'\\', letter]);
        if letter == b'u' {
            let digits = b"0123456789abcdef";
            out.extend_from_slice(&[
                b'0',
                b'0',
                digits[usize::from(byte >> 4)],
                digits[usize::from(byte & 15)],
            ]);
        }
        run_start = position + 1;
    }
    out.extend_from_slice(&bytes[run_start..]);
    out.push(b'"');
}

/// Why a text is not taken as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {position}")]
pub struct JsonError {
    /// Where, in bytes from the start: the length of the input if that ends too early, else the byte that is wrong
    /// or the one before it.
    pub position: usize,
    /// What is wrong there.
    pub fault: JsonFault,
}

/// The ways a text is not JSON for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// A byte sequence that is not UTF-8.
    #[error("not UTF-8")]
    NotText,
    /// Not one value by the grammar.
    #[error("not JSON")]
    Syntax,
    /// More arrays and objects inside one another than allowed.
    #[error("nested too deeply")]
    TooDeep,
}

/// Copies a valid value in runs between insignificant white space: one run if it has none.
fn copy_significant(input: &[u8], out: &mut Vec<u8>, depth_max: usize) -> Result<(), JsonError> {
    out.reserve(input.len());
    let mut depth = 0;
    let mut run_start = 0;
    let mut position = 0;
    while let Some(&byte) = input.get(position) {
        match CLASSES[usize::from(byte)] {
            Class::Other => {}
            Class::Quote => position = string_end(input, position + 1),
            Class::Open => {
                depth += 1;
                if depth_max < depth {
                    return Err(JsonError { position, fault: JsonFault::TooDeep });
                }
            }
            Class::Close => depth -= 1,
            Class::Space => {
                out.extend_from_slice(&input[run_start..position]);
                let spaces = input[position..].iter().take_while(|&&byte| is_space(byte)).count();
                position += spaces;
                run_start = position;
                continue;
            }
        }
        position += 1;
    }
    out.extend_from_slice(&input[run_start..]);
    Ok(())
}

/// The position of the quote that ends the string whose text begins at `start`.
fn string_end(input: &[u8], start: usize) -> usize {
    let mut position = start;
    while let Some(found) = memchr2(b'"', b'\\', &input[position..]) {
        position += found;
        if input[position] == b'"' {
            return position;
        }
        // Whatever is escaped, one byte of it can look like a quote or a backslash.
        position += 2;
    }
    input.len()
}

/// The offset that the validator's line and column mean, which is that of the fault or of the byte before it.
fn position_of(error: &serde_json::Error, text: &str) -> usize {
    if error.is_eof() {
        return text.len();
    }
    let line_start = match error.line() {
        0 | 1 => 0,
        line => memchr::memchr_iter(b'\n', text.as_bytes()).nth(line - 2).map_or(0, |end| end + 1),
    };
    (line_start + error.column().saturating_sub(1)).min(text.len())
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// What a byte outside strings is to `copy_significant`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Other,
    Space,
    Quote,
    Open,
    Close,
}

/// A table, so that the bytes of numbers and literals, the most frequent ones outside strings, cost one branch each.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'"' => Class::Quote,
            b'[' | b'{' => Class::Open,
            b']' | b'}' => Class::Close,
            other if is_space(other) => Class::Space,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &str) {
        let mut out = b"before|".to_vec();
        minify(input.as_bytes(), &mut out, DEPTH_MAX).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("before|{expected}"), "{input}");
    }

    fn check_refused(input: &[u8], position: usize, fault: JsonFault) {
        let mut out = b"before|".to_vec();
        let text = String::from_utf8_lossy(input);
        assert_eq!(minify(input, &mut out, 3), Err(JsonError { position, fault }), "{text}");
        assert_eq!(out, b"before|", "{text}");
    }

    #[test]
    fn only_insignificant_white_space_goes() {
        for same in [
            "null",
            "0",
            "-0.0e+00",
            "1e999",
            "18446744073709551616",
            r#""""#,
            r#"" \t ""#,
            r#"{"a":1,"a":2}"#,
        ] {
            check(same, same);
        }
        check(" \r\n\t{ \"b\" : [ 1 , 2 ] ,\n\"a\"\t:\r{ } } \n", r#"{"b":[1,2],"a":{}}"#);
        check(r#"[ "a \" b" , "\\" , "c\u0022 d" , " é " ]"#, r#"["a \" b","\\","c\u0022 d"," é "]"#);
        check(" 1 ", "1");
    }

    #[test]
    fn what_is_not_one_value_is_refused_with_its_position() {
        for (input, position) in [
            ("", 0),
            ("  ", 2),
            ("tru", 3),
            ("01", 1),
            ("1 2", 2),
            ("[1,]", 3),
            ("{\"a\":1,}", 7),
            ("{a:1}", 1),
            ("{\n \"a\":\n  x}", 10),
            ("'a'", 0),
            ("[1 2]", 3),
            ("NaN", 0),
            ("+1", 0),
            ("\u{feff}1", 0),
            ("[]]", 2),
            ("/**/1", 0),
        ] {
            check_refused(input.as_bytes(), position, JsonFault::Syntax);
        }
        check_refused(b"[\"a\xff\"]", 3, JsonFault::NotText);
        check_refused(b"\"\xed\xa0\x80\"", 1, JsonFault::NotText);
    }

    #[test]
    fn depth_is_counted_in_open_brackets() {
        check_refused(b"[[ [[1]]]]", 4, JsonFault::TooDeep);
        check_refused(br#"{"a":[{"b":{}}]}"#, 11, JsonFault::TooDeep);
        let mut out = Vec::new();
        minify(br#"[[[]],[[]],["[[[["]]"#, &mut out, 3).unwrap();
        let deep = "[".repeat(1 << 20);
        assert_eq!(minify(deep.as_bytes(), &mut out, DEPTH_MAX).unwrap_err().fault, JsonFault::Syntax);
        let deep = deep + &"]".repeat(1 << 20);
        let error = minify(deep.as_bytes(), &mut out, DEPTH_MAX).unwrap_err();
        assert_eq!((error.fault, error.position), (JsonFault::TooDeep, DEPTH_MAX));
        assert_eq!(error.to_string(), "nested too deeply at byte 128");
    }

    #[test]
    fn a_pushed_string_reads_back() {
        let all: String = (0..0x250_u32).filter_map(char::from_u32).chain(['\u{2028}', '😀']).collect();
        for text in ["", "plain", "a\"b\\c\n\r\t\0\u{1f}", "ü", &all] {
            let mut out = Vec::new();
            push_string(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            assert!(out.iter().all(|&byte| 0x20 <= byte), "{text:?} has become one line");
        }
    }
}
