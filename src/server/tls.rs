//! TLS: the certificate, and connections that are encrypted.
//!
//! # Contract       a [`TlsLink`] behaves as a socket does: a short read or write means that the socket has, or takes, no more;
//!   what was taken in is sent on when the loop says that the socket takes something again ([`Link::flush`])
//! # Bounds         what was taken in and is not sent has at most [`TLS_PENDING_BYTES_MAX`] before it is encrypted; what has come
//!   and is not read is at most what one record and one read have. Handshakes have the deadline of a request's head
//! # Why not …      sharing: each peer has a key of its own, so each has its copy of an event, which is what TLS costs

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use mio::net::TcpStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use smallvec::SmallVec;

use super::socket::{TcpLink, Welcome};
use crate::event_loop::Link;
use crate::session::request::Door;
use crate::words::file;
use crate::words::limits::{KEY_FILE_BYTES_MAX, TLS_PENDING_BYTES_MAX};

/// A certificate with its key, and all that a handshake goes by.
#[derive(Clone)]
pub struct Certificate(Arc<ServerConfig>);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read, or has not in it what it must have.
    #[error("{file}: {reason}")]
    File {
        /// Which.
        file: String,
        /// Why.
        reason: String,
    },
    /// They are no pair, or the key is of no known kind.
    #[error("the certificate in {certificate} and the key in {key}: {reason}")]
    Pair {
        /// The file of the certificate.
        certificate: String,
        /// The file of the key.
        key: String,
        /// Why.
        reason: rustls::Error,
    },
}

impl Certificate {
    /// The chain in one PEM file, the server's own certificate first, and its private key in another.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn read(chain: &Path, key: &Path) -> Result<Certificate, CertificateError> {
        let bad = |file: &Path, reason: &dyn fmt::Display| CertificateError::File {
            file: file.display().to_string(),
            reason: reason.to_string(),
        };
        let read = |path: &Path| file::read(path, KEY_FILE_BYTES_MAX).map_err(|error| bad(path, &error));
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(chain)?)
            .collect::<Result<_, _>>()
            .map_err(|error| bad(chain, &error))?;
        if certificates.is_empty() {
            return Err(bad(chain, &"there is no certificate in it"));
        }
        let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| bad(key, &error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, private));
        let mut config = config.map_err(|reason| CertificateError::Pair {
            certificate: chain.display().to_string(),
            key: key.display().to_string(),
            reason,
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Certificate(Arc::new(config)))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Certificate")
    }
}

/// The certificate that new connections are shown, which may be exchanged.
#[derive(Clone, Debug)]
pub struct Shown(Arc<ArcSwap<Certificate>>);

impl Shown {
    /// This one, for now.
    #[must_use]
    pub fn new(certificate: Certificate) -> Shown {
        Shown(Arc::new(ArcSwap::from_pointee(certificate)))
    }

    /// The one that is shown now.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        Certificate::clone(&self.0.load())
    }

    /// From now on another one. Connections that are there keep theirs.
    pub fn exchange(&self, certificate: Certificate) {
        self.0.store(Arc::new(certificate));
    }
}

/// The public door is encrypted; the operators' is, unless only this machine reaches it.
#[derive(Clone, Debug)]
pub(super) struct Secure {
    pub(super) shown: Shown,
    /// Whether the operators' door is encrypted too.
    pub(super) admin: bool,
}

impl Welcome for Secure {
    type Link = EitherLink;

    fn link(&self, door: Door, stream: TcpStream) -> EitherLink {
        match self.is_plain(door) {
            true => EitherLink::Plain(TcpLink::new(stream)),
            false => EitherLink::Tls(Box::new(TlsLink::new(stream, &self.shown))),
        }
    }

    fn is_plain(&self, door: Door) -> bool {
        door == Door::Admin && !self.admin
    }
}

/// A connection of a server that has a certificate. Other servers have no use for it, and their connections are smaller.
pub(super) enum EitherLink {
    Plain(TcpLink),
    Tls(Box<TlsLink>),
}

impl EitherLink {
    fn either(&mut self) -> &mut dyn Link {
        match self {
            EitherLink::Plain(link) => link,
            EitherLink::Tls(link) => &mut **link,
        }
    }
}

impl Link for EitherLink {
    fn peer(&self) -> Option<SocketAddr> {
        match self {
            EitherLink::Plain(link) => link.peer(),
            EitherLink::Tls(link) => link.peer(),
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.either().read(into)
    }

    fn has_more(&self) -> bool {
        matches!(self, EitherLink::Tls(link) if link.has_more())
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.either().write(slices)
    }

    fn flush(&mut self) {
        self.either().flush();
    }

    fn finish(&mut self) {
        self.either().finish();
    }
}

/// An encrypted connection.
pub(super) struct TlsLink {
    stream: TcpStream,
    tls: ServerConnection,
    /// Nothing more will be written, and the peer is to be told when all is out.
    is_finishing: bool,
    /// The peer has broken the protocol behind what was read last.
    is_broken: bool,
    /// The peer has said goodbye.
    is_left: bool,
}

impl TlsLink {
    /// The link of a connection that a listener has accepted: nothing has been said yet.
    fn new(stream: TcpStream, shown: &Shown) -> TlsLink {
        // It fails only for a configuration that could not have been made.
        let tls = ServerConnection::new(Arc::clone(&shown.0.load().0));
        let mut tls = tls.expect("a configuration with a certificate");
        tls.set_buffer_limit(Some(TLS_PENDING_BYTES_MAX));
        TlsLink { stream, tls, is_finishing: false, is_broken: false, is_left: false }
    }

    /// Sends on what is encrypted; returns whether all of it went.
    fn push(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if self.is_finishing {
            // It fails only if the peer is gone already.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        Ok(true)
    }

    /// Takes what the socket has, once; returns whether it had any, or its end.
    fn pull(&mut self) -> io::Result<bool> {
        loop {
            match self.tls.read_tls(&mut self.stream) {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let processed = self.tls.process_new_packets();
        // Its part of a handshake, or what is wrong with the peer's.
        let pushed = self.push();
        let state = processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        self.is_left |= state.peer_has_closed();
        pushed.map(|_| true)
    }
}

impl Link for TlsLink {
    fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.is_broken {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut count = 0;
        while count < into.len() {
            match self.tls.reader().read(&mut into[count..]) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => match self.pull() {
                    Ok(true) => {}
                    Ok(false) if count == 0 => return Err(ErrorKind::WouldBlock.into()),
                    Ok(false) => break,
                    // What came before it counts.
                    Err(_) if 0 < count => {
                        self.is_broken = true;
                        break;
                    }
                    Err(error) => return Err(error),
                },
                // The socket has ended without a goodbye: messages of the layers above say themselves whether they are whole.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    fn has_more(&self) -> bool {
        // Something that needs no edge of the socket: its goodbye, or an error, came together with what was read last.
        !self.tls.wants_read() || self.is_broken
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if !self.push()? {
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
            let is_out = self.push()?;
            if rest.is_empty() || more == 0 || !is_out {
                return if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) };
            }
        }
    }

    fn flush(&mut self) {
        // What is wrong with the socket the next read or write finds too.
        let _ = self.push();
    }

    fn finish(&mut self) {
        self.tls.send_close_notify();
        self.is_finishing = true;
        let _ = self.push();
    }
}

impl Drop for TlsLink {
    /// Who says goodbye is answered. To others a connection that is cut shows itself as one.
    fn drop(&mut self) {
        if self.is_left && !self.is_finishing {
            self.finish();
        }
    }
}
