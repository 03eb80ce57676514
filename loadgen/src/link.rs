//! A socket on a poll loop: bytes wait on one side, and half-read messages on the other.
//!
//! # Contract       edge-triggered: both interests are registered once, and readiness is used up before the next sleep
//! # Bounds         one reading takes at most one buffer, so that thousands of links each get their part of a turn

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::machine;
use crate::target::Target;
use crate::tls::Session;

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    /// What encrypts, if anything does.
    session: Option<Box<Session>>,
    /// The beginning of a message whose end has not arrived.
    carry: Vec<u8>,
    /// Whether something was skipped, and the system was asked to say what is left.
    has_skipped: bool,
}

/// How a reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Nothing is left.
    Drained,
    /// More may be there; readiness will not be told again.
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
        Ok(Link { stream, session: None, carry: Vec::new(), has_skipped: false })
    }

    /// Begins a connection to `target`, encrypted if it asks for that, and registers it under `token`.
    ///
    /// # Errors
    /// As [`Link::open`].
    pub(crate) fn to(
        target: &Target,
        source: Option<SocketAddr>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Link> {
        let mut link = Link::open(target.address, source, registry, token)?;
        link.session = target.tls.as_ref().map(|tls| tls.session().map(Box::new)).transpose()?;
        Ok(link)
    }

    /// Whether something waits for the socket that is not in anybody's outgoing bytes any more.
    pub(crate) fn has_unsent(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_unsent())
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
        if let Some(session) = &mut self.session {
            let mut sent = 0;
            loop {
                // Also when there is nothing new, since older bytes may wait.
                let count = session.write(&mut self.stream, &outgoing[sent..])?;
                sent += count;
                if count == 0 || sent == outgoing.len() {
                    outgoing.drain(..sent);
                    return Ok(());
                }
            }
        }
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

    /// Reads once into `buffer` and has `take` use up what is there; what it leaves is put before what comes
    /// next. `take` gets the bytes and how many of them are new. `to_the_end` says that more stands behind a short
    /// read, be it only the end of the stream.
    ///
    /// # Errors
    /// What `take` says, or the end of the connection; an orderly one is `UnexpectedEof`.
    pub(crate) fn read<E: From<io::Error>>(
        &mut self,
        buffer: &mut Vec<u8>,
        to_the_end: bool,
        take: impl FnOnce(&[u8], usize) -> Result<usize, E>,
    ) -> Result<Reading, E> {
        self.read_some(buffer, usize::MAX, to_the_end, take)
    }

    /// The same, but no more than `most` new bytes.
    ///
    /// # Errors
    /// As [`Link::read`].
    pub(crate) fn read_some<E: From<io::Error>>(
        &mut self,
        buffer: &mut Vec<u8>,
        most: usize,
        to_the_end: bool,
        take: impl FnOnce(&[u8], usize) -> Result<usize, E>,
    ) -> Result<Reading, E> {
        let held = self.carry.len();
        if buffer.len() < held + BUFFER_BYTES / 4 {
            // The readers refuse messages above 4 MiB, so this ends there too.
            buffer.resize(held + BUFFER_BYTES, 0);
        }
        let room = most.min(buffer.len() - held);
        let read = match &mut self.session {
            None => self.stream.read(&mut buffer[held..held + room]).map(|count| (count, count < room)),
            Some(session) => session.read(&mut self.stream, &mut buffer[held..held + room]),
        };
        let (count, is_drained) = match read {
            Ok((0, _)) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(read) => read,
            Err(error) if is_not_yet(&error) => return Ok(Reading::Drained),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Reading::Unfinished),
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
        Ok(if is_drained && !to_the_end { Reading::Drained } else { Reading::Unfinished })
    }

    /// Bytes that were read and not used up.
    pub(crate) fn held_bytes(&self) -> usize {
        self.carry.len()
    }

    /// Drops what was held, and at most `bytes` bytes of what comes next, without reading it. Returns how many came.
    ///
    /// # Errors
    /// The end of the connection; an orderly one is `UnexpectedEof`.
    pub(crate) fn skip(&mut self, bytes: usize) -> io::Result<(usize, Reading)> {
        if !std::mem::replace(&mut self.has_skipped, true) {
            machine::tell_what_is_left(&self.stream);
        }
        let (count, left) = match machine::skip(&self.stream, bytes) {
            Ok((0, _)) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(got) => got,
            Err(error) if is_not_yet(&error) => return Ok((0, Reading::Drained)),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok((0, Reading::Unfinished)),
            Err(error) => return Err(error),
        };
        self.carry.clear();
        Ok((count, if count < bytes || left == Some(0) { Reading::Drained } else { Reading::Unfinished }))
    }
}

