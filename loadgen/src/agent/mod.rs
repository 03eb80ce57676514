//! Several processes or hosts drive one run: agents have the loops of subscribers, the coordinator all the rest.
//!
//! # Contract       to the run a loop elsewhere is like one here: it gets the same commands, hands the same intervals over and
//! finds the same things, in the coordinator's time. So whatever a report tells of one process it tells of many: what was
//! received is compared with what was published, and histograms are merged
//! # Who does what  the coordinator (`remote`) asks and an agent (`session`) answers, in lines of JSON (`message`); the plan
//! travels as it was typed (`wording`), what was found piece by piece (`parcel`)
//! # Bounds         an agent serves one coordinator at a time; every wait has a deadline, and every line a length

pub(crate) mod clock;
mod message;
mod parcel;
pub(crate) mod remote;
mod session;
pub(crate) mod wording;

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;
use clap::Args;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};

use self::message::Answer;
use self::session::Outcome;
use crate::machine;

/// Options of `loadgen agent`.
#[derive(Debug, Args)]
pub(crate) struct AgentFlags {
    /// Where to wait for coordinators; port 0 takes a free one, which is printed
    #[arg(long, env = "LOADGEN_AGENT_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:8098")]
    pub(crate) listen: SocketAddr,
    /// End after one run
    #[arg(long, env = "LOADGEN_AGENT_ONCE")]
    pub(crate) once: bool,
    /// Listen where other hosts can reach it too, and command it
    #[arg(long, env = "LOADGEN_AGENT_INSECURE")]
    pub(crate) insecure: bool,
}

impl AgentFlags {
    /// Whether it may listen there.
    ///
    /// # Errors
    /// It is not this host alone that can reach it, and nobody said that this is wanted.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.listen.ip().to_canonical().is_loopback() || self.insecure {
            return Ok(());
        }
        Err(format!(
            "--listen {}: whoever reaches an agent commands it, and nothing is encrypted; listen on 127.0.0.1, or say --insecure \
             if the network is one that you trust",
            self.listen
        ))
    }
}

/// An agent that a run cannot be had with, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost(pub(crate) String);

impl std::fmt::Display for Lost {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Lost {}

/// Serves coordinators, one at a time, until a signal comes or, with `--once`, a run is over.
///
/// # Errors
/// The address cannot be bound, or the system refuses a poll or a thread.
pub(crate) fn run(flags: &AgentFlags, stop: &Arc<AtomicBool>) -> anyhow::Result<ExitCode> {
    machine::raise_descriptor_limit().context("raising the limit of open descriptors")?;
    let mut agent = Agent::new(flags, stop)?;
    eprintln!("loadgen agent: listening on {}", agent.listener.local_addr()?);
    let code = agent.serve();
    agent.visit.take().map(Visit::end);
    code
}

struct Agent {
    listener: TcpListener,
    poll: Poll,
    /// Becomes readable with a signal, so that the poll cannot sleep through one.
    signals: UnixStream,
    /// Becomes readable when a session has ended.
    ends: UnixStream,
    over: Arc<UnixStream>,
    visit: Option<Visit>,
    once: bool,
    stop: Arc<AtomicBool>,
}

impl Agent {
    fn new(flags: &AgentFlags, stop: &Arc<AtomicBool>) -> anyhow::Result<Agent> {
        let listener =
            TcpListener::bind(flags.listen).with_context(|| format!("cannot listen on {}", flags.listen))?;
        listener.set_nonblocking(true)?;
        let (signals, waker) = UnixStream::pair()?;
        signals.set_nonblocking(true)?;
        for signal in [SIGINT, SIGTERM] {
            signal_hook::low_level::pipe::register(signal, waker.try_clone()?)
                .context("cannot watch for signals")?;
        }
        let (ends, over) = UnixStream::pair()?;
        ends.set_nonblocking(true)?;
        let poll = Poll::new()?;
        let (stop, over, once) = (Arc::clone(stop), Arc::new(over), flags.once);
        let agent = Agent { listener, poll, signals, ends, over, visit: None, once, stop };
        let sources = [agent.listener.as_fd(), agent.signals.as_fd(), agent.ends.as_fd()];
        for (place, descriptor) in sources.iter().enumerate() {
            let descriptor = descriptor.as_raw_fd();
            agent.poll.registry().register(&mut SourceFd(&descriptor), Token(place), Interest::READABLE)?;
        }
        Ok(agent)
    }

