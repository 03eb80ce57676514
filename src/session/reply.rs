//! The texts that a client is sent besides events.

use crate::wire::json::{Digits, push_string};
use crate::words::cursor::{Epoch, Gap};

/// Writes a JSON object of `members`, each a name and a JSON text, then the `id` of the command it answers, if any.
fn push_object(out: &mut Vec<u8>, kind: &str, members: &[(&str, Member<'_>)], id: Option<&str>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
    for (name, member) in members {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        member.push(out);
    }
    if let Some(id) = id {
        out.extend_from_slice(b",\"id\":");
        out.extend_from_slice(id.as_bytes());
    }
    out.push(b'}');
}

enum Member<'a> {
    Text(&'a str),
    Number(u64),
    Null,
    Texts(&'a [&'a str]),
}

impl Member<'_> {
    fn push(&self, out: &mut Vec<u8>) {
        match self {
            Member::Text(text) => push_string(out, text),
            Member::Number(number) => out.extend_from_slice(Digits::of(*number).as_bytes()),
            Member::Null => out.extend_from_slice(b"null"),
            Member::Texts(texts) => {
                out.push(b'[');
                for (at, text) in texts.iter().enumerate() {
                    if at != 0 {
                        out.push(b',');
                    }
                    push_string(out, text);
                }
                out.push(b']');
            }
        }
    }
}

