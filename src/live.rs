//! The bounds that may change while the server runs.
//!
//! # Contract   each holds from the moment it is exchanged, for what is done from then on: connections that are there already
//!   stay, and were not counted for their address if addresses were not bounded
//! # Memory order   relaxed: nothing travels along with them
//! # Why not …  all bounds: these are what operators turn when too many come or somebody says too much. Many others are sizes of
//!   what is there already, or hold for what is kept between two looks at them

use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use crate::words::limits::Limits;
use crate::words::rate::Rate;

/// Those of one server.
#[derive(Debug)]
pub struct LiveLimits {
    connections_max: AtomicUsize,
    connections_per_address_max: AtomicUsize,
    frame_rate: LiveRate,
    control_frame_rate: LiveRate,
    command_rate: LiveRate,
}

/// A rate, or none, as a number.
#[derive(Debug)]
struct LiveRate(AtomicU64);

impl LiveRate {
    fn new(rate: Option<Rate>) -> LiveRate {
        LiveRate(AtomicU64::new(bits(rate)))
    }

    fn get(&self) -> Option<Rate> {
        Rate::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, rate: Option<Rate>) {
        self.0.store(bits(rate), Ordering::Relaxed);
    }
}

fn bits(rate: Option<Rate>) -> u64 {
    rate.map_or(0, Rate::to_bits)
}

impl LiveLimits {
    /// As `limits` say.
    #[must_use]
    pub fn new(limits: &Limits) -> LiveLimits {
        LiveLimits {
            connections_max: AtomicUsize::new(limits.connections_max),
            connections_per_address_max: AtomicUsize::new(limits.connections_per_address_max),
            frame_rate: LiveRate::new(limits.frame_rate),
            control_frame_rate: LiveRate::new(limits.control_frame_rate),
            command_rate: LiveRate::new(limits.command_rate),
        }
    }

    /// From now on they are as `limits` say.
    pub fn exchange(&self, limits: &Limits) {
        self.connections_max.store(limits.connections_max, Ordering::Relaxed);
        self.connections_per_address_max.store(limits.connections_per_address_max, Ordering::Relaxed);
        self.frame_rate.set(limits.frame_rate);
        self.control_frame_rate.set(limits.control_frame_rate);
        self.command_rate.set(limits.command_rate);
    }

    /// Connections at the public door ([`Limits::connections_max`]).
    pub fn connections_max(&self) -> usize {
        self.connections_max.load(Ordering::Relaxed)
    }

    /// Connections of one address; 0 for any number ([`Limits::connections_per_address_max`]).
    pub fn connections_per_address_max(&self) -> usize {
        self.connections_per_address_max.load(Ordering::Relaxed)
    }

    /// Data frames of one WebSocket client ([`Limits::frame_rate`]).
    pub fn frame_rate(&self) -> Option<Rate> {
        self.frame_rate.get()
    }

    /// Control frames of one WebSocket client ([`Limits::control_frame_rate`]).
    pub fn control_frame_rate(&self) -> Option<Rate> {
        self.control_frame_rate.get()
    }

    /// Commands of one WebSocket client ([`Limits::command_rate`]).
    pub fn command_rate(&self) -> Option<Rate> {
        self.command_rate.get()
    }
}

#[cfg(all(test, not(fanfare_loom)))]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_was_said_last() {
        let said = |limits: &LiveLimits| {
            let places = [limits.connections_max(), limits.connections_per_address_max()];
            (places, [limits.frame_rate(), limits.control_frame_rate(), limits.command_rate()])
        };
        let first = Limits::default();
        let rate = |text: &str| Some(text.parse::<Rate>().unwrap());
        let second = Limits {
            connections_max: 7,
            connections_per_address_max: 8,
            frame_rate: rate("1/1"),
            control_frame_rate: None,
            command_rate: rate("1000000/1000000"),
            ..Limits::default()
        };
        let live = LiveLimits::new(&first);
        for limits in [&first, &second, &first] {
            live.exchange(limits);
            let rates = [limits.frame_rate, limits.control_frame_rate, limits.command_rate];
            let places = [limits.connections_max, limits.connections_per_address_max];
            assert_eq!(said(&live), (places, rates));
        }
    }
}
