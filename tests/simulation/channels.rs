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
    "memory:w1",
    "memory:w2/n",
];

/// The channel of announcements, which everybody gets and nobody publishes on.
pub(crate) const ANNOUNCEMENTS: &str = "sys:announcements";

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
    "memory:w1",
    "memory:*",
];

/// What clients of the dialect `guts` may subscribe to.
pub(crate) const GUTS_PATTERNS: &[&str] =
    &["repo:o/r", "repo:o/r/prs", "repo:p/r", "user:u", "repo:o/*", "repo:*/r", "repo:**"];

/// As its client library spells them.
pub(crate) const SDK_PATTERNS: &[&str] = &["o/r", "all", "repo:o/r/issues", "user:u", "o/s", "repo:o/**"];

/// Kinds as publishers write them, and as everybody reads them.
pub(crate) const KINDS: &[(&str, &str)] = &[
    ("push", "push"),
    ("pr_opened", "pr_opened"),
    ("pr.merged", "pr_merged"),
    ("issue_closed", "issue_closed"),
    ("issue.comment", "issue_comment"),
    ("my.own-kind", "my.own-kind"),
    ("memory_created", "memory_created"),
    ("progress", "progress"),
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

/// A pattern as the server lists it: `**` says the same as `*`, and a client library has spellings of its own.
pub(crate) fn canonical(pattern: &str) -> String {
    match pattern {
        "all" => "*".to_owned(),
        _ if !pattern.contains(':') && pattern.contains('/') => format!("repo:{pattern}"),
        _ => pattern.replace("**", "*"),
    }
}

/// The workspace that a channel or canonical pattern of the namespace `memory` belongs to.
pub(crate) fn own_workspace(name: &str) -> Option<&str> {
    let first = name.strip_prefix("memory:")?.split('/').next()?;
    (first != "*").then_some(first)
}

/// Whether the canonical `pattern` gets events routed to `channel`: it names the channel or one of its ancestors.
pub(crate) fn matches(pattern: &str, channel: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    if !pattern.contains('*') {
        let below = channel.strip_prefix(pattern);
        return below.is_some_and(|below| below.is_empty() || below.starts_with('/'));
    }
    let mut got = channel.split([':', '/']);
    let is_next = |wanted: &str| got.next().is_some_and(|got| wanted == "*" || wanted == got);
    pattern.split([':', '/']).all(is_next)
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
    check("all", "user:u", true);
    check("o/r", "repo:o/r/prs", true);
    assert_eq!(route("repo:o/r", "pr_merged"), "repo:o/r/prs");
    assert_eq!(route("repo:o/r/s", "pr_merged"), "repo:o/r/s");
}