/// A text answer.
fn object(kind: &str, members: &[(&str, Member<'_>)], id: Option<&str>) -> String {
    let mut out = Vec::with_capacity(128);
    push_object(&mut out, kind, members, id);
    String::from_utf8(out).unwrap_or_default()
}

/// The subscription holds; everything after `seq` follows.
#[must_use]
pub fn subscribed(channel: &str, seq: u64, epoch: Epoch, id: Option<&str>) -> String {
    let members = [
        ("channel", Member::Text(channel)),
        ("seq", Member::Number(seq)),
        ("epoch", Member::Text(epoch.as_str())),
    ];
    object("subscribed", &members, id)
}

/// Older events of added channels follow, before `subscribed`.
#[must_use]
pub fn replay(channels: &[String], from: u64, to: u64, id: Option<&str>) -> String {
    let channels: Vec<&str> = channels.iter().map(String::as_str).collect();
    let members =
        [("channels", Member::Texts(&channels)), ("from", Member::Number(from)), ("to", Member::Number(to))];
    object("replay", &members, id)
}

/// The filter holds for everything after `seq`.
#[must_use]
pub fn filtered(seq: u64, id: Option<&str>) -> String {
    object("filtered", &[("seq", Member::Number(seq))], id)
}

/// The subscription has ended, or there was none.
#[must_use]
pub fn unsubscribed(channel: &str, id: Option<&str>) -> String {
    object("unsubscribed", &[("channel", Member::Text(channel))], id)
}

/// The subscription has ended, because what was granted is no longer.
#[must_use]
pub fn withdrawn(channel: &str) -> String {
    let members = [("channel", Member::Text(channel)), ("reason", Member::Text("forbidden"))];
    object("unsubscribed", &members, None)
}

/// The connection is this user's from now on, until that time if there is one.
#[must_use]
pub fn authenticated(user: Option<&str>, expires_ms: Option<u64>, id: Option<&str>) -> String {
    let members = [
        ("user", user.map_or(Member::Null, Member::Text)),
        ("expires_at", expires_ms.map_or(Member::Null, Member::Number)),
    ];
    object("authenticated", &members, id)
}

/// What the connection is subscribed to.
#[must_use]
pub fn subscriptions(channels: &[&str], seq: u64, epoch: Epoch, id: Option<&str>) -> String {
    let members = [
        ("channels", Member::Texts(channels)),
        ("seq", Member::Number(seq)),
        ("epoch", Member::Text(epoch.as_str())),
    ];
    object("subscriptions", &members, id)
}

/// The event is in the log.
#[must_use]
pub fn published(seq: u64, id: Option<&str>) -> String {
    object("published", &[("seq", Member::Number(seq))], id)
}

/// Old events are gone: so many, and what is the oldest now.
#[must_use]
pub fn cleared(count: u64, oldest: u64, id: Option<&str>) -> String {
    object("cleared", &[("count", Member::Number(count)), ("oldest", Member::Number(oldest))], id)
}

/// The answer to a `ping` command.
#[must_use]
pub fn pong(seq: u64, id: Option<&str>) -> String {
    object("pong", &[("seq", Member::Number(seq))], id)
}

/// The client's cursor moves on though nothing matched.
#[must_use]
pub fn cursor(seq: u64) -> String {
    object("cursor", &[("seq", Member::Number(seq))], None)
}

/// A command was refused; the connection lives on.
#[must_use]
pub fn error(code: &str, message: &str, id: Option<&str>) -> String {
    object("error", &[("code", Member::Text(code)), ("message", Member::Text(message))], id)
}

/// Events will not come.
#[must_use]
pub fn gap(gap: &Gap) -> String {
    let (from, to) = match gap.range {
        Some((from, to)) => (Member::Number(from), Member::Number(to)),
        None => (Member::Null, Member::Null),
    };
    let mut members = smallvec::SmallVec::<[(&str, Member<'_>); 5]>::new();
    members.extend([("from", from), ("to", to), ("cause", Member::Text(gap.cause.as_str()))]);
    members.extend(gap.matched.map(|matched| ("matched", Member::Number(matched))));
    members.extend(gap.old.as_deref().map(|old| ("old", Member::Text(old))));
    object("gap", &members, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::cursor::GapCause;

    #[test]
    fn texts_as_the_protocol_has_them() {
        let epoch = Epoch::from_bits(0);
        let check = |text: String, expected: &str| assert_eq!(text, expected);
        check(
            subscribed("repo:a/b", 7, epoch, Some("1")),
            r#"{"type":"subscribed","channel":"repo:a/b","seq":7,"epoch":"aaaaaaaa","id":1}"#,
        );
        check(unsubscribed("a\"b", None), r#"{"type":"unsubscribed","channel":"a\"b"}"#);
        check(
            subscriptions(&["t:a", "t:b"], 7, epoch, None),
            r#"{"type":"subscriptions","channels":["t:a","t:b"],"seq":7,"epoch":"aaaaaaaa"}"#,
        );
        check(withdrawn("t:a"), r#"{"type":"unsubscribed","channel":"t:a","reason":"forbidden"}"#);
        check(
            authenticated(Some("alice"), Some(1000), Some("1")),
            r#"{"type":"authenticated","user":"alice","expires_at":1000,"id":1}"#,
        );
        check(authenticated(None, None, None), r#"{"type":"authenticated","user":null,"expires_at":null}"#);
        check(published(9, Some("\"x\"")), r#"{"type":"published","seq":9,"id":"x"}"#);
        check(cleared(3, 9, Some("2")), r#"{"type":"cleared","count":3,"oldest":9,"id":2}"#);
        check(pong(9, None), r#"{"type":"pong","seq":9}"#);
        check(cursor(9), r#"{"type":"cursor","seq":9}"#);
        check(error("c", "m", None), r#"{"type":"error","code":"c","message":"m"}"#);
        let lapped = Gap::of((3, 9), GapCause::Lapped);
        check(gap(&lapped), r#"{"type":"gap","from":3,"to":9,"cause":"lapped"}"#);
        let skipped = Gap { matched: Some(4), ..Gap::of((3, 9), GapCause::Skipped) };
        check(gap(&skipped), r#"{"type":"gap","from":3,"to":9,"cause":"skipped","matched":4}"#);
        assert_eq!((lapped.resume_after(), skipped.resume_after()), (Some(9), Some(2)));
        let foreign = Gap::of_epoch("x-1".into());
        check(gap(&foreign), r#"{"type":"gap","from":null,"to":null,"cause":"epoch","old":"x-1"}"#);
    }
}
