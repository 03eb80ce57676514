//! Who may do what: the one place that is asked before anything is done for anybody.
//!
//! Every request and every command names what it is about to do as an [`Act`]; nothing happens that was not asked here
//! first. [`Tokens`](super::auth::Tokens) knows people by what they can show. Without keys nobody can prove who they are: on
//! addresses that nobody else can reach [`Development`] allows everything, elsewhere [`Insecure`] closes what belongs to
//! single users.

use std::fmt;
use std::sync::Arc;

use super::auth::{Known, Pass, TooManyRevoked};
use super::hooks::Source;
use super::request::Door;
use crate::mail::Whom;
use crate::wire::http::{RequestHead, query_pairs};
use crate::words::channel::{Channel, Pattern};
use crate::words::limits::USER_BYTES_MAX;
use crate::words::workspace::{Scope, Workspace};

/// Somebody who asks.
#[derive(Clone, Debug, Default)]
pub struct Principal {
    /// What is known of whoever it is: one pointer, as every connection has one.
    pub pass: Option<Arc<Pass>>,
}

impl Principal {
    /// Somebody whose word is taken for it that this is the name.
    #[must_use]
    pub fn named(user: &str) -> Principal {
        Principal { pass: Some(Arc::new(Pass::of_user(user.into()))) }
    }

    /// The user's name, as in `user:<name>`, if it is known.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.pass.as_deref()?.user.as_deref()
    }

    /// What idempotency keys belong to: those of one principal never meet another's.
    #[must_use]
    pub fn name(&self) -> &str {
        self.pass.as_deref().map_or("", |pass| &pass.name)
    }

    /// Whether nothing is known of it.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.name().is_empty()
    }

    /// What operators are shown: the user, or the key of a program.
    #[must_use]
    pub fn shown(&self) -> Option<&str> {
        self.user().or_else(|| Some(self.name()).filter(|name| !name.is_empty()))
    }

    /// From when on it is no longer who it is, in Unix milliseconds, if ever.
    #[must_use]
    pub fn expires_ms(&self) -> Option<u64> {
        self.pass.as_deref()?.expires_ms
    }
}

/// Something that is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act<'a> {
    /// Events of these channels are read, live or from history.
    Read {
        /// Which channels. `*` alone and the namespace `sys` are for administrators.
        pattern: &'a Pattern,
        /// In which workspaces, if that is said; [`Scope::Any`] is for administrators.
        scope: Option<&'a Scope>,
    },
    /// An event is published.
    Publish {
        /// Where: the channel as the publisher wrote it.
        channel: &'a str,
        /// In which workspace, if any.
        workspace: Option<&'a str>,
    },
    /// A webhook is taken; its signature has been verified.
    Hook(Source),
    /// Who is there is asked.
    Presence {
        /// Where.
        channel: &'a Channel,
        /// In which workspace, if any.
        workspace: Option<&'a Workspace>,
    },
    /// A user's notifications are read or changed.
    Notifications(&'a str),
    /// Somebody is notified.
    Notify(&'a str),
    /// Everybody is told something.
    Announce,
    /// Clients, channels and counters are looked at, clients are disconnected, events cleared.
    Administer,
    /// Counters are collected at the operators' door.
    Measure,
    /// What anybody may know: health, a few counters, the page.
    Look,
}

/// What may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To read events of a channel, live or from history.
    Subscribe,
    /// To publish on a channel; to notify a user, on `user:<name>`.
    Publish,
    /// To see who is on a channel.
    Presence,
    /// To read and change the notifications of somebody else.
    Notifications,
    /// To operate the server.
    Admin,
}

impl Right {
    /// Its name, as grants have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Right::Subscribe => "subscribe",
            Right::Publish => "publish",
            Right::Presence => "presence",
            // It goes with that of an operator.
            Right::Notifications | Right::Admin => "admin",
        }
    }
}

/// Why something is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody has said who asks.
    #[error("say who you are")]
    Unknown,
    /// What was shown is not good. Why not is not told: whoever may know has the token and can look.
    #[error("the token or key is not good here, or no longer")]
    BadToken,
    /// Two different tokens were shown.
    #[error("show one token, in one place")]
    TwoTokens,
    /// A token was shown in the query, where none is taken.
    #[error("no token is taken from the query here")]
    NotInQuery,
    /// Whoever asks has not the right.
    #[error("you have not the right to do this")]
    Forbidden,
    /// Whoever asks was not granted this right for what is asked.
    #[error("this takes the right '{}', which you were not granted for it", .0.name())]
    Lacks(Right),
    /// A connection was to go over to somebody else.
    #[error("a connection stays with whom it was opened for")]
    OtherSubject,
}

impl Denied {
    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Denied::Unknown | Denied::BadToken => 401,
            Denied::TwoTokens | Denied::NotInQuery => 400,
            Denied::Forbidden | Denied::Lacks(_) | Denied::OtherSubject => 403,
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Denied::Unknown => "unauthorized",
            Denied::BadToken => "invalid_token",
            Denied::TwoTokens | Denied::NotInQuery => "invalid_request",
            Denied::Forbidden | Denied::Lacks(_) | Denied::OtherSubject => "forbidden",
        }
    }

    /// What the header `WWW-Authenticate` says of it (RFC 6750), if anything.
    #[must_use]
    pub fn challenge(self) -> Option<String> {
        let realm = "Bearer realm=\"fanfare\"";
        Some(match self {
            // Whoever has shown nothing is told of no error.
            Denied::Unknown => realm.to_owned(),
            Denied::BadToken => format!("{realm}, error=\"invalid_token\""),
            Denied::TwoTokens | Denied::NotInQuery => format!("{realm}, error=\"invalid_request\""),
            Denied::Lacks(right) => {
                format!("{realm}, error=\"insufficient_scope\", scope=\"{}\"", right.name())
            }
            Denied::Forbidden | Denied::OtherSubject => return None,
        })
    }
}

