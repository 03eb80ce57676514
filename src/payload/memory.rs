//! Events of a memory store, in the form that the `engram` dialect takes apart again.
//!
//! Its wire has the fields `memory_id`, `preview`, `changes` and `data`; ours has `ids` and one object. So `ids` holds the
//! memory's number as text, and the object's `preview` (a string), `changes` (a list of names) and `workspace` are the
//! members of that name. The `changes` of a finished synchronisation is a number and no such list: it belongs to `data` in
//! both forms.

use serde::{Deserialize, Serialize};

use super::{Composed, preview};

/// `data` of the kinds about memories and the references between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The beginning of its content; see [`preview`](super::preview()).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub preview: Option<String>,
    /// Names of the fields that changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub changes: Option<Vec<String>>,
    /// The workspace it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workspace: Option<String>,
}

/// `data` of `sync_completed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncCompleted {
    /// Which way it went.
    pub direction: String,
    /// How many changes were carried over.
    pub changes: i64,
}

/// `data` of `sync_failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncFailed {
    /// What went wrong, for people.
    pub error: String,
}

/// A memory has come into being; `content` is cut to its [`preview`](super::preview()).
///
/// ```
/// use fanfare::payload::memory_created;
///
/// let event = memory_created(42, "hello", None);
/// assert_eq!((event.kind, &*event.ids, &*event.data), ("memory_created", &["42".to_owned()][..], r#"{"preview":"hello"}"#));
/// ```
#[must_use]
pub fn memory_created(id: i64, content: &str, workspace: Option<&str>) -> Composed {
    let preview = Some(preview(content).into_owned());
    of_memory("memory_created", id, Memory { preview, ..of_workspace(workspace) })
}

/// Fields of a memory have changed.
#[must_use]
pub fn memory_updated(id: i64, changes: &[&str], workspace: Option<&str>) -> Composed {
    let changes = Some(changes.iter().map(|&name| name.to_owned()).collect());
    of_memory("memory_updated", id, Memory { changes, ..of_workspace(workspace) })
}

/// A memory is gone.
#[must_use]
pub fn memory_deleted(id: i64, workspace: Option<&str>) -> Composed {
    of_memory("memory_deleted", id, of_workspace(workspace))
}

/// A synchronisation has carried over `changes` changes in this direction.
#[must_use]
pub fn sync_completed(direction: &str, changes: i64) -> Composed {
    compose("sync_completed", Vec::new(), &SyncCompleted { direction: direction.into(), changes })
}

/// A synchronisation has failed.
#[must_use]
pub fn sync_failed(error: &str) -> Composed {
    compose("sync_failed", Vec::new(), &SyncFailed { error: error.into() })
}

fn of_workspace(workspace: Option<&str>) -> Memory {
    Memory { workspace: workspace.map(str::to_owned), ..Memory::default() }
}

fn of_memory(kind: &'static str, id: i64, memory: Memory) -> Composed {
    compose(kind, vec![id.to_string()], &memory)
}

pub(super) fn compose(kind: &'static str, ids: Vec<String>, data: &impl Serialize) -> Composed {
    let data = serde_json::to_string(data).expect("a struct of texts and numbers always has a JSON form");
    Composed { kind, ids, data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::validate;

    #[test]
    fn the_five_constructors_and_what_they_fill() {
        let check = |event: Composed, kind: &str, ids: &[&str], data: &str| {
            assert_eq!((event.kind, &*event.data), (kind, data));
            assert_eq!(event.ids, ids);
            assert_eq!(validate(event.kind, &event.data), Ok(()));
        };
        check(memory_created(42, "hello", None), "memory_created", &["42"], r#"{"preview":"hello"}"#);
        check(
            memory_created(-1, "a\"b", Some("w")),
            "memory_created",
            &["-1"],
            r#"{"preview":"a\"b","workspace":"w"}"#,
        );
        check(
            memory_updated(7, &["content", "tags"], Some("w")),
            "memory_updated",
            &["7"],
            r#"{"changes":["content","tags"],"workspace":"w"}"#,
        );
        check(memory_updated(7, &[], None), "memory_updated", &["7"], r#"{"changes":[]}"#);
        check(memory_deleted(9, None), "memory_deleted", &["9"], "{}");
        check(sync_completed("push", 3), "sync_completed", &[], r#"{"direction":"push","changes":3}"#);
        check(sync_failed("no network"), "sync_failed", &[], r#"{"error":"no network"}"#);
    }

    #[test]
    fn a_long_content_is_cut() {
        let event = memory_created(1, &"é".repeat(200), None);
        let memory: Memory = serde_json::from_str(&event.data).unwrap();
        assert_eq!(memory.preview, Some("é".repeat(97) + "..."));
    }
}
