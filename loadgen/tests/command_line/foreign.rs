//! `loadgen run` against servers that speak other protocols.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::commands::interrupt;
use crate::count::profile;
use crate::floor::Floor;
use crate::front::Front;
use crate::peers::{Peer, Protocol};
use crate::stub::{Fault, Script, Stub};
use serde_json::Value;

fn run(address: SocketAddr, protocol: &str, arguments: &str) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args([
            "run",
            &format!("http://{address}"),
            "--protocol",
            protocol,
            "--lenient",
            "--quiet",
            "--json",
            "-",
        ])
        .args(["-R", "200", "-n", "60", "-d", "10s", "--warmup", "0"])
        .args(arguments.split_whitespace())
        .output()
        .expect("the generator runs");
    let code = output.status.code().expect("an exit code");
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("exit {code}, {}", String::from_utf8_lossy(&output.stderr)));
    (code, report)
}

fn check(address: SocketAddr, protocol: &str, arguments: &str, received: u64) {
    let (code, report) = run(address, protocol, arguments);
    assert_eq!(code, 0, "{protocol} {arguments}: {report:#}");
    assert_eq!(report["verification"]["received"], received, "{protocol} {arguments}: {report:#}");
    assert_eq!(report["verification"]["expected"], received, "{protocol} {arguments}: {report:#}");
    let rows = report["latency_ms"].as_array().expect("rows");
    assert!(rows.iter().any(|row| row["name"] == "e2e" && row["count"] == received), "{rows:?}");
}

#[test]
fn raw_sockets_and_event_streams_are_verified_like_our_own() {
    let floor = Floor::start(&[]);
    check(floor.address, "raw-ws", "-c 3", 180);
    check(floor.address, "raw-ws", "-c 3 -s 64..4KiB", 180);
    check(floor.address, "sse", "-c 3 --transport sse -s 5000", 180);
}

#[test]
fn a_profile_s_file_says_how_any_other_server_is_spoken_to() {
    let stub = Stub::start(Script::default());
    let path = profile("foreign", r#""url":"http://127.0.0.1:9""#);
    let path = path.to_str().expect("text");
    check(stub.address, path, "-c 4 --transport ws:1,sse:1 --channels 2 --channel b:{i}", 120);
    // The same without a file: what is typed takes the place of what the profile says.
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &format!("http://{}", stub.address), "--protocol", "raw-ws", "--lenient", "-c", "2"])
        .args([
            "-R",
            "200",
            "-n",
            "20",
            "-d",
            "10s",
            "--warmup",
            "0",
            "--subscribe-path",
            "/ws?channel={channel}",
        ])
        .args(["--subscribe-confirm", "subscribed", "--publish-header", "Content-Type: application/json"])
        .args(["--publish-body", r#"{"channel":"{channel}","event":"m","data":"{body}"}"#])
        .output()
        .expect("the generator runs");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && table.contains("reach 1.000000"), "{table} {output:?}");
}

#[test]
fn the_requests_before_a_run_are_encrypted_where_the_server_is() {
    let stub = Stub::start(Script::default());
    let front = Front::start(stub.address);
    let start = r#""url":"http://127.0.0.1:9","setup":[{"method":"GET","path":"/health/ready"}]"#;
    let path = profile("foreign-setup", start);
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &format!("https://localhost:{}", front.address.port()), "--insecure", "--lenient"])
        .args([
            "--protocol",
            path.to_str().expect("text"),
            "-c",
            "2",
            "-R",
            "200",
            "-n",
            "20",
            "--warmup",
            "0",
        ])
        .output()
        .expect("the generator runs");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && table.contains("reach 1.000000"), "{table} {output:?}");
}

