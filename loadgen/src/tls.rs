//! Encryption beneath a link: which certificates are trusted, and one connection's session.
//!
//! # Bounds         what waits to be encrypted or to be sent is what the link was given, and a few records of the handshake

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};

use crate::files::Files;

/// Whose certificates are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Those that this system trusts.
    System,
    /// Those that stand in this file, or are signed by one of them.
    File(PathBuf),
    /// The same of a file that another machine has sent.
    Text(String),
    /// All, so that nobody knows who the server is.
    Anybody,
}

/// How a server is spoken to in secret.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// For the server called `host`, a name or an address.
    ///
    /// # Errors
    /// The name is none, or there are no certificates to trust.
    pub(crate) fn new(host: &str, trust: &Trust) -> Result<Tls, String> {
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare).map_err(|_| format!("{host:?} is no server's name"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = match trust {
            Trust::Anybody => {
                let verifier = Arc::new(Gullible(provider));
                builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
            }
            Trust::System => builder.with_root_certificates(system_roots()?).with_no_client_auth(),
            Trust::File(path) => {
                let text = Files::Here.read(path)?;
                let roots = roots_of(&text).map_err(|error| format!("{}: {error}", path.display()))?;
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            Trust::Text(text) => builder.with_root_certificates(roots_of(text)?).with_no_client_auth(),
        };
        Ok(Tls { config: Arc::new(config), name })
    }

    /// A session of a connection that is being made.
    ///
    /// # Errors
    /// The library's refusal, which the configuration rules out.
    pub(crate) fn session(&self) -> io::Result<Session> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        Ok(Session { connection: connection.map_err(io::Error::other)? })
    }
}

impl Tls {
    /// A session around a socket that blocks.
    ///
    /// # Errors
    /// As [`Tls::session`].
    pub(crate) fn wait_on(&self, stream: TcpStream) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        Ok(StreamOwned::new(self.session()?.connection, stream))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // One that cannot be read is no reason not to trust the others.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            "this system has no certificates to trust; --ca FILE names some, --insecure asks for none"
                .to_owned(),
        );
    }
    Ok(roots)
}

fn roots_of(text: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("there are no certificates in it".to_owned()) } else { Ok(roots) }
}

/// One connection's encryption.
#[derive(Debug)]
pub(crate) struct Session {
    connection: ClientConnection,
}

impl Session {
    /// Reads what the peer has said into `buffer`, until that is full or the socket has no more. Returns how much it is, and
    /// whether the socket had no more.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing; what the system or the library says. 0 bytes are the end.
    pub(crate) fn read(
        &mut self,
        stream: &mut impl ReadWrite,
        buffer: &mut [u8],
    ) -> io::Result<(usize, bool)> {
        let mut count = 0;
        loop {
            while count < buffer.len() {
                match self.connection.reader().read(&mut buffer[count..]) {
                    Ok(0) => return Ok((count, false)),
                    Ok(more) => count += more,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // Peers that end without a word are as common as those that say goodbye.
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok((count, false)),
                    Err(error) => return Err(error),
                }
            }
            if count == buffer.len() {
                return Ok((count, false));
            }
            match self.connection.read_tls(stream) {
                // The reader tells the end.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && 0 < count => return Ok((count, true)),
                Err(error) => return Err(error),
            }
            let processed = self.connection.process_new_packets();
            // An alert tells the peer what was wrong with its handshake.
            let sent = self.send(stream);
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, told(error)))?;
            sent?;
        }
    }

    /// Encrypts as much of `bytes` as there is room for, and sends what the socket takes. Returns how much was encrypted.
    ///
    /// # Errors
    /// What the system says; that the socket takes nothing is none.
    pub(crate) fn write(&mut self, stream: &mut impl ReadWrite, bytes: &[u8]) -> io::Result<usize> {
        self.send(stream)?;
        let count = self.connection.writer().write(bytes)?;
        self.send(stream)?;
        Ok(count)
    }

    /// Whether something encrypted waits for the socket.
    pub(crate) fn has_unsent(&self) -> bool {
        self.connection.wants_write()
    }

    fn send(&mut self, stream: &mut impl ReadWrite) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(stream) {
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What went wrong, with what to do about it where that is known.
fn told(error: rustls::Error) -> String {
    match &error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "the server shows the certificate of an authority (CA:TRUE), which none may; --insecure trusts it all the same".to_owned()
        }
        rustls::Error::InvalidCertificate(_) => {
            format!("{error}; --ca FILE names certificates to trust, --insecure asks for none")
        }
        rustls::Error::InvalidMessage(_) => format!("{error}; is it http:// or ws:// there?"),
        _ => error.to_string(),
    }
}

/// What a session reads from and writes to.
pub(crate) trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

/// Believes every certificate, and checks only that the peer has its key.
#[derive(Debug)]
struct Gullible(Arc<CryptoProvider>);

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