    fn serve(&mut self) -> anyhow::Result<ExitCode> {
        let mut events = Events::with_capacity(SOURCES);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            while matches!((&self.signals).read(&mut [0; 16]), Ok(1..)) {}
            if self.stop.load(Ordering::Relaxed) {
                return Ok(ExitCode::SUCCESS);
            }
            while matches!((&self.ends).read(&mut [0; 16]), Ok(1..)) {}
            while let Some(stream) = self.accept()? {
                if let Some(code) = self.reap() {
                    return Ok(code);
                }
                self.take(stream)?;
            }
            if let Some(code) = self.reap() {
                return Ok(code);
            }
        }
    }

    /// Sees a coordinator off that is done; the exit code if that was the last one.
    fn reap(&mut self) -> Option<ExitCode> {
        let is_over =
            |visit: &mut Visit| visit.is_leaving.load(Ordering::Acquire) || visit.session.is_finished();
        match self.visit.take_if(is_over)?.end() {
            Outcome::Told if self.once => Some(ExitCode::SUCCESS),
            Outcome::Failed if self.once => Some(ExitCode::from(EXIT_FAILED)),
            _ => None,
        }
    }

    /// Whoever comes next.
    fn accept(&self) -> anyhow::Result<Option<(TcpStream, SocketAddr)>> {
        loop {
            match self.listener.accept() {
                Ok(accepted) => return Ok(Some(accepted)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(None),
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => return Err(error).context("cannot accept a coordinator"),
                },
            }
        }
    }

    /// Serves a coordinator, or tells it that somebody else was first.
    fn take(&mut self, (stream, peer): (TcpStream, SocketAddr)) -> anyhow::Result<()> {
        if self.visit.is_some() {
            eprintln!("loadgen agent: {peer} is refused, since a run is on");
            // It hears so or it is gone.
            let _ = stream.set_write_timeout(Some(message::TICK));
            let _ = message::say(&stream, &Answer::Refused("it serves another run".to_owned()));
            return Ok(());
        }
        let is_leaving = Arc::new(AtomicBool::new(false));
        let (stop, over, leaving) = (Arc::clone(&self.stop), Arc::clone(&self.over), Arc::clone(&is_leaving));
        let body = move || {
            // Told at the end, however it comes.
            let _bell = Bell(over);
            session::serve(stream, peer, &stop, &leaving)
        };
        let session = std::thread::Builder::new().name("session".to_owned()).spawn(body)?;
        self.visit = Some(Visit { session, is_leaving });
        Ok(())
    }
}

/// A coordinator that is being served.
struct Visit {
    session: JoinHandle<Outcome>,
    /// Set before the coordinator can see that the agent has hung up. Release: there is nothing left to wait for but the end of
    /// the thread.
    is_leaving: Arc<AtomicBool>,
}

impl Visit {
    fn end(self) -> Outcome {
        self.session.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Rings when a session is over.
struct Bell(Arc<UnixStream>);

impl Drop for Bell {
    fn drop(&mut self) {
        // The other end lives as long as the agent, and a byte has room: each is read before the next session begins.
        let _ = std::io::Write::write_all(&mut &*self.0, b".");
    }
}

/// The listener, signals, and the end of a session.
const SOURCES: usize = 3;
const EXIT_FAILED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_reaches_an_agent_unless_more_is_asked_for() {
        let check = |listen: &str, insecure: bool, is_allowed: bool| {
            let flags = AgentFlags { listen: listen.parse().expect("an address"), once: false, insecure };
            let outcome = flags.check();
            assert_eq!(outcome.is_ok(), is_allowed, "{listen}");
            assert!(outcome.is_ok() || outcome.is_err_and(|error| error.contains("--insecure")));
        };
        check("127.0.0.1:0", false, true);
        check("[::1]:0", false, true);
        check("[::ffff:127.0.0.1]:0", false, true);
        check("0.0.0.0:0", false, false);
        check("192.0.2.1:8098", false, false);
        check("0.0.0.0:0", true, true);
    }
}
