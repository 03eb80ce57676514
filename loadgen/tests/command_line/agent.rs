//! `loadgen agent`: several processes drive one run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use crate::front::Front;
use crate::stub::{Fault, Script, Stub};
use serde_json::Value;

/// A running agent. It is killed in the end if it has not ended.
struct Agent {
    child: Child,
    address: String,
    said: BufReader<std::process::ChildStderr>,
}

impl Agent {
    fn start(arguments: &[&str]) -> Agent {
        Agent::run(Command::new(env!("CARGO_BIN_EXE_loadgen")), arguments)
    }

    /// In a time namespace of its own, whose monotonic clock is so many seconds ahead; nothing where the system has none, or
    /// does not let this user have one.
    fn ahead(seconds: u32, arguments: &[&str]) -> Option<Agent> {
        let unshare = |with_user: bool| {
            let mut command = Command::new("unshare");
            command.args(["--fork", "--kill-child", "--time", "--monotonic", &seconds.to_string()]);
            command.args(if with_user { &["--user", "--map-root-user"][..] } else { &[] });
            command
        };
        let can = |with_user: &bool| {
            let tried = unshare(*with_user).arg("true").stderr(Stdio::null()).status();
            tried.is_ok_and(|status| status.success())
        };
        let with_user = [false, true].into_iter().find(can)?;
        let mut command = unshare(with_user);
        command.arg(env!("CARGO_BIN_EXE_loadgen"));
        Some(Agent::run(command, arguments))
    }

