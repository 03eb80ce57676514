//! A supervisor such as systemd: it hears when the server is ready, reloads, stops and is well, and may hand over sockets that
//! listen already.

#![cfg(target_os = "linux")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::process::{Child, Command, Stdio};

use support::PATIENCE;
use support::http::{Http, get};
use support::process::ServerProcess;

/// Whoever is told about a server.
struct Listener {
    socket: UnixDatagram,
}

impl Listener {
    fn new(socket: UnixDatagram) -> Listener {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Listener { socket }
    }

    /// The next datagram.
    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let count = self.socket.recv(&mut buffer).expect("something is told");
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    /// The next one that is not about the watchdog.
    fn next_but_pings(&self) -> String {
        loop {
            let told = self.next();
            if told != "WATCHDOG=1\n" {
                return told;
            }
        }
    }
}

fn start(notify_socket: &str, more: &[&str], flags: &[&str]) -> ServerProcess {
    let name = format!("NOTIFY_SOCKET={notify_socket}");
    let runner: Vec<&str> = ["env", &name].iter().chain(more).copied().collect();
    ServerProcess::start_under(&runner, flags)
}

fn monotonic_usec(told: &str) -> u64 {
    let rest = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{told}"));
    rest.strip_suffix("\nSTATUS=reloading\n").and_then(|usec| usec.parse().ok()).expect("a number")
}

#[test]
fn the_supervisor_hears_when_the_server_is_ready_reloads_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    let config = config.to_str().unwrap();
    let path = folder.path().join("notify");
    let name = format!("fanfare-test-{}", std::process::id());
    let nowhere = UnixAddress::from_abstract_name(&name).unwrap();
    for (told_to, socket) in [
        (path.to_str().unwrap().to_owned(), UnixDatagram::bind(&path).unwrap()),
        (format!("@{name}"), UnixDatagram::bind_addr(&nowhere).unwrap()),
    ] {
        let listener = Listener::new(socket);
        std::fs::write(config, "log_level = 'info'\n").unwrap();
        let mut server = start(&told_to, &[], &["--config", config]);
        let serving = format!("listening on http://{}", server.public);
        let ready = format!("READY=1\nSTATUS={serving}\n");
        assert_eq!(listener.next(), ready);
        assert_eq!(get(server.admin, "/health/ready").status, 200, "it is");

        server.signal("HUP");
        let first = monotonic_usec(&listener.next());
        assert_eq!(listener.next(), ready);

        std::fs::write(config, "log_level = 'loud'\nnonsense = 1\n").unwrap();
        server.signal("HUP");
        assert!(first < monotonic_usec(&listener.next()), "of a clock that only goes forward");
        let told = listener.next();
        let reason = told.strip_prefix(&format!("READY=1\nSTATUS={serving}; not reloaded: "));
        assert!(reason.is_some_and(|reason| reason.contains("nonsense")), "{told}");
        assert_eq!(told.lines().count(), 2, "whatever the reason is, it is one line: {told}");

        server.signal("TERM");
        // The drain's ten seconds, and ten for the rest.
        assert_eq!(listener.next(), "STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=20000000\n");
        assert!(server.wait_for_end().success());
    }
}

#[test]
fn a_supervisor_that_wants_to_hear_that_all_is_well_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let listener = Listener::new(UnixDatagram::bind(&path).unwrap());
    let mut server = start(path.to_str().unwrap(), &["WATCHDOG_USEC=200000"], &[]);
    for _ in 0..3 {
        while listener.next() != "WATCHDOG=1\n" {}
    }
    // Loops that end are no fault.
    server.signal("TERM");
    assert!(listener.next_but_pings().starts_with("STOPPING=1\n"));
    assert!(server.wait_for_end().success());
}

#[test]
fn a_supervisor_that_is_gone_keeps_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = folder.path().join("nobody");
    let mut server = start(nobody.to_str().unwrap(), &["WATCHDOG_USEC=1000"], &[]);
    assert_eq!(get(server.public, "/health").status, 200);
    server.signal("TERM");
    assert!(server.wait_for_end().success());
}

#[test]
fn an_environment_that_makes_no_sense_is_told() {
    let output = support::process::fanfare()
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .env("NOTIFY_SOCKET", "vsock:2:1234")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("NOTIFY_SOCKET=vsock:2:1234: a socket is named by"), "{said}");
}

/// A server that was handed sockets; killed when dropped.
struct Activated(Child);

impl Activated {
    /// Hands over one socket as the third descriptor and another as the fourth, as systemd does.
    fn start(public: &TcpListener, admin: &TcpListener, listen: SocketAddr) -> Activated {
        let handed = |listener: &TcpListener| Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
        let script = "export LISTEN_PID=$$ LISTEN_FDS=2; \
                      exec \"$0\" \"$@\" 3<&0 4<&1 0</dev/null 1>/dev/null";
        let child = Command::new("sh")
            .env_clear()
            .env("FANFARE_ALLOW_HOST", "any")
            .args(["-c", script, env!("CARGO_BIN_EXE_fanfare"), "serve", "--loops", "2"])
            .args(["--listen", &listen.to_string()])
            .args(["--admin-listen", &admin.local_addr().unwrap().to_string()])
            .stdin(handed(public))
            .stdout(handed(admin))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Activated(child)
    }

    /// Ends it in order.
    fn stop(&mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &pid]).status().unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn sockets_that_are_handed_over_are_served_and_who_comes_between_two_servers_is_not_refused() {
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (public, admin) = (listen(), listen());
    let (address, admin_address) = (public.local_addr().unwrap(), admin.local_addr().unwrap());
    let mut first = Activated::start(&public, &admin, address);
    assert_eq!(get(admin_address, "/health/ready").status, 200);
    // Both loops take from one queue; each of these comes alone.
    for _ in 0..20 {
        assert_eq!(get(address, "/health").status, 200);
    }
    first.stop();
    let mut between = Http::connect(address);
    between.send("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let _second = Activated::start(&public, &admin, address);
    assert_eq!(between.answer().status, 200, "it was answered by the next");
}

#[test]
fn a_socket_at_another_address_is_refused() {
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (public, admin, other) = (listen(), listen(), listen());
    let address = other.local_addr().unwrap();
    drop(other);
    let mut server = Activated::start(&public, &admin, address);
    let mut stderr = BufReader::new(server.0.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(server.0.wait().unwrap().code(), Some(1), "{said}");
    let handed = format!("a socket on {} was handed over", public.local_addr().unwrap());
    let line = said.as_bytes().lines().map_while(Result::ok).find(|line| line.contains(&handed));
    assert!(line.is_some_and(|line| line.contains(&address.to_string())), "{said}");
}
