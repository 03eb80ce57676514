//! The twelve types of notifications.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// What a notification is about. The order is that of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum NotificationKind {
    /// The user was mentioned.
    Mention,
    /// Something was assigned to the user.
    Assigned,
    /// The user's review is asked for.
    ReviewRequested,
    /// A pull request was merged.
    PrMerged,
    /// A pull request was closed without being merged.
    PrClosed,
    /// Somebody commented.
    NewComment,
    /// A review was submitted.
    ReviewSubmitted,
    /// An issue was closed.
    IssueClosed,
    /// Somebody pushed.
    Push,
    /// The user joined a team.
    TeamAdded,
    /// The user became a collaborator.
    CollaboratorAdded,
    /// A workflow has run to its end.
    WorkflowCompleted,
}

impl NotificationKind {
    /// Every kind, in the order of the catalogue.
    pub const ALL: [NotificationKind; 12] = [
        NotificationKind::Mention,
        NotificationKind::Assigned,
        NotificationKind::ReviewRequested,
        NotificationKind::PrMerged,
        NotificationKind::PrClosed,
        NotificationKind::NewComment,
        NotificationKind::ReviewSubmitted,
        NotificationKind::IssueClosed,
        NotificationKind::Push,
        NotificationKind::TeamAdded,
        NotificationKind::CollaboratorAdded,
        NotificationKind::WorkflowCompleted,
    ];

    /// Reads a name as [`NotificationKind::as_str`] writes it.
    ///
    /// # Errors
    /// [`UnknownKind`] for any other text.
    pub fn parse(name: &str) -> Result<NotificationKind, UnknownKind> {
        NotificationKind::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or(UnknownKind)
    }

    /// The name on the wire, snake_case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.entry().name
    }

    /// The words for people.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.entry().label
    }

    /// The name of the icon that is shown beside it.
    #[must_use]
    pub fn icon(self) -> &'static str {
        self.entry().icon
    }

    /// Whether a user who never chose gets it.
    #[must_use]
    pub fn is_on_by_default(self) -> bool {
        self.entry().is_on_by_default
    }

    const fn entry(self) -> Entry {
        const fn entry(
            name: &'static str,
            label: &'static str,
            icon: &'static str,
            is_on_by_default: bool,
        ) -> Entry {
            Entry { name, label, icon, is_on_by_default }
        }
        match self {
            NotificationKind::Mention => entry("mention", "Mentioned", "at", true),
            NotificationKind::Assigned => entry("assigned", "Assigned", "user", true),
            NotificationKind::ReviewRequested => entry("review_requested", "Review Requested", "eye", true),
            NotificationKind::PrMerged => entry("pr_merged", "PR Merged", "git-merge", true),
            NotificationKind::PrClosed => entry("pr_closed", "PR Closed", "git-pull-request", false),
            NotificationKind::NewComment => entry("new_comment", "New Comment", "message", true),
            NotificationKind::ReviewSubmitted => {
                entry("review_submitted", "Review Submitted", "check-circle", true)
            }
            NotificationKind::IssueClosed => entry("issue_closed", "Issue Closed", "issue-closed", false),
            NotificationKind::Push => entry("push", "New Push", "upload", false),
            NotificationKind::TeamAdded => entry("team_added", "Team Added", "users", false),
            NotificationKind::CollaboratorAdded => {
                entry("collaborator_added", "Collaborator Added", "user-plus", false)
            }
            NotificationKind::WorkflowCompleted => {
                entry("workflow_completed", "Workflow Completed", "activity", false)
            }
        }
    }
}

/// A row of the catalogue.
struct Entry {
    name: &'static str,
    label: &'static str,
    icon: &'static str,
    is_on_by_default: bool,
}

impl fmt::Display for NotificationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for NotificationKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl TryFrom<String> for NotificationKind {
    type Error = UnknownKind;

    fn try_from(name: String) -> Result<NotificationKind, UnknownKind> {
        NotificationKind::parse(&name)
    }
}

/// A text that names none of the twelve types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the type of a notification is one of mention, assigned, review_requested, pr_merged, pr_closed, new_comment, \
     review_submitted, issue_closed, push, team_added, collaborator_added, workflow_completed"
)]
pub struct UnknownKind;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_of_types() {
        let rows: Vec<_> = NotificationKind::ALL
            .into_iter()
            .map(|kind| (kind.as_str(), kind.label(), kind.icon(), kind.is_on_by_default()))
            .collect();
        let expected = [
            ("mention", "Mentioned", "at", true),
            ("assigned", "Assigned", "user", true),
            ("review_requested", "Review Requested", "eye", true),
            ("pr_merged", "PR Merged", "git-merge", true),
            ("pr_closed", "PR Closed", "git-pull-request", false),
            ("new_comment", "New Comment", "message", true),
            ("review_submitted", "Review Submitted", "check-circle", true),
            ("issue_closed", "Issue Closed", "issue-closed", false),
            ("push", "New Push", "upload", false),
            ("team_added", "Team Added", "users", false),
            ("collaborator_added", "Collaborator Added", "user-plus", false),
            ("workflow_completed", "Workflow Completed", "activity", false),
        ];
        assert_eq!(rows, expected);
        assert!(NotificationKind::ALL.is_sorted(), "the order of the enum is the order of the catalogue");
    }

    #[test]
    fn names_read_back_and_other_texts_do_not() {
        for kind in NotificationKind::ALL {
            assert_eq!(NotificationKind::parse(&kind.to_string()), Ok(kind));
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{kind}\""));
            assert_eq!(serde_json::from_str::<NotificationKind>(&json).unwrap(), kind);
            assert!(UnknownKind.to_string().contains(kind.as_str()), "the error names {kind}");
        }
        for text in ["", "Mention", "pr.merged", "mention ", "merged"] {
            assert_eq!(NotificationKind::parse(text), Err(UnknownKind), "{text:?}");
        }
    }
}
