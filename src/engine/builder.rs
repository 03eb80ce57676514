//! How an engine is set up.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Engine;
use super::core::Core;
use crate::hub::Hub;
use crate::words::cursor::Epoch;
use crate::words::limits::Limits;
use crate::words::now::Now;

/// An engine that is being set up: [`Engine::builder`]. What is not said is as in [`Limits::default`].
///
/// ```
/// use std::time::Duration;
/// use fanfare::engine::Engine;
///
/// let engine = Engine::builder()
///     .retain_events(500)
///     .retain_bytes(16 << 20)
///     .retain_age(Duration::from_secs(3600))
///     .channels_max(1000)
///     .kinds(["deployed"])
///     .start()?;
/// assert_eq!(engine.current_seq(), 1);
/// # Ok::<(), fanfare::engine::BadLimits>(())
/// ```
#[must_use]
pub struct Builder {
    limits: Limits,
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    epoch: Epoch,
}

/// A bound is not what it must be: a sentence that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadLimits(&'static str);

impl Builder {
    pub(super) fn new() -> Builder {
        let unix_ms =
            || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let epoch = Epoch::from_bits(uuid::Uuid::new_v4().as_u128() as u64);
        Builder { limits: Limits::default(), clock: Box::new(unix_ms), epoch }
    }

    /// All bounds at once.
    pub fn limits(self, limits: Limits) -> Builder {
        Builder { limits, ..self }
    }

    /// Events that may be looked back at, exactly; 0 for none, which taps that keep up do not notice.
    pub fn retain_events(mut self, count: usize) -> Builder {
        self.limits.retain_events = count;
        self
    }

    /// Bytes of events that may be looked back at, at most.
    pub fn retain_bytes(mut self, bytes: usize) -> Builder {
        self.limits.retain_bytes = bytes;
        self
    }

    /// How old an event that may be looked back at can be. Without a server it is seen to when something is published
    /// or looked back at: until then the memory of what is too old stays in use.
    pub fn retain_age(mut self, age: Duration) -> Builder {
        self.limits.retain_age = Some(age);
        self
    }

    /// Channels with events, at most.
    pub fn channels_max(mut self, count: usize) -> Builder {
        self.limits.channels_max = count;
        self
    }

    /// Subscriptions of one client, and channels of one tap, at most.
    pub fn subscriptions_max(mut self, count: usize) -> Builder {
        self.limits.subscriptions_max = count;
        self
    }

    /// Clients and registered filters at once, at most.
    pub fn clients_max(mut self, count: usize) -> Builder {
        self.limits.clients_max = count;
        self
    }

    /// Taps at once, at most.
    pub fn taps_max(mut self, count: usize) -> Builder {
        self.limits.taps_max = count;
        self
    }

    /// Kinds of one's own that filters in commands may name.
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = impl Into<String>>) -> Builder {
        self.limits.custom_kinds = kinds.into_iter().map(Into::into).collect();
        self
    }

    /// What tells the time, in Unix milliseconds; the system's clock unless this is said. It must not panic.
    pub fn clock(self, unix_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Builder {
        Builder { clock: Box::new(unix_ms), ..self }
    }

    /// The name of the log, from the low 40 bits; random unless this is said.
    pub fn epoch_bits(self, bits: u64) -> Builder {
        Builder { epoch: Epoch::from_bits(bits), ..self }
    }

    /// Starts the engine. It has no thread of its own.
    ///
    /// # Errors
    /// [`BadLimits`] if the bounds cannot be as they are.
    pub fn start(self) -> Result<Engine, BadLimits> {
        self.limits.check().map_err(BadLimits)?;
        let hub = Hub::new(self.limits, self.epoch, Vec::new());
        let (start, unix_ms) = (Instant::now(), self.clock);
        let clock = move || Now { mono_ms: start.elapsed().as_millis() as u64, unix_ms: unix_ms() };
        Ok(Engine::of_core(Core::new(hub, Box::new(clock))))
    }
}
