//! Event kinds: the built-in catalogue, and the rule for custom ones.

use std::borrow::Cow;

/// Longest kind, in bytes.
pub const KIND_BYTES_MAX: usize = 64;

/// Every built-in kind in its wire form, grouped as in the two reference systems.
pub const BUILT_IN: &[&str] = &[
    // Repository hub.
    "push",
    "branch_created",
    "branch_deleted",
    "tag_created",
    "tag_deleted",
    "pr_opened",
    "pr_closed",
    "pr_merged",
    "pr_updated",
    "pr_reopened",
    "pr_review",
    "pr_comment",
    "issue_opened",
    "issue_closed",
    "issue_reopened",
    "issue_updated",
    "issue_comment",
    "label_added",
    "label_removed",
    "repo_created",
    "repo_updated",
    "collaborator_added",
    "collaborator_removed",
    // Continuous integration.
    "workflow_run_requested",
    "workflow_run_in_progress",
    "workflow_run_completed",
    "workflow_job_queued",
    "workflow_job_in_progress",
    "workflow_job_completed",
    "check_run_created",
    "check_run_completed",
    // Memory store.
    "memory_created",
    "memory_updated",
    "memory_deleted",
    "crossref_created",
    "crossref_deleted",
    "sync_started",
    "sync_completed",
    "sync_failed",
    "progress",
];

/// The wire form of `kind`: a built-in kind written with dots becomes snake_case, anything else that is
/// `[a-z0-9_.-]{1,64}` stays as it is.
///
/// # Errors
/// [`KindError`] for an empty or too long kind, or one with other bytes.
pub fn normalise(kind: &str) -> Result<Cow<'_, str>, KindError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
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
    match kind {
        "pr_opened" | "pr_closed" | "pr_merged" | "pr_updated" | "pr_reopened" | "pr_review"
        | "pr_comment" => Some("prs"),
        "issue_opened" | "issue_closed" | "issue_reopened" | "issue_updated" | "issue_comment" => {
            Some("issues")
        }
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
}
