//! Who may do what: the one place that is asked before anything is done for anybody.
//!
//! Every request and every command names what it is about to do as an [`Act`]; nothing happens that was not asked here
//! first. Today nobody can prove who they are: on addresses that nobody else can reach [`Development`] allows everything,
//! elsewhere [`Insecure`] closes what belongs to single users.

use std::fmt;

use arcstr::ArcStr;

use super::hooks::Source;
use super::request::Door;
use crate::wire::http::{RequestHead, query_pairs};
use crate::words::channel::{Channel, Pattern};
use crate::words::limits::USER_BYTES_MAX;
use crate::words::workspace::{Scope, Workspace};

/// Somebody who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// The user's name, as in `user:<name>`, if it is known.
    pub user: Option<ArcStr>,
}

impl Principal {
    /// What idempotency keys belong to: those of one principal never meet another's.
    #[must_use]
    pub fn name(&self) -> &str {
        self.user.as_deref().unwrap_or_default()
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
    /// What anybody may know: health, counters, the page.
    Look,
}

/// Why something is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody has said who asks.
    #[error("say who you are")]
    Unknown,
    /// Whoever asks has not the right.
    #[error("you have not the right to do this")]
    Forbidden,
}

impl Denied {
    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Denied::Unknown => 401,
            Denied::Forbidden => 403,
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Denied::Unknown => "unauthorized",
            Denied::Forbidden => "forbidden",
        }
    }
}

/// Decides. It is asked on event loops, so it answers at once.
pub trait Authority: fmt::Debug + Send + Sync {
    /// Who sends this request.
    ///
    /// # Errors
    /// When what the request says of itself is wrong.
    fn identify(&self, head: &RequestHead<'_>, door: Door) -> Result<Principal, Denied>;

    /// Whether `principal` may do this.
    ///
    /// # Errors
    /// When it may not.
    fn allow(&self, principal: &Principal, act: &Act<'_>) -> Result<(), Denied>;
}

/// The authority of development: takes everybody's word for who they are (`?user=`), and allows everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Development;

impl Authority for Development {
    fn identify(&self, head: &RequestHead<'_>, _: Door) -> Result<Principal, Denied> {
        let pairs = query_pairs(head.query.unwrap_or_default()).filter_map(Result::ok);
        let user = pairs.into_iter().find(|(name, _)| name == "user").map(|(_, value)| value);
        let is_name =
            |user: &str| user.len() <= USER_BYTES_MAX && Channel::parse(&format!("user:{user}")).is_ok();
        Ok(Principal { user: user.filter(|user| is_name(user)).map(|user| (*user).into()) })
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
    fn identify(&self, _: &RequestHead<'_>, _: Door) -> Result<Principal, Denied> {
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
            let principal = Development.identify(&head, Door::Public).unwrap();
            assert_eq!(principal.user.as_deref(), expected, "{target}");
        };
        check("/ws?user=alice", Some("alice"));
        check("/ws?channel=t:a&user=al%69ce", Some("alice"));
        check("/ws", None);
        check("/ws?user=", None);
        check("/ws?user=a/b", None);
    }
}
