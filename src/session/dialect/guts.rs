//! The dialect `guts`: typed messages over a WebSocket, commands and their answers, no numbers.

use serde::Deserialize;

use super::{push_number, push_text};
use crate::reader::EventView;
use crate::wire::json::push_string;
use crate::words::channel::{CHANNEL_BYTES_MAX, ChannelError, Pattern};
use crate::words::cursor::Epoch;
use crate::words::cursor::Gap;

/// Appends an event. Its time is in whole seconds, and its id the publisher's or [`event_id`].
pub fn push_event_json(out: &mut Vec<u8>, event: &EventView<'_>) {
    push_text(out, "{\"type\":\"event\",\"channel\":", event.channel);
    push_text(out, ",\"event\":", event.kind);
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(event.data);
    out.extend_from_slice(b",\"timestamp\":");
    push_number(out, event.timestamp_ms / 1000);
    push_event_id(out, event);
    out.push(b'}');
}

/// Appends the member `event_id` behind others.
pub(super) fn push_event_id(out: &mut Vec<u8>, event: &EventView<'_>) {
    match event.event_id {
        Some(id) => push_text(out, ",\"event_id\":", id),
        None => push_text(out, ",\"event_id\":", &event_id(event.epoch, event.seq)),
    }
}

/// An id in the shape of a random UUID (version 4) for an event whose publisher gave none: always the same for the same
/// event, over either transport and after every resume; as unlikely to meet another as random ones are.
#[must_use]
pub fn event_id(epoch: Epoch, seq: u64) -> String {
    let epoch = epoch.as_str().bytes().fold(0, |bits, byte| bits << 8 | u64::from(byte));
    let low = scramble(seq ^ scramble(epoch));
    let high = scramble(low ^ epoch);
    // The shape: four bits are the version, two the variant.
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// Spreads every bit over all of them; no two numbers become the same one, since each step can be undone.
fn scramble(mut bits: u64) -> u64 {
    for _ in 0..3 {
        bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93);
        bits ^= bits >> 32;
    }
    bits
}

/// The subscription holds. `channel` is the client's text, unchanged.
#[must_use]
pub fn subscribed(channel: &str) -> String {
    answer("subscribed", Some(("channel", channel)))
}

/// The subscription has ended, or there was none. `channel` is the client's text, unchanged.
#[must_use]
pub fn unsubscribed(channel: &str) -> String {
    answer("unsubscribed", Some(("channel", channel)))
}

/// The answer to a `ping` command.
#[must_use]
pub fn pong() -> String {
    answer("pong", None)
}

/// A command was refused; the connection lives on.
#[must_use]
pub fn error(message: &str) -> String {
    answer("error", Some(("message", message)))
}

/// Events will not come. Its clients know no frame but this for what went wrong.
#[must_use]
pub fn gap(gap: &Gap) -> String {
    let cause = gap.cause.as_str();
    match (gap.range, &gap.old) {
        (Some((from, to)), _) => error(&format!("events {from} to {to} were not delivered: {cause}")),
        (None, Some(old)) => {
            error(&format!("events after the unknown cursor {old} may not have been delivered: {cause}"))
        }
        (None, None) => error(&format!("some events were not delivered: {cause}")),
    }
}

fn answer(kind: &str, member: Option<(&str, &str)>) -> String {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(b"{\"type\":");
    push_string(&mut out, kind);
    if let Some((name, text)) = member {
        out.push(b',');
        push_string(&mut out, name);
        push_text(&mut out, ":", text);
    }
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default()
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Get the events of a channel, from now on.
    Subscribe {
        /// What to get.
        pattern: Pattern,
        /// The client's text, to be echoed.
        text: String,
    },
    /// No longer get the events of a channel.
    Unsubscribe {
        /// What to end.
        pattern: Pattern,
        /// The client's text, to be echoed.
        text: String,
    },
    /// Answer.
    Ping,
}

/// How clients spell channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// In full.
    Hub,
    /// In full, or a bare `owner/name` for a repository, or `all` for everything: what the client library and the load
    /// test of this system send to `/api/events`.
    Sdk,
}

/// Why a command is refused; as text, what [`error`] is to say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The message is no command; the parser says why.
    #[error("Invalid message format: {0}")]
    Format(String),
    /// The name is no channel.
    #[error("invalid channel: {0}")]
    Channel(#[from] ChannelError),
}

/// Any command as it stands in the message. As the tag is looked for in arrays too, `["ping"]` is a command.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Raw {
    Subscribe {
        #[serde(alias = "repository")]
        channel: String,
    },
    Unsubscribe {
        #[serde(alias = "repository")]
        channel: String,
    },
    Ping,
}

