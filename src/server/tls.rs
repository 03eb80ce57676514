//! TLS: the certificate, and whose connections are encrypted with it.
//!
//! # Why not …      sharing: each peer has a key of its own, so each has its copy of an event, which is what TLS costs

mod link;

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use mio::net::TcpStream;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::socket::{TcpLink, Welcome};
use crate::event_loop::Link;
use crate::session::request::Door;
use crate::words::file;
use crate::words::limits::KEY_FILE_BYTES_MAX;
use link::TlsLink;

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
    Tls(Box<TlsLink<TcpStream>>),
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

    fn has_unsent(&self) -> bool {
        matches!(self, EitherLink::Tls(link) if link.has_unsent())
    }

    fn flush(&mut self) -> usize {
        self.either().flush()
    }

    fn finish(&mut self) {
        self.either().finish();
    }
}
