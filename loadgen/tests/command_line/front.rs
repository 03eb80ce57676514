//! Encryption in front of a stub: what comes in is decrypted and handed on, and what comes back is encrypted.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};

/// A running front. It ends with the test's process.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    /// The file with its certificate, which is for `localhost`.
    pub(crate) certificate: PathBuf,
}

impl Front {
    /// Starts on a port of the system's choice, before the server at `behind`.
    pub(crate) fn start(behind: SocketAddr) -> Front {
        static FRONTS: AtomicU32 = AtomicU32::new(0);
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let number = FRONTS.fetch_add(1, Ordering::SeqCst);
        let name = format!("front-{}-{number}.pem", std::process::id());
        let certificate = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a configuration");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                // A peer that goes away is not the front's concern.
                thread::spawn(move || drop(serve(stream, behind, config)));
            }
        });
        Front { address, certificate }
    }
}

fn serve(stream: std::net::TcpStream, behind: SocketAddr, config: Arc<ServerConfig>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let inner = std::net::TcpStream::connect(behind)?;
    inner.set_nodelay(true)?;
    inner.set_nonblocking(true)?;
    let (mut outer, mut inner) = (TcpStream::from_std(stream), TcpStream::from_std(inner));
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(4));
    let both = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut outer, Token(0), both)?;
    poll.registry().register(&mut inner, Token(1), both)?;
    let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
    tls.set_buffer_limit(None);
    let mut inwards = Vec::new();
    loop {
        let mut goes_on = true;
        while goes_on {
            goes_on = would_block(tls.read_tls(&mut outer))?.is_some();
            tls.process_new_packets().map_err(io::Error::other)?;
            let mut piece = [0; 16_384];
            while let Some(count) = would_block(tls.reader().read(&mut piece))? {
                inwards.extend_from_slice(&piece[..count]);
            }
            while !inwards.is_empty()
                && let Some(count) = would_block(inner.write(&inwards))?
            {
                inwards.drain(..count);
                goes_on = true;
            }
            while let Some(count) = would_block(inner.read(&mut piece))? {
                tls.writer().write_all(&piece[..count])?;
                goes_on = true;
            }
            while tls.wants_write() && would_block(tls.write_tls(&mut outer))?.is_some() {}
        }
        poll.poll(&mut events, None)?;
    }
}

/// What was done, unless nothing could be; the end of a stream is an error.
fn would_block(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
