//! What a channel is about, by its name: a repository, a user, an organisation, or whatever its publishers agreed on.

use super::channel::Channel;

/// What a channel is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// `repo:owner/name`, perhaps with a sub-channel.
    Repository,
    /// `user:name`.
    User,
    /// `org:name`.
    Organisation,
    /// Any other namespace.
    Open,
}

impl Channel {
    /// What stands before the first `:`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.parts().0
    }

    /// What the channel is about.
    ///
    /// ```
    /// use fanfare::words::channel::Channel;
    /// use fanfare::words::subject::Subject;
    ///
    /// let channel = Channel::parse("repo:alice/demo/prs")?;
    /// assert_eq!(channel.subject(), Subject::Repository);
    /// assert_eq!((channel.identifier(), channel.sub_channel()), ("alice/demo", Some("prs")));
    /// assert_eq!(channel.to_string(), "repo:alice/demo/prs");
    /// assert_eq!(Channel::parse("jobs:42")?.subject(), Subject::Open);
    /// # Ok::<(), fanfare::words::channel::ChannelError>(())
    /// ```
    #[must_use]
    pub fn subject(&self) -> Subject {
        match self.namespace() {
            "repo" => Subject::Repository,
            "user" => Subject::User,
            "org" => Subject::Organisation,
            _ => Subject::Open,
        }
    }

    /// Whom or what exactly: `owner/name` of a repository; elsewhere the first segment of the path.
    #[must_use]
    pub fn identifier(&self) -> &str {
        let path = self.parts().1;
        &path[..self.identifier_bytes()]
    }

    /// The path below the identifier, if there is one; it may have several segments.
    #[must_use]
    pub fn sub_channel(&self) -> Option<&str> {
        self.parts().1.get(self.identifier_bytes() + 1..)
    }

    /// Namespace and path.
    fn parts(&self) -> (&str, &str) {
        self.as_str().split_once(':').unwrap_or_default()
    }

    fn identifier_bytes(&self) -> usize {
        let path = self.parts().1;
        let segments = if self.subject() == Subject::Repository { 2 } else { 1 };
        path.match_indices('/').nth(segments - 1).map_or(path.len(), |(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_taken_apart() {
        let check = |name: &str, expected: (Subject, &str, Option<&str>)| {
            let channel = Channel::parse(name).unwrap();
            assert_eq!((channel.subject(), channel.identifier(), channel.sub_channel()), expected, "{name}");
        };
        check("repo:alice/demo", (Subject::Repository, "alice/demo", None));
        check("repo:alice/demo/prs", (Subject::Repository, "alice/demo", Some("prs")));
        check("repo:a:b/c/d/e", (Subject::Repository, "a:b/c", Some("d/e")));
        check("user:alice", (Subject::User, "alice", None));
        check("org:acme", (Subject::Organisation, "acme", None));
        check("jobs:42", (Subject::Open, "42", None));
        check("jobs:42/log/1", (Subject::Open, "42", Some("log/1")));
    }
}
