//! Workspaces: tenants whose events nobody else sees.

use std::fmt;
use std::sync::Arc;

/// Longest name of a workspace, in bytes.
pub const WORKSPACE_BYTES_MAX: usize = 64;

/// The normal form of a workspace's name: 1 to 64 bytes of `[a-z0-9_-]`, the first one not `_`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Workspace(Arc<str>);

impl Workspace {
    /// The normal form of `text`: without white space around it, in small letters. Nothing if it has none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Workspace> {
        let normal = text.trim().to_ascii_lowercase();
        let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
        let is_name = !normal.is_empty()
            && normal.len() <= WORKSPACE_BYTES_MAX
            && !normal.starts_with('_')
            && normal.bytes().all(is_allowed);
        is_name.then(|| Workspace(normal.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workspace({})", self.0)
    }
}

/// Which workspaces a receiver looks into. The rule is one: an event of a workspace reaches only receivers that name the
/// workspace, and an event of none only those that name none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Events that belong to no workspace.
    #[default]
    None,
    /// Events of this one.
    One(Workspace),
    /// All events; for administrators.
    Any,
}

impl Scope {
    /// Reads the name of a workspace, or `*` for all.
    #[must_use]
    pub fn parse(text: &str) -> Option<Scope> {
        if text == "*" { Some(Scope::Any) } else { Workspace::parse(text).map(Scope::One) }
    }

    /// What both a connection and one of its subscriptions look into, either of which may have said nothing; nothing
    /// if they exclude each other.
    #[must_use]
    pub fn both(connection: Option<&Scope>, subscription: Option<&Scope>) -> Option<Scope> {
        match (connection, subscription) {
            (None, None) => Some(Scope::None),
            (Some(scope), None) | (None, Some(scope)) => Some(scope.clone()),
            (Some(Scope::Any), Some(scope)) | (Some(scope), Some(Scope::Any)) => Some(scope.clone()),
            (Some(one), Some(other)) => (one == other).then(|| one.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_or_refused() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Workspace::parse(text).as_ref().map(Workspace::as_str), expected, "{text:?}");
        };
        check("acme", Some("acme"));
        check(" Acme-2_x ", Some("acme-2_x"));
        check("_acme", None);
        check("", None);
        check("a.b", None);
        check("a@b", None);
        check("*", None);
        check(&"x".repeat(65), None);
    }

    #[test]
    fn a_connection_and_its_subscription_look_where_both_allow() {
        let one = |name| Scope::One(Workspace::parse(name).unwrap());
        assert_eq!(Scope::both(None, None), Some(Scope::None));
        assert_eq!(Scope::both(Some(&one("a")), None), Some(one("a")));
        assert_eq!(Scope::both(Some(&one("a")), Some(&one("a"))), Some(one("a")));
        assert_eq!(Scope::both(Some(&one("a")), Some(&one("b"))), None);
        assert_eq!(Scope::both(Some(&Scope::Any), Some(&one("b"))), Some(one("b")));
    }
}
