//! The keys that tokens are verified with: what a file of them says, and with which algorithm each is good.
//!
//! A file holds one of three things, told apart by how it begins: a public key in PEM, a JWK or a set of them, or a secret
//! as text. The algorithm follows from the key, so a token can choose none.

use arcstr::ArcStr;
use aws_lc_rs::rsa::PublicKey as RsaPublicKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    VerificationAlgorithm,
};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm as JwkAlgorithm, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Validation};
use sha2::{Digest, Sha256};

use crate::words::limits::TOKEN_SECRET_BYTES_MIN;

/// With what tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// HMAC with SHA-256: who can verify can sign.
    Hs256,
    /// RSA (PKCS #1, version 1.5) with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl KeyAlgorithm {
    /// The name as commands have it.
    #[must_use]
    pub fn parse(text: &str) -> Option<KeyAlgorithm> {
        Some(match text {
            "hs256" => KeyAlgorithm::Hs256,
            "rs256" => KeyAlgorithm::Rs256,
            "es256" => KeyAlgorithm::Es256,
            "eddsa" => KeyAlgorithm::EdDsa,
            _ => return None,
        })
    }

    pub(super) fn of_header(self) -> Algorithm {
        match self {
            KeyAlgorithm::Hs256 => Algorithm::HS256,
            KeyAlgorithm::Rs256 => Algorithm::RS256,
            KeyAlgorithm::Es256 => Algorithm::ES256,
            KeyAlgorithm::EdDsa => Algorithm::EdDSA,
        }
    }

    /// How a public key of this kind is read; nothing for a secret, which is none.
    fn of_public(self) -> Option<&'static dyn VerificationAlgorithm> {
        match self {
            KeyAlgorithm::Hs256 => None,
            KeyAlgorithm::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            KeyAlgorithm::Es256 => Some(&ECDSA_P256_SHA256_FIXED),
            KeyAlgorithm::EdDsa => Some(&ED25519),
        }
    }
}

/// Why a file of keys is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It begins like one of the forms, and goes on otherwise.
    #[error("{0}")]
    Malformed(String),
    /// It can sign, and the server needs only to verify.
    #[error("it is a private key; the server needs the public one alone")]
    Private,
    /// It is a certificate.
    #[error("it is a certificate; take the public key out of it (openssl x509 -pubkey -noout)")]
    Certificate,
    /// It is of no kind that is verified with here.
    #[error("it is neither an RSA key of 2048 to 8192 bits, nor one of P-256 or Ed25519")]
    Unsupported,
    /// Everybody may know it: where it were taken for a secret, everybody could sign.
    #[error(
        "it is nothing secret; a public key is written in PEM, with its lines BEGIN and END, or as a JWK"
    )]
    Public,
    /// A secret that can be guessed, or a file that is no secret at all.
    #[error("a secret is printable text of at least {TOKEN_SECRET_BYTES_MIN} characters")]
    BadSecret,
    /// In a set no key is of any use here.
    #[error("there is no key in it that signs with HS256, RS256, ES256 or EdDSA")]
    NoKey,
}

/// A key that tokens are verified with.
#[derive(Clone, Debug)]
pub(super) struct TokenKey {
    /// How operators call it: its `kid` if it has one, else the beginning of its fingerprint.
    pub(super) name: ArcStr,
    /// The tokens it is for, if it says so: those that name it.
    kid: Option<ArcStr>,
    digest: [u8; 32],
    /// Its own form hides what it holds.
    pub(super) decoding: DecodingKey,
    /// Which algorithm alone is taken. Claims are looked at elsewhere.
    pub(super) validation: Validation,
}

impl TokenKey {
    fn new(
        algorithm: KeyAlgorithm,
        decoding: DecodingKey,
        digest: [u8; 32],
        kid: Option<ArcStr>,
    ) -> TokenKey {
        let mut validation = Validation::new(algorithm.of_header());
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        let name = kid.clone().unwrap_or_else(|| fingerprint(&digest));
        TokenKey { name, kid, digest, decoding, validation }
    }

