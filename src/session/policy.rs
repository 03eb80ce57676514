//! What may be exchanged while the server runs: as a whole, or not at all.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::authority::{Authority, Development};

/// Who may do what, as it is now.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Who decides.
    pub authority: Arc<dyn Authority>,
}

impl Default for Policy {
    /// For development: everybody may do everything.
    fn default() -> Policy {
        Policy { authority: Arc::new(Development) }
    }
}

/// The policy in force, shared by all loops. Whoever decides something takes one snapshot for all of it.
#[derive(Clone, Debug, Default)]
pub struct InForce(Arc<ArcSwap<Policy>>);

impl InForce {
    /// What is in force from the start.
    #[must_use]
    pub fn new(policy: Policy) -> InForce {
        InForce(Arc::new(ArcSwap::from_pointee(policy)))
    }

    /// The policy now, in a few nanoseconds and without waiting.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Policy>> {
        self.0.load()
    }

    /// Puts another policy in the place of this one, for everything that is decided from now on.
    pub fn exchange(&self, policy: Policy) {
        self.0.store(Arc::new(policy));
    }
}
