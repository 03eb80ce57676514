//! The flags of `fanfare serve` that say how people and programs are known.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::session::auth::{AuthError, AuthSettings, Secret, parse_granted};
use crate::words::channel::Pattern;

/// Keys, and what is asked of tokens. Without a key nobody is asked for a token.
#[derive(Args)]
pub(super) struct TokenFlags {
    /// File with a key that tokens are verified with: a public key in PEM, a JWK, or a secret; may be given again.
    #[arg(long, env = "FANFARE_TOKEN_KEY", value_name = "FILE", value_delimiter = ',')]
    token_key: Vec<PathBuf>,
    /// A secret that tokens are verified with besides; not on the command line, which others can read.
    #[arg(long, env = "FANFARE_TOKEN_SECRET", value_name = "SECRET", hide_env_values = true)]
    token_secret: Option<String>,
    /// File with a set of such keys (JWKS).
    #[arg(long, env = "FANFARE_JWKS", value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Who must have issued a token ('iss') [default: anybody with a key].
    #[arg(long, env = "FANFARE_TOKEN_ISSUER", value_name = "NAME")]
    token_issuer: Option<String>,
    /// For whom a token must be ('aud') [default: for nobody by name].
    #[arg(long, env = "FANFARE_TOKEN_AUDIENCE", value_name = "NAME")]
    token_audience: Option<String>,
    /// How far the clock of who issues tokens may be ahead, at most 60s.
    #[arg(long, env = "FANFARE_TOKEN_LEEWAY", default_value = "5s", value_parser = humantime::parse_duration)]
    token_leeway: Duration,
    /// File with the API keys of programs.
    #[arg(long, env = "FANFARE_API_KEYS", value_name = "FILE")]
    api_keys: Option<PathBuf>,
    /// The cookie that may hold a token.
    #[arg(long, env = "FANFARE_TOKEN_COOKIE", value_name = "NAME", default_value = "__Host-fanfare")]
    token_cookie: String,
    /// Take no token from the query, where proxies and browsers might note it down.
    #[arg(long, env = "FANFARE_NO_QUERY_TOKENS")]
    no_query_tokens: bool,
    /// What may be subscribed to without a token, separated by commas [default: nothing].
    #[arg(long, env = "FANFARE_ANONYMOUS_SUBSCRIBE", value_delimiter = ',', value_name = "PATTERN", value_parser = parse_granted)]
    anonymous_subscribe: Vec<Pattern>,
    /// Ask no token of operators, although there are keys; only on loopback.
    #[arg(long, env = "FANFARE_ADMIN_OPEN")]
    pub(super) admin_open: bool,
}

impl TokenFlags {
    /// What they say.
    pub(super) fn settings(&self) -> AuthSettings {
        AuthSettings {
            token_keys: self.token_key.clone(),
            key_set: self.jwks.clone(),
            token_secret: self.token_secret.clone().map(Secret::new),
            issuer: self.token_issuer.clone(),
            audience: self.token_audience.clone(),
            leeway: self.token_leeway,
            api_keys: self.api_keys.clone(),
            cookie: self.token_cookie.clone(),
            query_tokens: !self.no_query_tokens,
            anonymous_subscribe: self.anonymous_subscribe.clone(),
            admin_open: self.admin_open,
        }
    }

    /// What is wrong, with the flag that has named the file.
    pub(super) fn named(&self, error: &AuthError) -> String {
        let is_it = |file: &Option<PathBuf>| file.as_deref() == error.path();
        match error.path() {
            None => error.to_string(),
            Some(_) if is_it(&self.api_keys) => format!("--api-keys {error}"),
            Some(_) if is_it(&self.jwks) => format!("--jwks {error}"),
            Some(_) => format!("--token-key {error}"),
        }
    }
}
