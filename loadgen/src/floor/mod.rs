//! `loadgen floor`: the physical limit of fan-out as a program, to put beside a server.
//!
//! One thread takes POSTs, writes each body behind a frame's header to every subscriber, and does nothing else: no
//! channels, no order among publishers to keep, no resuming, no pings, no clock. What it costs is what the kernel's
//! sends cost, and what a server costs more than it is the server's own.
//!
//! # Contract       every subscriber gets every event published after it joined, whole and in order, however slowly
//! it reads, until it is [`LAG_BYTES_MAX`] behind and is closed
//! # Turn           sleep → input, each socket answered with one write → work, where it was asked for → fan-out → reap
//! # Bounds         a few dozen bytes a connection; one copy of what the slowest subscriber has not taken
//! # Why not …      a check that text is UTF-8, a pong, a timer: a floor that does a server's duties is no floor

mod backlog;
mod connection;
mod request;
mod work;

use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};

use self::backlog::Backlogs;
use self::connection::{Connection, Outcome};
use self::work::Work;
use crate::flags::FloorFlags;
use crate::machine;

/// Serves until a signal comes.
///
/// # Errors
/// The address cannot be bound, or the system refuses a poll or a signal handler.
pub(crate) fn run(flags: &FloorFlags, stop: &AtomicBool) -> anyhow::Result<ExitCode> {
    machine::raise_descriptor_limit().context("cannot raise the limit of open descriptors")?;
    let mut floor = Floor::new(flags)?;
    eprintln!("loadgen floor: listening on {}", floor.address()?);
    while !stop.load(Ordering::Relaxed) {
        floor.turn()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The whole server.
struct Floor {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    /// Becomes readable with a signal, so that the poll cannot sleep through one.
    signals: mio::net::UnixStream,
    connections: Slab<Connection>,
    backlogs: Backlogs,
    /// What events cost on top of their sends.
    work: Option<Work>,
    buffer: Vec<u8>,
    answers: Vec<u8>,
    /// Sockets with more to read, of which the poll will not speak again.
    unfinished: Vec<usize>,
    /// Subscribers that can be written to again.
    released: Vec<usize>,
    /// Connections to close at the end of the turn; one may be named twice.
    doomed: Vec<usize>,
    /// Whether connections wait that could not be accepted, for want of descriptors.
    starved: bool,
}

impl Floor {
    fn new(flags: &FloorFlags) -> anyhow::Result<Floor> {
        let poll = Poll::new()?;
        let mut listener = listen(flags.bind).with_context(|| format!("cannot listen on {}", flags.bind))?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let mut signals = signals().context("cannot watch for signals")?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        Ok(Floor {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            listener,
            signals,
            connections: Slab::new(),
            backlogs: Backlogs::new(flags.each),
            work: flags.work.map(|each| Work::new(Duration::from_nanos(each.ns), Instant::now())),
            buffer: vec![0; BUFFER_BYTES],
            answers: Vec::new(),
            unfinished: Vec::new(),
            released: Vec::new(),
            doomed: Vec::new(),
            starved: false,
        })
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn turn(&mut self) -> io::Result<()> {
        self.sleep()?;
        self.input();
        if let Some(work) = &mut self.work {
            work.spend(self.backlogs.take_count());
        }
        self.fan_out();
        self.reap();
        Ok(())
    }

    fn sleep(&mut self) -> io::Result<()> {
        let is_resting = self.unfinished.is_empty();
        // Whether there is a pause at all is known only to who looks without waiting first.
        if let Some(work) = &mut self.work
            && is_resting
        {
            poll(&mut self.poll, &mut self.events, Some(Duration::ZERO))?;
            if self.events.is_empty() {
                poll(&mut self.poll, &mut self.events, None)?;
                work.rest(Instant::now());
            }
            return Ok(());
        }
        poll(&mut self.poll, &mut self.events, if is_resting { None } else { Some(Duration::ZERO) })
    }

    fn input(&mut self) {
        for token in std::mem::take(&mut self.unfinished) {
            self.read(token, false);
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                LISTENER => self.accept(),
                // The flag is looked at between turns; the pipe has done its duty by waking this one.
                SIGNALS => while matches!(self.signals.read(&mut [0; 16]), Ok(1..)) {},
                Token(token) => {
                    if event.is_writable() && self.connections[token].release() {
                        self.released.push(token);
                    }
                    let ended = event.is_read_closed() || event.is_error();
                    if event.is_readable() || ended || self.connections[token].is_owing() {
                        self.read(token, ended);
                    }
                }
            }
        }
        self.events = events;
    }

    fn accept(&mut self) {
        self.starved = false;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let entry = self.connections.vacant_entry();
                    let token = entry.key();
                    let connection = entry.insert(Connection::new(stream));
                    if let Err(error) = connection.register(self.poll.registry(), Token(token)) {
                        eprintln!("loadgen floor: cannot watch a connection: {error}");
                        self.doomed.push(token);
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => {
                        eprintln!("loadgen floor: cannot accept before another connection ends: {error}");
                        self.starved = true;
                        return;
                    }
                },
            }
        }
    }

    /// Reads once. `ended` says that more stands behind a short read, be it only the end of the stream.
    fn read(&mut self, token: usize, ended: bool) {
        let connection = &mut self.connections[token];
        match connection.read(&mut self.buffer, &mut self.answers, &mut self.backlogs) {
            Outcome::Drained if !ended => {}
            Outcome::Drained | Outcome::Unfinished => self.unfinished.push(token),
            Outcome::Waiting => {}
            Outcome::Over => self.doomed.push(token),
        }
    }

    /// Writes what this turn brought to every subscriber, and what they missed to those that can take it again.
    fn fan_out(&mut self) {
        if self.backlogs.have_grown() {
            for (token, connection) in &mut self.connections {
                let Some(form) = connection.form() else { continue };
                let backlog = self.backlogs.of(form);
                if connection.write(backlog).is_err() {
                    self.doomed.push(token);
                } else if LAG_BYTES_MAX < connection.lag(backlog) {
                    eprintln!(
                        "loadgen floor: a subscriber is more than {LAG_BYTES_MAX} bytes behind and is closed"
                    );
                    self.doomed.push(token);
                } else {
                    backlog.keep_from(connection.cursor());
                }
            }
            self.backlogs.trim();
        } else {
            for &token in &self.released {
                let connection = &mut self.connections[token];
                let Some(form) = connection.form() else { continue };
                if connection.write(self.backlogs.of(form)).is_err() {
                    self.doomed.push(token);
                }
            }
        }
        self.released.clear();
    }

    fn reap(&mut self) {
        if self.doomed.is_empty() {
            return;
        }
        for token in self.doomed.drain(..) {
            // Closing the descriptor takes it out of the poll as well.
            if let Some(form) = self.connections.try_remove(token).and_then(|connection| connection.form()) {
                self.backlogs.of(form).leave();
            }
        }
        self.unfinished.retain(|token| self.connections.contains(*token));
        if self.starved {
            self.accept();
        }
    }
}

/// Waits, and takes a signal for the end of the wait.
fn poll(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        result => result,
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it, which spares a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(WAITING_CONNECTIONS_MAX)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// A socket that gets a byte with each signal.
fn signals() -> io::Result<mio::net::UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM] {
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    reader.set_nonblocking(true)?;
    Ok(mio::net::UnixStream::from_std(reader))
}

/// A subscriber that is further behind is closed: every slow subscriber shares one copy of what it has yet to get,
/// and this bounds that copy.
const LAG_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What one reading takes at most, so that one publisher cannot hold the turn.
const BUFFER_BYTES: usize = 256 * 1024;
/// What one poll tells at most; the rest is told by the next one.
const EVENTS_MAX: usize = 1024;
/// Connections made but not accepted. The system may have a smaller bound of its own.
const WAITING_CONNECTIONS_MAX: i32 = 4096;
const LISTENER: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_send_at_once() {
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a listener");
        let _peer = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        assert!(listener.accept().expect("a connection").0.nodelay().expect("told"));
    }
}
