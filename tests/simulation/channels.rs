//! Channels, patterns and kinds of the play, and the protocol's rules for them, worked out naively.

/// Channels that events are published on.
pub(crate) const CHANNELS: &[&str] = &[
    "x:a",
    "x:a/b",
    "x:a/b/c",
    "x:a/d",
    "x:b",
    "y:a",
    "y:b",
    "repo:o/r",
    "repo:o/s",
    "repo:p/r",
    "user:u",
    "z:1/2/3/4",
];

/// What is subscribed to.
pub(crate) const PATTERNS: &[&str] = &[
    "x:a",
    "x:a/b",
    "x:a/b/c",
    "x:b",
    "y:a",
    "repo:o/r",
    "repo:o/r/prs",
    "repo:o/r/issues",
    "user:u",
    "x:*",
    "x:**",
    "x:a/*",
    "x:a/**",
    "y:*",
    "repo:o/*",
    "repo:*/r",
    "repo:**",
    "*",
    "z:1",
    "z:1/*/3",
    "q:never",
];

/// Kinds as publishers write them, and as everybody reads them.
pub(crate) const KINDS: &[(&str, &str)] = &[
    ("push", "push"),
    ("pr_opened", "pr_opened"),
    ("pr.merged", "pr_merged"),
    ("issue_closed", "issue_closed"),
    ("issue.comment", "issue_comment"),
    ("my.own-kind", "my.own-kind"),
];

/// The channel that an event of `kind` published on `channel` is matched on.
pub(crate) fn route(channel: &str, kind: &str) -> String {
    if channel.starts_with("repo:") && channel.matches('/').count() == 1 {
        if kind.starts_with("pr_") {
            return format!("{channel}/prs");
        }
        if kind.starts_with("issue_") {
            return format!("{channel}/issues");
        }
    }
    channel.to_owned()
}

/// A pattern as the server lists it: `**` says the same as `*`.
pub(crate) fn canonical(pattern: &str) -> String {
    pattern.replace("**", "*")
}

/// Whether the canonical `pattern` gets events routed to `channel`: it names the channel or one of its ancestors.
pub(crate) fn matches(pattern: &str, channel: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let parts = |text: &str| text.split([':', '/']).map(str::to_owned).collect::<Vec<String>>();
    let (wanted, got) = (parts(pattern), parts(channel));
    wanted.len() <= got.len() && wanted.iter().zip(&got).all(|(wanted, got)| wanted == "*" || wanted == got)
}

#[test]
fn the_naive_matcher_follows_the_protocol() {
    let check = |pattern: &str, channel: &str, expected: bool| {
        assert_eq!(matches(&canonical(pattern), channel), expected, "{pattern} {channel}");
    };
    check("x:a", "x:a", true);
    check("x:a", "x:a/b", true);
    check("x:a/b", "x:a", false);
    check("x:a", "x:ab", false);
    check("x:**", "x:a", true);
    check("x:a/*", "x:a", false);
    check("repo:*/r", "repo:o/r/prs", true);
    check("*", "user:u", true);
    assert_eq!(route("repo:o/r", "pr_merged"), "repo:o/r/prs");
    assert_eq!(route("repo:o/r/s", "pr_merged"), "repo:o/r/s");
}
