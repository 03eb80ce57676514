//! Keys and tokens made here, for development and for tests: the commands `keys` and `token`.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::{SystemRandom, fill};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::keys::{KeyAlgorithm, KeyError, fingerprint, secret_text};

/// A key that signs tokens.
#[derive(Clone, Debug)]
pub struct SigningKey {
    algorithm: KeyAlgorithm,
    /// Its own form hides what it holds.
    encoding: EncodingKey,
    /// What tokens say that they are signed with. A secret has no name, as there is no set that it could stand in.
    kid: Option<String>,
}

/// Why there is no such key, or no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The file holds no key that could sign.
    #[error("it is no private key of P-256 or Ed25519 (PKCS #8 in PEM), and no secret: {0}")]
    NoKey(KeyError),
    /// Keys of this kind are not made here.
    #[error("keys are made for es256, eddsa and hs256")]
    Algorithm,
    /// The system has no randomness, or the library will not.
    #[error("the key could not be made or used")]
    Failed,
}

/// A new key: its file, and the set of keys for whoever verifies, which a secret has not.
pub struct NewKey {
    /// The name.
    pub name: String,
    /// The whole file of the private key, or of the secret.
    pub private: String,
    /// The public key, as a set of one, in JSON.
    pub public: Option<String>,
}

impl SigningKey {
    /// Makes a key.
    ///
    /// # Errors
    /// [`MintError`].
    pub fn generate(algorithm: KeyAlgorithm) -> Result<NewKey, MintError> {
        let random = SystemRandom::new();
        let document = match algorithm {
            KeyAlgorithm::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random),
            KeyAlgorithm::EdDsa => Ed25519KeyPair::generate_pkcs8v1(&random),
            KeyAlgorithm::Hs256 => {
                let private = random_text()?;
                let name = fingerprint(&Sha256::digest(&private).into()).to_string();
                return Ok(NewKey { name, private: private + "\n", public: None });
            }
            KeyAlgorithm::Rs256 => return Err(MintError::Algorithm),
        };
        let document = document.map_err(|_| MintError::Failed)?;
        let private = pem::encode(&pem::Pem::new("PRIVATE KEY", document.as_ref()));
        let key = SigningKey::parse(private.as_bytes())?;
        let mut jwk =
            Jwk::from_encoding_key(&key.encoding, algorithm.of_header()).map_err(|_| MintError::Failed)?;
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_id.clone_from(&key.kid);
        let public = serde_json::to_string(&JwkSet { keys: vec![jwk] }).map_err(|_| MintError::Failed)?;
        Ok(NewKey { name: key.kid.unwrap_or_default(), private, public: Some(public + "\n") })
    }

    /// Reads the file of a private key, or of a secret.
    ///
    /// # Errors
    /// [`MintError`].
    pub fn parse(bytes: &[u8]) -> Result<SigningKey, MintError> {
        if !bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            let secret = secret_text(bytes).map_err(MintError::NoKey)?;
            let encoding = EncodingKey::from_secret(secret);
            return Ok(SigningKey { algorithm: KeyAlgorithm::Hs256, encoding, kid: None });
        }
        let unsupported = MintError::NoKey(KeyError::Unsupported);
        let pem = pem::parse(bytes).map_err(|_| unsupported.clone())?;
        let der = pem.contents();
        let name = |public: Result<PublicKeyX509Der<'_>, _>| {
            let public = public.map_err(|_: aws_lc_rs::error::Unspecified| MintError::Failed)?;
            Ok(Some(fingerprint(&Sha256::digest(public.as_ref()).into()).to_string()))
        };
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            let kid = name(pair.public_key().as_der())?;
            let encoding = EncodingKey::from_ec_der(der);
            return Ok(SigningKey { algorithm: KeyAlgorithm::Es256, encoding, kid });
        }
        let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| unsupported)?;
        let kid = name(pair.public_key().as_der())?;
        Ok(SigningKey { algorithm: KeyAlgorithm::EdDsa, encoding: EncodingKey::from_ed_der(der), kid })
    }

    /// A token that says `claims`.
    ///
    /// # Errors
    /// [`MintError::Failed`].
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, MintError> {
        let header = Header { kid: self.kid.clone(), ..Header::new(self.algorithm.of_header()) };
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(|_| MintError::Failed)
    }
}

/// A new API key, and its digest in hexadecimal digits, which is what the server's file holds.
///
/// # Errors
/// [`MintError::Failed`].
pub fn new_api_key() -> Result<(String, String), MintError> {
    let key = "fk_".to_owned() + &random_text()?;
    let digest = Sha256::digest(&key).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((key, digest))
}

/// 256 random bits in hexadecimal digits.
fn random_text() -> Result<String, MintError> {
    let mut bytes = [0; 32];
    fill(&mut bytes).map_err(|_| MintError::Failed)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
