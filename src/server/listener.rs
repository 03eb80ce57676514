//! A listening socket, and what is done when the system has no descriptor for a connection.
//!
//! # Contract   whoever accepts asks [`Listener::is_due`] first, and says how it went: edges do not tell twice
//! # Bounds     without descriptors a listener is looked at again after [`PAUSE_MS`], doubled each time up to
//!   [`PAUSE_MS_MAX`]; meanwhile connections wait in the kernel's queue

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use mio::net::{TcpListener, TcpStream};

use crate::journal;
use crate::session::request::Door;
use crate::wire::http::{ResponseContext, problem};
use crate::words::level::Level;
use crate::words::limits::RETRY_AFTER_SECONDS;
use crate::words::spread::spread;

/// A listening socket.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) door: Door,
    /// Connections may wait; edges do not tell twice.
    pending: bool,
    /// Not before this, after the system refused us a descriptor; in milliseconds of the loop's clock.
    not_before_ms: u64,
    /// How long the next such pause is.
    pause_ms: u64,
}

/// How long to leave a listener alone when there is no descriptor for its connections, at first.
const PAUSE_MS: u64 = 10;

/// And at most.
const PAUSE_MS_MAX: u64 = 1000;

impl Listener {
    pub(super) fn new(socket: TcpListener, door: Door) -> Listener {
        Listener { socket, door, pending: true, not_before_ms: 0, pause_ms: PAUSE_MS }
    }

    /// The kernel has told of connections.
    pub(super) fn ring(&mut self) {
        self.pending = true;
    }

    /// Whether to accept now.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.pending && self.not_before_ms <= now_ms
    }

    /// When to accept, if connections may wait.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.pending.then_some(self.not_before_ms)
    }

    /// A connection was accepted.
    pub(super) fn note_success(&mut self) {
        self.pause_ms = PAUSE_MS;
    }

    /// Nobody waits any more.
    pub(super) fn note_empty(&mut self) {
        self.pending = false;
    }

    /// There is no descriptor: some time later there may be.
    pub(super) fn back_off(&mut self, now_ms: u64) {
        self.not_before_ms = now_ms + self.pause_ms;
        self.pause_ms = (self.pause_ms * 2).min(PAUSE_MS_MAX);
    }
}

/// A descriptor kept for the moment when there is no other: with it those who wait can be told so, one after the other.
pub(super) struct Reserve {
    file: Option<File>,
    /// When it was last said that descriptors are wanting, in milliseconds of the loop's clock.
    said_ms: Option<u64>,
}

/// Who was turned away by the reserve. Without descriptors the system does not even say that nobody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// One, and there may be others.
    One,
    /// Everybody, before now: nobody waits.
    All,
    /// Nobody: the reserve was taken by others.
    Nobody,
}

/// How often to say so, in milliseconds.
const SAY_EVERY_MS: u64 = 60_000;

impl Reserve {
    /// Takes the descriptor while there are some.
    pub(super) fn new() -> Reserve {
        Reserve { file: spare(), said_ms: None }
    }

    /// Lets in whoever waits at `listener`, to say that there is no place; if that could not be understood, since nothing is
    /// encrypted yet, without a word.
    pub(super) fn turn_away(&mut self, listener: &TcpListener, is_plain: bool, now_ms: u64) -> Refused {
        if self.said_ms.is_none_or(|said_ms| SAY_EVERY_MS <= now_ms - said_ms) {
            self.said_ms = Some(now_ms);
            let message = "no descriptor is left: new connections are refused until others have ended";
            journal::say(Level::Warn, "server", message, &[]);
        }
        let refused = match self.file.take() {
            None => Refused::Nobody,
            Some(file) => {
                drop(file);
                match listener.accept() {
                    Ok((stream, _)) => {
                        if is_plain {
                            refuse(stream, now_ms);
                        }
                        Refused::One
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => Refused::All,
                    Err(_) => Refused::Nobody,
                }
            }
        };
        self.file = spare();
        refused
    }
}

/// It fails only for want of descriptors, and is tried again.
fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Says that there is no place. What has come already is read, since the kernel breaks off where bytes are left; nobody
/// can wait for what comes later.
fn refuse(mut stream: TcpStream, now_ms: u64) {
    let mut thrown_away = [0; 4096];
    for _ in 0..READS_MAX {
        match stream.read(&mut thrown_away) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    let port = stream.peer_addr().map_or(0, |peer| peer.port());
    let seconds = spread(now_ms << 16 ^ u64::from(port), RETRY_AFTER_SECONDS);
    let mut answer = Vec::new();
    problem(503, "connections_full", "There is no descriptor for this connection; try again.")
        .header("Retry-After", seconds.to_string())
        .write_to(&mut answer, &ResponseContext::LAST);
    // Whoever does not take even this is gone.
    let _ = stream.write(&answer);
    let _ = stream.shutdown(Shutdown::Write);
}

/// Reads of a connection that is refused, at most.
const READS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> Listener {
        Listener::new(TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap(), Door::Public)
    }

    #[test]
    fn pauses_grow_and_end_with_the_first_success() {
        let mut listener = listener();
        let mut pause_from = |now_ms: u64| {
            listener.back_off(now_ms);
            assert!(!listener.is_due(now_ms), "{now_ms}");
            listener.due_ms().unwrap() - now_ms
        };
        let pauses: Vec<u64> = (0..9).map(|at| pause_from(at * 10_000)).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        listener.note_success();
        listener.back_off(100_000);
        assert_eq!(listener.due_ms(), Some(100_010));
        assert!(listener.is_due(100_010), "the edge is remembered");
        listener.note_empty();
        assert!(listener.due_ms().is_none() && !listener.is_due(u64::MAX));
        listener.ring();
        assert!(listener.is_due(200_000));
    }

    #[test]
    fn who_waits_is_told_and_then_nobody_is_there() {
        let listener = listener();
        let address = listener.socket.local_addr().unwrap();
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut reserve = Reserve::new();
        assert_eq!(reserve.turn_away(&listener.socket, true, 1000), Refused::One);
        assert_eq!(reserve.turn_away(&listener.socket, true, 1000), Refused::All);
        reserve.file = None;
        assert_eq!(reserve.turn_away(&listener.socket, true, 1000), Refused::Nobody);
        assert_eq!(reserve.turn_away(&listener.socket, true, 1000), Refused::All, "it has one again");
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nRetry-After: ") && answer.contains("connections_full"), "{answer}");
    }
}
