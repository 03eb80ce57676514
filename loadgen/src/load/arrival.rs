//! When events are due: evenly, by chance, in bursts; or when an answer has come.
//!
//! # Contract       a publisher's due times depend on the plan and the seed alone, and never go back
//! # Why per publisher   each goes by itself when another has lost its connection; chances of several publishers add up to
//! the same chance again

use std::str::FromStr;

use super::chance::{self, Use};
use super::stages::Stages;
use crate::options::Interval;

/// What is between two events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Always the same time.
    Constant,
    /// A time by chance, of the exponential distribution, as where many act without knowing of each other.
    Poisson,
    /// Nothing, for so many; and then so many nanoseconds.
    Burst {
        /// Events due at one instant.
        events: u32,
        /// From one such instant to the next.
        period_ns: u64,
    },
    /// An answer: each publisher has so many unanswered requests.
    Closed(u32),
}

impl Arrival {
    /// The word for it, with its numbers.
    pub(crate) fn name(self) -> String {
        match self {
            Arrival::Constant => "constant".to_owned(),
            Arrival::Poisson => "poisson".to_owned(),
            Arrival::Burst { events, period_ns } => {
                let period = std::time::Duration::from_nanos(period_ns);
                format!("burst:{events}@{}", humantime::format_duration(period)).replace(' ', "")
            }
            Arrival::Closed(outstanding) => format!("closed:{outstanding}"),
        }
    }
}

impl FromStr for Arrival {
    type Err = String;

    fn from_str(text: &str) -> Result<Arrival, String> {
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| (1..=EVENTS_MAX).contains(number));
        let (name, rest) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        match (name, rest) {
            ("constant", None) => Ok(Arrival::Constant),
            ("poisson", None) => Ok(Arrival::Poisson),
            ("closed", Some(outstanding)) => number(outstanding)
                .map(Arrival::Closed)
                .ok_or_else(|| format!("the number of {text:?} is from 1 to {EVENTS_MAX}")),
            ("burst", Some(rest)) => {
                let wrong = || format!("{text:?} is no burst such as burst:100@1s");
                let (events, period) = rest.split_once('@').ok_or_else(wrong)?;
                let period: Interval = period.parse().map_err(|error| format!("{}: {error}", wrong()))?;
                let events = number(events).filter(|_| 0 < period.ns).ok_or_else(wrong)?;
                Ok(Arrival::Burst { events, period_ns: period.ns })
            }
            _ => Err("must be constant, poisson, burst:N@TIME or closed:N".to_owned()),
        }
    }
}

/// The due times of one publisher's requests, one after the other.
#[derive(Debug)]
pub(crate) struct Arrivals {
    arrival: Arrival,
    stages: Stages,
    seed: u64,
    publisher: u32,
    publishers: u32,
    /// Events of one request.
    batch: u32,
    /// Requests that are past.
    past: u64,
    /// How many events of all publishers would have come by then if all came evenly.
    events: f64,
}

impl Arrivals {
    /// Those of `publisher`, of `publishers` that share the rate, each request being of `batch` events.
    pub(crate) fn new(
        arrival: Arrival,
        stages: Stages,
        seed: u64,
        (publisher, publishers): (u32, u32),
        batch: u32,
    ) -> Arrivals {
        let mut arrivals =
            Arrivals { arrival, stages, seed, publisher, publishers, batch, past: 0, events: 0.0 };
        arrivals.events = arrivals.next_events();
        arrivals
    }

    /// How many requests are past.
    pub(crate) fn past(&self) -> u64 {
        self.past
    }

