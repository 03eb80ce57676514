//! Whoever supervises the process, such as systemd: it is told how the server is, and may hand over sockets that listen.
//!
//! # Contract     a process that nobody supervises tells nobody. What is told is a datagram that nobody waits for: where the
//!   supervisor is gone, or takes nothing, it is lost
//! # Why not …    a crate for the datagrams: it is some lines, and those that there are do not know abstract sockets

use std::env;
use std::ffi::{OsStr, OsString};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};

/// A handle on whoever supervises the process, if anybody does.
#[derive(Clone, Debug, Default)]
pub struct Supervisor(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    line: Option<Line>,
    watchdog: Option<Duration>,
    /// Sockets that were handed over, until they are taken.
    listeners: Mutex<Vec<(SocketAddr, TcpListener)>>,
}

/// Where it is told.
#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    to: UnixAddress,
}

/// What is told about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// It takes work, again or for the first time; and what it does, for people.
    Ready(&'a str),
    /// It reads its configuration again; [`Told::Ready`] says when that is over.
    Reloading,
    /// It shuts down, which takes so long at most.
    Stopping(Duration),
    /// It is well. To be said again within half of [`Supervisor::watchdog`].
    Well,
}

/// What people are told has so many bytes at most.
const STATUS_BYTES_MAX: usize = 1024;

impl Supervisor {
    /// The one that the environment names: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `LISTEN_FDS`. To be called before any thread is
    /// started, since what concerns the sockets is taken out of the environment; a second call finds none.
    ///
    /// # Errors
    /// A sentence about what of it makes no sense.
    pub fn of_environment() -> Result<Supervisor, String> {
        let line = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()).map(Line::to).transpose()?;
        let text = |name: &str| env::var(name).ok();
        let watchdog = watchdog(text("WATCHDOG_USEC"), text("WATCHDOG_PID"), std::process::id());
        Ok(Supervisor(Arc::new(Inner { line, watchdog, listeners: Mutex::new(handed_over()?) })))
    }

    /// One that is told at `socket`, and wants to hear [`Told::Well`] within `watchdog`.
    #[cfg(test)]
    pub(super) fn at(socket: &std::path::Path, watchdog: Duration) -> Supervisor {
        let line = Line::to(socket.into()).unwrap();
        Supervisor(Arc::new(Inner {
            line: Some(line),
            watchdog: Some(watchdog),
            listeners: Mutex::default(),
        }))
    }

    /// Tells it something; nobody waits for that.
    pub fn tell(&self, told: Told<'_>) {
        let Some(line) = &self.0.line else { return };
        // It fails if nobody is there any more, or has no time; then it is not for us to do anything about it.
        let _ = line.socket.send_to_addr(told.text().as_bytes(), &line.to);
    }

    /// Within which time it wants to hear [`Told::Well`], if it does.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.0.watchdog.filter(|_| self.0.line.is_some())
    }

    /// Takes the socket that was handed over for `address`, if one was.
    #[must_use]
    pub fn take_listener(&self, address: SocketAddr) -> Option<TcpListener> {
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let at = listeners.iter().position(|(own, _)| *own == address)?;
        Some(listeners.remove(at).1)
    }

    /// The addresses of sockets that were handed over and that nobody has taken.
    #[must_use]
    pub fn untaken(&self) -> Vec<SocketAddr> {
        let listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().map(|(address, _)| *address).collect()
    }
}

impl Line {
    fn to(name: OsString) -> Result<Line, String> {
        let bad =
            |error: &dyn std::fmt::Display| format!("NOTIFY_SOCKET={}: {error}", name.to_string_lossy());
        let to = address(&name).map_err(|error| bad(&error))?;
        let socket = UnixDatagram::unbound().map_err(|error| bad(&error))?;
        socket.set_nonblocking(true).map_err(|error| bad(&error))?;
        Ok(Line { socket, to })
    }
}

