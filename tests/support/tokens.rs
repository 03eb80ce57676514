//! Keys and tokens, good ones and any others.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::KeyPair;
use fanfare::session::auth::{AuthSettings, KeyAlgorithm, Revoked, SigningKey, load};
use fanfare::session::policy::{InForce, Policy};
use fanfare::session::settings::Settings;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) use super::base64url::base64url;

/// Who issues the tokens of tests, and for whom.
pub(crate) const ISSUER: &str = "https://issuer.example/";
pub(crate) const AUDIENCE: &str = "fanfare.example";

/// The secret and the API key of tests, each of which must never be seen in an answer or a log.
pub(crate) const SECRET: &str = "seeded-secret-7f3a91c5e2d84b60a1b2c3d4";
pub(crate) const API_KEY: &str = "fk_seeded0123456789abcdef0123456789";

/// Something to sign with.
pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    pub(crate) key: EncodingKey,
    pub(crate) kid: Option<String>,
    /// What is public of it, as whoever wants to forge may know it.
    pub(crate) public: Vec<u8>,
}

/// One key of each kind, made once.
pub(crate) struct Keys {
    pub(crate) hs: Signer,
    pub(crate) rs: Signer,
    pub(crate) es: Signer,
    pub(crate) ed: Signer,
    /// The files of what verifies them.
    files: Vec<(&'static str, String)>,
}

pub(crate) static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = rsa.public_key().as_der().unwrap();
    let public = pem::encode(&pem::Pem::new("PUBLIC KEY", public.as_ref()));
    // Behind 26 bytes of wrapping lies what the library signs with.
    let rs = Signer {
        algorithm: Algorithm::RS256,
        key: EncodingKey::from_rsa_der(&private.as_ref()[26..]),
        kid: None,
        public: public.clone().into_bytes(),
    };
    let (es, es_set) = generated(KeyAlgorithm::Es256);
    let (ed, ed_set) = generated(KeyAlgorithm::EdDsa);
    let files = vec![
        ("token.secret", format!("{SECRET}\n")),
        ("rsa.pem", public),
        ("es.jwks", es_set),
        ("ed.jwks", ed_set),
    ];
    Keys { hs: secret(SECRET), rs, es, ed, files }
});

/// A secret to sign with.
pub(crate) fn secret(text: impl AsRef<[u8]>) -> Signer {
    let key = EncodingKey::from_secret(text.as_ref());
    Signer { algorithm: Algorithm::HS256, key, kid: None, public: Vec::new() }
}

/// A new key, and its public set.
pub(crate) fn generated(algorithm: KeyAlgorithm) -> (Signer, String) {
    let new = SigningKey::generate(algorithm).unwrap();
    let der = pem::parse(&new.private).unwrap();
    let (algorithm, key) = match algorithm {
        KeyAlgorithm::Es256 => (Algorithm::ES256, EncodingKey::from_ec_der(der.contents())),
        _ => (Algorithm::EdDSA, EncodingKey::from_ed_der(der.contents())),
    };
    let public = new.public.unwrap();
    let signer = Signer { algorithm, key, kid: Some(new.name), public: public.clone().into_bytes() };
    (signer, public)
}

impl Signer {
    /// The header that tokens of this key have.
    pub(crate) fn header(&self) -> Value {
        let mut header = json!({"alg": format!("{:?}", self.algorithm), "typ": "JWT"});
        if let Some(kid) = &self.kid {
            header["kid"] = json!(kid);
        }
        header
    }

    /// A good token: these claims besides those that every one has.
    pub(crate) fn token(&self, more: Value) -> String {
        self.sign(&self.header().to_string(), &claims(more).to_string())
    }

    /// A token of these texts, whatever they are.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        let signature = crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

/// The claims of a good token, with these instead or besides; those that are `null` are left out.
pub(crate) fn claims(more: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now() + 3600});
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A folder with the files of all keys, and API keys: `ci`, which may publish on `t:*`, and `operator`.
pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in &KEYS.files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let digest = |key: &str| Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let api_keys = json!([
        {"name": "ci", "sha256": digest(API_KEY), "grants": {"publish": ["t:*"]}},
        {"name": "operator", "sha256": digest("fk_operator"), "grants": {"admin": true}},
    ]);
    std::fs::write(folder.path().join("api.json"), api_keys.to_string()).unwrap();
    folder
}

/// Settings that know all of these keys.
pub(crate) fn auth_settings(folder: &tempfile::TempDir) -> AuthSettings {
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    AuthSettings {
        token_keys: ["token.secret", "rsa.pem", "es.jwks", "ed.jwks"].map(path).to_vec(),
        issuer: Some(ISSUER.to_owned()),
        audience: Some(AUDIENCE.to_owned()),
        api_keys: Some(path("api.json")),
        ..AuthSettings::default()
    }
}

/// A server's settings with this authority.
pub(crate) fn settings_of(auth: &AuthSettings) -> Settings {
    let tokens = load(auth, &Arc::<Revoked>::default()).unwrap_or_else(|error| panic!("{error}"));
    Settings {
        policy: InForce::new(Policy { authority: Arc::new(tokens), ..Policy::default() }),
        presence: vec!["chat".to_owned()],
        ..Settings::default()
    }
}

/// The header line that shows a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Members to replace in an object, by name.
pub(crate) fn with(mut object: Value, more: &[(&str, Value)]) -> Value {
    let more: HashMap<_, _> = more.iter().cloned().collect();
    for (name, value) in more {
        object[name] = value;
    }
    object
}
