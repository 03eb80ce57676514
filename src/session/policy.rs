//! What may be exchanged while the server runs: as a whole, or not at all.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arc_swap::{ArcSwap, Guard};

use super::authority::{Authority, Development};
use super::gate::STAMP_MAX;
use super::hooks::Secrets;
use super::host::Hosts;
use super::origin::Origins;
use super::proxy::Proxies;
use super::rates::Rates;

/// Who may do what, and how it is known, as it is now.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Who decides.
    pub authority: Arc<dyn Authority>,
    /// What webhooks are verified with.
    pub secrets: Secrets,
    /// Whose pages may use the server.
    pub origins: Origins,
    /// By which names it may be asked for.
    pub hosts: Hosts,
    /// Whom to believe for whom they speak.
    pub proxies: Proxies,
    /// How often what may be done.
    pub rates: Rates,
}

impl Default for Policy {
    /// For development: everybody may do everything, but pages of other origins nothing; no webhooks.
    fn default() -> Policy {
        Policy {
            authority: Arc::new(Development),
            secrets: Secrets::default(),
            origins: Origins::default(),
            hosts: Hosts::default(),
            proxies: Proxies::default(),
            rates: Rates::default(),
        }
    }
}

/// A policy that is, or was, in force.
#[derive(Debug)]
pub struct Decided {
    policy: Policy,
    stamp: u32,
    is_metered: bool,
}

impl Decided {
    /// What tells it from others: never 0, and not again for a billion of them.
    #[must_use]
    pub fn stamp(&self) -> u32 {
        self.stamp
    }

    /// Whether it bounds how often anything is done.
    #[must_use]
    pub fn is_metered(&self) -> bool {
        self.is_metered
    }
}

impl Deref for Decided {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.policy
    }
}

/// The policy in force, shared by all loops. Whoever decides something takes one snapshot for all of it.
#[derive(Clone, Debug, Default)]
pub struct InForce(Arc<Place>);

#[derive(Debug)]
struct Place {
    now: ArcSwap<Decided>,
    /// The number of the newest policy.
    newest: AtomicU32,
    /// Whether it has rates. Relaxed: who sees it late goes by the rates of the policy that it loads.
    is_metered: AtomicBool,
}

impl Default for Place {
    fn default() -> Place {
        let decided = Decided { policy: Policy::default(), stamp: 1, is_metered: false };
        Place {
            now: ArcSwap::from_pointee(decided),
            newest: AtomicU32::new(1),
            is_metered: AtomicBool::new(false),
        }
    }
}

impl InForce {
    /// What is in force from the start.
    #[must_use]
    pub fn new(policy: Policy) -> InForce {
        let in_force = InForce::default();
        in_force.exchange(policy);
        in_force
    }

    /// The policy now, in a few nanoseconds and without waiting.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Decided>> {
        self.0.now.load()
    }

    /// Whether the policy bounds how often anything is done: what is asked where nothing else of it is needed.
    #[must_use]
    pub fn is_metered(&self) -> bool {
        self.0.is_metered.load(Ordering::Relaxed)
    }

    /// Puts another policy in the place of this one, for everything that is decided from now on.
    pub fn exchange(&self, policy: Policy) {
        // The numbers alone count, and that they differ.
        let stamp = self.0.newest.fetch_add(1, Ordering::Relaxed) % STAMP_MAX + 1;
        let is_metered = !policy.rates.is_off();
        self.0.is_metered.store(is_metered, Ordering::Relaxed);
        self.0.now.store(Arc::new(Decided { policy, stamp, is_metered }));
    }
}
