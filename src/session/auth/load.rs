//! An authority out of files: everything is read and understood first, or nothing changes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::api_keys::{ApiKeyError, ApiKeys};
use super::grants::Grants;
use super::keys::{KeyError, TokenKey};
use super::pass::Pass;
use super::presented::{Places, Secret};
use super::revoked::Revoked;
use super::token::Rules;
use super::{NEXT_ID, Tokens};
use crate::words::channel::Pattern;
use crate::words::file;
use crate::words::limits::{KEY_FILE_BYTES_MAX, TOKEN_KEYS_MAX, TOKEN_LEEWAY_MAX};

/// How people and programs are known.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// Files of keys that tokens are verified with: a public key in PEM, a JWK or a set of them, or a secret.
    pub token_keys: Vec<PathBuf>,
    /// A file with a set of such keys, public ones or not, as JSON and nothing else.
    pub key_set: Option<PathBuf>,
    /// A secret that tokens are verified with besides.
    pub token_secret: Option<Secret>,
    /// Who must have issued a token (`iss`), if that is asked.
    pub issuer: Option<String>,
    /// For whom a token must be (`aud`), if that is asked.
    pub audience: Option<String>,
    /// How far the clock of who issues may be ahead; a minute at most. It makes no token last longer.
    pub leeway: Duration,
    /// A file of API keys.
    pub api_keys: Option<PathBuf>,
    /// The cookie that may hold a token.
    pub cookie: String,
    /// Whether tokens are taken from the query.
    pub query_tokens: bool,
    /// What may be subscribed to without a token.
    pub anonymous_subscribe: Vec<Pattern>,
    /// Whether operators need no token at their door.
    pub admin_open: bool,
}

impl Default for AuthSettings {
    /// No keys: whether there are any says [`AuthSettings::has_keys`].
    fn default() -> AuthSettings {
        AuthSettings {
            token_keys: Vec::new(),
            key_set: None,
            token_secret: None,
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(5),
            api_keys: None,
            cookie: "__Host-fanfare".to_owned(),
            query_tokens: true,
            anonymous_subscribe: Vec::new(),
            admin_open: false,
        }
    }
}

impl AuthSettings {
    /// Whether there is anything that somebody could be known by.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        let has_files = !self.token_keys.is_empty() || self.key_set.is_some() || self.api_keys.is_some();
        has_files || self.token_secret.is_some()
    }
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file holds no key.
    #[error("{}: {error}", path.display())]
    BadKey {
        /// Which.
        path: PathBuf,
        /// Why.
        error: KeyError,
    },
    /// The secret besides the files is none.
    #[error("the secret of tokens: {0}")]
    BadSecret(KeyError),
    /// The file of API keys is wrong.
    #[error("{}: {error}", path.display())]
    BadApiKeys {
        /// Which.
        path: PathBuf,
        /// Why.
        error: ApiKeyError,
    },
    /// Two keys have one name, so that nobody could say which is meant.
    #[error("two keys are called '{0}'")]
    SameName(String),
    /// There are too many keys.
    #[error("more than {TOKEN_KEYS_MAX} keys that tokens are verified with")]
    TooManyKeys,
    /// Nobody could be known.
    #[error("there is no key that anybody could be known by")]
    NoKeys,
    /// The clock may be too far off.
    #[error("the leeway of tokens is at most {} seconds", TOKEN_LEEWAY_MAX.as_secs())]
    Leeway,
    /// The cookie's name is none.
    #[error("'{0}' is no name of a cookie")]
    BadCookie(String),
}

impl AuthError {
    /// The file it is about, if it is about one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            AuthError::Unreadable { path, .. }
            | AuthError::BadKey { path, .. }
            | AuthError::BadApiKeys { path, .. } => Some(path),
            _ => None,
        }
    }
}

/// Reads all keys and makes an authority of them. `revoked` is what the one before has refused, so that a reload gives
/// nothing back.
///
/// # Errors
/// [`AuthError`], which names the file; nothing has changed then.
pub fn load(settings: &AuthSettings, revoked: &Arc<Revoked>) -> Result<Tokens, AuthError> {
    if !settings.has_keys() {
        return Err(AuthError::NoKeys);
    }
    if TOKEN_LEEWAY_MAX < settings.leeway {
        return Err(AuthError::Leeway);
    }
    let is_of_cookie = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if settings.cookie.is_empty() || !settings.cookie.bytes().all(is_of_cookie) {
        return Err(AuthError::BadCookie(settings.cookie.clone()));
    }
    let mut keys: Vec<TokenKey> = Vec::new();
    let files = settings.token_keys.iter().map(|path| (path, TokenKey::parse as fn(&[u8]) -> _));
    let sets = settings.key_set.iter().map(|path| (path, TokenKey::parse_set as fn(&[u8]) -> _));
    for (path, parse) in files.chain(sets) {
        let found: Result<Vec<TokenKey>, KeyError> = parse(&read(path)?);
        keys.extend(found.map_err(|error| AuthError::BadKey { path: path.clone(), error })?);
    }
    if let Some(secret) = &settings.token_secret {
        keys.push(TokenKey::of_secret(secret.reveal().as_bytes()).map_err(AuthError::BadSecret)?);
    }
    if TOKEN_KEYS_MAX < keys.len() {
        return Err(AuthError::TooManyKeys);
    }
    let api_keys = match &settings.api_keys {
        Some(path) => ApiKeys::parse(&read(path)?)
            .map_err(|error| AuthError::BadApiKeys { path: path.clone(), error })?,
        None => ApiKeys::default(),
    };
    let mut names = HashSet::new();
    for name in keys.iter().map(|key| key.name.as_str()).chain(api_keys.names()) {
        if !names.insert(name) {
            return Err(AuthError::SameName(name.to_owned()));
        }
    }
    let anonymous = (!settings.anonymous_subscribe.is_empty())
        .then(|| Arc::new(Pass::of_nobody(Grants::to_subscribe(&settings.anonymous_subscribe))));
    let operators = settings.admin_open.then(|| Arc::new(Pass::of_nobody(Grants::to_administer())));
    Ok(Tokens {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        keys: keys.into(),
        rules: Rules {
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            leeway_ms: settings.leeway.as_millis() as u64,
        },
        api_keys,
        places: Places { cookie: settings.cookie.clone(), query: settings.query_tokens },
        anonymous,
        operators,
        revoked: Arc::clone(revoked),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, AuthError> {
    file::read(path, KEY_FILE_BYTES_MAX)
        .map_err(|error| AuthError::Unreadable { path: path.to_owned(), error })
}
