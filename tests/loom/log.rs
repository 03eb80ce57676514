//! The log: whole events, exact marks, and bytes that stay put under a reader.

use fanfare::log::{ChannelId, ChannelsFull, Encoded, Form, Held, Log, Pass, Retention, Writer};
use fanfare::sync::Arc;
use fanfare::words::channel::{Channel, Route};
use loom::thread;

use crate::{Expected, explore};

fn small(events: usize, channels_max: usize) -> (Arc<Log>, Writer) {
    Log::new(Retention { events, bytes: 1 << 20, age: None, channels_max })
}

fn named(name: &str) -> Route {
    Route::from(&Channel::parse(name).unwrap())
}

fn intern(writer: &mut Writer, name: &str) -> ChannelId {
    writer.intern(&named(name)).unwrap()
}

/// Appends an event that says its number and its channel.
fn append(writer: &mut Writer, route: ChannelId, name: &str) {
    let json = format!("{} {name}", writer.next());
    writer.append(
        route,
        &Encoded {
            json: &[json.as_bytes()],
            sse_head: &[b"data: "],
            labels: b"l",
            timestamp_ms: 7,
            accepted: Default::default(),
        },
    );
}

/// Whether `seq` is still held; if so it must be whole.
fn is_whole(pass: &Pass<'_>, seq: u64, name: &str) -> bool {
    let Held::Here(json) = pass.json(seq) else { return false };
    let expected = format!("{seq} {name}");
    assert_eq!(str::from_utf8(json).unwrap(), expected);
    let Held::Here(frame) = pass.frame(seq, Form::WebSocket) else { panic!("it was there just now") };
    assert_eq!(frame.parts().next().unwrap()[2..], *expected.as_bytes());
    true
}

/// A reader sees whole events, in order, and as many as `published` says.
#[test]
fn publish_consume() {
    let expected = Expected {
        name: "publish_consume",
        preemptions: None,
        interleavings_min: 100,
        outcomes: &["none", "one", "all", "one, then all"],
    };
    explore(&expected, |seen| {
        let (log, mut writer) = small(4, 1);
        let route = intern(&mut writer, "a:a");
        let writing = thread::spawn(move || {
            append(&mut writer, route, "a:a");
            writer.publish();
            append(&mut writer, route, "a:a");
            append(&mut writer, route, "a:a");
            writer.publish();
        });
        let mut cursor = 1;
        for _ in 0..2 {
            let before = cursor;
            let pass = log.pass();
            while cursor < pass.published() {
                assert!(is_whole(&pass, cursor, "a:a"));
                cursor += 1;
            }
            match (before, cursor) {
                (1, 1) => seen.note("none"),
                (1, 2) => seen.note("one"),
                (1, 4) => seen.note("all"),
                (2, 4) => seen.note("one, then all"),
                (before, cursor) => assert_eq!(before, cursor, "no part of a batch is seen alone"),
            }
        }
        writing.join().unwrap();
    });
}

/// A writer that laps a reader leaves it what it holds, and tells it of what it does not.
#[test]
fn segment_reuse() {
    let expected = Expected {
        name: "segment_reuse",
        preemptions: None,
        interleavings_min: 1000,
        outcomes: &["held while the writer laps", "held", "lapped"],
    };
    explore(&expected, |seen| {
        let (log, mut writer) = small(0, 1);
        let route = intern(&mut writer, "a:a");
        append(&mut writer, route, "a:a");
        writer.publish();
        let writing = thread::spawn(move || {
            for _ in 0..4 {
                append(&mut writer, route, "a:a");
                writer.publish();
            }
        });
        let pass = log.pass();
        if is_whole(&pass, 1, "a:a") {
            let is_lapped = log.published() == 6;
            assert!(is_whole(&pass, 1, "a:a"));
            seen.note(if is_lapped { "held while the writer laps" } else { "held" });
        } else {
            assert!(1 < log.oldest());
            seen.note("lapped");
        }
        drop(pass);
        writing.join().unwrap();
    });
}