#[test]
fn what_others_lose_repeat_or_reorder_is_found_too() {
    for (fault, counted) in [
        (Fault::Lose(30), "/lost"),
        (Fault::Repeat(30), "/faults/repeated"),
        (Fault::Swap(30), "/faults/reordered"),
    ] {
        let stub = Stub::start(Script { fault, ..Script::default() });
        let path =
            profile(&format!("foreign-{fault:?}").replace(['(', ')'], "-"), r#""url":"http://127.0.0.1:9""#);
        let (code, report) = run(stub.address, path.to_str().expect("text"), "-c 2 --drain 500ms");
        assert_eq!(code, 5, "{fault:?}: {report:#}");
        assert_eq!(report["verification"].pointer(counted), Some(&1.into()), "{fault:?}: {report:#}");
    }
}

#[test]
fn what_others_have_documented_is_spoken_as_they_have_it() {
    let shapes =
        |arguments: &str| [format!("-c 4 {arguments}"), format!("-c 4 --channels 2 -s 3000 {arguments}")];
    for (protocol, transport) in [
        (Protocol::Pusher, "ws"),
        (Protocol::Mercure, "sse"),
        (Protocol::DurableStreams, "sse"),
        (Protocol::Nchan, "ws:50,sse:50"),
        (Protocol::Centrifugo, "ws:50,sse:50"),
    ] {
        let [one, two] = shapes(&format!("--transport {transport}"));
        for (arguments, received) in [(one, 240), (two, 120)] {
            let peer = Peer::start(protocol);
            check(peer.address, protocol.name(), &arguments, received);
            let asked = if protocol == Protocol::Pusher { 4 } else { 0 };
            assert_eq!(peer.pongs(), asked, "what it asks of its clients is answered");
        }
    }
}

#[test]
fn a_server_of_another_protocol_is_no_success() {
    let peer = Peer::start(Protocol::Nchan);
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &format!("http://{}", peer.address), "--protocol", "mercure", "--transport", "sse"])
        .args(["-c", "1", "-n", "5", "-d", "5s", "--quiet"])
        .output()
        .expect("the generator runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("400"), "{said}");
}

/// The real one, as Debian has it: `benches/peers/install-nchan` installs it.
#[test]
#[ignore = "needs nginx with nchan"]
fn nchan_itself_loses_nothing() {
    let profiles = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/side-by-side");
    let folder =
        std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("nchan-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let unused =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let text = std::fs::read_to_string(format!("{profiles}/nchan.conf")).expect("its configuration");
    let directory = folder.to_str().expect("text");
    let text = text.replace("PORT", &unused.port().to_string()).replace("DIRECTORY", directory);
    std::fs::write(folder.join("nginx.conf"), text.replace("512m", "64m")).expect("written");
    let nginx = Command::new("nginx")
        .args(["-e", "stderr", "-p", directory, "-c", &format!("{directory}/nginx.conf")])
        .spawn()
        .expect("benches/peers/install-nchan installs nginx");
    let mut nginx = Kept(nginx);
    while std::net::TcpStream::connect(unused).is_err() {
        assert!(nginx.0.try_wait().expect("its state").is_none(), "nginx has ended");
        std::thread::yield_now();
    }
    for arguments in ["-c 20 --transport ws:50,sse:50", "-c 6 --channels 3 -s 5000 --transport ws:50,sse:50"]
    {
        let received = if arguments.contains("--channels") { 120 } else { 1200 };
        check(unused, "nchan", arguments, received);
    }
    drop(nginx);
    std::fs::remove_dir_all(&folder).expect("removed");
}

/// A program that ends with the test, however that ends.
struct Kept(std::process::Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_order_of_what_another_process_publishes_is_checked_too() {
    for (fault, code, counted) in [
        (Fault::None, 130, None),
        (Fault::Repeat(30), 5, Some("/faults/repeated")),
        (Fault::Swap(30), 5, Some("/faults/reordered")),
    ] {
        let stub = Stub::start(Script { fault, ..Script::default() });
        let url = format!("http://{}", stub.address);
        let name = format!("sub-{fault:?}").replace(['(', ')'], "-");
        let path = profile(&name, r#""url":"http://127.0.0.1:9""#);
        let path = path.to_str().expect("text");
        let subscriber = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["sub", &url, "--protocol", path, "-c", "1", "-d", "1d"])
            .args(["--lenient", "--quiet", "--json", "-"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the generator runs");
        while stub.subscribers() < 1 {
            std::thread::yield_now();
        }
        let publisher = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["pub", &url, "--protocol", path, "-R", "200", "-n", "60", "--warmup", "0", "--quiet"])
            .args(["--lenient"])
            .status()
            .expect("the generator runs");
        assert!(publisher.success());
        interrupt(&subscriber);
        let output = subscriber.wait_with_output().expect("it ends");
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        assert_eq!(output.status.code(), Some(code), "{fault:?}: {report:#}");
        if let Some(counted) = counted {
            assert_eq!(report["verification"].pointer(counted), Some(&1.into()), "{fault:?}: {report:#}");
        }
    }
}
