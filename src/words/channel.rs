//! Channel names, and the patterns that subscriptions are made of.
//!
//! ```text
//! channel   := namespace ":" segment ("/" segment)*        at most 255 bytes, 8 segments
//! namespace := [A-Za-z0-9_.-]+        segment := [A-Za-z0-9_.:-]+
//! pattern   := "*"  |  namespace ":" (segment | "*") ("/" (segment | "*"))* ["/" "**"]
//! ```
//!
//! A pattern matches a channel if it matches the channel itself or one of its ancestors: `repo:a/b` gets
//! `repo:a/b/prs`. So every pattern is a prefix, and `**` at the end asks only for at least one more segment.
//!
//! What is matched is not the channel alone but its [`Route`]: the event's workspace and the channel that its kind leads
//! to. A [`Pattern`] stands in a [`Scope`] of workspaces, so that no look-up, no link and no gap ever crosses from one
//! workspace into another.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arcstr::ArcStr;

use super::kind;
use super::workspace::{Scope, Workspace};

/// Longest channel name and pattern, in bytes.
pub const CHANNEL_BYTES_MAX: usize = 255;

/// Most path segments of a channel (the namespace not counted).
pub const CHANNEL_SEGMENTS_MAX: usize = 8;

/// The channel of announcements: every stream gets its events, and nobody can publish on it.
pub const ANNOUNCEMENTS: &str = "sys:announcements";

/// Whether publishers may not use `channel`, nor subscribers without the right of an administrator: the namespace `sys`
/// is the server's own.
#[must_use]
pub fn is_reserved(channel: &str) -> bool {
    channel.starts_with("sys:")
}

/// The name of a channel that events are published on; valid by construction, cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

impl Channel {
    /// Checks `name` against the grammar. Cost: one pass over the bytes.
    ///
    /// # Errors
    /// Says which rule the name breaks; the texts that reference system B fixes are kept word for word.
    ///
    /// ```
    /// use fanfare::words::channel::Channel;
    ///
    /// assert_eq!(Channel::parse("repo:alice/demo/prs").unwrap().to_string(), "repo:alice/demo/prs");
    /// let error = Channel::parse("repo:only").unwrap_err();
    /// assert_eq!(error.to_string(), "repository channel requires owner/name format: only");
    /// ```
    pub fn parse(name: &str) -> Result<Channel, ChannelError> {
        ChannelName::parse(name).map(|name| Channel(name.0.into()))
    }

    /// The name, lent.
    #[must_use]
    pub fn name(&self) -> ChannelName<'_> {
        ChannelName(&self.0)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The route of an event of `kind` published here by `workspace`: see [`ChannelName::route`].
    ///
    /// # Errors
    /// [`ChannelError::OtherWorkspace`] if the channel belongs to another workspace.
    pub fn route(&self, kind: &str, workspace: Option<&Workspace>) -> Result<Route, ChannelError> {
        let parts = self.name().route(kind, workspace)?;
        if parts.is_channel() {
            return Ok(Route(Arc::clone(&self.0)));
        }
        Ok(Route(parts.pieces().concat().into()))
    }
}

/// The name of a channel that is lent instead of owned; valid by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelName<'a>(&'a str);

