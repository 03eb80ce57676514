//! Signed tokens (JWT): verified with our keys, and understood.
//!
//! Every claim that is looked at must be of its type: a `nbf` that is a text does not mean that there is none.

use std::hash::{DefaultHasher, Hash, Hasher};

use arcstr::ArcStr;
use jsonwebtoken::{decode, decode_header};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::grants::Grants;
use super::keys::TokenKey;
use super::pass::{Pass, Proof};
use crate::words::channel::Channel;
use crate::words::limits::{TOKEN_BYTES_MAX, USER_BYTES_MAX};

/// What is asked of every token besides a good signature.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
    /// How far the clock of who signs may be ahead of ours, in milliseconds.
    pub(super) leeway_ms: u64,
}

impl Rules {
    /// What tells for whom and by whom tokens must be from any other such rules, in this process.
    pub(super) fn stamp(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.issuer, &self.audience).hash(&mut hasher);
        hasher.finish()
    }
}

/// What `text` says, if it is signed with one of `keys` and good at `unix_ms`. Why it is not is nobody's business.
pub(super) fn verify(text: &str, keys: &[TokenKey], rules: &Rules, unix_ms: u64) -> Option<Pass> {
    if TOKEN_BYTES_MAX < text.len() {
        return None;
    }
    let header = decode_header(text).ok()?;
    let is_plain = header.crit.is_none() && header.enc.is_none() && header.zip.is_none();
    if !is_plain || !header.typ.as_deref().is_none_or(is_token_type) {
        return None;
    }
    let mut fitting = keys.iter().filter(|key| key.may_verify(header.alg, header.kid.as_deref()));
    // As a text first: in members that are skipped nobody would find out that it is none.
    let (key, token) = fitting
        .find_map(|key| Some((key, decode::<Box<RawValue>>(text, &key.decoding, &key.validation).ok()?)))?;
    let claims: Claims = serde_json::from_str(token.claims.get()).ok()?;
    claims.into_pass(key, rules, unix_ms)
}

fn is_token_type(text: &str) -> bool {
    let name = text.strip_prefix("application/").unwrap_or(text);
    ["jwt", "at+jwt"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// The claims that are looked at; others may be there.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    exp: Moment,
    #[serde(default, deserialize_with = "there")]
    nbf: Option<Moment>,
    #[serde(default, deserialize_with = "there")]
    iat: Option<Moment>,
    #[serde(default, deserialize_with = "there")]
    iss: Option<String>,
    #[serde(default, deserialize_with = "there")]
    aud: Option<Audience>,
    #[serde(default, deserialize_with = "there")]
    sub: Option<String>,
    #[serde(default, deserialize_with = "there")]
    jti: Option<String>,
    #[serde(default, deserialize_with = "there")]
    fanfare: Option<Grants>,
}

/// A time, which tokens have in seconds; here in Unix milliseconds.
#[derive(Clone, Copy, Debug)]
struct Moment(u64);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if !seconds.is_finite() || seconds < 0.0 {
            return Err(serde::de::Error::custom("no time"));
        }
        // Saturates at times that nobody will see.
        Ok(Moment((seconds * 1000.0) as u64))
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn has(&self, name: &str) -> bool {
        match self {
            Audience::One(one) => one == name,
            Audience::Many(many) => many.iter().any(|one| one == name),
        }
    }
}

/// A member that is there is of its type; `null` is none.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Claims {
    fn into_pass(self, key: &TokenKey, rules: &Rules, unix_ms: u64) -> Option<Pass> {
        if !self.is_in_force(rules, unix_ms) {
            return None;
        }
        let is_name = |text: &String| !text.is_empty() && text.len() <= USER_BYTES_MAX;
        if !self.sub.as_ref().is_none_or(is_name) || !self.jti.as_ref().is_none_or(is_name) {
            return None;
        }
        let subject = self.sub.map(ArcStr::from);
        let is_user = |subject: &ArcStr| Channel::parse(&["user:", subject].concat()).is_ok();
        let user = subject.clone().filter(is_user);
        let name = match (&user, &subject) {
            (Some(user), _) => user.clone(),
            (None, Some(subject)) => ["subject ", subject].concat().into(),
            (None, None) => ["key ", &key.name].concat().into(),
        };
        Some(Pass {
            proof: Proof::Token,
            user,
            name,
            subject,
            id: self.jti.map(ArcStr::from),
            key: key.name.clone(),
            key_digest: *key.digest(),
            rules: rules.stamp(),
            expires_ms: Some(self.exp.0),
            grants: self.fanfare.unwrap_or_default(),
        })
    }

    /// Whether a token of these claims is good now, and meant for us.
    fn is_in_force(&self, rules: &Rules, unix_ms: u64) -> bool {
        let latest_ms = unix_ms.saturating_add(rules.leeway_ms);
        let is_past = |moment: Option<Moment>| moment.is_none_or(|Moment(at_ms)| at_ms <= latest_ms);
        let is_meant = match (&self.aud, &rules.audience) {
            (None, None) => true,
            (Some(audience), Some(name)) => audience.has(name),
            // One that is meant for somebody is not meant for whoever has no name.
            (Some(_), None) | (None, Some(_)) => false,
        };
        let is_from = rules.issuer.is_none() || self.iss == rules.issuer;
        unix_ms < self.exp.0 && is_past(self.nbf) && is_past(self.iat) && is_meant && is_from
    }
}
