//! A running server: listeners, one thread a loop, and the way to end it all.

mod clock;
mod demo;
mod driver;
mod listener;
mod socket;
mod stand_in;
mod supervisor;
mod tls;
mod watchdog;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;
use mio::net::TcpListener;

pub use clock::Clock;
pub use supervisor::{Supervisor, Told};
pub use tls::{Certificate, CertificateError, Shown};

use crate::engine::Engine;
use crate::event_loop::EventLoop;
use crate::hub::Hub;
use crate::notify::{Delivery, Notifications, Store, Worker};
use crate::sequencer::{Origin, Submission};
use crate::session::request::Door;
use crate::session::settings::Settings;
use crate::sync::bell::Waker;
use crate::sync::or_abort;
use crate::words::cursor::Epoch;
use crate::words::limits::Limits;
use driver::Driver;
use socket::{Plain, Welcome};
use stand_in::StandIn;
use tls::Secure;

/// What to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everybody may connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where operators may connect; port 0 takes a free one.
    pub admin_listen: SocketAddr,
    /// The certificate of the public door, and of the operators' if that is not on a loopback address; nothing to speak
    /// without encryption.
    pub certificate: Option<Shown>,
    /// Event loops, at least one.
    pub loops: usize,
    /// Every bound.
    pub limits: Limits,
    /// How connections are understood. Its notifications are made at the start, by `data_dir`.
    pub settings: Settings,
    /// Where notifications are kept; in memory if nowhere.
    pub data_dir: Option<PathBuf>,
    /// Events a second of the bundled real ones to publish in a circle; 0 for none.
    pub demo_rate: u32,
}

/// What the loops are made of.
struct Sockets {
    polls: Vec<mio::Poll>,
    /// One a loop.
    listeners: Vec<TcpListener>,
    /// Whether these have one queue of connections.
    is_shared: bool,
    admin: Vec<TcpListener>,
}

/// A server that runs until it is drained.
pub struct Server {
    hub: Arc<Hub>,
    address: SocketAddr,
    admin_address: SocketAddr,
    loops: Vec<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    stand_in: Arc<StandIn>,
    /// Let go of before the worker is waited for, which ends with the last handle.
    notifications: Option<Notifications>,
    engine: Engine,
}

impl Server {
    /// Binds the listeners and starts the threads.
    ///
    /// # Errors
    /// When an address cannot be bound, or the system refuses a thread or an epoll.
    pub fn start(config: Config) -> anyhow::Result<Server> {
        Server::start_under(config, &Supervisor::default())
    }

    /// [`Server::start`] under somebody who may hand over sockets that listen, and wants to hear that the loops turn.
    ///
    /// # Errors
    /// As above, and when a socket was handed over that is at neither address.
    pub fn start_under(config: Config, supervisor: &Supervisor) -> anyhow::Result<Server> {
        config.limits.check().map_err(anyhow::Error::msg)?;
        let loops = config.loops.max(1);
        let stall_max = config.limits.stall_max;
        let listen_at = |address: SocketAddr, count: usize| match supervisor.take_listener(address) {
            Some(handed_over) => socket::shared(handed_over, count, stall_max),
            None => socket::listeners(address, count, stall_max),
        };
        let is_shared = supervisor.untaken().contains(&config.listen) && 1 < loops;
        let listeners =
            listen_at(config.listen, loops).with_context(|| format!("cannot listen on {}", config.listen))?;
        let admin = listen_at(config.admin_listen, 1)
            .with_context(|| format!("cannot listen on {} (admin)", config.admin_listen))?;
        if let Some(address) = supervisor.untaken().first() {
            let (listen, admin_listen) = (config.listen, config.admin_listen);
            anyhow::bail!(
                "a socket on {address} was handed over, but this server is to listen on {listen}, and on {admin_listen} \
                 for operators"
            );
        }
        let address = listeners[0].local_addr()?;
        let admin_address = admin[0].local_addr()?;

        let polls: Vec<(mio::Poll, Arc<mio::Waker>)> =
            (0..loops).map(|_| driver::new_poll()).collect::<Result<_, _>>()?;
        let wakers =
            polls.iter().map(|(_, waker)| Box::new(PollWaker(Arc::clone(waker))) as Box<dyn Waker>).collect();
        let clock = Clock::start();
        let epoch = Epoch::from_bits(random_bits());
        let hub = Hub::new(config.limits, epoch, wakers);
        let stop = Arc::new(AtomicBool::new(false));
        let (notifications, worker) = notifications(&hub, config.data_dir.as_deref(), clock)?;
        let settings = Settings { notifications: Some(notifications.clone()), ..config.settings };
        let settings = Arc::new(settings);

        let engine = Engine::of_hub(Arc::clone(&hub), Box::new(move || clock.now()));
        let mut server = Server {
            hub,
            address,
            admin_address,
            loops: Vec::new(),
            others: Vec::new(),
            stop,
            stand_in: Arc::default(),
            notifications: Some(notifications),
            engine,
        };
        server.others.push(spawn("notifications".into(), move || worker.run())?);
        let polls = polls.into_iter().map(|(poll, _)| poll).collect();
        let sockets = Sockets { polls, listeners, is_shared, admin };
        match config.certificate {
            None => server.start_loops(sockets, &settings, clock, &Plain)?,
            Some(shown) => {
                let admin = !admin_address.ip().is_loopback();
                server.start_loops(sockets, &settings, clock, &Secure { shown, admin })?;
            }
        }
        let (hub, stop) = (Arc::clone(&server.hub), Arc::clone(&server.stop));
        let stand_in = Arc::clone(&server.stand_in);
        let supervisor = supervisor.clone();
        let run = move || watchdog::run(&hub, &stand_in, &supervisor, &stop);
        server.others.push(spawn("watchdog".into(), run)?);
        if 0 < config.demo_rate {
            let (hub, stop) = (Arc::clone(&server.hub), Arc::clone(&server.stop));
            let run = move || demo::run(&hub, config.demo_rate, clock, &stop);
            server.others.push(spawn("demo".into(), run)?);
        }
        Ok(server)
    }