    fn run(mut command: Command, arguments: &[&str]) -> Agent {
        let mut child = command
            .args(["agent", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the agent runs");
        let mut said = BufReader::new(child.stderr.take().expect("its words"));
        let mut line = String::new();
        said.read_line(&mut line).expect("a line");
        let address = line.trim_end().rsplit(' ').next().expect("an address").to_owned();
        Agent { child, address, said }
    }

    /// Waits for its end; the exit code and what else it said.
    fn end(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        self.said.read_to_string(&mut text).expect("text");
        (self.child.wait().expect("it ends").code(), text)
    }

    fn signal(&self, name: &str) {
        signal(&self.child, name);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
}

/// Several agents, as `--agents` names them.
fn names(agents: &[Agent]) -> String {
    agents.iter().map(|agent| &*agent.address).collect::<Vec<_>>().join(",")
}

fn coordinator(command: &str, stub: &Stub, agents: &str, arguments: &str) -> Command {
    let mut coordinator = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    coordinator.arg(command).arg(format!("http://{}", stub.address)).args(["--agents", agents]);
    coordinator.args(arguments.split_whitespace()).args(["--lenient", "--quiet", "--json", "-"]);
    coordinator.stdout(Stdio::piped()).stderr(Stdio::piped());
    coordinator
}

fn outcome(output: &Output) -> (i32, Value, String) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().expect("an exit code"), report, text)
}

fn run(stub: &Stub, agents: &str, arguments: &str) -> (i32, Value, String) {
    outcome(&coordinator("run", stub, agents, arguments).output().expect("it runs"))
}

fn number(report: &Value, path: &str) -> u64 {
    let pointer = format!("/{path}");
    report.pointer(&pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {report:#}"))
}

fn wait_for_subscribers(stub: &Stub, count: u64) {
    while stub.subscribers() < count {
        thread::yield_now();
    }
}

const SHORT: &str = "-c 4 --transport ws:50,sse:50 -R 200 -d 10s -n 60 --warmup 0";
/// Goes on until somebody ends it.
const ENDLESS: &str = "-c 4 -R 100 -d 1d --warmup 0";

#[test]
fn what_agents_found_is_one_run_in_every_shape() {
    let agents = [Agent::start(&[]), Agent::start(&[])];
    for (shape, deliveries, each) in [
        ("", 240, [2, 2]),
        ("-t 2", 240, [2, 2]),
        ("-c 9 --channels 3 -t 2", 180, [5, 4]),
        ("--slow 50%:200KB/s", 240, [2, 2]),
        ("--resume-churn 40/s", 240, [2, 2]),
        ("--reconnect storm:100%@100ms", 240, [2, 2]),
        ("--arrival closed:3", 240, [2, 2]),
        ("-c 1", 60, [1, 0]),
    ] {
        let stub = Stub::start(Script::default());
        let base = if shape.contains("closed") { SHORT.replace("-R 200", "") } else { SHORT.to_owned() };
        let (code, report, text) = run(&stub, &names(&agents), &format!("{base} --interval 100ms {shape}"));
        assert_eq!((code, &report["verdict"]), (0, &"pass".into()), "{shape}: {text} {report:#}");
        for (path, expected) in [
            ("verification/received", deliveries),
            ("verification/expected", deliveries),
            ("delivered/total", deliveries),
            ("agents/0/subscribers", each[0]),
            ("agents/1/subscribers", each[1]),
            ("delivered/open_at_end", each[0] + each[1]),
        ] {
            assert_eq!(number(&report, path), expected, "{path} for {shape}: {report:#}");
        }
        let intervals = report["intervals"].as_array().expect("intervals");
        let delivered: u64 = intervals.iter().map(|interval| number(interval, "delivered")).sum();
        assert_eq!(delivered, deliveries, "the intervals of all agents add up for {shape}");
        let told: u64 = (0..2).map(|place| number(&report, &format!("agents/{place}/delivered"))).sum();
        assert_eq!(told, deliveries, "{shape}");
        if !shape.contains("churn") && !shape.contains("storm") && !shape.contains("slow") {
            let row = report["latency_ms"].as_array().expect("rows").iter().find(|row| row["name"] == "e2e");
            assert_eq!(
                row.map(|row| number(row, "count")),
                Some(deliveries),
                "the histograms of all are merged"
            );
        }
        for place in 0..2 {
            assert_eq!(report["agents"][place]["clock"]["is_same"], true, "all are on one host: {report:#}");
            assert_eq!(number(&report, &format!("agents/{place}/clock/bound_ns")), 0);
        }
    }
}

#[test]
fn a_fault_is_found_whosever_subscriber_it_hit() {
    let agents = [Agent::start(&["--once"]), Agent::start(&["--once"])];
    let stub = Stub::start(Script { fault: Fault::Lose(30), ..Script::default() });
    let (code, report, text) = run(&stub, &names(&agents), &format!("{SHORT} --drain 500ms"));
    assert_eq!((code, number(&report, "verification/lost")), (5, 1), "{text} {report:#}");
    assert!(text.contains("lost without a gap: 30"), "{text}");
    for agent in agents {
        let (code, said) = agent.end();
        assert!(
            code == Some(0) && said.contains("is over"),
            "the run was told, well or not: {code:?} {said}"
        );
    }
}

#[test]
fn the_offset_of_another_clock_is_corrected_and_its_bound_is_stated() {
    let Some(agent) = Agent::ahead(5_000, &["--once"]) else {
        eprintln!("no time namespace can be had here, so there is no other clock");
        return;
    };
    let agents = [agent, Agent::start(&["--once"])];
    let folder =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("agents-{}", std::process::id()));
    let stub = Stub::start(Script::default());
    let mut coordinator = coordinator("run", &stub, &names(&agents), SHORT);
    let output = coordinator.arg("-o").arg(&folder).output().expect("it runs");
    let (code, report, text) = outcome(&output);
    assert_eq!(code, 0, "{text}");
    let clock = &report["agents"][0]["clock"];
    let (offset_ns, bound_ns) = (number(clock, "offset_ns"), number(clock, "bound_ns"));
    assert_eq!(clock["is_same"], false);
    assert!(0 < bound_ns, "{clock}");
    assert!(offset_ns.abs_diff(5_000_000_000_000) <= bound_ns, "{clock}");
    assert_eq!(report["agents"][1]["clock"]["is_same"], true);
    let rows = report["latency_ms"].as_array().expect("rows");
    for name in ["e2e", "service", "span"] {
        let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}"));
        let max_ms = row["max_ms"].as_f64().expect("a figure");
        assert!(max_ms < 600_000.0, "{name} is {max_ms} ms, as if clocks were {offset_ns} ns apart");
    }
    assert_eq!(number(rows.iter().find(|row| row["name"] == "e2e").expect("a row"), "count"), 240);
    let page = std::fs::read_to_string(folder.join("report.html")).expect("a page");
    assert!(page.contains("<h2>Agents</h2>") && page.contains("may be wrong by ±"));
    let table =
        Command::new(env!("CARGO_BIN_EXE_loadgen")).arg("report").arg(&folder).output().expect("it runs");
    let table = String::from_utf8(table.stdout).expect("text");
    assert!(table.contains("clock +5000") || table.contains("clock +4999"), "{table}");
    assert!(table.contains("may be wrong by ±") && table.contains("the same clock"), "{table}");
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn an_agent_that_is_lost_ends_the_run_and_the_others_are_free_again() {
    let agents = [Agent::start(&[]), Agent::start(&[])];
    let stub = Stub::start(Script::default());
    for (name, reason) in [("-INT", "the agent was interrupted"), ("-KILL", "hung up")] {
        let victim = Agent::start(&[]);
        let all = format!("{},{}", names(&agents[..1]), victim.address);
        let coordinator = coordinator("run", &stub, &all, ENDLESS).spawn().expect("it runs");
        let before = stub.published().len();
        while stub.published().len() == before {
            thread::yield_now();
        }
        victim.signal(name);
        let (code, report, text) = outcome(&coordinator.wait_with_output().expect("it ends"));
        assert_eq!((code, report), (6, Value::Null), "{text}");
        assert!(text.contains(&victim.address) && text.contains(reason), "{text}");
        if name == "-INT" {
            assert_eq!(victim.end().0, Some(0), "a signal is how an agent ends");
        }
        let mut free = run(&stub, &names(&agents[..1]), SHORT);
        while free.2.contains("another run") {
            // It has not heard yet that its coordinator is gone.
            free = run(&stub, &names(&agents[..1]), SHORT);
        }
        assert_eq!(free.0, 0, "{}", free.2);
    }
}

#[test]
fn an_agent_serves_one_run_at_a_time() {
    let agent = Agent::start(&["--once"]);
    let stub = Stub::start(Script::default());
    let first = coordinator("run", &stub, &agent.address, ENDLESS).spawn().expect("it runs");
    wait_for_subscribers(&stub, 4);
    let (code, _, text) = run(&stub, &agent.address, SHORT);
    assert!(code == 6 && text.contains("it refuses: it serves another run"), "{code} {text}");
    let (code, _, text) = run(&stub, &format!("{0},{0}", agent.address), SHORT);
    assert!(code == 6 && text.contains("another run"), "{code} {text}");
    while stub.published().is_empty() {
        thread::yield_now();
    }
    signal(&first, "-INT");
    let (code, report, text) = outcome(&first.wait_with_output().expect("it ends"));
    assert_eq!((code, &report["verdict"]), (130, &"interrupted".into()), "{text}");
    assert_eq!(number(&report, "verification/lost"), 0, "what there was until then is told: {report:#}");
    let (code, said) = agent.end();
    assert!(code == Some(0) && said.contains("is refused"), "{code:?} {said}");
}

#[test]
fn other_commands_can_have_agents_too() {
    let agents = [Agent::start(&[]), Agent::start(&[])];
    let outcome = |command: &str, stub: &Stub, arguments: &str| {
        outcome(&coordinator(command, stub, &names(&agents), arguments).output().expect("it runs"))
    };
    let stub = Stub::start(Script::default());
    let (code, report, text) = outcome("connect", &stub, "-c 20 --transport ws:1,sse:1 -d 200ms");
    assert_eq!((code, number(&report, "delivered/open_at_end")), (0, 20), "{text} {report:#}");
    let stub = Stub::start(Script::default());
    let (code, found, text) =
        outcome("search", &stub, "-c 2 --slo lost==0 --from 50 --to 100 --precision 50% -d 200ms --warmup 0");
    assert_eq!((code, found["rate"].as_f64()), (0, Some(100.0)), "{text} {found:#}");
    let (code, _, text) = outcome("pub", &stub, "-n 1");
    assert!(code == 2 && text.contains("--agents"), "{code} {text}");
    let refusing = Stub::start(Script { status: Some(403), ..Script::default() });
    let (code, _, text) = outcome("run", &refusing, SHORT);
    assert!(code == 3 && text.contains("agent 127.0.0.1:") && text.contains("403"), "{code} {text}");
}

/// Something that is no agent: to whoever comes it says `words` and then hangs up, or not.
fn impostor(words: Vec<u8>, hangs_up: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut question = String::new();
            // What is asked first does not matter to it, and what happens to its words neither.
            let _ = BufReader::new(&stream).read_line(&mut question);
            let _ = stream.write_all(&words);
            if !hangs_up {
                let _ = stream.read_to_end(&mut Vec::new());
            }
        }
    });
    address
}