/// Reads a text message. Members that no command knows are ignored.
///
/// # Errors
/// [`CommandError`]; the connection lives on.
pub fn parse_command(text: &str, spelling: Spelling) -> Result<Command, CommandError> {
    let raw = serde_json::from_str(text).map_err(|error| {
        CommandError::Format(error.to_string().chars().take(PARSER_TEXT_CHARS_MAX).collect())
    })?;
    Ok(match raw {
        Raw::Subscribe { channel: text } => {
            Command::Subscribe { pattern: parse_channel(&text, spelling)?, text }
        }
        Raw::Unsubscribe { channel: text } => {
            Command::Unsubscribe { pattern: parse_channel(&text, spelling)?, text }
        }
        Raw::Ping => Command::Ping,
    })
}

/// Longest text of the parser that is passed on, in characters: it may quote the message.
const PARSER_TEXT_CHARS_MAX: usize = 256;

/// Reads a channel: a repository, a user or an organisation, and nothing else.
///
/// # Errors
/// The texts that the original has, for what it refuses; in its order, so that a text with several faults is refused
/// for the same one.
pub fn parse_channel(text: &str, spelling: Spelling) -> Result<Pattern, ChannelError> {
    if CHANNEL_BYTES_MAX < text.len() {
        return Err(ChannelError::TooLong);
    }
    match (text.split_once(':'), spelling) {
        (None, Spelling::Sdk) if text == "all" => Pattern::parse("*"),
        (None, Spelling::Sdk) if text.contains('/') => Pattern::parse(&format!("repo:{text}")),
        (None, _) => Err(ChannelError::NoNamespace(text.to_owned())),
        (Some(("user" | "org", path)), _) if path.is_empty() || path.starts_with('/') => {
            Err(ChannelError::Empty(path.to_owned()))
        }
        (Some(("repo" | "user" | "org", _)), _) => Pattern::parse(text),
        (Some((namespace, _)), _) => Err(ChannelError::BadNamespace(namespace.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use smallvec::smallvec;

    use super::*;
    use crate::words::cursor::GapCause;

    #[test]
    fn an_event_is_the_frame_its_clients_know() {
        let mut event = EventView {
            epoch: Epoch::from_bits(0),
            seq: 41,
            timestamp_ms: 1_795_316_060_999,
            channel: "repo:alice/myrepo",
            kind: "pr_opened",
            data: br#"{"number":1.0,"title":"\u00e9"}"#,
            event_id: Some("x\"y"),
            ids: smallvec!["7"],
            tags: smallvec!["t"],
            workspace: Some("w"),
        };
        let check = |event: &EventView<'_>, expected: &str| {
            let mut out = Vec::new();
            push_event_json(&mut out, event);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(
            &event,
            r#"{"type":"event","channel":"repo:alice/myrepo","event":"pr_opened","data":{"number":1.0,"title":"\u00e9"},"timestamp":1795316060,"event_id":"x\"y"}"#,
        );
        event.event_id = None;
        // The id was worked out by another program.
        check(
            &event,
            r#"{"type":"event","channel":"repo:alice/myrepo","event":"pr_opened","data":{"number":1.0,"title":"\u00e9"},"timestamp":1795316060,"event_id":"f943aa62-e4e1-4588-ab16-5b4b05b4dcbd"}"#,
        );
    }

    #[test]
    fn ids_look_random_and_are_the_same_every_time() {
        let epochs = [Epoch::from_bits(0), Epoch::from_bits(1), Epoch::from_bits(u64::MAX)];
        let mut seen = HashSet::new();
        for epoch in epochs {
            for seq in (0..20_000).chain((0..64).map(|place| 1 << place).filter(|seq| 20_000 <= *seq)) {
                let id = event_id(epoch, seq);
                let shape: String =
                    id.chars().map(|c| if matches!(c, '0'..='9' | 'a'..='f') { 'x' } else { c }).collect();
                assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
                assert_eq!(&id[14..15], "4", "{id}");
                assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
                assert_eq!(id, event_id(epoch, seq));
                assert!(seen.insert(id), "{epoch}-{seq}");
            }
        }
    }

    #[test]
    fn answers_have_their_exact_text() {
        let check = |text: String, expected: &str| assert_eq!(text, expected);
        check(subscribed("repo:alice/myrepo"), r#"{"type":"subscribed","channel":"repo:alice/myrepo"}"#);
        check(unsubscribed("a\"b"), r#"{"type":"unsubscribed","channel":"a\"b"}"#);
        check(pong(), r#"{"type":"pong"}"#);
        check(error("m"), r#"{"type":"error","message":"m"}"#);
        let lapped = Gap::of((3, 9), GapCause::Lapped);
        check(gap(&lapped), r#"{"type":"error","message":"events 3 to 9 were not delivered: lapped"}"#);
        let foreign = Gap::of_epoch("x-1".into());
        check(
            gap(&foreign),
            r#"{"type":"error","message":"events after the unknown cursor x-1 may not have been delivered: epoch"}"#,
        );
    }

    #[test]
    fn commands_and_the_texts_that_refuse_them() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let got = parse_command(text, Spelling::Hub);
            let got = got.map(|command| match command {
                Command::Subscribe { pattern, text } => format!("+{pattern} {text}"),
                Command::Unsubscribe { pattern, text } => format!("-{pattern} {text}"),
                Command::Ping => "ping".to_owned(),
            });
            match expected {
                Ok(command) => assert_eq!(got.as_deref(), Ok(command), "{text}"),
                Err(start) => {
                    let message = got.expect_err(text).to_string();
                    assert!(message.starts_with(start), "{text}: {message}");
                }
            }
        };
        check(
            r#"{"type":"subscribe","channel":"repo:alice/myrepo"}"#,
            Ok("+repo:alice/myrepo repo:alice/myrepo"),
        );
        check(r#"{"type":"subscribe","repository":"repo:a/b","other":[1]}"#, Ok("+repo:a/b repo:a/b"));
        check(r#"{"channel":"org:acme","type":"unsubscribe"}"#, Ok("-org:acme org:acme"));
        check(r#"{"type":"ping"}"#, Ok("ping"));
        check(r#"{"type":"ping","channel":"x"}"#, Ok("ping"));
        check(r#"["ping"]"#, Ok("ping"));
        check("nonsense", Err("Invalid message format: expected ident"));
        check("{}", Err("Invalid message format: missing field `type`"));
        check(r#"{"type":"dance"}"#, Err("Invalid message format: unknown variant `dance`"));
        check(r#"{"type":"subscribe"}"#, Err("Invalid message format: missing field `channel`"));
        check(
            r#"{"type":"subscribe","channel":7}"#,
            Err("Invalid message format: invalid type: integer `7`"),
        );
        check(
            r#"{"type":"subscribe","channel":"all"}"#,
            Err("invalid channel: missing channel type prefix: all"),
        );
        let long = parse_command(&format!(r#"{{"type":"{}"}}"#, "é".repeat(100_000)), Spelling::Hub);
        assert!(long.unwrap_err().to_string().len() < 1000);
    }

    #[test]
    fn channels_in_either_spelling() {
        let check = |text: &str, spelling: Spelling, expected: Result<&str, &str>| {
            let got = parse_channel(text, spelling).map_err(|error| error.to_string());
            assert_eq!(
                got.as_ref().map(Pattern::as_str),
                expected.map_err(str::to_owned).as_ref().map(|s| *s),
                "{text:?}"
            );
        };
        let both = |text: &str, expected: Result<&str, &str>| {
            check(text, Spelling::Hub, expected);
            check(text, Spelling::Sdk, expected);
        };
        both("repo:alice/myrepo", Ok("repo:alice/myrepo"));
        both("repo:alice/myrepo/prs", Ok("repo:alice/myrepo/prs"));
        both("repo:a:b/c", Ok("repo:a:b/c"));
        both("user:alice", Ok("user:alice"));
        both("org:acme", Ok("org:acme"));
        both("invalid", Err("missing channel type prefix: invalid"));
        both("", Err("missing channel type prefix: "));
        both("*", Err("missing channel type prefix: *"));
        both("unknown:test", Err("unknown channel type: unknown"));
        both("REPO:a/b", Err("unknown channel type: REPO"));
        both(" repo:a/b", Err("unknown channel type:  repo"));
        both(":x", Err("unknown channel type: "));
        both("repo:", Err("repository channel requires owner/name format: "));
        both("repo:onlyname", Err("repository channel requires owner/name format: onlyname"));
        both("user:", Err("channel identifier cannot be empty: "));
        both("org:", Err("channel identifier cannot be empty: "));
        both("user:/x", Err("channel identifier cannot be empty: /x"));
        both("repo:/", Err("channel identifier cannot be empty: /"));
        both("repo:a/b/", Err("channel identifier cannot be empty: a/b/"));
        both("user:a/b", Err("channel takes no sub-channel: user:a/b"));
        both(&format!("repo:a/{}", "b".repeat(255)), Err("channel is longer than 255 bytes"));
        check("all", Spelling::Hub, Err("missing channel type prefix: all"));
        check("all", Spelling::Sdk, Ok("*"));
        check("alice/myrepo", Spelling::Hub, Err("missing channel type prefix: alice/myrepo"));
        check("alice/myrepo", Spelling::Sdk, Ok("repo:alice/myrepo"));
        check("alice/", Spelling::Sdk, Err("channel identifier cannot be empty: alice/"));
    }
}
