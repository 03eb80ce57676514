//! What both peers share: their options and the runtime they run on.

use std::future::Future;
use std::net::SocketAddr;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

/// Options of a peer.
#[derive(Clone, Copy, Debug, Parser)]
#[command(version, about = "A fan-out server on tokio, to put beside Fanfare")]
pub struct Options {
    /// Where to listen; port 0 takes a free one, which is printed
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8091")]
    pub bind: SocketAddr,
    /// Worker threads; 1 runs everything on the main thread
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
    /// Hand all events that are there to the socket before it is flushed, instead of sending one by one
    /// (of no effect for event streams, where hyper does that)
    #[arg(long)]
    pub feed: bool,
}

/// Listens as typed and runs `serve` on as many threads as typed. Says on standard error where it listens.
///
/// # Errors
/// The address cannot be bound, there is no runtime to be had, or what `serve` says.
pub fn run<F: Future<Output = anyhow::Result<()>>>(
    serve: impl FnOnce(TcpListener, Options) -> F,
) -> anyhow::Result<()> {
    let options = Options::parse();
    rlimit::increase_nofile_limit(u64::MAX)?;
    let runtime = match options.threads {
        1 => Builder::new_current_thread().enable_all().build()?,
        threads => Builder::new_multi_thread().worker_threads(threads.into()).enable_all().build()?,
    };
    runtime.block_on(async {
        let listener = TcpListener::bind(options.bind).await?;
        eprintln!("listening on {}", listener.local_addr()?);
        serve(listener, options).await
    })
}

/// Events that a subscriber may be behind before it loses some.
pub const EVENTS_MAX: usize = 65_536;