impl<'a> ChannelName<'a> {
    /// Checks `name` against the grammar, as [`Channel::parse`] does. Cost: one pass over the bytes.
    ///
    /// # Errors
    /// Says which rule the name breaks.
    pub fn parse(name: &'a str) -> Result<ChannelName<'a>, ChannelError> {
        if is_plain(name) {
            return Ok(ChannelName(name));
        }
        let path = check_shape(name)?;
        if path.split('/').any(|segment| segment.contains('*')) {
            return Err(ChannelError::Wildcard(name.into()));
        }
        Ok(ChannelName(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The route of an event of `kind` published here by `workspace`: pull-request and issue kinds of a repository are
    /// matched, kept and linked on its `/prs` and `/issues`; everything else where it was published. A channel of the
    /// namespace `memory` belongs to the workspace it names.
    ///
    /// # Errors
    /// [`ChannelError::OtherWorkspace`] if the channel belongs to another workspace.
    pub fn route(self, kind: &str, workspace: Option<&'a Workspace>) -> Result<RouteParts<'a>, ChannelError> {
        let own = own_workspace(self.0);
        if let (Some(own), Some(said)) = (own, workspace)
            && own != said.as_str()
        {
            return Err(ChannelError::OtherWorkspace(self.0.into()));
        }
        let is_bare_repository =
            self.0.starts_with("repo:") && self.0.bytes().filter(|&b| b == b'/').count() == 1;
        let sub_channel = if is_bare_repository { kind::sub_channel(kind) } else { None };
        let sub_channel = sub_channel.filter(|sub| self.0.len() + 1 + sub.len() <= CHANNEL_BYTES_MAX);
        Ok(RouteParts { workspace: own.or(workspace.map(Workspace::as_str)), channel: self.0, sub_channel })
    }
}

impl<'a> From<&'a Channel> for ChannelName<'a> {
    fn from(channel: &'a Channel) -> ChannelName<'a> {
        channel.name()
    }
}

/// What a [`Route`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteParts<'a> {
    /// The workspace it lies in.
    pub workspace: Option<&'a str>,
    channel: &'a str,
    sub_channel: Option<&'static str>,
}

impl<'a> RouteParts<'a> {
    /// Whether the route is the name of the channel and nothing more.
    #[must_use]
    pub fn is_channel(&self) -> bool {
        self.workspace.is_none() && self.sub_channel.is_none()
    }

    /// The text of the route, piece by piece.
    #[must_use]
    pub fn pieces(&self) -> [&'a str; 5] {
        let (workspace, at) = self.workspace.map_or(("", ""), |workspace| (workspace, "@"));
        let (slash, sub_channel) = self.sub_channel.map_or(("", ""), |sub| ("/", sub));
        [workspace, at, self.channel, slash, sub_channel]
    }
}

/// The workspace that a channel or pattern of the namespace `memory` names.
#[must_use]
pub fn own_workspace(name: &str) -> Option<&str> {
    let path = name.strip_prefix("memory:")?;
    path.split('/').next().filter(|segment| !segment.contains('*'))
}

/// What an event is matched on, kept under and linked by: `[workspace "@"] channel`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route(Arc<str>);

impl Route {
    /// The route of announcements, which everybody gets.
    #[must_use]
    pub fn announcements() -> Route {
        Route(ANNOUNCEMENTS.into())
    }

    /// The route as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The workspace that the route lies in, and the channel.
    #[must_use]
    pub fn parts(&self) -> (Option<&str>, &str) {
        split_scope(&self.0)
    }
}

/// A [`Route`] that is lent instead of owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteName<'a>(&'a str);

impl<'a> RouteName<'a> {
    /// `text` is what [`RouteParts::pieces`] are together, or a route's own.
    #[cfg(not(fanfare_loom))]
    pub(crate) fn of_text(text: &'a str) -> RouteName<'a> {
        RouteName(text)
    }

    /// The route as text.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The workspace that the route lies in, and the channel.
    #[must_use]
    pub fn parts(self) -> (Option<&'a str>, &'a str) {
        split_scope(self.0)
    }

    /// The route, to keep.
    #[must_use]
    pub fn to_route(self) -> Route {
        Route(self.0.into())
    }
}

impl<'a> From<&'a Route> for RouteName<'a> {
    fn from(route: &'a Route) -> RouteName<'a> {
        RouteName(&route.0)
    }
}

/// Takes a route or scoped pattern apart.
fn split_scope(text: &str) -> (Option<&str>, &str) {
    match text.split_once('@') {
        Some((workspace, name)) => (Some(workspace), name),
        None => (None, text),
    }
}

/// The route of an event without a workspace and of a kind that leads nowhere else.
impl From<&Channel> for Route {
    fn from(channel: &Channel) -> Route {
        match own_workspace(&channel.0) {
            Some(own) => Route([own, "@", &channel.0].concat().into()),
            None => Route(Arc::clone(&channel.0)),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Route({})", self.0)
    }
}

impl std::borrow::Borrow<str> for Route {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({})", self.0)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a subscription names: a channel, a subtree, or a wildcard; valid by construction, cheap to clone. A `**` is
/// kept as `*`, which says the same, since a pattern covers everything below it. Eight bytes, as subscriptions have two.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(ArcStr);

impl Pattern {
    /// The pattern of announcements.
    #[must_use]
    pub fn announcements() -> Pattern {
        Pattern(arcstr::literal!(ANNOUNCEMENTS))
    }

    /// Checks `text` against the grammar of patterns. Every channel name is a pattern.
    ///
    /// # Errors
    /// As [`Channel::parse`], and for a `*` that is not a whole segment or a `**` that is not the last one.
    pub fn parse(text: &str) -> Result<Pattern, ChannelError> {
        if text == "*" {
            return Ok(Pattern(text.into()));
        }
        let path = check_shape(text)?;
        let mut segments = path.split('/').peekable();
        while let Some(segment) = segments.next() {
            let wildcard_is_whole = segment == "*" || (segment == "**" && segments.peek().is_none());
            if segment.contains('*') && !wildcard_is_whole {
                return Err(ChannelError::Wildcard(text.into()));
            }
        }
        Ok(Pattern(text.strip_suffix('*').filter(|rest| rest.ends_with('*')).unwrap_or(text).into()))
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This pattern in `scope`, or nothing if it names another workspace than the scope does. A pattern on `memory:x`
    /// names the workspace `x` by itself.
    ///
    /// `self` must not stand in a scope yet.
    #[must_use]
    pub fn scoped(&self, scope: &Scope) -> Option<Pattern> {
        debug_assert!(!self.0.contains('@'), "{self:?} stands in a scope already");
        match (own_workspace(&self.0), scope) {
            (None, Scope::None) => Some(self.clone()),
            (None, Scope::One(workspace)) => Some(self.within(workspace.as_str())),
            (None, Scope::Any) => Some(self.within("*")),
            (Some(own), Scope::One(workspace)) if own != workspace.as_str() => None,
            (Some(own), _) => Some(self.within(own)),
        }
    }

    fn within(&self, scope: &str) -> Pattern {
        Pattern([scope, "@", &self.0].concat().into())
    }

    /// Whether this is a pattern for everything in every workspace.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        &*self.0 == "*@*"
    }

    /// The workspace, or `*`, that it stands in.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        split_scope(&self.0).0
    }

    /// The pattern without its scope, as clients write it.
    #[must_use]
    pub fn name(&self) -> &str {
        split_scope(&self.0).1
    }

    /// The steps from the root of a tree of routes to where this pattern stands.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let (scope, name) = split_scope(&self.0);
        let name = if name == "*" { "" } else { name };
        let step = |segment| if segment == "*" { Step::Any } else { Step::Named(segment) };
        std::iter::once(step(scope.unwrap_or_default())).chain(name_steps(name).map(step))
    }

    /// Whether the channel of `route` or one of its ancestors is what this pattern says, in the workspace it says.
    /// Cost: one pass over both.
    ///
    /// ```
    /// use fanfare::words::channel::Pattern;
    ///
    /// let pattern = Pattern::parse("repo:alice/*")?;
    /// assert!(pattern.matches("repo:alice/demo") && pattern.matches("repo:alice/demo/prs"));
    /// assert!(!pattern.matches("repo:bob/demo"));
    /// # Ok::<(), fanfare::words::channel::ChannelError>(())
    /// ```
    #[must_use]
    pub fn matches(&self, route: &str) -> bool {
        let mut names = route_steps(route);
        self.steps().all(|step| match (step, names.next()) {
            (_, None) => false,
            (Step::Any, Some(_)) => true,
            (Step::Named(wanted), Some(name)) => wanted == name,
        })
    }

    /// Whether everything that `other` matches, a pattern or channel outside of all scopes, is matched by this one, which
    /// stands outside of them too. Cost: one pass over both.
    ///
    /// ```
    /// use fanfare::words::channel::Pattern;
    ///
    /// let pattern = Pattern::parse("repo:alice/*")?;
    /// assert!(pattern.contains("repo:alice/demo/prs") && pattern.contains("repo:alice/*"));
    /// assert!(!pattern.contains("repo:*/demo") && !pattern.contains("repo:*") && !pattern.contains("*"));
    /// # Ok::<(), fanfare::words::channel::ChannelError>(())
    /// ```
    #[must_use]
    pub fn contains(&self, other: &str) -> bool {
        let steps_of = |name| name_steps(if name == "*" { "" } else { name });
        // Both match whatever begins as they do, so this one must end first and be no narrower on the way.
        let mut others = steps_of(other);
        steps_of(self.name()).all(|own| others.next().is_some_and(|step| own == "*" || own == step))
    }

    /// The literal text every matching route starts with.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        self.0.split('*').next().unwrap_or_default()
    }
}

impl std::borrow::Borrow<str> for Pattern {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.0)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The segment of this name.
    Named(&'a str),
    /// Any one segment.
    Any,
}

/// The steps of a route: its workspace (empty for none), its namespace, then its path segments.
pub fn route_steps(route: &str) -> impl Iterator<Item = &str> {
    let (workspace, name) = split_scope(route);
    std::iter::once(workspace.unwrap_or_default()).chain(name_steps(name))
}

/// The steps of a channel name: its namespace, then its path segments. An empty name has none.
fn name_steps(name: &str) -> impl Iterator<Item = &str> {
    let (namespace, path) = name.split_once(':').unwrap_or((name, ""));
    std::iter::once(namespace).chain(path.split('/')).filter(|step| !step.is_empty())
}

/// Why a name is not a channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// No `:` parts a namespace from a path.
    #[error("missing channel type prefix: {0}")]
    NoNamespace(String),
    /// The namespace is empty, or has bytes that a namespace may not have.
    #[error("unknown channel type: {0}")]
    BadNamespace(String),
    /// A repository has an owner and a name.
    #[error("repository channel requires owner/name format: {0}")]
    NoRepositoryName(String),
    /// A segment is empty.
    #[error("channel identifier cannot be empty: {0}")]
    Empty(String),
    /// `user:` and `org:` have one segment only.
    #[error("channel takes no sub-channel: {0}")]
    NoSubChannel(String),
    /// A byte outside `[A-Za-z0-9_.:/-]`.
    #[error("channel has a character that is not allowed")]
    BadByte,
    /// More than [`CHANNEL_BYTES_MAX`] bytes.
    #[error("channel is longer than {CHANNEL_BYTES_MAX} bytes")]
    TooLong,
    /// More than [`CHANNEL_SEGMENTS_MAX`] segments.
    #[error("channel has more than {CHANNEL_SEGMENTS_MAX} segments")]
    TooDeep,
    /// A `*` where none may stand.
    #[error("wildcard is not allowed here: {0}")]
    Wildcard(String),
    /// The first segment of a `memory:` channel is no workspace.
    #[error("a memory channel begins with a workspace of 1 to 64 characters of a-z, 0-9, '_', '-': {0}")]
    BadWorkspace(String),
    /// The event says another workspace than its channel does.
    #[error("the channel belongs to another workspace: {0}")]
    OtherWorkspace(String),
}

/// Whether `name` is a channel beyond doubt: what most names look like, told in one pass. Others may be channels too.
fn is_plain(name: &str) -> bool {
    let Some((namespace, path)) = name.split_once(':') else { return false };
    if CHANNEL_BYTES_MAX < name.len() || !is_namespace(namespace) {
        return false;
    }
    let (mut segments, mut is_empty) = (1, true);
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b':' => is_empty = false,
            b'/' if !is_empty => (segments, is_empty) = (segments + 1, true),
            _ => return false,
        }
    }
    let fits = match namespace {
        "repo" => 2..=CHANNEL_SEGMENTS_MAX,
        "user" | "org" => 1..=1,
        // Its first segment is a workspace, which has rules of its own.
        "memory" => return false,
        _ => 1..=CHANNEL_SEGMENTS_MAX,
    };
    !is_empty && fits.contains(&segments)
}

/// Checks what channels and patterns share and returns the path.
fn check_shape(name: &str) -> Result<&str, ChannelError> {
    if CHANNEL_BYTES_MAX < name.len() {
        return Err(ChannelError::TooLong);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-:/*".contains(&b);
    if !name.bytes().all(allowed) {
        return Err(ChannelError::BadByte);
    }
    let Some((namespace, path)) = name.split_once(':') else {
        return Err(ChannelError::NoNamespace(name.into()));
    };
    if namespace.is_empty() || namespace.contains(['/', '*']) {
        return Err(ChannelError::BadNamespace(namespace.into()));
    }
    let segments = path.split('/').count();
    match namespace {
        "repo" if segments < 2 && !path.contains('*') => {
            return Err(ChannelError::NoRepositoryName(path.into()));
        }
        "user" | "org" if 1 < segments => return Err(ChannelError::NoSubChannel(name.into())),
        _ => {}
    }
    if path.split('/').any(str::is_empty) {
        return Err(ChannelError::Empty(path.into()));
    }
    if CHANNEL_SEGMENTS_MAX < segments {
        return Err(ChannelError::TooDeep);
    }
    if own_workspace(name)
        .is_some_and(|own| Workspace::parse(own).is_none_or(|normal| normal.as_str() != own))
    {
        return Err(ChannelError::BadWorkspace(name.into()));
    }
    Ok(path)
}

/// Whether `text` may stand in front of a channel's `:`.
#[must_use]
pub fn is_namespace(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// The text of the namespace of `channel` (everything before its first `:`).
#[must_use]
pub fn namespace_of(channel: &str) -> Cow<'_, str> {
    Cow::Borrowed(channel.split_once(':').map_or(channel, |(namespace, _)| namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_grammar() {
        let check = |name: &str, expected: Result<(), &str>| {
            let got = Channel::parse(name).map(|_| ()).map_err(|e| e.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{name:?}");
            assert!(!is_plain(name) || check_shape(name).is_ok() && !name.contains('*'), "{name:?}");
        };
        check("repo:alice/demo", Ok(()));
        check("repo:alice/demo/prs", Ok(()));
        check("repo:a:b/c", Ok(()));
        check("user:alice", Ok(()));
        check("org:acme", Ok(()));
        check("jobs:42", Ok(()));
        check("invalid", Err("missing channel type prefix: invalid"));
        check("", Err("missing channel type prefix: "));
        check(":x", Err("unknown channel type: "));
        check("repo:", Err("repository channel requires owner/name format: "));
        check("repo:only", Err("repository channel requires owner/name format: only"));
        check("repo:/", Err("channel identifier cannot be empty: /"));
        check("repo:a/", Err("channel identifier cannot be empty: a/"));
        check("repo:a/b/", Err("channel identifier cannot be empty: a/b/"));
        check("user:", Err("channel identifier cannot be empty: "));
        check("user:a/b", Err("channel takes no sub-channel: user:a/b"));
        check("repo:a/*", Err("wildcard is not allowed here: repo:a/*"));
        check("repo:a b/c", Err("channel has a character that is not allowed"));
        check("repo:a/b\n", Err("channel has a character that is not allowed"));
        check("sys:x", Ok(()));
        check("a_b-c.d:x", Ok(()));
        check("a/b:x", Err("unknown channel type: a/b"));
        check("jobs:", Err("channel identifier cannot be empty: "));
        check("jobs://", Err("channel identifier cannot be empty: //"));
        check("jobs:a//b", Err("channel identifier cannot be empty: a//b"));
        check("memory:default", Ok(()));
        check(
            "memory:Default",
            Err(
                "a memory channel begins with a workspace of 1 to 64 characters of a-z, 0-9, '_', '-': memory:Default",
            ),
        );
        check("job:1/2/3/4/5/6/7/8", Ok(()));
        check("job:1/2/3/4/5/6/7/8/9", Err("channel has more than 8 segments"));
        check(&format!("job:{}", "x".repeat(252)), Err("channel is longer than 255 bytes"));
    }

    #[test]
    fn pattern_grammar() {
        let check =
            |text: &str, expected: bool| assert_eq!(Pattern::parse(text).is_ok(), expected, "{text:?}");
        check("*", true);
        check("repo:*", true);
        check("repo:**", true);
        check("repo:alice/*", true);
        check("repo:*/demo", true);
        check("repo:alice/**", true);
        check("repo:**/demo", false);
        check("repo:al*ce/demo", false);
        check("**", false);
        check("*:x", false);
    }

    #[test]
    fn a_pattern_matches_a_channel_and_everything_below_it() {
        let check = |pattern: &str, channel: &str, expected: bool| {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(channel), expected, "{pattern} {channel}");
        };
        check("*", "user:alice", true);
        check("repo:a/b", "repo:a/b", true);
        check("repo:a/b", "repo:a/b/prs", true);
        check("repo:a/b", "repo:a/bc", false);
        check("repo:a/b/prs", "repo:a/b", false);
        check("repo:a/*", "repo:a/b", true);
        check("repo:a/*", "repo:a/b/prs", true);
        check("repo:*/b", "repo:a/b/prs", true);
        check("repo:*/b", "repo:a/c", false);
        check("repo:**", "repo:a/b", true);
        check("repo:a/**", "repo:a/b", true);
        check("user:*", "repo:a/b", false);
    }

