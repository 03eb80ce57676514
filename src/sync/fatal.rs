//! Faults that nobody could go on after: what all threads share may be half changed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::journal;

/// Does `act`, on which everything shared depends; if it panics, says so by the name of `what` and ends the process, after
/// the panic's own message.
pub fn or_abort<T>(what: &str, act: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| {
        journal::last_words("server", &format!("{what} has failed; nothing can go on without it"));
        std::process::abort()
    })
}

/// Runs one test of this program once more, as a process of its own with `variable` set, which must end by a signal; what it
/// has said.
#[cfg(test)]
pub(crate) fn last_words_of(test: &str, variable: &str) -> String {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(variable, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr).into_owned();
    assert_eq!(child.status.code(), None, "it ends by a signal: {said}");
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set in the child, which is this test once more.
    const CHILD: &str = "FANFARE_TEST_FATAL_CHILD";

    #[test]
    fn a_fault_ends_the_process_and_says_what_has_failed() {
        if std::env::var_os(CHILD).is_some() {
            assert_eq!(or_abort("the good part", || 7), 7);
            or_abort("the bad part", || panic!("of all things"));
            return;
        }
        let name = "sync::fatal::tests::a_fault_ends_the_process_and_says_what_has_failed";
        let said = last_words_of(name, CHILD);
        assert!(said.contains("of all things"), "{said}");
        assert!(said.contains("fanfare: the bad part has failed"), "{said}");
        assert!(!said.contains("the good part"), "{said}");
    }
}
