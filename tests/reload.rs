//! SIGHUP: a new configuration comes into force as a whole or not at all, and nobody who is connected notices.

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use support::http::{Http, ask, get, request_text};
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::stream::{Stream, TRANSPORTS};
use support::tokens;
use support::websocket::Client;
use tungstenite::Message;

/// Reloads under load; every other one is bad.
const RELOADS: u64 = 200;

/// The data of the last event.
const END: u64 = 12_345_678;

/// A configuration in a folder: the file, and the two that it names.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("github", "version 0");
        folder.write("gitlab", "version 0");
        folder.write("fanfare.toml", &folder.config("info"));
        folder
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(Path::new(&self.path(name)), text).unwrap();
    }

    /// A good file.
    fn config(&self, level: &str) -> String {
        format!(
            "hook_github_secrets = '{}'\nhook_gitlab_tokens = '{}'\nlog_level = '{level}'\n",
            self.path("github"),
            self.path("gitlab"),
        )
    }

    fn start(&self) -> ServerProcess {
        ServerProcess::start(&["--config", &self.path("fanfare.toml")])
    }
}

/// Reloads, and returns the line that says what came of it.
fn reload(server: &ServerProcess) -> Value {
    server.signal("HUP");
    serde_json::from_str(&server.wait_for_line("reloaded")).unwrap()
}

/// Whether a webhook with the secret of this version is believed. What is believed is refused for another reason.
fn is_believed(http: &mut Http, source: &str, version: u64) -> bool {
    let secret = format!("version {version}");
    let fields = if source == "gitlab" {
        format!("X-Gitlab-Token: {secret}\r\n")
    } else {
        let mut hmac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
        hmac.update(b"{}");
        let hex: String = hmac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("X-Hub-Signature-256: sha256={hex}\r\n")
    };
    http.send(request_text("POST", &format!("/hooks/{source}"), &fields, "{}"));
    let answer = http.answer();
    match answer.status {
        401 => answer.assert_problem(401, "bad_signature", source),
        _ => answer.assert_problem(400, "missing_event", source),
    }
    answer.status != 401
}

/// As soon as one source goes by the next version, the other does not go by the last.
fn watch_versions(public: SocketAddr, version: &AtomicU64, is_over: &AtomicBool) {
    let mut http = Http::connect(public);
    while !is_over.load(Ordering::Acquire) {
        for (first, second) in [("github", "gitlab"), ("gitlab", "github")] {
            let now = version.load(Ordering::Acquire);
            if is_believed(&mut http, first, now + 1) {
                assert!(!is_believed(&mut http, second, now), "half of version {} is in force", now + 1);
            }
        }
    }
}

/// Ends what goes on in other threads when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn two_hundred_reloads_under_load_lose_nothing_and_leave_nothing_half_done() {
    let folder = Folder::new();
    let server = folder.start();
    let (public, admin) = (server.public, server.admin);
    let mut streams: Vec<Stream> = TRANSPORTS
        .iter()
        .cycle()
        .take(4)
        .map(|transport| Stream::open(*transport, public, "t:a", ""))
        .collect();
    let (version, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let is_over = &is_over;
        // The others end with this one, however it ends.
        let _end = End(is_over);
        scope.spawn(move || {
            let mut publisher = Publisher::connect(public);
            while !is_over.load(Ordering::Acquire) {
                publisher.publish_many("t:a", 10);
            }
            publisher.publish("t:a", &END.to_string());
        });
        scope.spawn(|| watch_versions(public, &version, is_over));
        for stream in &mut streams {
            scope.spawn(move || {
                for seq in 1.. {
                    let event = stream.next();
                    assert_eq!(event["seq"], seq);
                    if event["data"] == END {
                        break;
                    }
                }
            });
        }
        let mut http = Http::connect(public);
        for round in 0..RELOADS {
            let now = version.load(Ordering::Acquire);
            let next = format!("version {}", now + 1);
            if round % 2 == 0 {
                folder.write("github", &next);
                folder.write("gitlab", &next);
                assert_eq!(reload(&server)["message"], "reloaded");
                version.store(now + 1, Ordering::Release);
                assert!(
                    is_believed(&mut http, "github", now + 1) && is_believed(&mut http, "gitlab", now + 1)
                );
                assert!(!is_believed(&mut http, "github", now) && !is_believed(&mut http, "gitlab", now));
                continue;
            }
            // One of the files is good and new, and must not come into force without the other.
            folder.write("github", &next);
            let good = folder.config("info");
            let (config, reason) = match round / 2 % 5 {
                0 => (format!("{good}max_channels = 5\n"), "a restart is needed to change max_channels"),
                1 => (format!("{good}no_such_key = 5\n"), "fanfare.toml:4: no_such_key"),
                2 => (format!("{good}] nonsense\n"), "fanfare.toml:4: "),
                3 => (good.replace("'info'", "'loud'"), "fanfare.toml:3: log_level: 'loud'"),
                _ => {
                    folder.write("gitlab", "\n");
                    (good.clone(), "--hook-gitlab-tokens")
                }
            };
            folder.write("fanfare.toml", &config);
            let said = reload(&server);
            assert_eq!(said["message"], "not reloaded: everything stays as it was");
            assert!(said["reason"].as_str().is_some_and(|said| said.contains(reason)), "{reason}: {said}");
            assert!(is_believed(&mut http, "github", now) && is_believed(&mut http, "gitlab", now));
            assert!(!is_believed(&mut http, "github", now + 1));
            folder.write("fanfare.toml", &good);
            folder.write("gitlab", &format!("version {now}"));
        }
    });
    assert_eq!(version.load(Ordering::Acquire), RELOADS / 2);
    let stats = get(admin, "/stats").json();
    assert_eq!(
        (&stats["streams"], &stats["streams_opened"], &stats["gaps_told"]),
        (&json!(4), &json!(4), &json!(0))
    );
}

