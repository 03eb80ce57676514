//! Event kinds: the built-in catalogue, and the rule for custom ones.

use std::borrow::Cow;

/// Longest kind, in bytes.
pub const KIND_BYTES_MAX: usize = 64;

/// Every built-in kind in its wire form: the 23 of a repository hub in the order they are documented in, then continuous
/// integration, the memory store, and what this server adds.
pub const BUILT_IN: &[&str] = &NAMES;

/// What a built-in kind is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Pushes, branches and tags.
    Repository,
    /// Pull requests; routed to `/prs` of their repository.
    PullRequests,
    /// Issues; routed to `/issues` of their repository.
    Issues,
    /// Labels.
    Labels,
    /// Repositories themselves.
    Metadata,
    /// Who works on a repository.
    Collaboration,
    /// Workflow runs, their jobs, checks, and the lines of their logs.
    Ci,
    /// Memories and the references between them.
    Memory,
    /// Synchronisation of a memory store.
    Sync,
    /// How far a long task has come.
    Progress,
    /// Notifications of a user.
    Notifications,
    /// Who is on a channel.
    Presence,
    /// What the server tells on its own channels: who connects, what is subscribed to, announcements.
    Server,
    /// Nothing in particular.
    General,
}

/// The catalogue: every built-in kind and its group.
const CATALOGUE: [(&str, Group); 53] = [
    ("push", Group::Repository),
    ("branch_created", Group::Repository),
    ("branch_deleted", Group::Repository),
    ("tag_created", Group::Repository),
    ("tag_deleted", Group::Repository),
    ("pr_opened", Group::PullRequests),
    ("pr_closed", Group::PullRequests),
    ("pr_merged", Group::PullRequests),
    ("pr_updated", Group::PullRequests),
    ("pr_reopened", Group::PullRequests),
    ("pr_review", Group::PullRequests),
    ("pr_comment", Group::PullRequests),
    ("issue_opened", Group::Issues),
    ("issue_closed", Group::Issues),
    ("issue_reopened", Group::Issues),
    ("issue_updated", Group::Issues),
    ("issue_comment", Group::Issues),
    ("label_added", Group::Labels),
    ("label_removed", Group::Labels),
    ("repo_created", Group::Metadata),
    ("repo_updated", Group::Metadata),
    ("collaborator_added", Group::Collaboration),
    ("collaborator_removed", Group::Collaboration),
    ("workflow_run_requested", Group::Ci),
    ("workflow_run_in_progress", Group::Ci),
    ("workflow_run_completed", Group::Ci),
    ("workflow_job_queued", Group::Ci),
    ("workflow_job_in_progress", Group::Ci),
    ("workflow_job_completed", Group::Ci),
    ("check_run_created", Group::Ci),
    ("check_run_completed", Group::Ci),
    ("log_line", Group::Ci),
    ("memory_created", Group::Memory),
    ("memory_updated", Group::Memory),
    ("memory_deleted", Group::Memory),
    ("crossref_created", Group::Memory),
    ("crossref_deleted", Group::Memory),
    ("sync_started", Group::Sync),
    ("sync_completed", Group::Sync),
    ("sync_failed", Group::Sync),
    ("progress", Group::Progress),
    ("notification", Group::Notifications),
    ("notification_read", Group::Notifications),
    ("notification_deleted", Group::Notifications),
    ("presence_joined", Group::Presence),
    ("presence_left", Group::Presence),
    ("client_connected", Group::Server),
    ("client_disconnected", Group::Server),
    ("channel_occupied", Group::Server),
    ("channel_vacated", Group::Server),
    ("events_dropped", Group::Server),
    ("system", Group::Server),
    ("message", Group::General),
];

const NAMES: [&str; CATALOGUE.len()] = {
    let mut names = [""; CATALOGUE.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = CATALOGUE[at].0;
        at += 1;
    }
    names
};

