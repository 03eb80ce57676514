//! Typed payloads: what the `data` of built-in kinds looks like, for those who want it checked or composed for them.
//!
//! # Contract       nothing forces their use; what is composed here validates here
//! # Invariants     members beyond those of a payload are allowed and ignored: real ones have more
//! # Bounds         validation reads the text once and builds nothing but the payload itself
//!
//! ```
//! use fanfare::payload::{PullRequest, PullRequestState, validate};
//!
//! let pull_request = PullRequest {
//!     number: 7,
//!     title: "Louder trumpets".into(),
//!     author: "alice".into(),
//!     source_branch: "brass".into(),
//!     target_branch: "main".into(),
//!     state: PullRequestState::Open,
//! };
//! let data = serde_json::to_string(&pull_request)?;
//! assert_eq!(validate("pr_opened", &data), Ok(()));
//!
//! let error = validate("pr_opened", r#"{"number":"seven"}"#).unwrap_err();
//! assert_eq!(error.field.as_deref(), Some("number"));
//! # Ok::<(), serde_json::Error>(())
//! ```

mod ci;
mod memory;
mod preview;
mod progress;
mod repository;
mod validate;

pub use ci::{CheckRun, LogLevel, LogLine, WorkflowJob, WorkflowRun, log_channel};
pub use memory::{
    Memory, SyncCompleted, SyncFailed, memory_created, memory_deleted, memory_updated, sync_completed,
    sync_failed,
};
pub use preview::{PREVIEW_CHARS_MAX, preview};
pub use progress::{Progress, ProgressToken, progress, scaled_fraction};
pub use repository::{Comment, Issue, IssueState, PullRequest, PullRequestState, Push, Review, ReviewState};
pub use validate::{PayloadError, validate};

/// An event as it is composed here: everything but where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// A built-in kind.
    pub kind: &'static str,
    /// The entities it is about.
    pub ids: Vec<String>,
    /// A JSON object.
    pub data: String,
}