/// Who sees that an event has left the window also sees its channel's mark: gaps are exact.
#[test]
fn eviction_marks() {
    let expected = Expected {
        name: "eviction_marks",
        preemptions: None,
        interleavings_min: 50,
        outcomes: &["nothing evicted", "one evicted", "two evicted"],
    };
    explore(&expected, |seen| {
        let (log, mut writer) = small(1, 2);
        let routes = ["a:a", "b:b"].map(|name| intern(&mut writer, name));
        append(&mut writer, routes[0], "a:a");
        writer.publish();
        let writing = thread::spawn(move || {
            append(&mut writer, routes[1], "b:b");
            writer.publish();
            append(&mut writer, routes[0], "a:a");
            writer.publish();
        });
        let oldest = log.oldest();
        let marks = routes.map(|route| log.evicted_of(route));
        match oldest {
            1 => seen.note("nothing evicted"),
            2 => seen.note("one evicted"),
            _ => seen.note("two evicted"),
        }
        assert!(oldest < 2 || marks[0] == 1, "{oldest} {marks:?}");
        assert!(oldest < 3 || marks[1] == 2, "{oldest} {marks:?}");
        writing.join().unwrap();
    });
}

/// Who finds an event gone also finds it below `oldest`, even when a large batch pushed it out.
#[test]
fn what_is_lapped_is_below_the_window() {
    let expected = Expected {
        name: "what_is_lapped_is_below_the_window",
        preemptions: None,
        interleavings_min: 10,
        outcomes: &["held", "lapped"],
    };
    explore(&expected, |seen| {
        let (log, mut writer) = small(4, 1);
        let route = intern(&mut writer, "a:a");
        for _ in 1..5 {
            append(&mut writer, route, "a:a");
        }
        writer.publish();
        let writing = thread::spawn(move || {
            for _ in 5..9 {
                append(&mut writer, route, "a:a");
            }
        });
        if is_whole(&log.pass(), 1, "a:a") {
            seen.note("held");
        } else {
            assert_eq!((log.oldest(), log.evicted_of(route)), (2, 1));
            seen.note("lapped");
        }
        writing.join().unwrap();
    });
}

/// Who is refused what was cleared also finds it below `oldest`, and its channel's mark; a pass that began before goes
/// on lending.
#[test]
fn what_is_cleared_is_below_the_window() {
    let expected = Expected {
        name: "what_is_cleared_is_below_the_window",
        preemptions: None,
        interleavings_min: 50,
        outcomes: &["held", "held by an earlier pass", "cleared"],
    };
    explore(&expected, |seen| {
        let (log, mut writer) = small(4, 1);
        let route = intern(&mut writer, "a:a");
        for _ in 1..4 {
            append(&mut writer, route, "a:a");
        }
        writer.publish();
        let writing = thread::spawn(move || assert_eq!(writer.clear(3), 2));
        let pass = log.pass();
        if is_whole(&pass, 2, "a:a") {
            let is_cleared = log.slot(2).is_none();
            assert!(is_whole(&pass, 2, "a:a"));
            seen.note(if is_cleared { "held by an earlier pass" } else { "held" });
        } else {
            assert_eq!((log.oldest(), log.evicted_of(route)), (3, 2));
            seen.note("cleared");
        }
        drop(pass);
        writing.join().unwrap();
        let pass = log.pass();
        assert!(!is_whole(&pass, 1, "a:a") && !is_whole(&pass, 2, "a:a") && is_whole(&pass, 3, "a:a"));
    });
}

/// Who sees `published` finds every event of a channel below it by walking back from its head.
#[test]
fn heads_lead_to_everything_published() {
    let expected = Expected {
        name: "heads_lead_to_everything_published",
        preemptions: None,
        interleavings_min: 1000,
        outcomes: &["head is published", "head is not yet published"],
    };
    explore(&expected, |seen| {
        let (log, mut writer) = small(8, 2);
        let routes = ["a:a", "b:b"].map(|name| intern(&mut writer, name));
        append(&mut writer, routes[0], "a:a");
        writer.publish();
        let writing = thread::spawn(move || {
            append(&mut writer, routes[1], "b:b");
            append(&mut writer, routes[0], "a:a");
            writer.publish();
            append(&mut writer, routes[0], "a:a");
            writer.publish();
        });
        let published = log.published();
        let head = log.head_of(routes[0]);
        seen.note(if head < published { "head is published" } else { "head is not yet published" });
        let mut walked = Vec::new();
        let mut at = Some(head);
        while let Some(seq) = at {
            if seq < published {
                walked.push(seq);
            }
            at = log.slot(seq).expect("everything is held").previous(seq);
        }
        let expected: &[u64] = match published {
            2 => &[1],
            4 => &[3, 1],
            _ => &[4, 3, 1],
        };
        assert_eq!(walked, expected);
        writing.join().unwrap();
    });
}

