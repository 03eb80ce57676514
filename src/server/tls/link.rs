//! A connection that is encrypted.
//!
//! # Contract       a [`TlsLink`] behaves as a socket does: a short read or write means that the socket has, or takes, no more;
//!   what was taken in and is not sent ([`Link::has_unsent`]) is sent on when the loop says that the socket takes something
//!   again ([`Link::flush`]). Goodbye is said behind everything else, and never before the handshake is over, since what
//!   was written by then is waiting for that
//! # Bounds         what was taken in and is not sent has at most [`TLS_PENDING_BYTES_MAX`] before it is encrypted; what has come
//!   and is not read is at most what one record and one read have. One read takes at most [`PULLS_MAX`] times from the
//!   socket, however little is in the records. Handshakes have the deadline of a request's head

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::ServerConnection;
use smallvec::SmallVec;

use super::Shown;
use crate::event_loop::Link;
use crate::words::limits::TLS_PENDING_BYTES_MAX;

/// An encrypted connection.
pub(in crate::server) struct TlsLink<W: Wire> {
    wire: W,
    tls: ServerConnection,
    goodbye: Goodbye,
    /// The peer has broken the protocol, or the wire is broken, behind what has come.
    is_broken: bool,
    /// The last read has ended at its bound: there may be more.
    is_cut: bool,
    /// The peer has said goodbye.
    is_left: bool,
}

/// What encrypted bytes come and go by: a socket that does not block.
pub(in crate::server) trait Wire: Read + Write {
    /// The far end's address.
    fn peer(&self) -> Option<SocketAddr>;

    /// Says that nothing more will be sent.
    fn end(&mut self);
}

impl Wire for TcpStream {
    fn peer(&self) -> Option<SocketAddr> {
        self.peer_addr().ok()
    }

    fn end(&mut self) {
        // It fails only if the peer is gone already.
        let _ = self.shutdown(Shutdown::Write);
    }
}

/// How far our goodbye has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    /// More may be written.
    None,
    /// Nothing more will be written.
    Due,
    /// It is encrypted, behind everything else.
    Said,
    /// All is out, and our half is closed.
    Out,
}

/// How often one read takes something from the wire, at most: 4 KiB each, so together twice what a read may bring. Without it
/// a peer whose records are next to empty would hold a loop for as long as it keeps the socket full.
const PULLS_MAX: usize = 32;

impl<W: Wire> TlsLink<W> {
    /// The link of a connection that a listener has accepted: nothing has been said yet.
    pub(super) fn new(wire: W, shown: &Shown) -> TlsLink<W> {
        // It fails only for a configuration that could not have been made.
        let tls = ServerConnection::new(Arc::clone(&shown.0.load().0));
        let mut tls = tls.expect("a configuration with a certificate");
        tls.set_buffer_limit(Some(TLS_PENDING_BYTES_MAX));
        TlsLink { wire, tls, goodbye: Goodbye::None, is_broken: false, is_cut: false, is_left: false }
    }

