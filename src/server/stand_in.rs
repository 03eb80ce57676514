//! Answers in place of a loop that stands still, so that whoever asks for the server's health is told, and others do not wait
//! in vain.
//!
//! # Bounds   so many connections a look, each for a tenth of a second; one request a connection

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::hub::Hub;
use crate::session::dialect::health;
use crate::session::request::Door;
use crate::wire::http::{HeadLimits, Method, Response, ResponseContext, parse_head, problem};

/// Connections answered in one look at one listener.
const ANSWERS_MAX: usize = 16;

/// How long one connection may take.
const PATIENCE: Duration = Duration::from_millis(100);

/// A second handle on every listener, each with the loop that it belongs to.
#[derive(Debug, Default)]
pub(super) struct StandIn {
    /// Held for a look by the watchdog, and to let go of all. Loops never come here.
    listeners: Mutex<Vec<Place>>,
}

#[derive(Debug)]
struct Place {
    loop_index: usize,
    door: Door,
    listener: TcpListener,
}

impl StandIn {
    /// From now on `listener`, whose connections are not encrypted, is answered when the loop `loop_index` does not.
    ///
    /// # Errors
    /// When the system has no descriptor for it.
    pub(super) fn watch(&self, loop_index: usize, door: Door, listener: &impl AsFd) -> io::Result<()> {
        let listener = TcpListener::from(listener.as_fd().try_clone_to_owned()?);
        self.listeners().push(Place { loop_index, door, listener });
        Ok(())
    }

    /// Lets go of all listeners: a server that drains accepts nobody, and a handle that stays open would.
    pub(super) fn leave(&self) {
        self.listeners().clear();
    }

    /// Answers who waits for the loop `loop_index`. The operators' listener stands last among those of its loop and is looked
    /// at first.
    pub(super) fn answer(&self, hub: &Hub, loop_index: usize) {
        for place in self.listeners().iter().rev().filter(|place| place.loop_index == loop_index) {
            for _ in 0..ANSWERS_MAX {
                let Ok((stream, _)) = place.listener.accept() else { break };
                // A peer that breaks off has no answer.
                let _ = answer(hub, place.door, stream);
            }
        }
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Place>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads one request head and answers it.
fn answer(hub: &Hub, door: Door, mut stream: TcpStream) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let limits = HeadLimits::default();
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut buffer)?;
        received.extend_from_slice(&buffer[..count]);
        let (response, method, version) = match parse_head(&received, &limits) {
            Ok(Some((head, _))) => (respond(hub, door, head.path), head.method, head.version),
            Ok(None) if count != 0 => continue,
            Ok(None) | Err(_) => return Ok(()),
        };
        let context = ResponseContext { head_only: method == Method::Head, version, ..ResponseContext::LAST };
        let mut out = Vec::new();
        response.write_to(&mut out, &context);
        stream.write_all(&out)?;
        return stream.shutdown(Shutdown::Write);
    }
}

fn respond(hub: &Hub, door: Door, path: &str) -> Response {
    let streams = hub.counters.streams() as usize;
    let json = |status: u16, mut body: String| {
        body.push('\n');
        Response::new(status).header("Cache-Control", "no-store").body("application/json", body.into_bytes())
    };
    match (path, hub.stalled()) {
        ("/health/live" | "/health/startup", _) => json(200, health::live(streams)),
        ("/health" | "/healthz" | "/health/ready" | "/readyz", Some(stall)) => {
            json(503, health::stalled(streams, Some(stall.loop_index), stall.for_ms))
        }
        ("/metrics", _) if door == Door::Admin => {
            let stalled = hub.desks().iter().filter(|desk| desk.stalled_ms() != 0).count();
            let text = format!("# TYPE fanfare_loops_stalled gauge\nfanfare_loops_stalled {stalled}\n");
            Response::new(200).header("Cache-Control", "no-store").body(METRICS, text.into_bytes())
        }
        _ => problem(503, "stalled", "The loop that serves this connection stands still; try again.")
            .header("Retry-After", "5"),
    }
}

/// The media type of metrics for Prometheus.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
