//! Operators who watch: what they are told each second, who may, and what it costs the others, which is nothing.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use fanfare::session::settings::Settings;
use fanfare::words::limits::Limits;
use serde_json::{Value, json};
use support::http::{Http, ask, get};
use support::process::{ServerProcess, fanfare};
use support::publisher::Publisher;
use support::rig::{Peer, Rig, publication};
use support::sse::Sse;
use support::tokens::{KEYS, auth_settings, bearer, folder, settings_of};
use support::websocket::{Client, HANDSHAKE};
use support::{connect_narrow, wait_until};

const WATCH: &str = "GET /stats/events HTTP/1.1\r\nHost: x\r\n\r\n";

/// What the clock of a rig says at the start, in seconds.
const START: u64 = 1_795_316_060;

/// Operators who may watch at once.
const WATCHERS_MAX: usize = 16;

fn rig() -> Rig {
    Rig::new(Limits::default(), Settings::default())
}

/// An operator begins to watch; the head of what is said has been taken.
fn watch(rig: &mut Rig, fields: &str) -> (Peer, String) {
    let peer = rig.connect_operator();
    peer.listen();
    rig.say(&peer, WATCH.replace("\r\n\r\n", &format!("\r\n{fields}\r\n")).as_bytes());
    rig.settle();
    let said = String::from_utf8(peer.heard()).unwrap();
    (peer, said)
}

/// A second goes by.
fn second(rig: &mut Rig) {
    rig.wait_ms(1000);
    rig.settle();
}

/// Whether anything is done for those who watch, a second later.
fn asks(rig: &mut Rig) -> bool {
    rig.settle();
    rig.wait_ms(1000);
    rig.turn();
    rig.hub.desks()[0].has_letter()
}

/// The pulses in what was said.
fn pulses(said: &str) -> Vec<Value> {
    let data = said.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|json| serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))).collect()
}

fn heard(peer: &Peer) -> Vec<Value> {
    pulses(&String::from_utf8(peer.heard()).unwrap())
}

