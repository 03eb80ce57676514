//! One event as one line: JSON for programs, text for people.

use std::fmt::Write;

use crate::words::level::Level;
use crate::words::timestamp::{Fraction, push_rfc3339};

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `2026-11-22T18:00:00.123Z INFO  server: listening on http://127.0.0.1:8080 address=127.0.0.1:8080`
    Text {
        /// With colours.
        coloured: bool,
    },
    /// An object with `time`, `level`, `target`, `message`, and the fields.
    Json,
}

/// A name, which the program chose, and a value, which anybody may have chosen.
pub type Field<'a> = (&'static str, Value<'a>);

/// What a field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A text; from [`TEXT_BYTES_MAX`] on it is cut off.
    Text(&'a str),
    /// A number.
    Number(u64),
    /// Nothing is known: the field is left out.
    Unknown,
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Value<'a> {
        Value::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Value<'a> {
        Value::Text(text)
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Value::Number(number)
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Value<'a> {
        text.map_or(Value::Unknown, Value::Text)
    }
}

/// The longest text of a field or message, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;

/// The line, with its end.
#[must_use]
pub fn line(
    form: Form,
    unix_ms: u64,
    level: Level,
    target: &str,
    message: &str,
    fields: &[Field<'_>],
) -> String {
    let mut time = Vec::new();
    push_rfc3339(&mut time, unix_ms, Fraction::Millis);
    let mut out = String::from_utf8(time).unwrap_or_default();
    match form {
        Form::Text { coloured } => {
            let (begin, end) = if coloured { (colour(level), "\x1b[0m") } else { ("", "") };
            // A String takes everything.
            let _ = write!(out, " {begin}{:<5}{end} {target}: ", level.name().to_uppercase());
            push_escaped(&mut out, cut(message), false);
        }
        Form::Json => {
            out.insert_str(0, "{\"time\":\"");
            let _ = write!(out, "\",\"level\":\"{}\",\"target\":\"{target}\",\"message\":\"", level.name());
            push_escaped(&mut out, cut(message), true);
            out.push('"');
        }
    }
    for (name, value) in fields {
        let _ = match (form, value) {
            (_, Value::Unknown) => continue,
            (Form::Text { .. }, _) => write!(out, " {name}="),
            (Form::Json, _) => write!(out, ",\"{name}\":"),
        };
        match value {
            Value::Number(number) => {
                let _ = write!(out, "{number}");
            }
            Value::Text(text) if form != Form::Json && is_plain(text) => out.push_str(text),
            Value::Text(text) => {
                out.push('"');
                push_escaped(&mut out, cut(text), true);
                out.push('"');
            }
            Value::Unknown => {}
        }
    }
    out.push_str(if form == Form::Json { "}\n" } else { "\n" });
    out
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::Error => "\x1b[31m",
        Level::Warn => "\x1b[33m",
        Level::Info => "\x1b[32m",
        Level::Debug => "\x1b[2m",
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// Whether a text needs no quotes among others.
fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
    !text.is_empty() && text.len() <= TEXT_BYTES_MAX && text.bytes().all(is_plain)
}

/// Appends a text so that it neither ends the line nor does anything to a terminal. `quoted`: nor ends a string.
fn push_escaped(out: &mut String, text: &str, quoted: bool) {
    for letter in text.chars() {
        match letter {
            '"' | '\\' if quoted => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if is_dangerous(letter) => {
                // All of them lie in the first plane, so four digits are enough.
                let _ = write!(out, "\\u{:04x}", letter as u32);
            }
            _ => out.push(letter),
        }
    }
}

/// What controls a terminal, ends a line for some reader, or turns the direction of what follows.
fn is_dangerous(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT_MS: u64 = 1_795_316_060_123;

    #[test]
    fn the_same_event_for_people_and_for_programs() {
        let fields =
            [("path", "/a b".into()), ("user", Value::Unknown), ("status", 403.into()), ("id", "x".into())];
        let check = |form: Form, expected: &str| {
            assert_eq!(line(form, AT_MS, Level::Warn, "audit", "refused", &fields), format!("{expected}\n"));
        };
        check(
            Form::Text { coloured: false },
            "2026-11-22T02:54:20.123Z WARN  audit: refused path=\"/a b\" status=403 id=x",
        );
        check(
            Form::Text { coloured: true },
            "2026-11-22T02:54:20.123Z \x1b[33mWARN \x1b[0m audit: refused path=\"/a b\" status=403 id=x",
        );
        check(
            Form::Json,
            r#"{"time":"2026-11-22T02:54:20.123Z","level":"warn","target":"audit","message":"refused","path":"/a b","status":403,"id":"x"}"#,
        );
    }

    #[test]
    fn nothing_leaves_its_place_in_a_line() {
        let check = |text: &str, expected: &str| {
            let fields = [("x", text.into())];
            let text = line(Form::Text { coloured: false }, AT_MS, Level::Info, "t", "m", &fields);
            assert_eq!(text, format!("2026-11-22T02:54:20.123Z INFO  t: m x={expected}\n"));
        };
        check("plain", "plain");
        check("", "\"\"");
        check("a=b", "\"a=b\"");
        check("a\"b\\", r#""a\"b\\""#);
        check("a\r\nb\tc", r#""a\r\nb\tc""#);
        check("\x1b[31mred\x07\x7f\0", r#""\u001b[31mred\u0007\u007f\u0000""#);
        check("\u{9b}31m\u{85}\u{2028}\u{202e}", r#""\u009b31m\u0085\u2028\u202e""#);
        check("grüße", "\"grüße\"");
        let message = line(Form::Text { coloured: false }, AT_MS, Level::Info, "t", "a \"b\"\nc", &[]);
        assert!(message.ends_with(" a \"b\"\\nc\n"), "{message}");
        let long = "ü".repeat(TEXT_BYTES_MAX);
        let cut = line(Form::Json, AT_MS, Level::Info, "t", &long, &[("x", (&long).into())]);
        assert_eq!(cut.matches('ü').count(), TEXT_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_one_line_that_says_it(message in ".{0,40}|[\\x00-\\xff]{0,40}", text in "\\PC{0,40}|[\\x00-\\u{2100}]{0,40}") {
            let json = line(Form::Json, AT_MS, Level::Info, "t", &message, &[("x", (&text).into())]);
            let inner = json.strip_suffix('\n').unwrap();
            prop_assert!(!inner.chars().any(is_dangerous), "{json}");
            let value: serde_json::Value = serde_json::from_str(inner).unwrap();
            prop_assert_eq!(value["message"].as_str(), Some(&*message));
            prop_assert_eq!(value["x"].as_str(), Some(&*text));
            let plain = line(Form::Text { coloured: false }, AT_MS, Level::Info, "t", &message, &[("x", (&text).into())]);
            prop_assert!(!plain.strip_suffix('\n').unwrap().chars().any(is_dangerous), "{plain}");
        }
    }
}
