//! SIGHUP: what was settled at the start is settled again, and what may change while the server runs is exchanged.
//!
//! # Contract     all of it or nothing. Flags, environment and file are read again, and so are the files that they name. Whatever is
//!   wrong, or changes a key that only a restart can change, leaves everything as it was, and the log says why

use std::ffi::OsString;
use std::sync::Arc;

use super::config::{Settled, Unsettled};
use super::serve::{self, Checked, ServeFlags};
use super::{Command, Flags};
use crate::hub::Hub;
use crate::journal::{self, Value};
use crate::server::{Certificate, Shown};
use crate::session::auth::Revoked;
use crate::session::policy::{InForce, Policy};
use crate::words::level::Level;
use crate::words::limits::Limits;

/// The keys that may change while the server runs. The files that they name are read again even if their names stay.
const LIVE: &[&str] = &[
    "admin_open",
    "allow_host",
    "allow_origin",
    "anonymous_subscribe",
    "api_keys",
    "commands_per_second",
    "commands_per_second_per_address",
    "commands_per_second_per_user",
    "connections_per_address",
    "connects_per_second_per_address",
    "connects_per_second_per_user",
    "control_frames_per_second",
    "frames_per_second",
    "hook_gitea_secrets",
    "hook_github_secrets",
    "hook_gitlab_tokens",
    "jwks",
    "log_level",
    "max_connections",
    "no_query_tokens",
    "proxy_header",
    "publishes_per_second",
    "publishes_per_second_per_address",
    "publishes_per_second_per_user",
    "tls_cert",
    "tls_key",
    "token_audience",
    "token_cookie",
    "token_issuer",
    "token_key",
    "token_leeway",
    "token_secret",
    "trusted_proxy",
];

/// What a running server goes by.
pub(super) struct Running {
    /// What was typed, with the program's name.
    arguments: Vec<OsString>,
    settled: Settled,
    live: Live,
}

/// What a reload exchanges, and who is told.
pub(super) struct Live {
    pub(super) policy: InForce,
    /// Whether anybody is asked for a token or key.
    pub(super) has_keys: bool,
    /// The certificate that is shown, if connections are encrypted.
    pub(super) shown: Option<Shown>,
    /// Who was let in no more: that stays whatever is exchanged.
    pub(super) revoked: Arc<Revoked>,
    pub(super) hub: Arc<Hub>,
}

impl Running {
    pub(super) fn new(arguments: &[OsString], settled: Settled, live: Live) -> Running {
        Running { arguments: arguments.to_vec(), settled, live }
    }

    /// Settles everything again, and says in the log what came of it.
    ///
    /// # Errors
    /// Why everything stays as it was.
    pub(super) fn reload(&mut self) -> Result<(), String> {
        match self.settle() {
            Ok(next) => {
                let changed = self.settled.changes(&next.settled);
                self.live.policy.exchange(next.policy);
                if let (Some(shown), Some(certificate)) = (&self.live.shown, next.certificate) {
                    shown.exchange(certificate);
                }
                self.live.hub.live.exchange(&next.limits);
                // Those who are here may have been granted less.
                self.live.hub.review();
                self.settled = next.settled;
                let names = changed.join(" ");
                let keys = if names.is_empty() { Value::Unknown } else { Value::Text(&names) };
                journal::say(Level::Info, "audit", "reloaded", &[("changed", keys)]);
                // A level that an operator has set stays, unless the file says another than before.
                if changed.iter().any(|key| key == "log_level") {
                    journal::change_level(next.level);
                }
                Ok(())
            }
            Err(reason) => {
                let message = "not reloaded: everything stays as it was";
                journal::say(Level::Error, "audit", message, &[("reason", (&reason).into())]);
                Err(reason)
            }
        }
    }

    fn settle(&self) -> Result<Next, String> {
        let (flags, settled) = Settled::of(&self.arguments).map_err(|unsettled| match unsettled {
            Unsettled::Typed(error) => error.to_string(),
            Unsettled::Faults(faults) => faults.join("; "),
        })?;
        let changed = self.settled.changes(&settled);
        let fixed: Vec<&str> = changed.iter().map(|key| &**key).filter(|key| !LIVE.contains(key)).collect();
        if !fixed.is_empty() {
            return Err(format!("a restart is needed to change {}", fixed.join(", ")));
        }
        let flags = serve_flags(&flags).ok_or("this is no server")?;
        let checked = serve::check(flags, &settled, &self.live.revoked);
        let Checked { policy, certificate, limits } = checked.map_err(|error| format!("{error:#}"))?;
        if certificate.is_some() != self.live.shown.is_some() {
            return Err("a restart is needed to begin or to end encryption".to_owned());
        }
        // A file that is empty for a moment, as some editors leave it, must not open the server to everybody.
        if flags.has_keys() != self.live.has_keys {
            return Err("a restart is needed to begin or to end asking for tokens".to_owned());
        }
        Ok(Next { policy, certificate, limits, level: flags.log_level(), settled })
    }
}

/// What is to come into force.
struct Next {
    policy: Policy,
    certificate: Option<Certificate>,
    limits: Limits,
    level: Level,
    settled: Settled,
}

fn serve_flags(flags: &Flags) -> Option<&ServeFlags> {
    match &flags.command {
        Command::Serve(flags) => Some(flags),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn what_may_change_is_there() {
        let program = Flags::command();
        let serve = program.find_subcommand("serve").unwrap();
        for key in LIVE {
            assert!(serve.get_arguments().any(|argument| argument.get_id() == *key), "{key}");
        }
    }
}