#[test]
fn the_log_level_changes_with_the_file_and_what_an_operator_has_set_stays_until_then() {
    let folder = Folder::new();
    let server = folder.start();
    let level = || get(server.admin, "/log-level").json()["level"].as_str().unwrap().to_owned();
    assert_eq!(level(), "info");
    assert_eq!(reload(&server)["changed"], Value::Null);
    let set = |level: &str| ask(server.admin, "PUT", "/log-level", "", &format!(r#"{{"level":"{level}"}}"#));
    assert_eq!(set("debug").json()["level"], "debug");
    assert_eq!(reload(&server)["changed"], Value::Null);
    assert_eq!(level(), "debug");
    folder.write("fanfare.toml", &folder.config("warn"));
    server.signal("HUP");
    support::wait_until("the level has changed", || level() == "warn");
    set("loud").assert_problem(400, "bad_level", "loud");
    get(server.public, "/log-level").assert_problem(404, "not_found", "at the public door");
}

#[test]
fn a_reload_says_what_has_changed() {
    let folder = Folder::new();
    let server = folder.start();
    folder.write("other", "another secret");
    let other = format!("hook_gitea_secrets = '{}'\nlog_level = 'debug'\n", folder.path("other"));
    folder.write("fanfare.toml", &other);
    let said = reload(&server);
    assert_eq!(said["message"], "reloaded");
    assert_eq!(said["changed"], "hook_github_secrets hook_gitea_secrets hook_gitlab_tokens log_level");
    let answer = ask(server.public, "POST", "/hooks/gitlab", "X-Gitlab-Token: version 0\r\n", "{}");
    answer.assert_problem(503, "hook_not_configured", "it was taken out");
}

/// A control frame, and its answer.
fn ping(client: &mut Client) {
    client.send_message(Message::Ping(Vec::new().into()));
    let answer = client.next_message();
    assert!(matches!(answer, Message::Pong(_)), "{answer:?}");
}

#[test]
fn places_and_rates_change_with_the_file_for_what_is_done_from_then_on() {
    let folder = Folder::new();
    let server = folder.start();
    let change = |bounds: &str| {
        folder.write("fanfare.toml", &format!("{}{bounds}", folder.config("info")));
        assert_eq!(reload(&server)["message"], "reloaded");
    };
    let mut early = [(); 2].map(|()| Client::open(server.public, "/ws"));
    change("max_connections = 2\n");
    assert_eq!(get(server.public, "/health").status, 503, "all places are taken");
    assert_eq!(early[0].ask(r#"{"type":"ping"}"#)["type"], "pong", "who is here stays");
    assert_eq!(get(server.admin, "/stats").json()["connections_max"], 2);
    change("connections_per_address = 1\n");
    let mut counted = Client::open(server.public, "/ws");
    assert_eq!(get(server.public, "/health").status, 429, "from one address");
    assert_eq!(counted.ask(r#"{"type":"ping"}"#)["type"], "pong");
    change("commands_per_second = '1/1'\n");
    assert_eq!(early[1].ask(r#"{"type":"ping"}"#)["type"], "pong");
    let answers: Vec<Value> = (0..20).map(|_| early[1].ask(r#"{"type":"ping"}"#)).collect();
    assert!(answers.iter().any(|answer| answer["code"] == "rate_limited"), "{answers:?}");
    change("control_frames_per_second = '1/30'\n");
    (0..20).for_each(|_| ping(&mut early[0]));
    change("control_frames_per_second = '20/20'\n");
    (0..20).for_each(|_| ping(&mut early[0]));
    assert_eq!(
        early[0].ask(r#"{"type":"ping"}"#)["type"],
        "pong",
        "what was used of another rate is no matter"
    );
    change("");
    assert_eq!(get(server.public, "/health").status, 200);
    assert_eq!(early[1].ask(r#"{"type":"ping"}"#)["type"], "pong");
}

#[test]
fn a_file_that_is_empty_for_a_moment_opens_the_server_to_nobody() {
    let folder = Folder::new();
    let keys = tokens::folder();
    let secret = keys.path().join("token.secret");
    folder.write("fanfare.toml", &format!("token_key = '{}'\n", secret.display()));
    let server = folder.start();
    let publish = || ask(server.public, "POST", "/publish/t:a", "", "1").status;
    assert_eq!(publish(), 401);
    folder.write("fanfare.toml", "");
    let said = reload(&server);
    assert!(said["reason"].as_str().is_some_and(|reason| reason.contains("asking for tokens")), "{said}");
    assert_eq!(publish(), 401);
}

#[test]
fn a_server_that_drains_is_not_disturbed_by_a_reload() {
    let folder = Folder::new();
    let mut server = folder.start();
    let mut stream = Stream::open(TRANSPORTS[0], server.public, "t:a", "");
    Publisher::connect(server.public).publish("t:a", "1");
    assert_eq!(stream.next_seq(), 1);
    server.signal("TERM");
    server.wait_for_line("draining");
    server.signal("HUP");
    drop(stream);
    assert_eq!(server.wait_for_end().code(), Some(0));
}
