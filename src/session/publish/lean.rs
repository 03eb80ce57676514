//! Bodies and commands as publishers write them nearly always, read in one pass in which nothing is copied.
//!
//! # Contract       what is read here is what [`super::parse_text`] and the reader of commands would read; what is unusual (a name or a label with
//!   escapes, a member that is unknown, or twice, or no string) or bad is left to it, which also says what is wrong

use super::opening::Opening;
use super::{Event, Framing, Publications, check_length};
use crate::sequencer::Publication;
use crate::wire::json::{Value, Walk};
use crate::words::limits::{JSON_DEPTH_MAX, Limits};

/// The events of a body, and whether they came as a batch.
pub(super) fn events(
    text: &str,
    framing: Framing,
    limits: &Limits,
    opening: &mut Opening,
) -> Option<(Publications, bool)> {
    let mut publications = Publications::new();
    let mut push = |walk: &mut Walk<'_>| {
        if publications.len() == limits.batch_events_max {
            return None;
        }
        publications.push(publication(walk, Place::Body, limits, opening)?.0);
        Some(())
    };
    let is_batch = match framing {
        Framing::Lines => {
            for line in text.lines().filter(|line| !line.trim_ascii().is_empty()) {
                let mut walk = Walk::new(line);
                walk.skip_space();
                push(&mut walk)?;
                walk.is_done().then_some(())?;
            }
            true
        }
        Framing::Json => {
            let mut walk = Walk::new(text);
            walk.skip_space();
            let is_batch = walk.take(b'[');
            push(&mut walk)?;
            while is_batch && walk.take(b',') {
                push(&mut walk)?;
            }
            let has_ended = !is_batch || walk.take(b']');
            (has_ended && walk.is_done()).then_some(())?;
            is_batch
        }
    };
    (!publications.is_empty()).then_some((publications, is_batch))
}

/// A command to publish: the event, and the command's own id as it was written.
pub(super) fn command<'a>(
    text: &'a str,
    limits: &Limits,
    opening: &mut Opening,
) -> Option<(Publication, Option<&'a str>)> {
    let mut walk = Walk::new(text);
    walk.skip_space();
    let said = publication(&mut walk, Place::Command, limits, opening)?;
    walk.is_done().then_some(said)
}

/// Where an event stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a body.
    Body,
    /// Among the members of a command, which has a type and perhaps an id as well.
    Command,
}

/// Members of an event and of the command that it may stand in, where they were found.
#[derive(Default)]
struct Members<'a> {
    channel: Option<&'a str>,
    kind: Option<&'a str>,
    data: Option<Value<'a>>,
    event_id: Option<&'a str>,
    ids: Option<Value<'a>>,
    tags: Option<Value<'a>>,
    workspace: Option<&'a str>,
    verb: Option<&'a str>,
    id: Option<&'a str>,
}

/// Reads one event, and the white space behind it; and the id of the command that it stands in.
fn publication<'a>(
    walk: &mut Walk<'a>,
    place: Place,
    limits: &Limits,
    opening: &mut Opening,
) -> Option<(Publication, Option<&'a str>)> {
    let text = walk.rest();
    let mut members = Members::default();
    // Where the data begins, if nothing stands before it that would be another thing the next time.
    let mut data_start = None;
    let mut goes_on = if walk.pass(opening.text()) {
        walk.skip_space();
        let data = walk.value(JSON_DEPTH_MAX)?;
        walk.skip_space();
        if data.is_tight && walk.take(b'}') {
            check_length(data.text.as_bytes(), limits).ok()?;
            return Some((opening.publication(data.text), None));
        }
        let (channel, kind) = opening.said_in(text);
        (members.channel, members.kind, members.data) = (Some(channel), Some(kind), Some(data));
        members.verb = (place == Place::Command).then_some("publish");
        walk.take(b',')
    } else {
        walk.take(b'{').then_some(true)?
    };
    while goes_on {
        let name = walk.plain_string()?;
        walk.skip_space();
        walk.take(b':').then_some(())?;
        if name == "data" && members.is_opening(place) {
            data_start = Some(text.len() - walk.rest().len());
        }
        members.read(name, place, walk)?;
        walk.skip_space();
        goes_on = walk.take(b',');
    }
    walk.take(b'}').then_some(())?;
    if place == Place::Command && members.verb != Some("publish") {
        return None;
    }
    let publication = members.event()?.publication(limits).ok()?;
    if let (Some(data_start), true) = (data_start, members.is_opening(place))
        && let (Some(channel), Some(kind)) = (members.channel, members.kind)
    {
        opening.learn(&text[..data_start], channel, kind, &publication);
    }
    Some((publication, members.id))
}

impl<'a> Members<'a> {
    /// Whether what an opening has is there, and besides it nothing but perhaps the data.
    fn is_opening(&self, place: Place) -> bool {
        let is_whole = self.channel.is_some() && self.kind.is_some();
        let is_labelled = self.event_id.is_some()
            || self.ids.is_some()
            || self.tags.is_some()
            || self.workspace.is_some()
            || self.id.is_some();
        is_whole && !is_labelled && self.verb.is_some() == (place == Place::Command)
    }

