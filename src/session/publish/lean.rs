//! Bodies and commands as publishers write them nearly always, read in one pass in which nothing is copied.
//!
//! # Contract       what is read here is what [`super::parse_text`] and the reader of commands would read; what is unusual (a name or a label with
//!   escapes, a member that is unknown, or twice, or no string) or bad is left to it, which also says what is wrong

use super::{Event, Framing, Publications};
use crate::sequencer::Publication;
use crate::wire::json::{Value, Walk};
use crate::words::limits::{JSON_DEPTH_MAX, Limits};

/// The events of a body, and whether they came as a batch.
pub(super) fn events(text: &str, framing: Framing, limits: &Limits) -> Option<(Publications, bool)> {
    let mut publications = Publications::new();
    match framing {
        Framing::Lines => {
            for line in text.lines().filter(|line| !line.trim_ascii().is_empty()) {
                let mut walk = Walk::new(line);
                walk.skip_space();
                push(&mut publications, &mut walk, limits)?;
                walk.is_done().then_some(())?;
            }
            (!publications.is_empty()).then_some((publications, true))
        }
        Framing::Json => {
            let mut walk = Walk::new(text);
            walk.skip_space();
            let is_batch = walk.take(b'[');
            push(&mut publications, &mut walk, limits)?;
            while is_batch && walk.take(b',') {
                push(&mut publications, &mut walk, limits)?;
            }
            let has_ended = !is_batch || walk.take(b']');
            (has_ended && walk.is_done()).then_some((publications, is_batch))
        }
    }
}

/// Takes one more event, and the white space behind it.
fn push(publications: &mut Publications, walk: &mut Walk<'_>, limits: &Limits) -> Option<()> {
    if publications.len() == limits.batch_events_max {
        return None;
    }
    publications.push(event(walk, |_, _| None)?.publication(limits).ok()?);
    Some(())
}

/// A command to publish: the event, and the command's own id as it was written.
pub(super) fn command<'a>(text: &'a str, limits: &Limits) -> Option<(Publication, Option<&'a str>)> {
    let (mut is_publish, mut id) = (false, None);
    let mut walk = Walk::new(text);
    walk.skip_space();
    let event = event(&mut walk, |name, walk| match name {
        "type" => {
            let is_first = !std::mem::replace(&mut is_publish, walk.plain_string()? == "publish");
            (is_first && is_publish).then_some(())
        }
        "id" => id.replace(walk.value(0)?.text).is_none().then_some(()),
        _ => None,
    })?;
    if !is_publish || !walk.is_done() {
        return None;
    }
    Some((event.publication(limits).ok()?, id))
}