#[test]
fn what_is_no_agent_is_named_and_nothing_hangs() {
    let hello = |version: &str| {
        format!("{{\"hello\":{{\"loadgen\":\"{version}\",\"protocol\":1,\"clock\":\"\"}}}}\n")
    };
    let own = hello(env!("CARGO_PKG_VERSION"));
    let cases: Vec<(Vec<u8>, bool, &str)> = vec![
        (Vec::new(), true, "hung up"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), false, "cannot be understood: HTTP/1.1 400"),
        (hello("9.9.9").into_bytes(), false, "it is loadgen 9.9.9 (protocol 1), and this is loadgen"),
        (vec![b'x'; 34 * 1024 * 1024], false, "more than 33554432 bytes"),
        (format!("{own}{{\"clock\":5}}\n").into_bytes(), false, "not asked for"),
        (format!("{own}{{\"refused\":\"no\"}}\n").into_bytes(), false, "it refuses: no"),
        (Vec::new(), false, "has said nothing for 5 s"),
    ];
    let stub = Stub::start(Script::default());
    thread::scope(|scope| {
        for (words, hangs_up, reason) in cases {
            let stub = &stub;
            scope.spawn(move || {
                let address = impostor(words, hangs_up).to_string();
                let (code, _, text) = run(stub, &address, SHORT);
                assert!(
                    code == 6 && text.contains(&address) && text.contains(reason),
                    "{reason}: {code} {text}"
                );
            });
        }
    });
    let unused = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let (code, _, text) = run(&stub, &unused.to_string(), SHORT);
    assert!(code == 6 && text.contains("cannot be reached"), "{code} {text}");
}

