//! The namespaces that are told apart: numbered as events of them first come, up to a bound.
//!
//! # Contract   one [`Namer`], which whoever sits at the sequencer has; anybody may look a number up

use std::sync::{Arc, OnceLock};

use super::Latency;

/// Namespaces that are told apart, in the order in which their first events came; those that come later count as [`OTHER`].
/// 8 KiB for each that is in use, per loop and way.
pub const NAMESPACES_MAX: usize = 15;

/// What namespaces beyond the bound are together.
pub const OTHER: &str = "other";

/// The names by their numbers.
#[derive(Debug, Default)]
pub struct Namespaces {
    names: [OnceLock<Box<str>>; NAMESPACES_MAX],
}

impl Namespaces {
    /// The name of the namespace of that number; [`OTHER`] beyond the bound.
    #[must_use]
    pub fn name(&self, number: usize) -> &str {
        self.names.get(number).and_then(OnceLock::get).map_or(OTHER, |name| name)
    }

    /// The number of `namespace`, given now if there is room for it.
    fn number(&self, namespace: &str) -> u8 {
        let known = |place: &OnceLock<Box<str>>| **place.get_or_init(|| namespace.into()) == *namespace;
        self.names.iter().position(known).unwrap_or(NAMESPACES_MAX) as u8
    }
}

/// Gives namespaces their numbers.
#[derive(Debug)]
pub struct Namer {
    latency: Arc<Latency>,
    /// The one that was asked for last, with the mark behind it: most that come are of the same.
    last: String,
    last_number: u8,
}

impl Namer {
    /// One that numbers the namespaces of `latency`.
    #[must_use]
    pub fn new(latency: Arc<Latency>) -> Namer {
        Namer { latency, last: String::from(":"), last_number: NAMESPACES_MAX as u8 }
    }

    /// What it numbers the namespaces of.
    #[must_use]
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// The number of the namespace of `channel`.
    pub fn number_of(&mut self, channel: &str) -> u8 {
        if !channel.starts_with(self.last.as_str()) {
            let namespace = channel.split_once(':').map_or(channel, |(namespace, _)| namespace);
            self.last_number = self.latency.namespaces.number(namespace);
            self.last.clear();
            self.last.push_str(namespace);
            self.last.push(':');
        }
        self.last_number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_numbered_as_they_come_and_what_is_too_many_is_other() {
        let latency = Arc::new(Latency::default());
        let mut namer = Namer::new(Arc::clone(&latency));
        let mut check = |channel: &str, number: u8, name: &str| {
            assert_eq!(namer.number_of(channel), number, "{channel}");
            assert_eq!(latency.namespaces.name(usize::from(number)), name, "{channel}");
        };
        check("repo:a/b", 0, "repo");
        check("repo:a/c", 0, "repo");
        check("t:x", 1, "t");
        check("ts:x", 2, "ts");
        check("t:x:y", 1, "t");
        for number in 3..NAMESPACES_MAX as u8 {
            check(&format!("n{number}:x"), number, &format!("n{number}"));
        }
        check("late:x", NAMESPACES_MAX as u8, OTHER);
        check("later:x", NAMESPACES_MAX as u8, OTHER);
        check("repo:x/y", 0, "repo");
    }
}