/// Reads one event, and the white space behind it. Members of other names are for `other`.
fn event<'a>(
    walk: &mut Walk<'a>,
    mut other: impl FnMut(&'a str, &mut Walk<'a>) -> Option<()>,
) -> Option<Event<'a>> {
    let (mut channel, mut kind, mut data) = (None, None, None);
    let (mut event_id, mut ids, mut tags, mut workspace) = (None, None, None, None);
    walk.take(b'{').then_some(())?;
    loop {
        let name = walk.plain_string()?;
        walk.skip_space();
        walk.take(b':').then_some(())?;
        let is_repeated = match name {
            "data" => data.replace(walk.value(JSON_DEPTH_MAX)?).is_some(),
            "ids" => ids.replace(walk.value(1)?).is_some(),
            "tags" => tags.replace(walk.value(1)?).is_some(),
            "channel" => channel.replace(walk.plain_string()?).is_some(),
            "event" => kind.replace(walk.plain_string()?).is_some(),
            "event_id" => event_id.replace(walk.plain_string()?).is_some(),
            "workspace" => workspace.replace(walk.plain_string()?).is_some(),
            name => {
                other(name, walk)?;
                false
            }
        };
        if is_repeated {
            return None;
        }
        walk.skip_space();
        if !walk.take(b',') {
            break;
        }
    }
    walk.take(b'}').then_some(())?;
    // To say nothing, or `null`, of words is to give none; that is for the other reader to know.
    let list = |value: Option<Value<'a>>| match value {
        Some(value) => value.text.starts_with('[').then_some(Some(value.text)),
        None => Some(None),
    };
    Some(Event {
        channel: channel?,
        kind: kind?,
        data: data.map_or("null", |data| data.text),
        is_tight: data.is_none_or(|data| data.is_tight),
        event_id,
        ids: list(ids)?,
        tags: list(tags)?,
        workspace,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::publish::parse_text;

    /// What is read of a body, as far as anybody sees it.
    fn seen((publications, is_batch): (Publications, bool)) -> (Vec<(Vec<u8>, String)>, bool) {
        let seen = |publication: &Publication| {
            (publication.rendered().to_vec(), publication.route().as_str().to_owned())
        };
        (publications.iter().map(seen).collect(), is_batch)
    }

    /// Whether the body is read here; if so, as the other reader reads it.
    fn is_read(text: &str, framing: Framing) -> bool {
        let limits = Limits { batch_events_max: 3, event_bytes_max: 32, ..Limits::default() };
        let Some(lean) = events(text, framing, &limits) else { return false };
        let other = parse_text(text, framing, &limits).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(seen(lean), seen(other), "{text}");
        true
    }

    #[test]
    fn ordinary_bodies_are_read_here_and_others_left() {
        let check = |text: &str, expected| assert_eq!(is_read(text, Framing::Json), expected, "{text}");
        check(r#"{"channel":"t:a","event":"k"}"#, true);
        check(r#"{"channel":"t:a","event":"k","data":{"a":[1,"\n"]}}"#, true);
        check(" { \"channel\" : \"t:a\" , \"event\" : \"pr.opened\" , \"data\" : [ 1 , 2 ] } \n", true);
        check(r#"{"channel":"t:a","event":"k","data":null,"event_id":"ü","workspace":"Acme"}"#, true);
        check(r#"{"channel":"repo:a/b","event":"pr_opened","ids":[1,"x"],"tags":[ "y" ]}"#, true);
        check(r#"{"channel":"t:a","event":"k","ids":[]}"#, true);
        check(r#"[{"channel":"t:a","event":"k"}]"#, true);
        check(r#"[{"channel":"t:a","event":"k"} , {"channel":"t:b","event":"k","data":1}]"#, true);
        check(r#"{"channel":"t:\u0061","event":"k"}"#, false);
        check(r#"{"channel":"t:a","event":"k","event_id":null}"#, false);
        check(r#"{"channel":"t:a","event":"k","ids":null}"#, false);
        check(r#"{"channel":"t:a","event":"k","event":"k"}"#, false);
        check(r#"{"channel":"t:a","event":"k","dat":1}"#, false);
        check(r#"{"channel":"t:a","event":"k",}"#, false);
        check(r#"{"channel":"t:a"}"#, false);
        check(r#"{"channel":"t:a","event":"K"}"#, false);
        check(r#"{"channel":"t:a","event":"k"} {}"#, false);
        check("[]", false);
        check("", false);
        let many = [r#"{"channel":"t:a","event":"k"}"#; 4].join(",");
        check(&format!("[{many}]"), false);
        let lines = |text: &str, expected| assert_eq!(is_read(text, Framing::Lines), expected, "{text}");
        lines("{\"channel\":\"t:a\",\"event\":\"k\"}\r\n \n {\"channel\":\"t:b\",\"event\":\"k\"} \n", true);
        lines("{\"channel\":\"t:a\",\"event\":\"k\"} x\n", false);
        lines("\n", false);
    }

    /// Members in any order, good and bad.
    const MEMBERS: [&str; 18] = [
        r#""channel":"t:a""#,
        r#""channel":"repo:a/b""#,
        r#""channel":"memory:x""#,
        r#""event":"k""#,
        r#""event":"issue.opened""#,
        r#""event": "push""#,
        r#""data":{"a":[1,2.5e3,true,null,"x y"]}"#,
        r#""data":"a \" b""#,
        r#""data": [ ]"#,
        r#""data":{"a" : 01}"#,
        r#""event_id":"7""#,
        r#""event_id":"a\tb""#,
        r#""ids":[1,-0,"x"]"#,
        r#""ids":[1, 2.0]"#,
        r#""tags":["a","b\n"]"#,
        r#""tags":{}"#,
        r#""workspace":"x""#,
        r#""workspace":" X ""#,
    ];

    proptest! {
        #[test]
        fn whatever_is_read_here_is_read_the_same_way(
            objects in prop::collection::vec(prop::collection::vec(0..MEMBERS.len(), 1..5), 1..4),
            (is_array, is_spaced) in any::<(bool, bool)>(),
        ) {
            let comma = if is_spaced { " , " } else { "," };
            let objects: Vec<String> = objects
                .iter()
                .map(|members| members.iter().map(|&at| MEMBERS[at]).collect::<Vec<_>>().join(comma))
                .map(|members| format!("{{{members}}}"))
                .collect();
            is_read(&objects.join("\n"), Framing::Lines);
            is_read(&if is_array { format!("[{}]", objects.join(comma)) } else { objects[0].clone() }, Framing::Json);
        }
    }
}