/// Every built-in kind, in the order of the documentation.
///
/// ```
/// use fanfare::words::kind;
///
/// assert_eq!(kind::all()[..3], ["push", "branch_created", "branch_deleted"]);
/// ```
#[must_use]
pub fn all() -> &'static [&'static str] {
    BUILT_IN
}

/// The group of a built-in kind in its wire form; custom kinds have none.
#[must_use]
pub fn group(kind: &str) -> Option<Group> {
    CATALOGUE.iter().find(|(name, _)| *name == kind).map(|(_, group)| *group)
}

/// The form for people: in a built-in kind the `_` after the word for what it is about becomes a dot; others stay as they
/// are. [`normalise`] leads back.
///
/// ```
/// use fanfare::words::kind;
///
/// assert_eq!(kind::dotted("pr_opened"), "pr.opened");
/// assert_eq!(kind::dotted("workflow_run_in_progress"), "workflow_run.in_progress");
/// assert_eq!(kind::dotted("my_kind"), "my_kind");
/// ```
#[must_use]
pub fn dotted(kind: &str) -> Cow<'_, str> {
    let subject_end = || {
        let two_words = ["workflow_run", "workflow_job", "check_run"];
        let long = two_words.iter().find(|subject| kind.starts_with(*subject)).map(|subject| subject.len());
        long.or_else(|| kind.find('_'))
    };
    match group(kind).and_then(|_| subject_end()) {
        Some(end) => Cow::Owned(format!("{}.{}", &kind[..end], &kind[end + 1..])),
        None => Cow::Borrowed(kind),
    }
}

/// The kind that a webhook of this name stands for when nothing else about it is known, in any case and by its aliases:
/// `pr`, `pr_review`, `pr_comment`, `issues`. What a webhook's action and payload say comes first where there is one.
///
/// ```
/// use fanfare::words::kind;
///
/// assert_eq!(kind::from_webhook("Pull_Request"), Some("pr_opened"));
/// assert_eq!(kind::from_webhook("deployment"), None);
/// ```
#[must_use]
pub fn from_webhook(name: &str) -> Option<&'static str> {
    let is_meant = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    WEBHOOKS.iter().find(|(names, _)| is_meant(names)).map(|(_, kind)| *kind)
}

/// Names of webhooks, and the kind of each.
const WEBHOOKS: [(&[&str], &str); 10] = [
    (&["push"], "push"),
    (&["pull_request", "pr"], "pr_opened"),
    (&["pull_request_review", "pr_review"], "pr_review"),
    (&["pull_request_comment", "pr_comment"], "pr_comment"),
    (&["issue", "issues"], "issue_opened"),
    (&["issue_comment"], "issue_comment"),
    (&["create"], "branch_created"),
    (&["delete"], "branch_deleted"),
    (&["fork"], "repo_created"),
    (&["star"], "repo_updated"),
];

/// The wire form of `kind`: a built-in kind written with dots becomes snake_case, anything else that is
/// `[a-z0-9_.-]{1,64}` stays as it is.
///
/// # Errors
/// [`KindError`] for an empty or too long kind, or one with other bytes.
pub fn normalise(kind: &str) -> Result<Cow<'_, str>, KindError> {
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    if kind.is_empty() || KIND_BYTES_MAX < kind.len() || !kind.bytes().all(allowed) {
        return Err(KindError);
    }
    if kind.contains('.') {
        let snake = kind.replace('.', "_");
        if BUILT_IN.contains(&snake.as_str()) {
            return Ok(Cow::Owned(snake));
        }
    }
    Ok(Cow::Borrowed(kind))
}

/// The sub-channel of a repository that events of `kind` are routed to, if any.
#[must_use]
pub fn sub_channel(kind: &str) -> Option<&'static str> {
    // Most events are of other kinds, which need not be looked up to know that.
    if !kind.starts_with("pr_") && !kind.starts_with("issue_") {
        return None;
    }
    match group(kind)? {
        Group::PullRequests => Some("prs"),
        Group::Issues => Some("issues"),
        _ => None,
    }
}

