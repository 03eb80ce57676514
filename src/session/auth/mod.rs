//! The authority of tokens and API keys: who somebody is by what they can show, and what that grants.
//!
//! # Contract       [`load()`] reads every file, or says which one is wrong; what it gives is exchanged whole
//! # Invariants     a token's algorithm is that of the key that verifies it; what is not granted is denied; a token that is
//!   revoked is refused however well it is remembered
//! # Bounds         each has a name in `words::limits`

mod api_keys;
mod grants;
mod keys;
mod known;
mod load;
mod mint;
mod pass;
mod presented;
mod revoked;
mod token;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use api_keys::{ApiKeyError, ApiKeys};
pub use grants::{Grants, parse_granted};
pub use keys::{KeyAlgorithm, KeyError};
pub use known::Known;
pub use load::{AuthError, AuthSettings, load};
pub use mint::{MintError, NewKey, SigningKey, new_api_key};
pub use pass::{Pass, Proof};
pub use presented::Secret;
pub use revoked::{Revoked, TooManyRevoked};

use super::authority::{Act, Authority, Denied, Principal, Right};
use super::request::{Door, is_open_to_all};
use crate::mail::Whom;
use crate::wire::http::{Method, RequestHead};
use crate::words::workspace::Scope;
use grants::Place;
use keys::TokenKey;
use presented::Places;
use token::Rules;

/// Knows people by signed tokens, programs by API keys, and everybody else not at all.
#[derive(Debug)]
pub struct Tokens {
    /// Tells it from every other, so that what was remembered under one counts under no other.
    id: u64,
    keys: Box<[TokenKey]>,
    rules: Rules,
    api_keys: ApiKeys,
    places: Places,
    /// What those may who show nothing, if that is anything.
    anonymous: Option<Arc<Pass>>,
    /// What those may who show nothing at the operators' door, if that is anything.
    operators: Option<Arc<Pass>>,
    revoked: Arc<Revoked>,
}

/// The number of the next authority of this process. Nothing travels with it, so relaxed is enough.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Tokens {
    /// Whose token or API key `text` is, and what it grants.
    fn verify(&self, text: &str, unix_ms: u64, known: &mut Known) -> Result<Principal, Denied> {
        let remembered = known.find(self.id, text);
        let pass = match remembered {
            Some(pass) => pass,
            None if text.contains('.') => {
                let pass = token::verify(text, &self.keys, &self.rules, unix_ms);
                known.learn(text, Arc::new(pass.ok_or(Denied::BadToken)?), unix_ms)
            }
            None => known.learn(text, self.api_keys.find(text).ok_or(Denied::BadToken)?, unix_ms),
        };
        self.still_good(&pass, unix_ms)?;
        Ok(Principal { pass: Some(pass) })
    }

    fn still_good(&self, pass: &Pass, unix_ms: u64) -> Result<(), Denied> {
        let is_good = !pass.has_expired(unix_ms) && !self.revoked.holds(pass, unix_ms);
        if is_good { Ok(()) } else { Err(Denied::BadToken) }
    }

    fn nobody(&self) -> Principal {
        Principal { pass: self.anonymous.clone() }
    }
}

impl Authority for Tokens {
    fn key_names(&self) -> Vec<&str> {
        self.keys.iter().map(|key| key.name.as_str()).chain(self.api_keys.names()).collect()
    }

    fn identify(
        &self,
        head: &RequestHead<'_>,
        door: Door,
        unix_ms: u64,
        known: &mut Known,
    ) -> Result<Principal, Denied> {
        // A page must load, and a health check be answered, whatever cookie has grown old in the browser that asks. What a path
        // allows is told to everybody, and costs nothing: no token is judged for it.
        if is_open_to_all(head.path) || head.method == Method::Options {
            return Ok(self.nobody());
        }
        match self.places.token_in(head)? {
            Some(text) => self.verify(&text, unix_ms, known),
            None if door == Door::Admin => Ok(Principal { pass: self.operators.clone() }),
            None => Ok(self.nobody()),
        }
    }

