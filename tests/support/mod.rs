//! What the tests over real sockets share: servers to talk to, and clients that know nothing of the crate.

#![allow(dead_code, reason = "each test file uses its own part of this")]

pub(crate) mod http;
pub(crate) mod local;
pub(crate) mod process;
pub(crate) mod publisher;
pub(crate) mod sse;
pub(crate) mod stream;
pub(crate) mod websocket;

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a test waits for bytes that must come. Far beyond what a busy machine needs, so that it only ends a test
/// that has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

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

fn prepare(stream: &TcpStream) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
}
