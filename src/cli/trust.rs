//! Whose certificates the commands that are clients believe.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Failure;

/// Who vouches for a server of `https://`.
#[derive(clap::Args, Default)]
pub(super) struct Trust {
    /// File with the certificates to trust (PEM), instead of those that the system does; for https:// and wss://
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Trust whatever certificate the server shows; for https:// and wss://
    #[arg(long)]
    insecure: bool,
}

impl Trust {
    /// Believes whoever answers.
    pub(super) fn in_anybody() -> Trust {
        Trust { ca: None, insecure: true }
    }

    /// Whether it was said whom to trust, which only makes sense where somebody has to.
    pub(super) fn is_chosen(&self) -> bool {
        self.insecure || self.ca.is_some()
    }

    /// How a client speaks that trusts so.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, Failure> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let config = match &self.ca {
            _ if self.insecure => {
                let anybody = Arc::new(Anybody(provider));
                builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth()
            }
            Some(path) => builder.with_root_certificates(roots_of(path)?).with_no_client_auth(),
            None => builder.with_root_certificates(system_roots()?).with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }
}

fn roots_of(path: &Path) -> Result<RootCertStore, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Usage(format!("--ca {}: {error}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() { Err(wrong(&"there is no certificate in it")) } else { Ok(roots) }
}

fn system_roots() -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    // One that cannot be read is no reason not to trust the others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let message = "this system trusts no certificates; --ca FILE says whom to trust";
        return Err(Failure::Usage(message.to_owned()));
    }
    Ok(roots)
}

/// Takes any certificate, if its owner shows that it has the key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
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
