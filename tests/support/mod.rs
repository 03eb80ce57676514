//! What the tests over real sockets share: servers to talk to, and clients that know nothing of the crate.

#![allow(dead_code, reason = "each test file uses its own part of this")]

pub(crate) mod allocations;
pub(crate) mod base64url;
pub(crate) mod collect;
pub(crate) mod heap;
pub(crate) mod http;
pub(crate) mod judge;
pub(crate) mod local;
pub(crate) mod process;
pub(crate) mod publisher;
pub(crate) mod rig;
pub(crate) mod sse;
pub(crate) mod stream;
pub(crate) mod tokens;
pub(crate) mod websocket;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a test waits for bytes that must come. Far beyond what a busy machine needs, so that it only ends a test
/// that has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until `condition` holds; fails when it takes longer than [`PATIENCE`].
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A blocking connection whose reads and writes fail after [`PATIENCE`].
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts connections");
    prepare(&stream);
    stream
}

/// A blocking connection that can hold only few bytes which nobody has read.
pub(crate) fn connect_narrow(address: SocketAddr) -> TcpStream {
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).expect("the server accepts connections");
    let stream = TcpStream::from(socket);
    prepare(&stream);
    stream
}

/// Sees to it that reads and writes fail after [`PATIENCE`].
pub(crate) fn prepare(stream: &TcpStream) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
}

/// A connection whose reads and writes begin again when a signal, such as that of a child that has ended, came between:
/// with a time-out set the system does not do so itself.
pub(crate) struct Steady(pub(crate) TcpStream);

impl Read for Steady {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        again(|| self.0.read(into))
    }
}

impl Write for Steady {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        again(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Does `attempt` until no signal comes between.
pub(crate) fn again<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