    /// What tells this key from every other.
    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Whether a token that names the key `kid`, or none, may be signed with this one.
    pub(super) fn may_verify(&self, algorithm: Algorithm, kid: Option<&str>) -> bool {
        let is_named = match (&self.kid, kid) {
            (Some(own), Some(kid)) => *own == kid,
            // Whichever fits: a key in PEM has no name, and a token need give none.
            _ => true,
        };
        is_named && self.validation.algorithms.contains(&algorithm)
    }

    /// The key that is a secret.
    pub(super) fn of_secret(secret: &[u8]) -> Result<TokenKey, KeyError> {
        let secret = secret_text(secret)?;
        let digest = Sha256::new().chain_update("secret ").chain_update(secret).finalize().into();
        Ok(TokenKey::new(KeyAlgorithm::Hs256, DecodingKey::from_secret(secret), digest, None))
    }

    /// All keys of a file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Vec<TokenKey>, KeyError> {
        let text = bytes.trim_ascii_start();
        if text.starts_with(b"-----BEGIN") {
            return TokenKey::of_pem(bytes).map(|key| vec![key]);
        }
        if !text.starts_with(b"{") {
            return TokenKey::of_secret(bytes).map(|key| vec![key]);
        }
        TokenKey::parse_set(bytes)
    }

    /// All keys of a JWK or of a set of them.
    pub(super) fn parse_set(bytes: &[u8]) -> Result<Vec<TokenKey>, KeyError> {
        let is_malformed = |error: serde_json::Error| KeyError::Malformed(without_values(&error));
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(is_malformed)?;
        let is_private = |jwk: &serde_json::Value| jwk.get("d").is_some();
        let jwks = match value.get("keys") {
            Some(keys) if keys.as_array().is_some_and(|keys| keys.iter().any(is_private)) => {
                return Err(KeyError::Private);
            }
            Some(_) => serde_json::from_value::<JwkSet>(value).map_err(is_malformed)?.keys,
            None if is_private(&value) => return Err(KeyError::Private),
            None => vec![serde_json::from_value::<Jwk>(value).map_err(is_malformed)?],
        };
        let keys = jwks.iter().filter_map(|jwk| TokenKey::of_jwk(jwk).transpose());
        let keys = keys.collect::<Result<Vec<TokenKey>, KeyError>>()?;
        if keys.is_empty() { Err(KeyError::NoKey) } else { Ok(keys) }
    }

    fn of_pem(bytes: &[u8]) -> Result<TokenKey, KeyError> {
        let pem = pem::parse(bytes).map_err(|_| KeyError::Malformed("it is no PEM of one part".into()))?;
        match pem.tag() {
            "PUBLIC KEY" => {}
            "CERTIFICATE" => return Err(KeyError::Certificate),
            tag if tag.ends_with("PRIVATE KEY") => return Err(KeyError::Private),
            _ => return Err(KeyError::Unsupported),
        }
        let der = pem.contents();
        let (algorithm, decoding) = if is_public_key(KeyAlgorithm::Es256, der) {
            (KeyAlgorithm::Es256, DecodingKey::from_ec_der(der))
        } else if is_public_key(KeyAlgorithm::EdDsa, der) {
            (KeyAlgorithm::EdDsa, DecodingKey::from_ed_der(der))
        } else if RsaPublicKey::from_der(der).is_ok_and(|key| is_rsa_length(key.modulus_len())) {
            (KeyAlgorithm::Rs256, DecodingKey::from_rsa_der(der))
        } else {
            return Err(KeyError::Unsupported);
        };
        Ok(TokenKey::new(algorithm, decoding, Sha256::digest(der).into(), None))
    }

    /// The key of one entry of a set; nothing for one that is for something else.
    fn of_jwk(jwk: &Jwk) -> Result<Option<TokenKey>, KeyError> {
        if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_))) {
            return Ok(None);
        }
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => KeyAlgorithm::Rs256,
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                KeyAlgorithm::Es256
            }
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                KeyAlgorithm::EdDsa
            }
            AlgorithmParameters::OctetKey(_) => KeyAlgorithm::Hs256,
            _ => return Ok(None),
        };
        let expected = match algorithm {
            KeyAlgorithm::Hs256 => JwkAlgorithm::HS256,
            KeyAlgorithm::Rs256 => JwkAlgorithm::RS256,
            KeyAlgorithm::Es256 => JwkAlgorithm::ES256,
            KeyAlgorithm::EdDsa => JwkAlgorithm::EdDSA,
        };
        if jwk.common.key_algorithm.is_some_and(|said| said != expected) {
            return Ok(None);
        }
        let decoding = DecodingKey::from_jwk(jwk)
            .map_err(|_| KeyError::Malformed("a key in it is not base64url".to_owned()))?;
        let mut digest = Sha256::new().chain_update("jwk ");
        match decoding.kind() {
            DecodingKeyKind::SecretOrDer(bytes) if algorithm == KeyAlgorithm::Hs256 => {
                if bytes.len() < TOKEN_SECRET_BYTES_MIN {
                    return Err(KeyError::BadSecret);
                }
                digest.update(bytes);
            }
            DecodingKeyKind::SecretOrDer(bytes) => {
                if !is_public_key(algorithm, bytes) {
                    return Err(KeyError::Unsupported);
                }
                digest.update(bytes);
            }
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                let key = RsaPublicKeyComponents { n, e };
                let is_key = key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).is_ok();
                if !is_key || !is_rsa_length(n.len()) {
                    return Err(KeyError::Unsupported);
                }
                digest.update(n);
                digest.update(e);
            }
        }
        let kid = jwk.common.key_id.as_deref().map(ArcStr::from);
        Ok(Some(TokenKey::new(algorithm, decoding, digest.finalize().into(), kid)))
    }
}

