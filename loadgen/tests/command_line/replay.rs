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

/// A repository that is removed in the end, with what was committed at these times by these people.
struct Repository(PathBuf);

impl Repository {
    fn new(name: &str) -> Repository {
        let path = std::env::temp_dir().join(format!("loadgen-{name}-{}", std::process::id())).join("demo");
        std::fs::create_dir_all(&path).expect("created");
        let repository = Repository(path);
        repository.git(&["init", "--quiet", "--initial-branch", "trunk"], 0);
        repository
    }

    fn git(&self, arguments: &[&str], at: i64) {
        let at = format!("{at} +0000");
        let names = [("GIT_AUTHOR_NAME", "Zoë \"Z\" Ä"), ("GIT_COMMITTER_NAME", "C")];
        let mails = [("GIT_AUTHOR_EMAIL", "z@example.com"), ("GIT_COMMITTER_EMAIL", "c@example.com")];
        let dates = [("GIT_AUTHOR_DATE", &*at), ("GIT_COMMITTER_DATE", &*at)];
        // Nobody's own settings have a say.
        let nothing = [("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")];
        let status = Command::new("git")
            .arg("-C")
            .arg(&self.0)
            .args(arguments)
            .envs(names.into_iter().chain(mails).chain(dates).chain(nothing))
            .status()
            .expect("git runs");
        assert!(status.success(), "{arguments:?}");
    }

    fn commit(&self, files: &[&str], subject: &str, at: i64) {
        for file in files {
            std::fs::write(self.0.join(file), subject).expect("written");
        }
        self.git(&["add", "--all"], at);
        self.git(&["commit", "--quiet", "--allow-empty", "--allow-empty-message", "-m", subject], at);
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().expect("a parent"));
    }
}

#[test]
fn a_repositorys_history_is_published_commit_by_commit() {
    let repository = Repository::new("history");
    repository.commit(&["a.txt", "b c.txt"], "First: {\"json\"} <&>", 1_700_000_000);
    repository.commit(&[], "", 1_700_000_060);
    repository.commit(&["a.txt", "ü\n.txt"], "Third", 1_700_086_400);
    let path = repository.0.to_str().expect("a path");
    let stub = Stub::start(Script::default());
    // A minute is 60 ms, and the day behind it is cut short; the rate that others are given would say otherwise.
    let arguments = ["replay", &format!("http://{}", stub.address), "--git", path, "--speed", "1000x"];
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(arguments)
        .args(["--pause-max", "100ms"])
        .env("GIT_DIR", "/nowhere")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.trim_end(), "published 3, first seq 1, last seq 3, refused and retried 0");
    let published = stub.published();
    assert!(published.iter().all(|(channel, kind)| (&**channel, &**kind) == ("repo:demo/trunk", "commit")));
    let events = stub.events().into_iter().map(|json| serde_json::from_str::<serde_json::Value>(&json));
    let data: Vec<serde_json::Value> = events.map(|event| event.expect("JSON")["data"].clone()).collect();
    let ids: Vec<&str> = data.iter().map(|one| one["id"].as_str().expect("an id")).collect();
    assert!(ids.iter().all(|id| id.len() == 40) && ids[0] != ids[1], "{ids:?}");
    let expected = [
        ("First: {\"json\"} <&>", 1_700_000_000, serde_json::json!(["a.txt", "b c.txt"])),
        ("", 1_700_000_060, serde_json::json!([])),
        ("Third", 1_700_086_400, serde_json::json!(["a.txt", "ü\n.txt"])),
    ];
    for (one, (subject, at, files)) in data.iter().zip(expected) {
        assert_eq!((&one["subject"], &one["files"]), (&subject.into(), &files), "{one}");
        assert_eq!((&one["committed_at"], &one["authored_at"]), (&at.into(), &at.into()));
        assert_eq!(one["files_changed"].as_u64(), files.as_array().map(|files| files.len() as u64));
        assert_eq!((&one["author"], &one["repository"]), (&"Zoë \"Z\" Ä".into(), &"demo".into()));
    }
    let stub = Stub::start(Script::default());
    let output = replay(&stub, &["--git", path, "--loop", "--limit", "7"], "");
    assert!(output.status.success() && stub.published().len() == 7, "{output:?}");
}

#[test]
fn what_is_no_history_is_named() {
    let check = |path: &str, more: &[&str], code: i32, reason: &str| {
        let stub = Stub::start(Script::default());
        let output = replay(&stub, &[&["--git", path], more].concat(), "");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && text.contains(reason), "{path}: {text}");
    };
    let empty = Repository::new("empty");
    let path = empty.0.to_str().expect("a path");
    check(path, &[], 3, "has no commits");
    check("/nowhere/at/all", &[], 3, "/nowhere/at/all is no repository");
    check("/", &[], 3, "/ is no repository");
    check(path, &["--file", "-"], 2, "--file");
    check(path, &["--speed", "fast"], 2, "10x");
    let stub = Stub::start(Script::default());
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["replay", &format!("http://{}", stub.address), "--git", path])
        .env("PATH", "/nowhere")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && text.contains("there is no git"), "{text}");
}