    /// When the next request is due, in nanoseconds after the start; `None` if there are no more.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        match self.arrival {
            Arrival::Burst { events, period_ns } => {
                Some((self.events as u64 / u64::from(events)).saturating_mul(period_ns))
            }
            _ => self.stages.offset_ns(self.events),
        }
    }

    /// The next request is past.
    pub(crate) fn pass(&mut self) {
        self.past += 1;
        self.events = self.next_events();
    }

    fn next_events(&self) -> f64 {
        let (publishers, batch) = (f64::from(self.publishers), f64::from(self.batch));
        match self.arrival {
            Arrival::Poisson => {
                let gap = chance::exponential(self.seed, Use::Arrival, self.publisher, self.past);
                self.events + gap * publishers * batch
            }
            // A product and no sum, so that nothing drifts.
            _ => (self.past as f64 * publishers + f64::from(self.publisher)) * batch,
        }
    }
}

const EVENTS_MAX: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::NS_PER_SECOND;

    fn arrivals(arrival: &str, rate: f64, publisher: (u32, u32), batch: u32) -> Arrivals {
        let arrival = arrival.parse().expect("an arrival");
        Arrivals::new(arrival, Stages::steady(rate), 42, publisher, batch)
    }

    fn times_us(mut arrivals: Arrivals, count: usize) -> Vec<u64> {
        let next = || {
            let next_ns = arrivals.next_ns().expect("another one");
            arrivals.pass();
            next_ns / 1_000
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    #[test]
    fn due_times_are_as_the_arrival_says() {
        let check = |arrival: &str, publisher: (u32, u32), batch: u32, expected: &[u64]| {
            let times = times_us(arrivals(arrival, 100.0, publisher, batch), expected.len());
            let expected: Vec<u64> = expected.iter().map(|ms| ms * 1_000).collect();
            assert_eq!(times, expected, "{arrival} {publisher:?} {batch}");
        };
        check("constant", (0, 1), 1, &[0, 10, 20, 30]);
        check("constant", (1, 2), 1, &[10, 30, 50]);
        check("constant", (0, 1), 50, &[0, 500, 1_000]);
        check("burst:3@1s", (0, 1), 1, &[0, 0, 0, 1_000, 1_000, 1_000, 2_000]);
        check("burst:3@1s", (1, 2), 1, &[0, 1_000, 1_000, 2_000]);
        check("burst:4@500ms", (0, 1), 2, &[0, 0, 500, 500]);
    }

    #[test]
    fn by_chance_events_come_as_often_and_the_same_seed_has_the_same_times() {
        let times = times_us(arrivals("poisson", 1_000.0, (2, 4), 1), 10_000);
        assert_eq!(times, times_us(arrivals("poisson", 1_000.0, (2, 4), 1), 10_000));
        assert_ne!(times, times_us(arrivals("poisson", 1_000.0, (1, 4), 1), 10_000));
        assert!(times.is_sorted());
        // A quarter of the rate is 250 a second; 10,000 times take 40 s, give or take 1 %.
        let last = *times.last().expect("times");
        assert!((39_000_000..41_000_000).contains(&last), "{last}");
        // Of exponential times the deviation is the mean: about 63.2 % are shorter than it.
        let shorter = times.windows(2).filter(|pair| pair[1] - pair[0] < 4_000).count();
        assert!((6_200..6_450).contains(&shorter), "{shorter}");
    }

    #[test]
    fn the_even_schedule_does_not_drift() {
        let mut arrivals = arrivals("constant", 700.0, (0, 1), 1);
        let mut before = 0;
        for place in 0..1_000u64 {
            let next_ns = arrivals.next_ns().expect("another one");
            assert_eq!(next_ns, (place as f64 / 700.0 * NS_PER_SECOND as f64) as u64);
            assert!(place == 0 || (1_428_570..=1_428_572).contains(&(next_ns - before)));
            before = next_ns;
            arrivals.pass();
        }
    }

    #[test]
    fn arrivals_are_read_and_written_alike() {
        for text in ["constant", "poisson", "burst:100@1s", "burst:5@1m30s", "closed:7"] {
            assert_eq!(text.parse::<Arrival>().expect("an arrival").name(), text);
        }
        for wrong in ["", "even", "burst", "burst:5", "burst:0@1s", "burst:5@0s", "closed:0", "poisson:3"] {
            assert!(wrong.parse::<Arrival>().is_err(), "{wrong}");
        }
    }
}
