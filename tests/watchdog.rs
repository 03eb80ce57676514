//! Loops that stand still: health is red and says which, whoever would be served by it is told, and the process ends if it
//! lasts.

mod support;

use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use fanfare::session::authority::{Act, Denied, Principal};
use fanfare::session::settings::Settings;
use fanfare::words::limits::Limits;
use support::http::{Http, get, request_text};
use support::judge::{Judge, settings_with};
use support::local::LocalServer;
use support::rig::Rig;
use support::wait_until;

/// A door that whoever asks for `t:stuck` waits at.
#[derive(Debug, Default)]
struct Gate {
    is_open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

/// Allows everything, and what concerns `t:stuck` when the gate opens.
fn slow(gate: &Gate, act: &Act<'_>) -> Result<(), Denied> {
    if format!("{act:?}").contains("t:stuck") {
        let is_open = gate.is_open.lock().unwrap();
        drop(gate.changed.wait_while(is_open, |is_open| !*is_open).unwrap());
    }
    Ok(())
}

fn start(loops: usize, loop_stall_abort: Option<Duration>) -> (LocalServer, Arc<Gate>) {
    let gate = Arc::<Gate>::default();
    let settings = settings_with(Judge({
        let gate = Arc::clone(&gate);
        move |_: &Principal, act: &Act<'_>| slow(&gate, act)
    }));
    let limits = Limits { loop_stall_max: Duration::from_secs(1), loop_stall_abort, ..Limits::default() };
    (LocalServer::start_with_settings(limits, loops, settings), gate)
}

#[test]
fn a_loop_that_stands_still_turns_health_red_until_it_turns_again() {
    for loops in [1, 2] {
        let (server, gate) = start(loops, None);
        for path in ["/health", "/health/ready"] {
            assert_eq!(get(server.admin, path).status, 200);
        }
        let mut stuck = Http::connect(server.public);
        stuck.send(request_text("POST", "/publish/t:stuck", "", "1"));
        wait_until("it is seen", || server.hub().stalled().is_some());
        let stuck_loop = server.hub().stalled().unwrap().loop_index;
        for address in [server.admin, server.public] {
            for path in ["/health", "/healthz", "/health/ready", "/readyz"] {
                let answer = get(address, path);
                assert_eq!(answer.status, 503, "{path}");
                let body = answer.json();
                assert_eq!(
                    (&body["status"], &body["loop"]),
                    (&"stalled".into(), &stuck_loop.into()),
                    "{path}"
                );
                assert!(1000 <= body["stalled_ms"].as_u64().unwrap(), "{body}");
            }
            assert_eq!(get(address, "/health/live").status, 200, "the process lives");
        }
        let metrics = get(server.admin, "/metrics");
        assert!(metrics.text().contains("fanfare_loops_stalled 1\n"), "{}", metrics.text());
        if loops == 1 {
            let answer = get(server.public, "/history?channel=t:a");
            answer.assert_problem(503, "stalled", "anything else");
            assert_eq!(answer.field("retry-after"), Some("5"));
            get(server.public, "/metrics").assert_problem(503, "stalled", "metrics at the public door");
        }
        gate.open();
        assert_eq!(stuck.answer().status, 202, "what had begun is finished");
        wait_until("it is seen to turn", || server.hub().stalled().is_none());
        for address in [server.admin, server.public] {
            for path in ["/health", "/health/ready"] {
                let answer = get(address, path);
                assert_eq!((answer.status, &answer.json()["status"]), (200, &"ok".into()), "{path}");
            }
        }
        let stats = get(server.admin, "/stats").json();
        assert_eq!(stats["loops_stalled"], 0, "{stats}");
        assert!(1 <= stats["loop_stalls"].as_u64().unwrap(), "{stats}");
    }
}

#[test]
fn a_loop_that_sleeps_does_not_stand_still() {
    let (server, _) = start(2, None);
    let (watched, start) = (server.hub(), Instant::now());
    wait_until("they sleep", || watched.desks().iter().all(|desk| desk.bell.is_asleep()));
    // Longer than they might stand still.
    wait_until("some time has passed", || {
        assert_eq!(watched.stalled(), None);
        Duration::from_millis(2500) < start.elapsed()
    });
}

#[test]
fn a_sequencer_that_stands_still_turns_health_red_and_not_for_life() {
    // Whether the watchdog sees it is in its own tests.
    let mut rig = Rig::new(Limits::default(), Settings::default());
    let peer = rig.connect();
    peer.listen();
    let mut check = |stalled_ms: u64, path: &str, status: u16, expected: &str| {
        rig.hub.ingest().set_stalled_ms(stalled_ms);
        rig.say(&peer, request_text("GET", path, "", "").as_bytes());
        rig.settle();
        let answer = String::from_utf8(peer.heard()).unwrap();
        let is_status = answer.starts_with(&format!("HTTP/1.1 {status} "));
        assert!(is_status && answer.contains(expected), "{path}: {answer}");
    };
    for path in ["/health", "/healthz", "/health/ready", "/readyz"] {
        check(0, path, 200, r#""status":"ok""#);
        check(6012, path, 503, r#""status":"stalled","connections":0,"sequencer":true,"stalled_ms":6012,"#);
    }
    check(6012, "/health/live", 200, r#""status":"ok""#);
    check(0, "/health/ready", 200, r#""status":"ok""#);
}

/// Set in the child, which is this test once more.
const CHILD: &str = "FANFARE_TEST_WATCHDOG_CHILD";

#[test]
fn a_loop_that_stands_still_for_too_long_ends_the_process() {
    if std::env::var_os(CHILD).is_some() {
        let (server, _) = start(1, Some(Duration::from_millis(1500)));
        let mut stuck = Http::connect(server.public);
        stuck.send(request_text("POST", "/publish/t:stuck", "", "1"));
        stuck.answer();
        unreachable!("the gate never opens");
    }
    let name = "a_loop_that_stands_still_for_too_long_ends_the_process";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.code(), None, "it ends by a signal: {said}");
    assert!(said.contains("fanfare: loop 0 has stood still for 1"), "{said}");
    assert!(said.contains("s; the server cannot go on"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}
