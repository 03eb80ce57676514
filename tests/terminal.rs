//! `fanfare top` on a terminal, over an encrypted door as over any other: however it ends, the terminal is as it was.

mod support;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;
use support::process::{ServerProcess, fanfare};
use support::wait_until;

/// A terminal without a screen.
struct Terminal {
    /// What programs run on.
    device: File,
    /// Whoever sits before it.
    person: File,
    /// What was written to it.
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn open() -> Terminal {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&person).expect("granted");
        unlockpt(&person).expect("unlocked");
        let name = ptsname(&person, Vec::new()).expect("a name");
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let device = File::options().read(true).write(true).open(path).expect("its other side");
        tcsetwinsize(&device, Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 })
            .expect("a size");
        let person = File::from(person);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (person.try_clone().expect("a copy"), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count) = reader.read(&mut piece) {
                sink.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Terminal { device, person, shown }
    }

    fn run(&self, command: &mut Command) -> Child {
        let side = || Stdio::from(OwnedFd::from(self.device.try_clone().expect("a copy")));
        command.stdin(side()).stdout(side()).stderr(side()).spawn().expect("it starts")
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.device).expect("its modes")
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    fn wait_for(&self, text: &str) {
        wait_until(text, || self.text().contains(text));
    }
}

/// What can end it.
enum Ending {
    Key(&'static [u8]),
    Signal(Signal),
}

#[test]
fn however_it_ends_the_terminal_is_as_it_was() {
    use std::io::Write;
    let server = ServerProcess::start(&[]);
    let url = format!("http://{}", server.admin);
    for (name, ending) in [
        ("q", Ending::Key(b"q")),
        ("escape", Ending::Key(b"\x1b")),
        ("control and c", Ending::Key(b"\x03")),
        ("SIGTERM", Ending::Signal(Signal::TERM)),
        ("SIGINT", Ending::Signal(Signal::INT)),
        ("SIGHUP", Ending::Signal(Signal::HUP)),
    ] {
        let mut terminal = Terminal::open();
        let before = terminal.modes();
        assert!(before.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{name}");
        let mut child = terminal.run(fanfare().args(["top", &url]));
        terminal.wait_for("LIVE");
        assert!(terminal.text().contains(TAKEN), "{name}: a screen of its own");
        assert!(!terminal.modes().local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO), "{name}");
        match ending {
            Ending::Key(key) => terminal.person.write_all(key).expect("pressed"),
            Ending::Signal(signal) => {
                let pid = Pid::from_child(&child);
                kill_process(pid, signal).expect("sent");
            }
        }
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{name}");
        terminal.wait_for(GIVEN_BACK);
        terminal.wait_for(CURSOR);
        let after = terminal.modes();
        assert_eq!(
            (after.local_modes, after.input_modes, after.output_modes),
            (before.local_modes, before.input_modes, before.output_modes),
            "{name}"
        );
    }
}

#[test]
fn a_server_that_cannot_be_reached_leaves_the_terminal_alone() {
    let terminal = Terminal::open();
    let mut child = terminal.run(fanfare().args(["top", "127.0.0.1:1"]));
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
    terminal.wait_for("cannot connect");
    assert!(!terminal.text().contains(TAKEN));
}

#[test]
fn an_encrypted_door_is_watched_published_to_and_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(file("cert.pem"), made.cert.pem()).expect("written");
    std::fs::write(file("key.pem"), made.signing_key.serialize_pem()).expect("written");
    let pair = [&file("cert.pem"), &file("key.pem")];
    // The operators' door is encrypted where others than this machine reach it.
    let server = ServerProcess::start(&[
        "--tls-cert",
        pair[0],
        "--tls-key",
        pair[1],
        "--insecure",
        "--admin-listen",
        "0.0.0.0:0",
    ]);
    let [public, admin] =
        [server.public, server.admin].map(|address| format!("https://localhost:{}", address.port()));
    let run = |arguments: &[&str]| {
        let output = fanfare().args(arguments).stdin(Stdio::null()).output().expect("it runs");
        let [out, err] = [output.stdout, output.stderr].map(|said| String::from_utf8(said).expect("text"));
        (output.status.code(), out, err)
    };
    let ca = ["--ca", pair[0]];
    let (code, said, why) = run(&[&["top", &admin, "--once"][..], &ca].concat());
    let pulse: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said} {why}"));
    assert_eq!((code, &pulse["connections"]["operators"]), (Some(0), &1.into()));

    let (code, said, why) = run(&[&["publish", &public, "t:a", "k", "7"][..], &ca].concat());
    assert_eq!((code, said.as_str()), (Some(0), "{\"seq\":1}\n"), "{why}");
    for more in [&[][..], &["--sse"]] {
        let tail = ["tail", &public, "t:a", "--since", "earliest", "-n", "1"];
        let (code, said, why) = run(&[&tail[..], more, &["--insecure"]].concat());
        assert_eq!(code, Some(0), "{why}");
        assert!(said.contains(r#""data":7"#), "{said}");
    }

    // On a terminal, too, and by the name in the certificate.
    let terminal = Terminal::open();
    let mut child = terminal.run(fanfare().args(["top", &admin]).args(ca));
    terminal.wait_for("LIVE");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("sent");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));

    let check = |arguments: &[&str], code: i32, part: &str| {
        let (got, _, why) = run(arguments);
        assert_eq!(got, Some(code), "{arguments:?}: {why}");
        assert!(why.contains(part), "{arguments:?}: {why}");
    };
    let plain = admin.replace("https", "http");
    check(&["top", &plain, "--once"], 3, "https://");
    let other = admin.replace("localhost", "127.0.0.1");
    check(&[&["top", &other, "--once"][..], &ca].concat(), 3, "--ca");
    check(&["top", &admin, "--once", "--ca", pair[1]], 2, "no certificate");
    check(&["top", &admin, "--once", "--ca", "nowhere.pem"], 2, "nowhere.pem");
    check(&[&["top", &plain, "--once"][..], &ca].concat(), 2, "not encrypted");
    let unencrypted = ServerProcess::start(&[]);
    let wrong = format!("https://{}", unencrypted.admin);
    check(&["top", &wrong, "--once", "--insecure"], 3, "http://");
}

/// What a program says to have a screen of its own, and to leave it, and to show where it writes.
const TAKEN: &str = "\x1b[?1049h";
const GIVEN_BACK: &str = "\x1b[?1049l";
const CURSOR: &str = "\x1b[?25h";