/// Decides. It is asked on event loops, so it answers at once.
pub trait Authority: fmt::Debug + Send + Sync {
    /// Who sends this request, at this time of the Unix clock. `known` is what the loop that asks has been told lately.
    ///
    /// # Errors
    /// When what the request says of itself is wrong.
    fn identify(
        &self,
        head: &RequestHead<'_>,
        door: Door,
        unix_ms: u64,
        known: &mut Known,
    ) -> Result<Principal, Denied>;

    /// Whether `principal` may do this.
    ///
    /// # Errors
    /// When it may not.
    fn allow(&self, principal: &Principal, act: &Act<'_>) -> Result<(), Denied>;

    /// Who the client of a stream is from now on, who shows this token. Where tokens mean nothing it stays who it is.
    ///
    /// # Errors
    /// When the token is not good, or is somebody else's; then the client is who it was.
    fn renew(
        &self,
        principal: &Principal,
        _token: &str,
        _unix_ms: u64,
        _known: &mut Known,
    ) -> Result<Principal, Denied> {
        Ok(principal.clone())
    }

    /// Who the client of a stream is from now on, whom another authority has let in, or after something was revoked.
    ///
    /// # Errors
    /// When it would not be let in again.
    fn review(&self, principal: &Principal, _unix_ms: u64) -> Result<Principal, Denied> {
        Ok(principal.clone())
    }

    /// What operators call the keys that people and programs are known by.
    fn key_names(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Whether a client that may do nothing yet is expected to show a token soon.
    fn awaits_token(&self, _principal: &Principal) -> bool {
        false
    }

    /// Refuses `whom` until then, both in Unix milliseconds; nothing where nobody is known by anything that could be
    /// revoked.
    fn revoke(&self, _whom: &Whom, _until_ms: u64, _unix_ms: u64) -> Option<Result<(), TooManyRevoked>> {
        None
    }
}

/// The authority of development: takes everybody's word for who they are (`?user=`), and allows everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Development;

impl Authority for Development {
    fn identify(&self, head: &RequestHead<'_>, _: Door, _: u64, _: &mut Known) -> Result<Principal, Denied> {
        let pairs = query_pairs(head.query.unwrap_or_default()).filter_map(Result::ok);
        let user = pairs.into_iter().find(|(name, _)| name == "user").map(|(_, value)| value);
        let is_name =
            |user: &str| user.len() <= USER_BYTES_MAX && Channel::parse(&format!("user:{user}")).is_ok();
        Ok(user.filter(|user| is_name(user)).map_or_else(Principal::default, |user| Principal::named(&user)))
    }

    fn allow(&self, _: &Principal, _: &Act<'_>) -> Result<(), Denied> {
        Ok(())
    }
}

/// The authority on addresses that others can reach while nobody can prove who they are: it believes nobody, and keeps
/// closed what belongs to single users. Everything else is open.
#[derive(Clone, Copy, Debug, Default)]
pub struct Insecure;

impl Authority for Insecure {
    fn identify(&self, _: &RequestHead<'_>, _: Door, _: u64, _: &mut Known) -> Result<Principal, Denied> {
        Ok(Principal::default())
    }

    fn allow(&self, _: &Principal, act: &Act<'_>) -> Result<(), Denied> {
        let is_of_users = |name: &str| name == "*" || name.starts_with("user:");
        let is_closed = match act {
            Act::Read { pattern, .. } => is_of_users(pattern.name()),
            Act::Presence { channel, .. } => is_of_users(channel.as_str()),
            Act::Notifications(_) | Act::Notify(_) => true,
            _ => false,
        };
        if is_closed { Err(Denied::Forbidden) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{HeadLimits, parse_head};

    #[test]
    fn what_is_of_single_users_is_closed_where_nobody_is_known() {
        let check = |act: Act<'_>, expected: Result<(), Denied>| {
            assert_eq!(Insecure.allow(&Principal::default(), &act), expected, "{act:?}");
            assert_eq!(Development.allow(&Principal::default(), &act), Ok(()), "{act:?}");
        };
        let read = |text: &str, expected| {
            let pattern = Pattern::parse(text).unwrap();
            check(Act::Read { pattern: &pattern, scope: None }, expected);
        };
        read("user:alice", Err(Denied::Forbidden));
        read("user:*", Err(Denied::Forbidden));
        read("*", Err(Denied::Forbidden));
        read("repo:a/b", Ok(()));
        read("users:alice", Ok(()));
        check(Act::Notifications("alice"), Err(Denied::Forbidden));
        check(Act::Notify("alice"), Err(Denied::Forbidden));
        check(Act::Publish { channel: "user:alice", workspace: None }, Ok(()));
        check(Act::Look, Ok(()));
    }

    #[test]
    fn in_development_everybody_is_who_they_say() {
        let check = |target: &str, expected: Option<&str>| {
            let text = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            let (head, _) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
            let principal = Development.identify(&head, Door::Public, 0, &mut Known::default()).unwrap();
            assert_eq!(principal.user(), expected, "{target}");
        };
        check("/ws?user=alice", Some("alice"));
        check("/ws?channel=t:a&user=al%69ce", Some("alice"));
        check("/ws", None);
        check("/ws?user=", None);
        check("/ws?user=a/b", None);
    }
}