    /// Reads the value of the member `name`.
    fn read(&mut self, name: &str, place: Place, walk: &mut Walk<'a>) -> Option<()> {
        let is_repeated = match (name, place) {
            ("data", _) => self.data.replace(walk.value(JSON_DEPTH_MAX)?).is_some(),
            ("ids", _) => self.ids.replace(walk.value(1)?).is_some(),
            ("tags", _) => self.tags.replace(walk.value(1)?).is_some(),
            ("channel", _) => self.channel.replace(walk.plain_string()?).is_some(),
            ("event", _) => self.kind.replace(walk.plain_string()?).is_some(),
            ("event_id", _) => self.event_id.replace(walk.plain_string()?).is_some(),
            ("workspace", _) => self.workspace.replace(walk.plain_string()?).is_some(),
            ("type", Place::Command) => self.verb.replace(walk.plain_string()?).is_some(),
            ("id", Place::Command) => self.id.replace(walk.value(0)?.text).is_some(),
            _ => return None,
        };
        (!is_repeated).then_some(())
    }

    /// The event, if it has what it must have.
    fn event(&self) -> Option<Event<'a>> {
        // To say nothing, or `null`, of words is to give none; that is for the other reader to know.
        let list = |value: Option<Value<'a>>| match value {
            Some(value) => value.text.starts_with('[').then_some(Some(value.text)),
            None => Some(None),
        };
        Some(Event {
            channel: self.channel?,
            kind: self.kind?,
            data: self.data.map_or("null", |data| data.text),
            is_tight: self.data.is_none_or(|data| data.is_tight),
            event_id: self.event_id,
            ids: list(self.ids)?,
            tags: list(self.tags)?,
            workspace: self.workspace,
        })
    }
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
        is_read_after(&mut Opening::default(), text, framing)
    }

    /// The same of a body that comes after others.
    fn is_read_after(opening: &mut Opening, text: &str, framing: Framing) -> bool {
        let limits = Limits { batch_events_max: 3, event_bytes_max: 32, ..Limits::default() };
        let Some(lean) = events(text, framing, &limits, opening) else { return false };
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

    #[test]
    fn what_begins_like_the_event_before_is_read_as_if_nothing_had_been_there() {
        let first = r#"{"channel":"repo:a/b","event":"pr.opened","data":1}"#;
        let check = |text: &str, expected: bool| {
            let mut opening = Opening::default();
            assert!(is_read_after(&mut opening, first, Framing::Json));
            assert_eq!(opening.text(), &first[..first.len() - 2]);
            assert_eq!(is_read_after(&mut opening, text, Framing::Json), expected, "{text}");
            let lines = format!("{text}\n{first}\n{text}");
            assert_eq!(is_read_after(&mut opening, &lines, Framing::Lines), expected, "{text}");
        };
        let data = |data: &str| first.replace("1}", data);
        check(first, true);
        check(&data(r#"{"x":"y"}}"#), true);
        check(&data(r#" { "x" : "y" } } "#), true);
        check(&data(r#"1,"ids":[7]}"#), true);
        check(&data(r#"1 , "event_id":"e","workspace":"Acme" }"#), true);
        check(&data(r#"[1,2"#), false);
        check(&data("}"), false);
        check(&data("1"), false);
        check(&data("1,}"), false);
        check(&data("1}}"), false);
        check(&data(r#"1,"data":2}"#), false);
        check(&data(r#"1,"channel":"repo:a/b"}"#), false);
        check(&data(r#"1,"type":"publish"}"#), false);
        check(&data(&format!("\"{}\"}}", "x".repeat(31))), false);
        check(&first.replace("repo:a/b", "repo:a/c"), true);
        check(&first.replace("repo:a/b", "repo:"), false);
        check(r#"{"channel":"repo:a/b","event":"pr.opened"}"#, true);
    }

    #[test]
    fn an_opening_has_nothing_in_it_that_is_not_looked_at_again() {
        let check = |text: &str, expected: &str| {
            let mut opening = Opening::default();
            assert!(is_read_after(&mut opening, text, Framing::Json), "{text}");
            assert_eq!(opening.text(), expected);
        };
        check(r#"{"event":"k", "channel":"t:a","data": 1}"#, r#"{"event":"k", "channel":"t:a","data": "#);
        check(r#"{"channel":"t:a","event":"k"}"#, "");
        check(r#"{"channel":"t:a","data":1,"event":"k"}"#, "");
        check(r#"{"channel":"t:a","event":"k","ids":[1],"data":1}"#, "");
        check(r#"{"channel":"t:a","event":"k","data":1,"ids":[1]}"#, "");
        check(&format!(r#"{{"channel":"t:a",{}"event":"k","data":1}}"#, " ".repeat(512)), "");
        let mut opening = Opening::default();
        let mut check = |text: &str, expected: Option<Option<&str>>| {
            let read = command(text, &Limits::default(), &mut opening);
            assert_eq!(read.map(|(_, id)| id), expected, "{text}");
        };
        let first = r#"{"type":"publish","channel":"t:a","event":"k","data":1}"#;
        check(&first.replace(r#""channel""#, r#""id":7,"channel""#), Some(Some("7")));
        check(first, Some(None));
        check(&first.replace("1}", r#"2,"id":8}"#), Some(Some("8")));
        check(&first.replace("1}", r#"2,"type":"publish"}"#), None);
        assert_eq!(opening.text(), &first[..first.len() - 2]);
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
            let mut opening = Opening::default();
            for object in objects.iter().chain(&objects) {
                is_read_after(&mut opening, object, Framing::Json);
            }
        }
    }
}
