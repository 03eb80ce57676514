//! Whom a notification is for.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::words::channel::{Channel, ChannelError};

/// The name of a user: what may stand behind `user:` in a channel. Valid by construction, cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct User(Channel);

impl User {
    /// Checks `name` against the grammar of the channel `user:<name>`.
    ///
    /// # Errors
    /// [`UserError`] says which rule the name breaks.
    pub fn parse(name: &str) -> Result<User, UserError> {
        Channel::parse(&format!("{NAMESPACE}{name}")).map(User).map_err(UserError)
    }

    /// The name, without the namespace.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.as_str()[NAMESPACE.len()..]
    }

    /// The channel that the user's notifications are delivered on.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.0
    }
}

/// What stands in front of a user's name in a channel.
const NAMESPACE: &str = "user:";

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User({})", self.as_str())
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for User {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl TryFrom<String> for User {
    type Error = UserError;

    fn try_from(name: String) -> Result<User, UserError> {
        User::parse(&name)
    }
}

/// A text that is no user's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a user: {0}")]
pub struct UserError(ChannelError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_may_stand_behind_the_namespace() {
        let check = |name: &str, expected: Result<&str, &str>| {
            let got = User::parse(name).map(|user| user.channel().to_string());
            assert_eq!(got.map_err(|error| error.to_string()), expected.map(Into::into).map_err(Into::into));
        };
        check("alice", Ok("user:alice"));
        check("a.b-c_d:e", Ok("user:a.b-c_d:e"));
        check("", Err("not the name of a user: channel identifier cannot be empty: "));
        check("a/b", Err("not the name of a user: channel takes no sub-channel: user:a/b"));
        check("a*", Err("not the name of a user: wildcard is not allowed here: user:a*"));
        check("a b", Err("not the name of a user: channel has a character that is not allowed"));
        check(&"x".repeat(251), Err("not the name of a user: channel is longer than 255 bytes"));
        assert_eq!(User::parse("alice").unwrap().as_str(), "alice");
    }
}