    /// Starts one loop for each poll and public listener; the first has the operators' as well.
    fn start_loops<W>(
        &mut self,
        sockets: Sockets,
        settings: &Arc<Settings>,
        clock: Clock,
        welcome: &W,
    ) -> anyhow::Result<()>
    where
        W: Welcome<Link: Send> + Clone + Send + 'static,
    {
        let mut admin = Some(sockets.admin);
        for (index, (poll, listener)) in sockets.polls.into_iter().zip(sockets.listeners).enumerate() {
            let hub = Arc::clone(&self.hub);
            let event_loop = EventLoop::new(Arc::clone(&hub), Arc::clone(settings), index, clock.now());
            let mut driver = Driver::new(Arc::clone(&hub), index, poll, event_loop, welcome.clone(), clock)?;
            let admin = admin.take().into_iter().flatten().map(|listener| (listener, Door::Admin));
            for (listener, door) in std::iter::once((listener, Door::Public)).chain(admin) {
                // Of a queue that loops have in common another loop takes what the one leaves.
                let is_shared = sockets.is_shared && door == Door::Public;
                if welcome.is_plain(door) && !is_shared {
                    self.stand_in.watch(index, door, &listener)?;
                }
                driver.listen(listener, door)?;
            }
            let run = move || {
                driver.run();
                hub.desks()[index].retire();
            };
            self.loops.push(spawn(format!("loop-{index}"), run)?);
        }
        Ok(())
    }

    /// Where everybody may connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where operators may connect.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// The notifications.
    ///
    /// # Panics
    /// Never while the server runs.
    #[must_use]
    pub fn notifications(&self) -> &Notifications {
        self.notifications.as_ref().expect("they are let go of by `join` alone")
    }

    /// The engine that the server runs on, for publishers and readers in the same process. Not for use on the server's
    /// own threads.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The shared middle, for whoever wants to look in.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Begins to shut down; [`Server::join`] returns when it is done.
    pub fn drain(&self) {
        self.stand_in.leave();
        self.hub.drain();
    }

    /// Waits for the end of a drain: every connection told, or the deadline past.
    pub fn join(mut self) {
        self.notifications = None;
        for handle in self.loops {
            // A panic in a loop has ended the process already.
            let _ = handle.join();
        }
        self.stop.store(true, Ordering::Release);
        for handle in self.others {
            // Whoever looks at something now and then is not to be waited for.
            handle.thread().unpark();
            let _ = handle.join();
        }
    }
}

/// The service of notifications: what it tells goes out as events on the channels of users.
fn notifications(
    hub: &Arc<Hub>,
    data_dir: Option<&Path>,
    clock: Clock,
) -> anyhow::Result<(Notifications, Worker)> {
    let limits = &hub.limits;
    if let Some(folder) = data_dir {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let store = Store::open(data_dir, limits).context("cannot open the notifications")?;
    let hub = Arc::clone(hub);
    let deliver = move |delivery: &Delivery| {
        let publications = std::iter::once(delivery.publication()).collect();
        let is_in = hub.submit(Submission::publish(Origin::NOBODY, publications)).is_ok();
        hub.sequence_outside(clock.now(), || true);
        is_in
    };
    let now = Box::new(move || clock.now().unix_ms);
    Ok(Notifications::new(store, limits.notification_queue_max, now, Box::new(deliver)))
}

/// Starts a named thread; if it panics the process ends, since nobody could go on without it.
fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let title = name.clone();
    std::thread::Builder::new().name(name).spawn(move || {
        or_abort(&format!("the thread '{title}'"), run);
    })
}

/// Wakes a loop out of its poll.
struct PollWaker(Arc<mio::Waker>);

impl Waker for PollWaker {
    fn wake(&self) {
        // It fails only if the loop is gone, which needs no waking.
        let _ = self.0.wake();
    }
}

/// Bits that differ from start to start.
fn random_bits() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u64(Clock::start().now().unix_ms);
    hasher.finish()
}