#[test]
fn each_second_says_what_has_happened_and_nothing_of_it_is_in_the_log() {
    let mut rig = rig();
    let (peer, said) = watch(&mut rig, "");
    assert!(said.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream"), "{said}");
    let first = &pulses(&said)[0];
    assert_eq!((&first["pulse"], &first["elapsed_ms"]), (&json!(1), &json!(0)));
    let subscriber = rig.connect();
    rig.say(&subscriber, HANDSHAKE.replace("/ws", "/ws?channel=t:a").as_bytes());
    rig.settle();
    for (at, events) in [(2, 3), (3, 0), (4, 5)] {
        if events != 0 {
            rig.publish((0..events).map(|_| publication("t:a", "k")));
        }
        rig.settle();
        second(&mut rig);
        let pulses = heard(&peer);
        let [pulse] = &pulses[..] else { panic!("one a second: {pulses:#?}") };
        assert_eq!(pulse["pulse"], at);
        assert_eq!(pulse["elapsed_ms"], 1000);
        assert_eq!(pulse["delta"]["events"], events);
        assert_eq!(pulse["delta"]["websocket_events"], events);
        assert_eq!(pulse["latency"]["live"]["count"], events);
        assert_eq!(pulse["connections"], json!({"websocket": 1, "sse": 0, "http": 0, "operators": 1}));
    }
    assert_eq!(rig.hub.log.published(), 1 + 8, "the numbers are those of users' events alone");
    assert_eq!(rig.hub.counters.streams(), 1, "and who watches is no stream");
}

#[test]
fn nothing_is_done_while_nobody_watches() {
    let mut rig = rig();
    assert!(!asks(&mut rig));
    let (peer, _) = watch(&mut rig, "");
    assert!(asks(&mut rig));
    rig.end(&peer);
    rig.settle();
    assert!(peer.is_gone());
    assert!(!asks(&mut rig));
}

#[test]
fn who_takes_pulses_too_slowly_is_left_out_and_goes_on_with_the_newest() {
    let mut rig = rig();
    let (slow, _) = watch(&mut rig, "");
    let (quick, said) = watch(&mut rig, "");
    assert_eq!(pulses(&said)[0]["pulse"], 1, "who comes later has the latest at once");
    slow.stop_reading();
    for _ in 0..5 {
        second(&mut rig);
    }
    rig.read_on(&slow);
    rig.settle();
    second(&mut rig);
    let numbers = |peer: &Peer| -> Vec<u64> {
        heard(peer).iter().map(|pulse| pulse["pulse"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(&quick), [2, 3, 4, 5, 6, 7]);
    assert_eq!(numbers(&slow), [2, 7], "the one that was under way, and the newest");
    // Who takes nothing at all is let go of.
    slow.stop_reading();
    let patience = Limits::default().stall_max.as_secs() + 2;
    (0..patience).for_each(|_| second(&mut rig));
    assert!(slow.is_gone() && !quick.is_gone());
}

#[test]
fn no_more_watch_than_may() {
    let mut rig = rig();
    let watchers: Vec<Peer> = (0..WATCHERS_MAX).map(|_| watch(&mut rig, "").0).collect();
    let (_, said) = watch(&mut rig, "");
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("\"code\":\"too_many_watchers\""), "{said}");
    rig.end(&watchers[3]);
    rig.settle();
    let (_, said) = watch(&mut rig, "");
    assert_eq!(pulses(&said).len(), 1, "{said}");
}

#[test]
fn it_takes_the_right_of_an_operator_for_as_long_as_it_lasts() {
    let folder = folder();
    let settings = settings_of(&auth_settings(&folder));
    let mut rig = Rig::new(Limits::default(), settings.clone());
    let token = |seconds: u64, grants: Value| {
        bearer(&KEYS.es.token(json!({"jti": "t7", "exp": START + seconds, "fanfare": grants})))
    };
    let admin = || json!({"admin": true});
    let status = |rig: &mut Rig, fields: &str| watch(rig, fields).1[9..12].to_owned();
    assert_eq!(status(&mut rig, ""), "401");
    assert_eq!(status(&mut rig, &token(60, json!({"subscribe": ["**"]}))), "403");
    let (short, said) = watch(&mut rig, &token(2, admin()));
    assert_eq!(pulses(&said).len(), 1, "{said}");
    let (long, _) = watch(&mut rig, &token(600, admin()));
    for _ in 0..5 {
        second(&mut rig);
    }
    assert!(heard(&short).len() < 4, "it has ended");
    assert_eq!(heard(&long).len(), 5, "and the other goes on");

    let operator = rig.connect_operator();
    operator.listen();
    let body = r#"{"jti":"t7"}"#;
    let head = format!("POST /revoke HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
    rig.say(&operator, format!("{head}Authorization: Bearer fk_operator\r\n\r\n{body}").as_bytes());
    rig.settle();
    assert!(String::from_utf8_lossy(&operator.heard()).ends_with("{\"disconnected\":1}\n"));
    second(&mut rig);
    second(&mut rig);
    assert_eq!(heard(&long), Vec::<Value>::new(), "revoked is over");
    assert!(!asks(&mut rig), "nobody watches any more");
}

#[test]
fn keys_that_grant_less_end_it() {
    let folder = folder();
    let settings = settings_of(&auth_settings(&folder));
    let mut rig = Rig::new(Limits::default(), settings.clone());
    let token = bearer(&KEYS.es.token(json!({"exp": START + 600, "fanfare": {"admin": true}})));
    let (peer, _) = watch(&mut rig, &token);
    let mut other = auth_settings(&folder);
    other.token_keys.retain(|path| !path.ends_with("es.jwks"));
    settings.policy.exchange(fanfare::session::policy::Policy {
        authority: settings_of(&other).policy.load().authority.clone(),
        ..Default::default()
    });
    rig.hub.review();
    rig.settle();
    second(&mut rig);
    assert_eq!(heard(&peer), Vec::<Value>::new());
}

#[test]
fn it_is_at_the_operators_door_alone() {
    let server = ServerProcess::start(&[]);
    for path in ["/stats/events", "/dashboard", "/dashboard.js", "/dashboard.css", "/charts.js"] {
        get(server.public, path).assert_problem(404, "not_found", path);
    }
    let answer = ask(server.admin, "POST", "/stats/events", "", "");
    answer.assert_problem(405, "method_not_allowed", "POST");
    assert_eq!(answer.field("allow"), Some("GET, OPTIONS"));
    ask(server.admin, "GET", "/stats/events", "", "x").assert_problem(400, "unexpected_body", "a body");
    let mut http = Http::connect(server.admin);
    http.send("POST /announce HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n{\"message\":\"x\"}");
    http.send(WATCH);
    assert_eq!(http.answer().status, 202);
    let answer = http.answer();
    assert!(
        [200, 400].contains(&answer.status),
        "a stream begins, or is refused behind an answer that is due"
    );
}

#[test]
fn the_slowest_clients_are_named_and_the_busiest_channels() {
    let server = ServerProcess::start(&["--loops", "2", "--retain-bytes", "64MiB"]);
    let mut watcher = Sse::open(server.admin, "/stats/events", "");
    let mut stalled = Client::open_over(connect_narrow(server.public), "/ws?channel=t:a&user=stalled");
    assert_eq!(stalled.next()["type"], "subscribed");
    let mut well = Client::open(server.public, "/ws?channel=t:b&user=well");
    assert_eq!(well.next()["type"], "subscribed");
    let mut publisher = Publisher::connect(server.public);
    let large = format!("\"{}\"", "x".repeat(100_000));
    publisher.publish("t:b", "1");
    let mut seen = Value::Null;
    let mut channels: Vec<Value> = Vec::new();
    wait_until("it is named", || {
        for _ in 0..40 {
            publisher.publish("t:a", &large);
        }
        let pulse = watcher.next_json();
        channels.extend(pulse["traffic"]["channels"].as_array().unwrap().iter().cloned());
        seen = pulse["slowest"].clone();
        seen[0]["user"] == "stalled" && seen[0]["stalled_ms"].as_u64() != Some(0)
    });
    assert_eq!(seen.as_array().unwrap().len(), 1, "{seen}");
    assert_eq!(seen[0]["id"], get(server.admin, "/clients?sort=lag&limit=1").json()["clients"][0]["id"]);
    let events = |name: &str| -> u64 {
        let of = channels.iter().filter(|channel| channel["channel"] == name);
        of.map(|channel| channel["events"].as_u64().unwrap()).sum()
    };
    assert!(events("t:b") <= 1 && 40 <= events("t:a"), "{channels:?}");
    // As the page does it.
    let path = format!("/clients/{}", seen[0]["id"].as_str().unwrap());
    let origin = format!("Origin: http://{}\r\n", server.admin);
    let request = format!("DELETE {path} HTTP/1.1\r\nHost: {}\r\n{origin}\r\n", server.admin);
    let mut http = Http::connect(server.admin);
    http.send(request);
    assert_eq!(http.answer().json()["disconnected"], 1);
}

#[test]
fn a_terminal_is_not_needed_to_look_once() {
    let server = ServerProcess::start(&[]);
    let url = format!("http://{}", server.admin);
    let output = fanfare().args(["top", &url, "--once"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let pulse: Value = serde_json::from_str(text.trim_end()).unwrap();
    assert!(pulse["elapsed_ms"].as_u64().is_some_and(|ms| 0 < ms), "it says something of late: {text}");
    assert_eq!(text.lines().count(), 1);

    let mut child =
        fanfare().args(["top", &url]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in [0, 1] {
        let line = lines.next().unwrap().unwrap();
        let pulse: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(pulse["elapsed_ms"] == 0, number == 0, "{line}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_keeps_top_from_looking_is_said() {
    let check = |address: &str, code: i32, part: &str| {
        let mut child = fanfare()
            .args(["top", address])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{address}");
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains(part), "{address}: {said}");
    };
    let server = ServerProcess::start(&[]);
    check(&server.public.to_string(), 4, "operators' door");
    check("127.0.0.1:1", 3, "cannot connect");
    let folder = folder();
    let keys = folder.path().join("token.secret");
    let locked = ServerProcess::start(&["--token-key", keys.to_str().unwrap()]);
    check(&locked.admin.to_string(), 4, "401");
}
