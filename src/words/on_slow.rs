//! What a stream chooses to happen when it is behind.

/// What happens when a stream is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnSlow {
    /// It gets everything that is still held, and is told what is not.
    #[default]
    Gap = 0,
    /// It gets the newest event of each channel and entity, and is told how many were left out.
    Latest = 1,
    /// It is disconnected, with the cursor to come back with.
    Close = 2,
}

impl OnSlow {
    /// The name, as [`OnSlow::parse`] reads it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            OnSlow::Gap => "gap",
            OnSlow::Latest => "latest",
            OnSlow::Close => "close",
        }
    }

    /// The policy of that name: `gap`, `latest` or `close`.
    #[must_use]
    pub fn parse(name: &str) -> Option<OnSlow> {
        [OnSlow::Gap, OnSlow::Latest, OnSlow::Close].into_iter().find(|policy| policy.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_nothing_else_is() {
        for policy in [OnSlow::Gap, OnSlow::Latest, OnSlow::Close] {
            assert_eq!(OnSlow::parse(policy.name()), Some(policy));
        }
        for other in ["", "Gap", "gap ", "skip", "latest,close"] {
            assert_eq!(OnSlow::parse(other), None, "{other:?}");
        }
    }
}
