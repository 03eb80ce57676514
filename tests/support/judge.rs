//! An authority that takes everybody's word for who they are, as in development, and judges as a test says.

use std::fmt;
use std::sync::Arc;

use fanfare::session::auth::Known;
use fanfare::session::authority::{Act, Authority, Denied, Development, Principal};
use fanfare::session::policy::{InForce, Policy};
use fanfare::session::request::Door;
use fanfare::session::settings::Settings;
use fanfare::wire::http::RequestHead;

/// What decides.
pub(crate) struct Judge<F>(pub(crate) F);

impl<F> fmt::Debug for Judge<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Judge")
    }
}

impl<F> Authority for Judge<F>
where
    F: Fn(&Principal, &Act<'_>) -> Result<(), Denied> + Send + Sync,
{
    fn identify(
        &self,
        head: &RequestHead<'_>,
        door: Door,
        unix_ms: u64,
        known: &mut Known,
    ) -> Result<Principal, Denied> {
        Development.identify(head, door, unix_ms, known)
    }

    fn allow(&self, principal: &Principal, act: &Act<'_>) -> Result<(), Denied> {
        (self.0)(principal, act)
    }
}

/// Settings of a server with this authority.
pub(crate) fn settings_with(authority: impl Authority + 'static) -> Settings {
    let policy = Policy { authority: Arc::new(authority), ..Policy::default() };
    Settings { policy: InForce::new(policy), ..Settings::default() }
}