    #[test]
    fn kinds_of_pull_requests_and_issues_are_routed_below_their_repository() {
        let check = |channel: &str, kind: &str, expected: &str| {
            let route = Channel::parse(channel).unwrap().route(kind, None).unwrap();
            assert_eq!(route.as_str(), expected);
        };
        check("repo:a/b", "pr_opened", "repo:a/b/prs");
        check("repo:a/b", "issue_comment", "repo:a/b/issues");
        check("repo:a/b", "push", "repo:a/b");
        check("repo:a/b/c", "pr_opened", "repo:a/b/c");
        check("org:a", "pr_opened", "org:a");
    }

    #[test]
    fn a_workspace_is_a_wall() {
        let check = |pattern: &str, scope: &str, channel: &str, workspace: &str, expected: bool| {
            let scope = match scope {
                "" => Scope::None,
                "*" => Scope::Any,
                name => Scope::One(Workspace::parse(name).unwrap()),
            };
            let workspace = (!workspace.is_empty()).then(|| Workspace::parse(workspace).unwrap());
            let route = Channel::parse(channel).unwrap().route("k", workspace.as_ref()).unwrap();
            let matches =
                Pattern::parse(pattern).unwrap().scoped(&scope).is_some_and(|p| p.matches(route.as_str()));
            assert_eq!(matches, expected, "{pattern} in {scope:?}, {route:?}");
        };
        check("t:a", "", "t:a", "", true);
        check("t:a", "", "t:a", "acme", false);
        check("*", "", "t:a", "acme", false);
        check("t:a", "acme", "t:a/b", "acme", true);
        check("t:a", "acme", "t:a", "", false);
        check("t:a", "acme", "t:a", "other", false);
        check("*", "acme", "t:a", "acme", true);
        check("t:a", "*", "t:a", "acme", true);
        check("*", "*", "t:a", "", true);
        check("memory:acme", "", "memory:acme", "", true);
        check("memory:acme", "*", "memory:acme", "acme", true);
        check("memory:acme", "other", "memory:acme", "", false);
        check("memory:*", "", "memory:acme", "", false);
        check("memory:**", "acme", "memory:acme/x", "", true);
        check("memory:*", "acme", "memory:acme", "", true);
        check("*", "", "memory:acme", "", false);
    }

    #[test]
    fn an_event_cannot_be_put_into_the_memory_of_another_workspace() {
        let channel = Channel::parse("memory:acme").unwrap();
        assert!(channel.route("k", Workspace::parse("acme").as_ref()).is_ok());
        assert!(channel.route("k", Workspace::parse("other").as_ref()).is_err());
    }
}
