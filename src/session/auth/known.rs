//! Tokens that were verified a moment ago.
//!
//! A publisher sends the same token with each request, and a signature costs as much to verify as twenty publishes. What
//! is kept is a digest of the token, so that nothing secret lies here, and two tokens never meet.
//!
//! # Bounds   [`KNOWN_TOKENS_MAX`] of each loop, 80 bytes each and what they say; at the bound all are forgotten, and verified again

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::pass::Pass;
use crate::words::limits::KNOWN_TOKENS_MAX;

/// Tokens that one loop has verified, under one authority.
#[derive(Debug, Default)]
pub struct Known {
    /// Whose word this is.
    authority: u64,
    passes: HashMap<[u8; 32], Arc<Pass>, foldhash::fast::RandomState>,
}

impl Known {
    /// What `text` was found to be, if this very authority has verified it. Whether it is still good is another question.
    pub(super) fn find(&mut self, authority: u64, text: &str) -> Option<Arc<Pass>> {
        if self.authority != authority {
            self.authority = authority;
            self.passes.clear();
        }
        if self.passes.is_empty() {
            return None;
        }
        self.passes.get(&digest(text)).map(Arc::clone)
    }

    /// Remembers what `text` is, and returns it.
    pub(super) fn learn(&mut self, text: &str, pass: Arc<Pass>, unix_ms: u64) -> Arc<Pass> {
        if KNOWN_TOKENS_MAX <= self.passes.len() {
            self.passes.retain(|_, pass| !pass.has_expired(unix_ms));
            // Unless most had expired, looking for them again would soon cost more than it saves.
            if KNOWN_TOKENS_MAX / 2 < self.passes.len() {
                self.passes.clear();
            }
        }
        self.passes.insert(digest(text), Arc::clone(&pass));
        pass
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::auth::Grants;

    #[test]
    fn what_one_authority_has_verified_counts_under_no_other() {
        let mut known = Known::default();
        let pass = Arc::new(Pass::of_nobody(Grants::default()));
        assert!(known.find(1, "a").is_none());
        known.learn("a", Arc::clone(&pass), 0);
        assert!(known.find(1, "a").is_some_and(|found| Arc::ptr_eq(&found, &pass)));
        assert!(known.find(1, "b").is_none());
        assert!(known.find(2, "a").is_none());
        assert!(known.find(1, "a").is_none(), "nor under the first one again");
    }

    #[test]
    fn it_never_remembers_more_than_its_bound() {
        let mut known = Known::default();
        let pass = Arc::new(Pass::of_nobody(Grants::default()));
        for number in 0..KNOWN_TOKENS_MAX * 3 {
            known.learn(&number.to_string(), Arc::clone(&pass), 0);
            assert!(known.passes.len() <= KNOWN_TOKENS_MAX);
        }
        let old = || Pass { expires_ms: Some(10), ..Pass::of_nobody(Grants::default()) };
        let mut known = Known::default();
        for number in 0..KNOWN_TOKENS_MAX {
            let pass = if number % 4 == 0 { Arc::clone(&pass) } else { Arc::new(old()) };
            known.learn(&number.to_string(), pass, 0);
        }
        known.learn("new", Arc::clone(&pass), 10);
        assert_eq!(known.passes.len(), KNOWN_TOKENS_MAX / 4 + 1, "those that have expired go first");
    }
}