/// A kind that is not `[a-z0-9_.-]{1,64}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event kind must be 1 to 64 characters of a-z, 0-9, '_', '.', '-'")]
pub struct KindError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_built_in_kinds_become_snake_case_and_custom_ones_stay() {
        let check = |kind: &str, expected: Result<&str, KindError>| {
            assert_eq!(normalise(kind).as_deref(), expected.as_ref().map(|s| *s), "{kind:?}");
        };
        check("push", Ok("push"));
        check("pr.opened", Ok("pr_opened"));
        check("workflow_run.in_progress", Ok("workflow_run_in_progress"));
        check("github.fork", Ok("github.fork"));
        check("my-kind_2.x", Ok("my-kind_2.x"));
        check("", Err(KindError));
        check("Push", Err(KindError));
        check("a\nb", Err(KindError));
        check(&"x".repeat(65), Err(KindError));
    }

    #[test]
    fn the_catalogue_is_in_wire_form_and_without_repeats() {
        for (index, kind) in BUILT_IN.iter().enumerate() {
            assert_eq!(normalise(kind).as_deref(), Ok(*kind));
            assert!(!BUILT_IN[..index].contains(kind), "{kind} stands twice");
        }
    }

    #[test]
    fn the_dotted_form_has_one_dot_and_leads_back() {
        let check = |kind: &str, expected: &str| assert_eq!(dotted(kind), expected);
        check("push", "push");
        check("branch_created", "branch.created");
        check("pr_opened", "pr.opened");
        check("issue_comment", "issue.comment");
        check("collaborator_removed", "collaborator.removed");
        check("check_run_completed", "check_run.completed");
        check("workflow_job_in_progress", "workflow_job.in_progress");
        check("memory_created", "memory.created");
        check("notification", "notification");
        check("workflow_run_", "workflow_run_");
        for kind in all() {
            assert_eq!(normalise(&dotted(kind)).as_deref(), Ok(*kind));
            assert!(dotted(kind).matches('.').count() <= 1);
        }
    }

    #[test]
    fn a_kind_is_routed_by_its_group_alone() {
        for (kind, group) in CATALOGUE {
            let expected = match group {
                Group::PullRequests => Some("prs"),
                Group::Issues => Some("issues"),
                _ => None,
            };
            assert_eq!(sub_channel(kind), expected, "{kind}");
        }
    }

    #[test]
    fn every_built_in_kind_has_a_group_and_a_route_by_it() {
        let check = |kind: &str, expected: Option<(Group, Option<&str>)>| {
            assert_eq!(group(kind).map(|group| (group, sub_channel(kind))), expected, "{kind}");
        };
        check("tag_deleted", Some((Group::Repository, None)));
        check("pr_review", Some((Group::PullRequests, Some("prs"))));
        check("issue_updated", Some((Group::Issues, Some("issues"))));
        check("label_added", Some((Group::Labels, None)));
        check("log_line", Some((Group::Ci, None)));
        check("crossref_created", Some((Group::Memory, None)));
        check("presence_left", Some((Group::Presence, None)));
        check("pr_", None);
        check("message", Some((Group::General, None)));
    }

    #[test]
    fn webhook_names_and_their_aliases() {
        let check =
            |names: &[&str], expected| names.iter().for_each(|name| assert_eq!(from_webhook(name), expected));
        check(&["push", "PUSH"], Some("push"));
        check(&["pull_request", "pr", "Pr"], Some("pr_opened"));
        check(&["pull_request_review", "pr_review"], Some("pr_review"));
        check(&["pull_request_comment", "pr_comment"], Some("pr_comment"));
        check(&["issue", "issues", "Issues"], Some("issue_opened"));
        check(&["issue_comment"], Some("issue_comment"));
        check(&["create"], Some("branch_created"));
        check(&["delete"], Some("branch_deleted"));
        check(&["fork"], Some("repo_created"));
        check(&["star"], Some("repo_updated"));
        check(&["", "pull", "ping", "star "], None);
    }
}