/// The address of a socket that stands in the file system, or, with an `@` before it, nowhere.
fn address(name: &OsStr) -> Result<UnixAddress, String> {
    use std::os::unix::ffi::OsStrExt;
    let told = |error: std::io::Error| error.to_string();
    match name.as_bytes() {
        [b'/', ..] => UnixAddress::from_pathname(name).map_err(told),
        #[cfg(target_os = "linux")]
        [b'@', abstract_name @ ..] => {
            <UnixAddress as std::os::linux::net::SocketAddrExt>::from_abstract_name(abstract_name)
                .map_err(told)
        }
        _ => Err("a socket is named by its path, or by '@' and its name".to_owned()),
    }
}

/// How often the process `own` is to say that it is well, as it is told in microseconds.
fn watchdog(usec: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let usec: u64 = usec?.parse().ok().filter(|usec| *usec != 0 && is_ours)?;
    Some(Duration::from_micros(usec))
}

fn handed_over() -> Result<Vec<(SocketAddr, TcpListener)>, String> {
    let mut sockets = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..sockets.len() {
        let bad = |error: std::io::Error| format!("socket {index} of those that LISTEN_FDS counts: {error}");
        if let Some(listener) = sockets.take_tcp_listener(index).map_err(bad)? {
            listeners.push((listener.local_addr().map_err(bad)?, listener));
        }
    }
    Ok(listeners)
}

impl Told<'_> {
    fn text(self) -> String {
        match self {
            Told::Ready(status) => format!("READY=1\nSTATUS={}\n", line_of(status)),
            Told::Reloading => {
                let now = clock_gettime(ClockId::Monotonic);
                let usec = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
                format!("RELOADING=1\nMONOTONIC_USEC={usec}\nSTATUS=reloading\n")
            }
            Told::Stopping(at_most) => {
                format!("STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC={}\n", at_most.as_micros())
            }
            Told::Well => "WATCHDOG=1\n".to_owned(),
        }
    }
}

/// One line of a bounded length: a second would be something else that is told.
fn line_of(status: &str) -> String {
    let end = status.floor_char_boundary(STATUS_BYTES_MAX);
    status[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told() {
        let check = |told: Told<'_>, expected: &str| assert_eq!(told.text(), expected);
        check(Told::Ready("serving"), "READY=1\nSTATUS=serving\n");
        check(Told::Ready("a\nWATCHDOG=trigger\r"), "READY=1\nSTATUS=a WATCHDOG=trigger \n");
        check(Told::Ready(&"é".repeat(1000)), &format!("READY=1\nSTATUS={}\n", "é".repeat(512)));
        check(
            Told::Stopping(Duration::from_secs(2)),
            "STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=2000000\n",
        );
        check(Told::Well, "WATCHDOG=1\n");
        let reloading = Told::Reloading.text();
        let usec =
            reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().split('\n').next().unwrap();
        assert!(usec.parse::<u64>().is_ok_and(|usec| 0 < usec), "{reloading}");
    }

    #[test]
    fn the_watchdog_of_another_process_is_not_ours() {
        let check = |usec: &str, pid: Option<&str>, expected_us: Option<u64>| {
            let got = watchdog(Some(usec.to_owned()), pid.map(str::to_owned), 7);
            assert_eq!(got, expected_us.map(Duration::from_micros), "{usec} {pid:?}");
        };
        check("30000000", None, Some(30_000_000));
        check("30000000", Some("7"), Some(30_000_000));
        check("30000000", Some("8"), None);
        check("30000000", Some("x"), None);
        check("0", None, None);
        check("-1", None, None);
        assert_eq!(watchdog(None, None, 7), None);
    }

    #[test]
    fn sockets_are_named_by_paths_or_stand_nowhere() {
        assert!(address(OsStr::new("/run/systemd/notify")).unwrap().as_pathname().is_some());
        #[cfg(target_os = "linux")]
        assert!(address(OsStr::new("@x")).unwrap().as_pathname().is_none());
        for bad in ["notify", "vsock:2:1234", "./x"] {
            assert!(address(OsStr::new(bad)).is_err(), "{bad}");
        }
        assert!(address(OsStr::new(&format!("/{}", "x".repeat(200)))).is_err(), "too long for the system");
    }
}
