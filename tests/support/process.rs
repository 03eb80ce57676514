//! The server binary as a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::PATIENCE;

/// A running `fanfare serve`; killed when dropped.
pub(crate) struct ServerProcess {
    child: Child,
    /// Lines of its standard error; ends with the process.
    lines: Receiver<String>,
    /// Where everybody may connect.
    pub(crate) public: SocketAddr,
    /// Where operators may connect.
    pub(crate) admin: SocketAddr,
}

/// The binary under test, without whatever the environment says about it.
pub(crate) fn fanfare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    command.env_clear();
    command
}

impl ServerProcess {
    /// Starts a server on free ports, with `flags` besides.
    pub(crate) fn start(flags: &[&str]) -> ServerProcess {
        ServerProcess::start_under(&[], flags)
    }

    /// The same, run by another program, such as one that limits what it may have.
    pub(crate) fn start_under(runner: &[&str], flags: &[&str]) -> ServerProcess {
        let mut command = match runner {
            [] => fanfare(),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
                command.args(arguments).arg(env!("CARGO_BIN_EXE_fanfare"));
                command
            }
        };
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(if flags.contains(&"--admin-listen") {
                &[][..]
            } else {
                &["--admin-listen", "127.0.0.1:0"]
            })
            // A machine that is busy with something else is no overload.
            .args(["--fanout-backlog-max", "1m"])
            .args(flags)
            // Most tests call the server by whatever name is shortest.
            .env("FANFARE_ALLOW_HOST", "any")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = ServerProcess { child, lines, public: unknown, admin: unknown };
        server.public = server.address_after("listening on http");
        server.admin = server.address_after("admin on http");
        server
    }

    fn address_after(&self, prefix: &str) -> SocketAddr {
        let line = self.wait_for_line(prefix);
        let (_, rest) = line.split_once(prefix).expect("the line has it");
        let (_, rest) = rest.split_once("://").expect("a scheme ends");
        // In a line of JSON, or before other fields.
        rest.split(['"', ' ']).next().and_then(|address| address.parse().ok()).expect("an address")
    }

    /// The next line of standard error that has `text` in it.
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => before.push(line),
                Err(error) => panic!("no line with {text:?} ({error}); before: {before:#?}"),
            }
        }
    }

    /// The next line of standard error, if it comes within `wait`.
    pub(crate) fn line_within(&self, wait: Duration) -> Option<String> {
        self.lines.recv_timeout(wait).ok()
    }

    /// Whether another line of standard error, or its end, comes within `wait`.
    pub(crate) fn speaks_within(&self, wait: Duration) -> bool {
        !matches!(self.lines.recv_timeout(wait), Err(RecvTimeoutError::Timeout))
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the process a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]).status().unwrap();
        assert!(status.success(), "kill -s {name} {pid}: {status}");
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap(),
                Err(error) => panic!("the server does not end: {error}"),
            }
        }
    }

    /// What it says on standard error from here to its end, for which it must have been given a reason.
    pub(crate) fn last_words(&mut self) -> String {
        let mut words = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => words = words + &line + "\n",
                Err(RecvTimeoutError::Disconnected) => return words,
                Err(error) => panic!("the server does not end: {error}"),
            }
        }
    }

    /// Memory of the process that is resident, in bytes.
    pub(crate) fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kibibytes << 10
    }

    /// Open descriptors of the process.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Resident memory of the process, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("resident memory");
        line.trim().strip_suffix(" kB").and_then(|text| text.parse().ok()).expect("a number of kB")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A failing test has already said what is wrong.
        if !std::thread::panicking() {
            let fault = self.lines.iter().find(|line| line.contains("panicked at"));
            assert_eq!(fault, None, "a fault of the server");
        }
    }
}
