//! What somebody has shown, once it was verified.

use arcstr::ArcStr;

use super::grants::Grants;

/// What somebody has shown, and what it grants.
#[derive(Debug)]
pub struct Pass {
    /// By what they are known.
    pub proof: Proof,
    /// The name of the user, as in `user:<name>`; nothing for a subject that can be none, and for programs.
    pub user: Option<ArcStr>,
    /// What tells this principal from all others: the user's name, or words with a space in them, which no user's has.
    pub name: ArcStr,
    /// Whom it was given to, as the token says (`sub`).
    pub subject: Option<ArcStr>,
    /// The token's own name (`jti`).
    pub id: Option<ArcStr>,
    /// The name of the key that has signed it, or of the API key.
    pub key: ArcStr,
    /// What tells that key from others of its name.
    pub(super) key_digest: [u8; 32],
    /// Under which rules it was found good ([`Rules::stamp`](super::token::Rules::stamp)); of a token.
    pub(super) rules: u64,
    /// From when on it is no longer good, in Unix milliseconds; never, if nothing is said.
    pub expires_ms: Option<u64>,
    pub(super) grants: Grants,
}

/// By what somebody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By a signed token.
    Token,
    /// By an API key.
    ApiKey,
    /// By nothing: this is what everybody may.
    None,
}

impl Pass {
    /// What everybody may.
    pub(super) fn of_nobody(grants: Grants) -> Pass {
        Pass {
            proof: Proof::None,
            user: None,
            name: ArcStr::new(),
            subject: None,
            id: None,
            key: ArcStr::new(),
            key_digest: [0; 32],
            rules: 0,
            expires_ms: None,
            grants,
        }
    }

    /// That of somebody who has shown nothing and is believed.
    pub(in crate::session) fn of_user(user: ArcStr) -> Pass {
        Pass { name: user.clone(), user: Some(user), ..Pass::of_nobody(Grants::default()) }
    }

    /// Whether its time is over: `unix_ms` is the first moment at which it is no longer good, or a later one.
    #[must_use]
    pub fn has_expired(&self, unix_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| expires_ms <= unix_ms)
    }
}
