//! A server inside the test, where its limits must be tiny.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanfare::hub::Hub;
use fanfare::notify::Notifications;
use fanfare::server::{Config, Server, Shown};
use fanfare::session::settings::Settings;
use fanfare::words::limits::Limits;

use super::PATIENCE;

/// A server on free ports; drained when dropped.
pub(crate) struct LocalServer {
    server: Option<Server>,
    /// Where everybody may connect.
    pub(crate) public: SocketAddr,
    /// Where operators may connect.
    pub(crate) admin: SocketAddr,
    /// Connections that must have been given up for a fault of the server by the end of the test.
    pub(crate) faults: u64,
}

impl LocalServer {
    /// Starts a server with two event loops.
    pub(crate) fn start(limits: Limits) -> LocalServer {
        LocalServer::start_with_loops(limits, 2)
    }

    /// Starts a server with so many event loops.
    pub(crate) fn start_with_loops(limits: Limits, loops: usize) -> LocalServer {
        LocalServer::start_with_settings(limits, loops, Settings::default())
    }

    /// Starts a server that is not set as usual.
    pub(crate) fn start_with_settings(limits: Limits, loops: usize, settings: Settings) -> LocalServer {
        LocalServer::start_shown(limits, loops, settings, None)
    }

    /// Starts a server that shows a certificate, if one is given.
    pub(crate) fn start_shown(
        limits: Limits,
        loops: usize,
        settings: Settings,
        certificate: Option<Shown>,
    ) -> LocalServer {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let limits = Limits {
            // Nobody waits for the end of a test's server.
            drain_deadline: Duration::from_millis(1),
            // A machine that is busy with something else is no overload; how far behind counts in events.
            fanout_backlog_max: PATIENCE,
            ..limits
        };
        let config = Config {
            listen: anywhere,
            admin_listen: anywhere,
            certificate,
            loops,
            limits,
            settings,
            data_dir: None,
            demo_rate: 0,
        };
        let server = Server::start(config).expect("the server starts");
        let (public, admin) = (server.address(), server.admin_address());
        LocalServer { server: Some(server), public, admin, faults: 0 }
    }

    /// The server's shared middle.
    pub(crate) fn hub(&self) -> Arc<Hub> {
        Arc::clone(self.server.as_ref().unwrap().hub())
    }

    /// A handle to its notifications.
    pub(crate) fn notifications(&self) -> Notifications {
        self.server.as_ref().unwrap().notifications().clone()
    }

    /// The name of the server's log.
    pub(crate) fn epoch(&self) -> String {
        self.hub().epoch.to_string()
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let hub = Arc::clone(server.hub());
            server.drain();
            server.join();
            // A failing test has already said what is wrong.
            if !std::thread::panicking() {
                assert_eq!(hub.counters.panics(), self.faults, "faults of the server, shown above");
            }
        }
    }
}