/// Whether a socket has nothing to give or take now, be it because it is still connecting.
fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

/// Large enough that a subscriber which is far behind is read in few calls, small enough for a second-level cache.
pub(crate) const BUFFER_BYTES: usize = 256 * 1024;
/// A half-read event's memory is kept for the next one, but not a large one by thousands of connections.
const CARRY_BYTES_KEPT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A link and its other end, connected.
    fn pair() -> (Link, std::net::TcpStream, mio::Poll) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let poll = mio::Poll::new().expect("a poll");
        let address = listener.local_addr().expect("an address");
        let link = Link::open(address, None, poll.registry(), Token(0)).expect("a link");
        let (peer, _) = listener.accept().expect("a peer");
        while !link.is_connected().expect("no error") {
            std::thread::yield_now();
        }
        (link, peer, poll)
    }

    /// Reads until `bytes` bytes have come in all, using up whole pairs only.
    fn read_pairs(link: &mut Link, bytes: usize) -> Vec<u8> {
        let (mut buffer, mut got) = (Vec::new(), Vec::new());
        while got.len() < bytes {
            let reading: io::Result<Reading> = link.read(&mut buffer, false, |input, _| {
                let used = input.len() / 2 * 2;
                got.extend_from_slice(&input[..used]);
                Ok(used)
            });
            reading.expect("read");
        }
        got
    }

    #[test]
    fn what_is_left_unused_comes_before_what_arrives_next() {
        let (mut link, mut peer, _poll) = pair();
        peer.write_all(b"abc").expect("written");
        assert_eq!(read_pairs(&mut link, 2), b"ab");
        peer.write_all(b"defgh").expect("written");
        assert_eq!(read_pairs(&mut link, 6), b"cdefgh");
    }

    #[test]
    fn what_the_socket_does_not_take_stays_and_the_end_is_told() {
        let (mut link, mut peer, _poll) = pair();
        let whole: Vec<u8> = (0..8_000_000u32).map(|at| at as u8).collect();
        let mut outgoing = whole.clone();
        link.flush(&mut outgoing).expect("flushed");
        assert!(!outgoing.is_empty(), "8 MB do not fit into a socket");
        let mut got = vec![0; whole.len()];
        let reader = std::thread::spawn(move || {
            peer.read_exact(&mut got).expect("read");
            got
        });
        while !outgoing.is_empty() {
            link.flush(&mut outgoing).expect("flushed");
        }
        // The peer is closed with its thread.
        assert!(reader.join().expect("read") == whole);
        let end = loop {
            let result: io::Result<Reading> = link.read(&mut Vec::new(), true, |input, _| Ok(input.len()));
            if let Err(error) = result {
                break error.kind();
            }
        };
        assert_eq!(end, ErrorKind::UnexpectedEof);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_skipped_is_gone_and_what_is_left_is_told() {
        let (mut link, mut peer, _poll) = pair();
        let skip = |link: &mut Link, bytes: usize| loop {
            match link.skip(bytes).expect("skipped") {
                (0, Reading::Drained) => std::thread::yield_now(),
                skipped => break skipped,
            }
        };
        peer.write_all(b"abcde").expect("written");
        assert_eq!(read_pairs(&mut link, 4), b"abcd");
        assert_eq!(link.held_bytes(), 1);
        peer.write_all(b"fghij").expect("written");
        assert_eq!(skip(&mut link, 3), (3, Reading::Unfinished));
        assert_eq!(link.held_bytes(), 0);
        assert_eq!(read_pairs(&mut link, 2), b"ij");
        peer.write_all(b"klm").expect("written");
        assert_eq!(skip(&mut link, 3), (3, Reading::Drained), "just as many as there are");
        peer.write_all(b"no").expect("written");
        assert_eq!(skip(&mut link, 1_000_000), (2, Reading::Drained));
        drop(peer);
        let end = loop {
            if let Err(error) = link.skip(1) {
                break error.kind();
            }
        };
        assert_eq!(end, ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_refused_connection_is_an_error_when_it_is_looked_at() {
        let address = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let poll = mio::Poll::new().expect("a poll");
        // The refusal may be immediate on loopback.
        let refused = match Link::open(address, None, poll.registry(), Token(0)) {
            Err(error) => error,
            Ok(link) => loop {
                if let Err(error) = link.is_connected() {
                    break error;
                }
            },
        };
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}
