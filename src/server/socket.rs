//! Sockets: listeners, and TCP connections as links.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::event_loop::Link;
use crate::session::request::Door;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Bytes that the kernel takes for a peer before it has sent those it has: a peer that does not read costs tens of KiB
/// of kernel memory instead of megabytes, and what waits in the log waits for everybody at once.
#[cfg(target_os = "linux")]
const NOT_SENT_BYTES: u32 = 16 << 10;

/// `count` listeners on one address, each with its own queue of connections. `stall_max`: how long a peer may take
/// nothing.
pub(super) fn listeners(
    address: SocketAddr,
    count: usize,
    stall_max: Duration,
) -> io::Result<Vec<TcpListener>> {
    // Several sockets share an address only if they say so, and then a second server could take half of our
    // connections unnoticed: so whoever comes second fails at this first one, which does not share.
    let first = bind(address, false)?;
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let sockets = if count == 1 {
        vec![first]
    } else {
        drop(first);
        (0..count).map(|_| bind(address, true)).collect::<io::Result<_>>()?
    };
    sockets
        .into_iter()
        .map(|socket| {
            prepare(&SockRef::from(&socket), stall_max);
            socket.listen(BACKLOG)?;
            Ok(TcpListener::from_std(socket.into()))
        })
        .collect()
}

/// `count` handles on a socket that listens already, which have its queue of connections in common. `stall_max`: as above.
pub(super) fn shared(
    listener: std::net::TcpListener,
    count: usize,
    stall_max: Duration,
) -> io::Result<Vec<TcpListener>> {
    prepare(&SockRef::from(&listener), stall_max);
    listener.set_nonblocking(true)?;
    (0..count).map(|_| Ok(TcpListener::from_std(listener.try_clone()?))).collect()
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Sets on a listener what each of its connections shall have: they inherit it, which spares three system calls for
/// each. An option that the system does not know is no reason to refuse clients.
fn prepare(listener: &SockRef<'_>, stall_max: Duration) {
    let _ = listener.set_tcp_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        let _ = listener.set_tcp_notsent_lowat(NOT_SENT_BYTES);
        let _ = listener.set_tcp_user_timeout(Some(stall_max));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = stall_max;
}

/// Makes links of the connections that listeners accept.
pub(super) trait Welcome {
    /// What it makes.
    type Link: Link;

    /// The link of a connection that came in by `door`.
    fn link(&self, door: Door, stream: TcpStream) -> Self::Link;

    /// Whether a client at that door would understand an answer that is not encrypted.
    fn is_plain(&self, door: Door) -> bool;
}

/// Nobody is encrypted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain;

impl Welcome for Plain {
    type Link = TcpLink;

    fn link(&self, _: Door, stream: TcpStream) -> TcpLink {
        TcpLink::new(stream)
    }

    fn is_plain(&self, _: Door) -> bool {
        true
    }
}

/// A TCP connection.
pub(super) struct TcpLink(TcpStream);

impl TcpLink {
    /// The link of a connection that a listener has accepted.
    pub(super) fn new(stream: TcpStream) -> TcpLink {
        // Elsewhere it is not said that this is inherited.
        #[cfg(not(target_os = "linux"))]
        let _ = stream.set_nodelay(true);
        TcpLink(stream)
    }
}

impl Link for TcpLink {
    fn peer(&self) -> Option<SocketAddr> {
        self.0.peer_addr().ok()
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            // What the events of a turn are as a rule: it spares the kernel reading a list.
            [one] => self.0.write(one),
            many => self.0.write_vectored(many),
        }
    }

    fn finish(&mut self) {
        // It fails only if the peer is gone already.
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn connections_have_what_their_listener_was_given() {
        let stall_max = Duration::from_millis(12_345);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = listeners(address, 1, stall_max).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let (stream, _) = listeners[0].accept().unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), NOT_SENT_BYTES);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(stall_max));
    }
}
