//! What commands that are clients read from and write to.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, StreamOwned};

/// A connection to a server, encrypted or not.
pub(super) enum Stream {
    Plain(TcpStream),
    Secret(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Shakes hands over `stream` with whoever is called `name`; each step may take so long.
    ///
    /// # Errors
    /// What the system says, or why the other is not believed.
    pub(super) fn secret(
        mut stream: TcpStream,
        name: &ServerName<'static>,
        config: &Arc<ClientConfig>,
        patience: Duration,
    ) -> io::Result<Stream> {
        let session = ClientConnection::new(Arc::clone(config), name.clone());
        let mut session = session.map_err(io::Error::other)?;
        stream.set_read_timeout(Some(patience))?;
        while session.is_handshaking() {
            session.complete_io(&mut stream).map_err(told)?;
        }
        stream.set_read_timeout(None)?;
        Ok(Stream::Secret(Box::new(StreamOwned::new(session, stream))))
    }

    /// How long reading may take; without end if there is nothing.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn set_read_timeout(&self, patience: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.set_read_timeout(patience),
            Stream::Secret(stream) => stream.sock.set_read_timeout(patience),
        }
    }
}

/// Why there was no handshake, with what to do about it where that is known.
fn told(error: io::Error) -> io::Error {
    let why = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let text = match why {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "the server shows the certificate of an authority (CA:TRUE), which none may; --insecure trusts it all the same".to_owned()
        }
        Some(why @ rustls::Error::InvalidCertificate(_)) => {
            format!("{why}; --ca FILE says whom to trust, --insecure trusts anybody")
        }
        Some(why @ rustls::Error::InvalidMessage(_)) => format!("{why}; is it http:// there?"),
        _ => return error,
    };
    io::Error::new(error.kind(), text)
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Secret(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Secret(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Secret(stream) => stream.flush(),
        }
    }
}
