//! The clocks of the machine.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::event_loop::Now;

/// Both clocks, from one start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// What it is now. The first clock begins a little above 0, so that 0 can mean "never".
    #[must_use]
    pub fn now(&self) -> Now {
        self.at(Instant::now())
    }

    /// What it was a moment ago, by the first clock; the other one is asked now.
    pub(super) fn at(&self, moment: Instant) -> Now {
        let mono_ms = self.mono_ms(moment);
        let unix_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Now { mono_ms, unix_ms }
    }

    /// What the first clock showed at that moment.
    pub(super) fn mono_ms(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.start).as_millis() as u64 + 1000
    }
}