    /// Sends on what is encrypted, as much as the wire takes; returns how many bytes went.
    fn push(&mut self) -> io::Result<usize> {
        if self.goodbye == Goodbye::Due && !self.tls.is_handshaking() {
            self.tls.send_close_notify();
            self.goodbye = Goodbye::Said;
        }
        let mut count = 0;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.wire) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(more) => count += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(count),
                Err(error) => return Err(error),
            }
        }
        if self.goodbye == Goodbye::Said {
            self.wire.end();
            self.goodbye = Goodbye::Out;
        }
        Ok(count)
    }

    /// Takes what the wire has, once; returns whether it had less than would have fitted, and so has no more.
    fn pull(&mut self) -> io::Result<bool> {
        let mut from = Noting { wire: &mut self.wire, was_short: false };
        loop {
            match self.tls.read_tls(&mut from) {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let was_short = from.was_short;
        let processed = self.tls.process_new_packets();
        // Its part of a handshake, or what is wrong with the peer's.
        let pushed = self.push();
        let state = processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        self.is_left |= state.peer_has_closed();
        pushed.map(|_| was_short)
    }

    /// Reads behind the first `count` bytes of `into` and counts them, until it is full, or nothing more is there or will
    /// come, or for the reason that is returned.
    fn fill(&mut self, into: &mut [u8], count: &mut usize) -> io::Result<()> {
        let (mut pulls, mut is_empty) = (0, false);
        while *count < into.len() {
            match self.tls.reader().read(&mut into[*count..]) {
                Ok(0) => break,
                Ok(more) => *count += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.is_broken {
                        return Err(ErrorKind::InvalidData.into());
                    }
                    // Only what comes behind something read needs no look: without that it may be the end, told by an
                    // edge that will not come again.
                    if is_empty && 0 < *count {
                        break;
                    }
                    if pulls == PULLS_MAX {
                        self.is_cut = true;
                        return Err(ErrorKind::Interrupted.into());
                    }
                    pulls += 1;
                    match self.pull() {
                        Ok(was_short) => is_empty = was_short,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(error),
                        // What has come together with it counts first.
                        Err(_) => self.is_broken = true,
                    }
                }
                // The socket has ended without a goodbye: messages of the layers above say themselves whether they are whole.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<W: Wire> Link for TlsLink<W> {
    fn peer(&self) -> Option<SocketAddr> {
        self.wire.peer()
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.is_cut = false;
        let mut count = 0;
        match self.fill(into, &mut count) {
            Err(error) if count == 0 => Err(error),
            _ => Ok(count),
        }
    }

    fn has_more(&self) -> bool {
        // Something that needs no edge of the socket: its goodbye, or an error, came together with what was read last.
        !self.tls.wants_read() || self.is_broken || self.is_cut
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.push()?;
        if self.tls.wants_write() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut slices: SmallVec<[IoSlice<'_>; 8]> = slices.iter().copied().collect();
        let mut rest = &mut slices[..];
        let mut count = 0;
        // Until the socket is full: less means to the loop that it is.
        loop {
            let more = self.tls.writer().write_vectored(rest)?;
            count += more;
            IoSlice::advance_slices(&mut rest, more);
            self.push()?;
            if rest.is_empty() || more == 0 || self.tls.wants_write() {
                return if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) };
            }
        }
    }

    fn has_unsent(&self) -> bool {
        // Until a handshake is over it is for the peer to go on, and that has a deadline of its own.
        self.tls.wants_write() && !self.tls.is_handshaking()
    }

    fn flush(&mut self) -> usize {
        // What is wrong with the socket the next read or write finds too.
        self.push().unwrap_or_default()
    }

    fn finish(&mut self) {
        if self.goodbye == Goodbye::None {
            self.goodbye = Goodbye::Due;
        }
        let _ = self.push();
    }
}

impl<W: Wire> Drop for TlsLink<W> {
    /// Who says goodbye is answered. To others a connection that is cut shows itself as one.
    fn drop(&mut self) {
        if self.is_left && self.goodbye == Goodbye::None {
            self.finish();
        }
    }
}

/// A wire of which is noted whether it had less than would have fitted.
struct Noting<'wire, W> {
    wire: &'wire mut W,
    was_short: bool,
}

impl<W: Read> Read for Noting<'_, W> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.wire.read(into)?;
        self.was_short = count < into.len();
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::super::Certificate;
    use super::*;

    /// What the socket has and has had.
    #[derive(Default)]
    struct Socket {
        /// On its way to the server.
        input: VecDeque<u8>,
        reads: usize,
        /// How much of it comes at once.
        read_max: usize,
        /// From the server.
        output: Vec<u8>,
        /// How many bytes more it takes.
        room: usize,
        ends: usize,
    }

    struct TestWire(Rc<RefCell<Socket>>);

    impl Read for TestWire {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let mut socket = self.0.borrow_mut();
            socket.reads += 1;
            if socket.input.is_empty() {
                return Err(ErrorKind::WouldBlock.into());
            }
            let most = into.len().min(socket.read_max);
            socket.input.read(&mut into[..most])
        }
    }

    impl Write for TestWire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut socket = self.0.borrow_mut();
            let count = bytes.len().min(socket.room);
            if count == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            socket.room -= count;
            socket.output.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Wire for TestWire {
        fn peer(&self) -> Option<SocketAddr> {
            None
        }

        fn end(&mut self) {
            self.0.borrow_mut().ends += 1;
        }
    }

    /// A link and its client.
    struct Scene {
        link: TlsLink<TestWire>,
        socket: Rc<RefCell<Socket>>,
        client: ClientConnection,
    }

    impl Scene {
        /// Before the handshake.
        fn new() -> Scene {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let own = params.self_signed(&key).unwrap();
            let files = tempfile::tempdir().unwrap();
            let (chain, private) = (files.path().join("cert.pem"), files.path().join("key.pem"));
            std::fs::write(&chain, own.pem()).unwrap();
            std::fs::write(&private, key.serialize_pem()).unwrap();
            let shown = Shown::new(Certificate::read(&chain, &private).unwrap());
            let socket =
                Rc::new(RefCell::new(Socket { room: usize::MAX, read_max: usize::MAX, ..Socket::default() }));
            let link = TlsLink::new(TestWire(Rc::clone(&socket)), &shown);
            Scene { link, socket, client: client(own.der().clone()) }
        }

        fn shake_hands(&mut self) {
            while self.client.is_handshaking() || self.link.tls.is_handshaking() {
                self.client_speaks();
                assert_eq!(self.link.read(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock);
                self.client_hears();
            }
            self.socket.borrow_mut().reads = 0;
        }

        /// What the client has encrypted goes on its way.
        fn client_speaks(&mut self) {
            let mut bytes = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut bytes).unwrap();
            }
            self.socket.borrow_mut().input.extend(bytes);
        }

        /// The client says this, in records of so many bytes.
        fn say(&mut self, bytes: &[u8], record: usize) {
            for part in bytes.chunks(record) {
                self.client.writer().write_all(part).unwrap();
                self.client_speaks();
            }
        }

        /// What has come to the client, and whether goodbye has.
        fn client_hears(&mut self) -> (Vec<u8>, bool) {
            let output = std::mem::take(&mut self.socket.borrow_mut().output);
            let (mut output, mut heard, mut is_left) = (&output[..], Vec::new(), false);
            while !output.is_empty() {
                self.client.read_tls(&mut output).unwrap();
                is_left = self.client.process_new_packets().unwrap().peer_has_closed();
                let _ = self.client.reader().read_to_end(&mut heard);
            }
            (heard, is_left)
        }

        /// Reads once, with this much room.
        fn read(&mut self, room: usize) -> Result<Vec<u8>, ErrorKind> {
            let mut into = vec![0; room];
            let count = self.link.read(&mut into).map_err(|error| error.kind())?;
            into.truncate(count);
            Ok(into)
        }
    }

    fn client(trusted: CertificateDer<'static>) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(trusted).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap()
    }

    fn write(link: &mut impl Link, bytes: &[u8]) -> Result<usize, ErrorKind> {
        link.write(&[IoSlice::new(bytes)]).map_err(|error| error.kind())
    }

    #[test]
    fn last_words_from_before_the_handshake_are_said_behind_it_and_the_end_comes_once() {
        let mut scene = Scene::new();
        assert_eq!(write(&mut scene.link, b"no place"), Ok(8));
        scene.link.finish();
        assert_eq!(scene.socket.borrow().output, b"", "nothing that is not encrypted");
        assert_eq!((scene.socket.borrow().ends, scene.link.has_unsent()), (0, false));
        scene.client_speaks();
        assert_eq!(scene.read(100), Err(ErrorKind::WouldBlock));
        scene.client_hears();
        // The last part of the handshake, and a request that is no longer heard.
        scene.say(b"GET / HTTP/1.1\r\n\r\n", 100);
        assert_eq!(scene.read(100).unwrap().len(), 18);
        assert_eq!(scene.client_hears(), (b"no place".to_vec(), true));
        assert_eq!(scene.read(100), Err(ErrorKind::WouldBlock));
        scene.link.flush();
        scene.link.finish();
        assert_eq!(scene.socket.borrow().ends, 1);
    }

    #[test]
    fn what_was_taken_in_is_unsent_until_the_socket_has_it_and_goodbye_comes_behind_it() {
        let mut scene = Scene::new();
        scene.shake_hands();
        scene.socket.borrow_mut().room = 100;
        assert_eq!(write(&mut scene.link, &[7; 1000]), Ok(1000));
        assert!(scene.link.has_unsent());
        assert_eq!(write(&mut scene.link, b"more"), Err(ErrorKind::WouldBlock));
        scene.socket.borrow_mut().room = 50;
        assert_eq!((scene.link.flush(), scene.link.has_unsent()), (50, true));
        scene.link.finish();
        assert_eq!(scene.socket.borrow().ends, 0);
        scene.socket.borrow_mut().room = usize::MAX;
        assert!(850 < scene.link.flush());
        assert_eq!((scene.socket.borrow().ends, scene.link.has_unsent()), (1, false));
        assert_eq!(scene.client_hears(), (vec![7; 1000], true));
    }

    #[test]
    fn a_read_takes_a_bounded_part_of_next_to_empty_records_and_says_that_there_is_more() {
        const BYTES: usize = 20_000;
        let mut scene = Scene::new();
        scene.shake_hands();
        let said: Vec<u8> = (0..BYTES).map(|at| at as u8).collect();
        scene.say(&said, 1);
        let (mut heard, mut most) = (Vec::new(), 0);
        while heard.len() < BYTES {
            let before = scene.socket.borrow().reads;
            heard.extend(scene.read(65_536).unwrap());
            most = most.max(scene.socket.borrow().reads - before);
            assert_eq!(scene.link.has_more(), heard.len() < BYTES, "{}", heard.len());
        }
        assert_eq!((heard == said, most), (true, PULLS_MAX));
        // A record that comes byte by byte, so that a read has nothing to show yet.
        scene.say(&said[..PULLS_MAX], PULLS_MAX);
        scene.socket.borrow_mut().read_max = 1;
        assert_eq!(scene.read(100), Err(ErrorKind::Interrupted));
        scene.socket.borrow_mut().read_max = usize::MAX;
        assert_eq!(scene.read(100).unwrap(), said[..PULLS_MAX]);
    }

    #[test]
    fn what_was_read_without_filling_the_buffer_needs_no_second_look_at_the_socket() {
        let mut scene = Scene::new();
        scene.shake_hands();
        scene.say(b"a request", 100);
        assert_eq!(scene.read(65_536).unwrap(), b"a request");
        assert_eq!((scene.socket.borrow().reads, scene.link.has_more()), (1, false));
        // Of half a record nothing can be read: whether the socket has ended behind it must be seen.
        scene.say(b"another", 100);
        scene.socket.borrow_mut().input.pop_back();
        assert_eq!(scene.read(65_536), Err(ErrorKind::WouldBlock));
        assert_eq!(scene.socket.borrow().reads, 3);
    }

    #[test]
    fn what_came_together_with_a_broken_record_is_heard_before_the_end() {
        let mut scene = Scene::new();
        scene.shake_hands();
        scene.say(b"the last request", 100);
        scene.socket.borrow_mut().input.extend([0x17, 0x03, 0x03, 0x00, 0x20].iter().chain(&[0xff; 32]));
        assert_eq!(scene.read(9).unwrap(), b"the last ");
        assert!(scene.link.has_more());
        assert_eq!(scene.read(100).unwrap(), b"request");
        assert!(scene.link.has_more());
        assert_eq!(scene.read(100), Err(ErrorKind::InvalidData));
    }
}