/// A look at a number that may not have been given out yet finds the whole descriptor or nothing.
#[test]
fn a_slot_is_written_or_not_there() {
    let expected = Expected {
        name: "a_slot_is_written_or_not_there",
        preemptions: None,
        interleavings_min: 50,
        outcomes: &["nothing", "a descriptor"],
    };
    explore(&expected, |seen| {
        let (log, mut writer) = small(4, 1);
        let route = intern(&mut writer, "a:a");
        let writing = thread::spawn(move || {
            append(&mut writer, route, "a:a");
            append(&mut writer, route, "a:a");
            writer.publish();
        });
        match log.slot(1) {
            Some(slot) => {
                assert_eq!((slot.timestamp_ms, slot.web_socket.len(), slot.back), (7, 2 + 5, 0));
                seen.note("a descriptor");
            }
            None => seen.note("nothing"),
        }
        writing.join().unwrap();
    });
}

/// Every event that a pass lends has its channel's name in names loaded during the pass, though numbers be reused.
#[test]
fn names_of_what_a_pass_lends() {
    let expected = Expected {
        name: "names_of_what_a_pass_lends",
        preemptions: None,
        interleavings_min: 400,
        outcomes: &["first", "second", "the first is gone", "its number is reused", "its number is kept"],
    };
    explore(&expected, |seen| {
        let (log, mut writer) = small(0, 2);
        let first = intern(&mut writer, "a:a");
        append(&mut writer, first, "a:a");
        writer.publish();
        let writing = thread::spawn(move || {
            let second = intern(&mut writer, "b:b");
            for _ in 2..5 {
                append(&mut writer, second, "b:b");
                writer.publish();
            }
            let kept = match writer.intern(&named("c:c")) {
                Ok(third) => {
                    assert_eq!(third, first);
                    append(&mut writer, third, "c:c");
                    false
                }
                Err(ChannelsFull) => true,
            };
            writer.publish();
            kept
        });
        let pass = log.pass();
        let names = log.names();
        let names = names.as_ref().unwrap();
        // The newest first, since a pass reaches into two segments only.
        for seq in (1..pass.published()).rev() {
            match pass.slot(seq) {
                Held::Here(slot) => {
                    let name =
                        names.name(slot.route).expect("a published event has a named channel").as_str();
                    assert!(is_whole(&pass, seq, name));
                    match seq {
                        1 => seen.note("first"),
                        5 => seen.note("its number is reused"),
                        _ => seen.note("second"),
                    }
                }
                Held::Lapped => {
                    assert_eq!(seq, 1);
                    seen.note("the first is gone");
                }
                Held::PassFull => assert_eq!(seq, 1),
            }
        }
        drop(pass);
        if writing.join().unwrap() {
            seen.note("its number is kept");
        }
    });
}

/// Who finds the marks of a channel wiped also finds that nothing exact can be said of that time.
#[test]
fn wiped_marks_are_known_to_be_wiped() {
    let expected = Expected {
        name: "wiped_marks_are_known_to_be_wiped",
        preemptions: None,
        interleavings_min: 4,
        outcomes: &["marked", "wiped"],
    };
    explore(&expected, |seen| {
        let (log, mut writer) = small(0, 2);
        let routes = ["a:a", "b:b"].map(|name| intern(&mut writer, name));
        append(&mut writer, routes[0], "a:a");
        for _ in 2..4 {
            append(&mut writer, routes[1], "b:b");
        }
        writer.publish();
        let writing = thread::spawn(move || {
            append(&mut writer, routes[1], "b:b");
            writer.publish();
            assert_eq!(intern(&mut writer, "c:c"), routes[0]);
        });
        match (log.head_of(routes[0]), log.evicted_of(routes[0])) {
            (1, 1) => seen.note("marked"),
            (head, evicted) => {
                assert!(head * evicted == 0 && 1 < log.forgotten_below(), "{head} {evicted}");
                seen.note("wiped");
            }
        }
        writing.join().unwrap();
    });
}
