//! The far end of a connection, as bytes: a socket, or a simulated one.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

/// Where bytes come from and go to, without ever blocking.
pub trait Link {
    /// Reads what has arrived, as [`io::Read::read`] of a non-blocking socket.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived; anything else means the link is broken.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as fits, as [`io::Write::write_vectored`] of a non-blocking socket.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits; anything else means the link is broken.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether another read finds something though the last one was short, which otherwise says that nothing has arrived
    /// behind it.
    fn has_more(&self) -> bool {
        false
    }

    /// Whether some of what was written waits here because the far end takes nothing just now. [`Link::flush`] sends it on.
    fn has_unsent(&self) -> bool {
        false
    }

    /// The far end takes something again: what was written and waits here goes on its way. Returns how many bytes went, as
    /// the far end counts them.
    fn flush(&mut self) -> usize {
        0
    }

    /// Says that nothing more will be written.
    fn finish(&mut self);

    /// The far end's address, as long as it has one. Asked when an operator does: it is not kept.
    fn peer(&self) -> Option<SocketAddr> {
        None
    }
}
