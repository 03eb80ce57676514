//! `loadgen replay` against the stub.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::stub::{Script, Stub};

const LINES: &str = r#"
{"event":"push","action":null,"channel":"repo:a/b","kind":"push","payload":{"ref":"main"}}
{"event":"issues","action":"opened","channel":"repo:a/c","kind":"issue_opened","payload":{"n": 1.50}}

{"event":"star","channel":"org:a","kind":"github.star","payload":{}}
"#;

fn replay(stub: &Stub, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["replay", &format!("http://{}", stub.address), "--rate", "max"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the generator runs");
    // A generator that does not read its input may have ended already.
    let _ = child.stdin.take().expect("an input").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

/// A file that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("loadgen-{name}-{}.ndjson", std::process::id()));
        std::fs::write(&path, text).expect("written");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn lines_are_published_on_their_channels_in_order() {
    let file = Scratch::new("lines", LINES);
    let path = file.0.to_str().expect("a path");
    let check = |arguments: &[&str], input: &str, summary: &str, count: usize| {
        let stub = Stub::start(Script::default());
        let output = replay(&stub, arguments, input);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(text.trim_end(), summary);
        let published = stub.published();
        assert_eq!(published.len(), count);
        let expected = [("repo:a/b", "push"), ("repo:a/c", "issue_opened"), ("org:a", "github.star")];
        for ((channel, kind), expected) in published.iter().zip(expected.iter().cycle()) {
            assert_eq!((channel.as_str(), kind.as_str()), *expected);
        }
    };
    check(&["--file", path], "", "published 3, first seq 1, last seq 3, refused and retried 0", 3);
    check(&["--file", "-"], LINES, "published 3, first seq 1, last seq 3, refused and retried 0", 3);
    check(
        &["--file", path, "--loop", "--limit", "7"],
        "",
        "published 7, first seq 1, last seq 7, refused and retried 0",
        7,
    );
}

#[test]
fn the_bundled_events_are_published_with_a_line_per_hundred() {
    let stub = Stub::start(Script::default());
    let output = replay(&stub, &[], "");
    let (text, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let count = stub.published().len();
    assert_eq!(
        text.trim_end(),
        format!("published {count}, first seq 1, last seq {count}, refused and retried 0")
    );
    assert!(300 <= count);
    assert_eq!(progress.lines().count(), count / 100, "{progress}");
}

#[test]
fn a_refused_event_is_published_again_in_its_place() {
    let stub = Stub::start(Script { refuse_every: 2, retry_after: "0", ..Script::default() });
    let output = replay(&stub, &["--file", "-"], LINES);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.trim_end(), "published 3, first seq 1, last seq 3, refused and retried 2");
    assert_eq!(stub.published()[2].1, "github.star");
}

#[test]
fn what_cannot_be_replayed_is_named() {
    let check = |arguments: &[&str], input: &str, code: i32, reason: &str| {
        let stub = Stub::start(Script::default());
        let output = replay(&stub, arguments, input);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(reason), "{text}");
    };
    check(&["--file", "-"], "\n{\"event\":1}\n", 3, "line 2");
    check(&["--file", "-"], "", 3, "no events");
    check(&["--file", "/nowhere/at/all"], "", 3, "/nowhere/at/all");
    check(&["--file", "-", "--loop"], "", 2, "--loop");
    check(&["--speed", "0"], "", 2, "--speed");
}