    fn allow(&self, principal: &Principal, act: &Act<'_>) -> Result<(), Denied> {
        let pass = principal.pass.as_deref();
        let grants = |test: &dyn Fn(&Pass) -> bool| pass.is_some_and(test);
        // Whoever was believed before there were keys has proved nothing.
        let proved = pass.filter(|pass| pass.proof != Proof::None).and_then(|pass| pass.user.as_deref());
        let (is_allowed, right) = match *act {
            Act::Look | Act::Measure | Act::Hook(_) => return Ok(()),
            Act::Read { pattern, scope } => {
                let own = pattern.name().strip_prefix("user:");
                let is_outside = matches!(scope, None | Some(Scope::None));
                let is_own = is_outside && own.is_some() && own == proved;
                let place = Place::of_read(pattern, scope);
                (is_own || grants(&|pass| pass.grants.subscribe(pattern.name(), place)), Right::Subscribe)
            }
            Act::Publish { channel, workspace } => {
                let place = Place::of_channel(channel, workspace);
                (grants(&|pass| pass.grants.publish(channel, place)), Right::Publish)
            }
            Act::Presence { channel, workspace } => {
                let workspace = workspace.map(|workspace| workspace.as_str());
                let place = Place::of_channel(channel.as_str(), workspace);
                (grants(&|pass| pass.grants.presence(channel.as_str(), place)), Right::Presence)
            }
            Act::Notifications(user) => {
                let is_own = proved == Some(user);
                (is_own || grants(&|pass| pass.grants.admin()), Right::Notifications)
            }
            Act::Notify(user) => {
                let channel = ["user:", user].concat();
                (grants(&|pass| pass.grants.publish(&channel, Place::None)), Right::Publish)
            }
            Act::Announce | Act::Administer => (grants(&|pass| pass.grants.admin()), Right::Admin),
        };
        match pass {
            _ if is_allowed => Ok(()),
            Some(pass) if pass.proof != Proof::None => Err(Denied::Lacks(right)),
            // A token might have it.
            _ => Err(Denied::Unknown),
        }
    }

    fn renew(
        &self,
        principal: &Principal,
        text: &str,
        unix_ms: u64,
        known: &mut Known,
    ) -> Result<Principal, Denied> {
        let new = self.verify(text, unix_ms, known)?;
        let subject = |principal: &Principal| {
            let pass = principal.pass.as_ref().filter(|pass| pass.proof != Proof::None)?;
            Some(pass.name.clone())
        };
        match subject(principal) {
            Some(old) if Some(&old) != subject(&new).as_ref() => Err(Denied::OtherSubject),
            _ => Ok(new),
        }
    }

    fn review(&self, principal: &Principal, unix_ms: u64) -> Result<Principal, Denied> {
        let pass = match &principal.pass {
            Some(pass) if pass.proof == Proof::Token => {
                let is_known = self.keys.iter().any(|key| key.digest() == &pass.key_digest);
                // Who has issued it, and for whom, is not kept: under other rules it has to be shown again.
                if is_known && pass.rules == self.rules.stamp() {
                    Arc::clone(pass)
                } else {
                    return Err(Denied::BadToken);
                }
            }
            Some(pass) if pass.proof == Proof::ApiKey => {
                self.api_keys.again(&pass.key_digest).ok_or(Denied::BadToken)?
            }
            // Only at the operators' door is anybody let in with this who shows nothing.
            Some(pass) if pass.grants.admin() => Arc::clone(self.operators.as_ref().ok_or(Denied::Unknown)?),
            _ => return if self.anonymous.is_some() { Ok(self.nobody()) } else { Err(Denied::Unknown) },
        };
        self.still_good(&pass, unix_ms)?;
        Ok(Principal { pass: Some(pass) })
    }

    fn awaits_token(&self, principal: &Principal) -> bool {
        principal.pass.is_none()
    }

    fn revoke(&self, whom: &Whom, until_ms: u64, unix_ms: u64) -> Option<Result<(), TooManyRevoked>> {
        Some(self.revoked.add(whom, until_ms, unix_ms))
    }
}

#[cfg(test)]
mod tests;
