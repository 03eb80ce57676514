//! What is settable besides bounds: how connections are understood, and whom to ask what they may do.

use super::meter::Meters;
use super::policy::InForce;
use crate::notify::Notifications;
use crate::words::dialect::Dialect;
use crate::words::on_slow::OnSlow;

/// Settings that all connections share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The dialect of `/ws` for clients that name none.
    pub dialect: Dialect,
    /// What happens to streams that are behind and have not chosen.
    pub on_slow: OnSlow,
    /// Who may do what, now.
    pub policy: InForce,
    /// Who has done how much lately of what the policy bounds.
    pub meters: Meters,
    /// Namespaces in whose channels it is told who comes and goes.
    pub presence: Vec<String>,
    /// Whether it is told on the server's own channels who connects, and which channels are subscribed to.
    pub sys_events: bool,
    /// The notifications, if the server keeps any.
    pub notifications: Option<Notifications>,
}

impl Default for Settings {
    /// For development: everybody may do everything, no presence.
    fn default() -> Settings {
        Settings {
            dialect: Dialect::Native,
            on_slow: OnSlow::default(),
            policy: InForce::default(),
            meters: Meters::default(),
            presence: Vec::new(),
            sys_events: false,
            notifications: None,
        }
    }
}