/// How a key without a name is called.
pub(super) fn fingerprint(digest: &[u8; 32]) -> ArcStr {
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// A secret without the end of the line that an editor has put behind it.
pub(super) fn secret_text(bytes: &[u8]) -> Result<&[u8], KeyError> {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if is_public(text) {
        return Err(KeyError::Public);
    }
    let is_text = text.iter().all(|byte| (b' '..=b'~').contains(byte));
    if is_text && TOKEN_SECRET_BYTES_MIN <= text.len() { Ok(text) } else { Err(KeyError::BadSecret) }
}

/// Whether this is something that everybody may know, which must never be taken for a secret: a key of SSH, a document, where
/// a document is, or a key or certificate without the lines that say so.
fn is_public(text: &[u8]) -> bool {
    if [&b"ssh-"[..], b"ecdsa-", b"sk-", b"[", b"<"].iter().any(|start| text.starts_with(start)) {
        return true;
    }
    let text = String::from_utf8_lossy(text);
    if text.contains("://") {
        return true;
    }
    let armoured = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    let Ok(pem) = pem::parse(&armoured) else { return false };
    is_der(pem.contents()) || TokenKey::of_pem(armoured.as_bytes()).is_ok()
}

/// Whether this is a sequence, as long as it says, of which the first part is one too or a number: a certificate, or a key of
/// whatever kind. Random bytes are that once in millions.
fn is_der(bytes: &[u8]) -> bool {
    let (length, content) = match bytes {
        [0x30, 0x82, high, low, content @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), content),
        [0x30, 0x81, length, content @ ..] | [0x30, length @ 0..=0x7f, content @ ..] => {
            (usize::from(*length), content)
        }
        _ => return false,
    };
    length == content.len() && matches!(content, [0x30 | 0x02, ..])
}

fn is_public_key(algorithm: KeyAlgorithm, bytes: &[u8]) -> bool {
    algorithm.of_public().is_some_and(|of_public| ParsedPublicKey::new(of_public, bytes).is_ok())
}

/// In bytes of the modulus, which stands without leading zeros.
fn is_rsa_length(bytes: usize) -> bool {
    (256..=1024).contains(&bytes)
}

/// What is wrong with a JSON text and where, without any value of it: it may be a secret.
pub(super) fn without_values(error: &serde_json::Error) -> String {
    let kind = if error.is_data() { "it has not the members that it must" } else { "it is not JSON" };
    format!("{kind} (line {}, column {})", error.line(), error.column())
}
