//! A socket on a poll loop: bytes wait on one side, and half-read messages on the other.
//!
//! # Contract       edge-triggered: both interests are registered once, and readiness is used up before the next sleep
//! # Bounds         a turn reads at most `READS_PER_TURN` buffers of one link

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::machine;

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    /// The beginning of a message whose end has not arrived.
    carry: Vec<u8>,
}

/// How a reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Nothing is left.
    Drained,
    /// The turn's part is used up; readiness will not be told again.
    Unfinished,
}

impl Link {
    /// Begins a connection and registers it under `token`.
    ///
    /// # Errors
    /// What the system says; a connection that is refused only shows when it is used.
    pub(crate) fn open(
        target: SocketAddr,
        source: Option<SocketAddr>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Link> {
        let mut stream = machine::connect(target, source)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Link { stream, carry: Vec::new() })
    }

    /// Whether the connection stands.
    ///
    /// # Errors
    /// It was refused, or could not be made.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        match self.stream.take_error()? {
            Some(error) => Err(error),
            None => match self.stream.peer_addr() {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    /// Sends what is in `outgoing` as far as the socket takes it, and takes it out.
    ///
    /// # Errors
    /// The connection is over.
    pub(crate) fn flush(&mut self, outgoing: &mut Vec<u8>) -> io::Result<()> {
        let mut sent = 0;
        let result = loop {
            if sent == outgoing.len() {
                break Ok(());
            }
            match self.stream.write(&outgoing[sent..]) {
                Ok(count) => sent += count,
                Err(error) if is_not_yet(&error) => break Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        outgoing.drain(..sent);
        result
    }

    /// Reads into `buffer` and has `take` use up what is there; what it leaves is put before what comes next.
    /// `take` gets the bytes and how many of them are new. `to_the_end` asks to go on behind a short read, which
    /// says that nothing is left but hides the end of the stream.
    ///
    /// # Errors
    /// What `take` says, or the end of the connection; an orderly one is `UnexpectedEof`.
    pub(crate) fn read<E: From<io::Error>>(
        &mut self,
        buffer: &mut Vec<u8>,
        to_the_end: bool,
        mut take: impl FnMut(&[u8], usize) -> Result<usize, E>,
    ) -> Result<Reading, E> {
        for _ in 0..READS_PER_TURN {
            let held = self.carry.len();
            if buffer.len() < held + BUFFER_BYTES / 4 {
                // The readers refuse messages above 4 MiB, so this ends there too.
                buffer.resize(held + BUFFER_BYTES, 0);
            }
            let count = match self.stream.read(&mut buffer[held..]) {
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(count) => count,
                Err(error) if is_not_yet(&error) => return Ok(Reading::Drained),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let end = held + count;
            buffer[..held].copy_from_slice(&self.carry);
            let used = take(&buffer[..end], count)?;
            self.carry.clear();
            self.carry.extend_from_slice(&buffer[used..end]);
            if self.carry.is_empty() && CARRY_BYTES_KEPT < self.carry.capacity() {
                self.carry = Vec::new();
            }
            if end < buffer.len() && !to_the_end {
                return Ok(Reading::Drained);
            }
        }
        Ok(Reading::Unfinished)
    }
}

/// Whether a socket has nothing to give or take now, be it because it is still connecting.
fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

/// Large enough that a subscriber which is far behind is read in few calls, small enough for a second-level cache.
pub(crate) const BUFFER_BYTES: usize = 256 * 1024;
/// What one connection may take of a turn before the others have theirs.
const READS_PER_TURN: usize = 4;
/// A half-read event's memory is kept for the next one, but not a large one by thousands of connections.
const CARRY_BYTES_KEPT: usize = 16 * 1024;