#[test]
fn what_is_no_coordinator_is_refused_and_the_agent_waits_on() {
    let agent = Agent::start(&["--once"]);
    let greeting = |version: &str| {
        format!("{{\"hello\":{{\"loadgen\":\"{version}\",\"protocol\":1,\"clock\":\"\"}}}}\n")
    };
    let own = greeting(env!("CARGO_PKG_VERSION"));
    let order = |place: u32, arguments: &str| {
        format!(
            "{own}{{\"order\":{{\"role\":\"whole\",\"run\":1,\"place\":{place},\"wording\":{{\"arguments\":[{arguments}],\"files\":{{}}}}}}}}\n"
        )
    };
    let check = |words: &str, reason: &str| {
        let mut stream = TcpStream::connect(&agent.address).expect("connected");
        let _ = stream.write_all(words.as_bytes());
        let mut answer = String::new();
        // Who is seen to have hung up is free for the next one.
        let _ = BufReader::new(&stream).read_to_string(&mut answer);
        assert!(answer.contains("\"refused\"") && answer.contains(reason), "{words}: {answer}");
    };
    check("GET / HTTP/1.1\r\n\r\n", "cannot be understood");
    check("\"clock\"\n", "did not introduce itself");
    check(&greeting("9.9.9"), "it is loadgen 9.9.9");
    check(&format!("{own}\"clock\"\n"), "did not say what to do");
    check(&order(0, "\"--nonsense\""), "--nonsense");
    check(&order(0, "\"http://127.0.0.1:9\",\"-c\",\"3000000000\""), "--connections");
    check(&order(0, "\"http://127.0.0.1:9\""), "no place 0");
    check(&order(7, "\"http://127.0.0.1:9\",\"--agents=a:1,b:1\""), "no place 7");
    check(
        &order(0, "\"http://127.0.0.1:9\",\"--agents=a:1\",\"--token-file=/etc/hostname\""),
        "did not send it",
    );
    let stub = Stub::start(Script::default());
    let (code, _, text) = run(&stub, &agent.address, SHORT);
    assert_eq!(code, 0, "{text}");
    assert_eq!(agent.end().0, Some(0));
}

#[test]
fn an_agent_is_not_for_everybody() {
    let listen = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .arg("agent")
            .args(arguments)
            .output()
            .expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = listen(&["--listen", "0.0.0.0:0"]);
    assert!(code == Some(2) && text.contains("--insecure"), "{code:?} {text}");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (code, text) = listen(&["--listen", &taken.local_addr().expect("an address").to_string()]);
    assert!(code == Some(3) && text.contains("cannot listen"), "{code:?} {text}");
}

#[test]
fn what_stands_in_files_and_in_the_environment_reaches_agents() {
    let agents = [Agent::start(&[]), Agent::start(&[])];
    let stub = Stub::start(Script::default());
    let front = Front::start(stub.address);
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args([
            "run",
            &format!("https://localhost:{}", front.address.port()),
            "--lenient",
            "--quiet",
            "--json",
            "-",
        ])
        .args(SHORT.split_whitespace().skip(2))
        .env("LOADGEN_CONNECTIONS", "8")
        .env("LOADGEN_AGENTS", names(&agents))
        .env("LOADGEN_CA", &front.certificate)
        .output()
        .expect("it runs");
    let (code, report, text) = outcome(&output);
    assert_eq!((code, number(&report, "verification/received")), (0, 480), "{text} {report:#}");
    assert_eq!((number(&report, "agents/0/subscribers"), &report["setting"]["encrypted"]), (4, &true.into()));
}
