//! What a run does to a server: when events come, how many at once, and to whom.

use std::str::FromStr;

use clap::{Args, Parser, ValueEnum};
use serde::Serialize;

use crate::machine::{self, NS_PER_SECOND};
use crate::options::{Interval, Rate, SourceRange, Transport};

/// Options that make a load; the same for one server and for two.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadFlags {
    /// What happens: steady, burst:K, saturation:W, publish:D, connect or idle [default: steady]
    #[arg(long, value_name = "SHAPE", help_heading = "Load")]
    pub(crate) shape: Option<ShapeName>,
    /// Subscribers [default: 1000; none for publish]
    #[arg(short, long, value_name = "N", help_heading = "Load")]
    pub(crate) connections: Option<u32>,
    /// So many channels with so many subscribers each, such as 1000x10, in place of one channel for all
    #[arg(long, value_name = "CxS", conflicts_with = "connections", help_heading = "Load")]
    pub(crate) topology: Option<Topology>,
    /// Every subscriber subscribes to all channels by the profile's wildcard
    #[arg(long, help_heading = "Load")]
    pub(crate) wildcard: bool,
    /// Of the subscribers, so many never read; nothing is expected of them [default: 0]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub(crate) stuck: Option<u32>,
    /// Bytes of a delivered message: the payload of a WebSocket frame, or a block of an event stream [default: 128]
    #[arg(short, long, value_name = "BYTES", help_heading = "Load")]
    pub(crate) size: Option<u32>,
    /// Instants per second at which events are due, for steady and burst [default: chosen for 50,000 deliveries/s, bursts for
    /// 20,000 deliveries/s of their first events]
    #[arg(short = 'R', long, value_name = "RATE", help_heading = "Load")]
    pub(crate) rate: Option<Rate>,
    /// How subscribers connect [default: ws]
    #[arg(long, value_name = "ws|sse", value_parser = one_transport, help_heading = "Load")]
    pub(crate) transport: Option<Transport>,
    /// How events are published [default: http]
    #[arg(long, value_name = "HOW", help_heading = "Load")]
    pub(crate) publish_via: Option<PublishVia>,
    /// Events per request of http-batch, at most [default: 100]
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u32).range(1..=BATCH_MAX), help_heading = "Load")]
    pub(crate) batch: Option<u32>,
    /// Connections that publish [default: 1; 4 for publish]
    #[arg(short, long, value_name = "P", value_parser = clap::value_parser!(u32).range(1..=PUBLISHERS_MAX), help_heading = "Load")]
    pub(crate) publishers: Option<u32>,
    /// Length of the measured part [default: 2s]
    #[arg(short, long, value_name = "TIME", help_heading = "Load")]
    pub(crate) duration: Option<Interval>,
    /// The same load before the measured part [default: 300ms]
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    pub(crate) warmup: Option<Interval>,
    /// How long the last deliveries may take once publishing has ended [default: 10s]
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    pub(crate) drain: Option<Interval>,
    /// How far the client's own ceiling must be above a result for this to stand [default: 1.3]
    #[arg(long, value_name = "RATIO", help_heading = "Load")]
    pub(crate) ceiling: Option<f64>,
    /// Of so many subscribers one reads every byte, at least 8 in all; the others drop what somebody else has read, as far as
    /// all are sent the same. 1: all read, and the latency of every delivery is recorded [default: 64 for saturation, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Load")]
    pub(crate) watch: Option<u32>,
    /// Addresses to connect from, in turn, such as 127.0.0.2..9; one address can hold some 28,000 connections
    #[arg(long, value_name = "FROM[..TO]", help_heading = "Load")]
    pub(crate) source_ip: Option<SourceRange>,
}

impl LoadFlags {
    /// These, and what they leave open from `base`.
    pub(crate) fn over(self, base: &LoadFlags) -> LoadFlags {
        // Either way of saying how many there are takes the place of the other one.
        let is_counted = self.connections.is_some() || self.topology.is_some();
        let counted = if is_counted { &self } else { base };
        let (connections, topology) = (counted.connections, counted.topology);
        LoadFlags {
            connections,
            topology,
            shape: self.shape.or(base.shape),
            wildcard: self.wildcard || base.wildcard,
            stuck: self.stuck.or(base.stuck),
            size: self.size.or(base.size),
            rate: self.rate.or(base.rate),
            transport: self.transport.or(base.transport),
            publish_via: self.publish_via.or(base.publish_via),
            batch: self.batch.or(base.batch),
            publishers: self.publishers.or(base.publishers),
            duration: self.duration.or(base.duration),
            warmup: self.warmup.or(base.warmup),
            drain: self.drain.or(base.drain),
            ceiling: self.ceiling.or(base.ceiling),
            watch: self.watch.or(base.watch),
            source_ip: self.source_ip.or(base.source_ip),
        }
    }
}

impl FromStr for LoadFlags {
    type Err = String;

    /// Options as they would stand on the command line, without quotes.
    fn from_str(text: &str) -> Result<LoadFlags, String> {
        let words = ["options"].into_iter().chain(text.split_whitespace());
        Line::try_parse_from(words).map(|line| line.flags).map_err(|error| error.to_string())
    }
}

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    flags: LoadFlags,
}

/// A load that is valid.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// When events come.
    pub(crate) shape: Shape,
    /// How many subscribers there are.
    pub(crate) subscribers: u32,
    /// Over how many channels events go round; subscribers too.
    pub(crate) channels: u32,
    /// Whether subscribers subscribe to all channels.
    pub(crate) wildcard: bool,
    /// How many subscribers never read.
    pub(crate) stuck: u32,
    /// Bytes of a delivered message.
    pub(crate) size: usize,
    /// How subscribers connect.
    pub(crate) transport: Transport,
    /// How events are published.
    pub(crate) via: PublishVia,
    /// Events per request.
    pub(crate) batch: u32,
    /// Connections that publish.
    pub(crate) publishers: u32,
    /// The measured part, in nanoseconds.
    pub(crate) duration_ns: u64,
    /// What comes before it, in nanoseconds.
    pub(crate) warmup_ns: u64,
    /// How long the last deliveries may take, in nanoseconds.
    pub(crate) drain_ns: u64,
    /// How far the client's own ceiling must be above a result.
    pub(crate) ceiling: f64,
    /// How many subscribers read every byte.
    pub(crate) watched: u32,
    /// Addresses to connect from.
    pub(crate) source: Option<SourceRange>,
}

/// When events come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shape {
    /// One at each instant.
    Steady {
        /// From one instant to the next.
        period_ns: u64,
    },
    /// Many at each instant, handed over in one write.
    Burst {
        /// How many.
        events: u32,
        /// From one instant to the next.
        period_ns: u64,
    },
    /// The next one as soon as fewer than so many are not delivered to everybody.
    Saturation {
        /// How many.
        outstanding: u32,
    },
    /// Without subscribers: the next request as soon as fewer than so many of a connection are unanswered.
    Publish {
        /// How many.
        depth: u32,
    },
    /// None; connections are opened and closed.
    Connect,
    /// None; connections are held.
    Idle,
}

/// A shape as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShapeName {
    /// `steady`.
    Steady,
    /// `burst:K`.
    Burst(u32),
    /// `saturation:W`.
    Saturation(u32),
    /// `publish:D`.
    Publish(u32),
    /// `connect`.
    Connect,
    /// `idle`.
    Idle,
}

/// Channels and the subscribers of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Topology {
    channels: u32,
    subscribers: u32,
}

/// How events are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PublishVia {
    /// One event a request, pipelined
    Http,
    /// Many events a request, pipelined
    HttpBatch,
    /// One event a frame
    Ws,
}

impl Load {
    /// What the options mean.
    ///
    /// # Errors
    /// They contradict each other; the message says how.
    pub(crate) fn new(flags: &LoadFlags) -> Result<Load, String> {
        let name = flags.shape.unwrap_or(ShapeName::Steady);
        let none = matches!(name, ShapeName::Publish(_));
        let stuck = flags.stuck.unwrap_or(0);
        let via = flags.publish_via.unwrap_or(PublishVia::Http);
        let (channels, subscribers) = match flags.topology {
            Some(topology) => (topology.channels, topology.channels * topology.subscribers),
            None => (1, flags.connections.unwrap_or(if none { 0 } else { SUBSCRIBERS_DEFAULT })),
        };
        if SUBSCRIBERS_MAX < subscribers {
            return Err(format!("at most {SUBSCRIBERS_MAX} subscribers"));
        }
        if none && 0 < subscribers {
            return Err("the shape publish has no subscribers; saturation has".to_owned());
        }
        if !none && subscribers <= stuck {
            return Err("of the subscribers at least one must read".to_owned());
        }
        if stuck != 0 && channels != 1 {
            return Err("--stuck goes with one channel for all".to_owned());
        }
        let each = if flags.wildcard { subscribers } else { subscribers / channels };
        let period = |deliveries: f64, rate_max: f64| match flags.rate {
            Some(Rate::PerSecond(rate)) => Ok((NS_PER_SECOND as f64 / rate) as u64),
            Some(Rate::Saturation) => Err("for as fast as possible use --shape saturation:W".to_owned()),
            None => {
                let rate = (deliveries / f64::from(each.max(1))).clamp(1.0, rate_max);
                Ok((NS_PER_SECOND as f64 / rate) as u64)
            }
        };
        let shape = match name {
            ShapeName::Steady => Shape::Steady { period_ns: period(STEADY_DELIVERIES, STEADY_RATE_MAX)? },
            ShapeName::Burst(events) => {
                Shape::Burst { events, period_ns: period(BURST_DELIVERIES, BURST_RATE_MAX)? }
            }
            ShapeName::Saturation(outstanding) => Shape::Saturation { outstanding },
            ShapeName::Publish(depth) => Shape::Publish { depth },
            ShapeName::Connect => Shape::Connect,
            ShapeName::Idle => Shape::Idle,
        };
        if flags.rate.is_some() && !matches!(shape, Shape::Steady { .. } | Shape::Burst { .. }) {
            return Err("--rate goes with steady and burst".to_owned());
        }
        let (least, most) = (DURATION_NS_MIN, DURATION_NS_MAX);
        let ns =
            |interval: Option<Interval>, default_ns: u64| interval.map_or(default_ns, |interval| interval.ns);
        let duration_ns = ns(flags.duration, DURATION_NS_DEFAULT);
        let (warmup_ns, drain_ns) = (ns(flags.warmup, WARMUP_NS_DEFAULT), ns(flags.drain, DRAIN_NS_DEFAULT));
        if !(least..=most).contains(&duration_ns) || most < warmup_ns || most < drain_ns {
            return Err("a run lasts from 10 ms to an hour".to_owned());
        }
        let watch = flags.watch.unwrap_or(match shape {
            Shape::Saturation { .. } => WATCH_SATURATION,
            _ => 1,
        });
        let watched = subscribers.div_ceil(watch).max(WATCHED_MIN);
        // All that may skip must be sent the same, and nothing that is to be answered, such as a ping.
        let is_one_stream = stuck == 0 && (channels == 1 || flags.wildcard);
        let can_skip = machine::CAN_SKIP && is_one_stream && warmup_ns + duration_ns <= SKIP_NS_MAX;
        Ok(Load {
            shape,
            subscribers,
            channels,
            wildcard: flags.wildcard,
            stuck,
            size: flags.size.unwrap_or(SIZE_DEFAULT).min(SIZE_MAX) as usize,
            transport: flags.transport.unwrap_or(Transport::WebSocket),
            via,
            batch: if via == PublishVia::HttpBatch { flags.batch.unwrap_or(BATCH_DEFAULT) } else { 1 },
            publishers: flags.publishers.unwrap_or(if none { 4 } else { 1 }),
            duration_ns,
            warmup_ns,
            drain_ns,
            ceiling: flags.ceiling.unwrap_or(CEILING_DEFAULT),
            watched: if can_skip { watched.min(subscribers) } else { subscribers },
            source: flags.source_ip,
        })
    }

    /// Whether the subscriber `id` never reads; they are spread evenly.
    pub(crate) fn is_stuck(&self, id: u32) -> bool {
        is_one_of(id, self.stuck, self.subscribers)
    }

    /// Whether the subscriber `id` reads every byte; they are spread evenly.
    pub(crate) fn is_watched(&self, id: u32) -> bool {
        is_one_of(id, self.watched, self.subscribers)
    }

    /// Whether some subscribers do not read every byte.
    pub(crate) fn skips(&self) -> bool {
        self.watched < self.subscribers
    }

    /// The channel of the subscriber `id`.
    pub(crate) fn channel_of(&self, id: u32) -> u32 {
        id % self.channels
    }

    /// How many subscribers that read an event has.
    pub(crate) fn receivers(&self) -> u64 {
        let reading = u64::from(self.subscribers - self.stuck);
        if self.wildcard { reading } else { reading / u64::from(self.channels) }
    }

    /// Whether anything is published.
    pub(crate) fn publishes(&self) -> bool {
        !matches!(self.shape, Shape::Connect | Shape::Idle)
    }

    /// One line that says what the load is.
    pub(crate) fn describe(&self) -> String {
        let rate = |period_ns: u64| NS_PER_SECOND as f64 / period_ns as f64;
        let shape = match self.shape {
            Shape::Steady { period_ns } => format!("steady, {:.0} events/s", rate(period_ns)),
            Shape::Burst { events, period_ns } => {
                format!("bursts of {events}, {:.1} a second", rate(period_ns))
            }
            Shape::Saturation { outstanding } => format!("saturation, {outstanding} outstanding"),
            Shape::Publish { depth } => format!("publish, {depth} requests unanswered a connection"),
            Shape::Connect => "connect".to_owned(),
            Shape::Idle => "idle".to_owned(),
        };
        let mut words = vec![shape];
        if 0 < self.subscribers {
            words.push(format!("{} {} subscribers", self.subscribers, self.transport.name()));
            words.push(match (self.channels, self.wildcard) {
                (1, false) => "one channel".to_owned(),
                (channels, false) => format!("{channels} channels"),
                (channels, true) => format!("by wildcard, events on {channels}"),
            });
        }
        if self.skips() {
            words.push(format!("{} of them watched", self.watched));
        }
        if 0 < self.stuck {
            words.push(format!("{} never read", self.stuck));
        }
        if self.publishes() {
            words.push(match self.via {
                PublishVia::Http => "publish by http".to_owned(),
                PublishVia::HttpBatch => format!("publish by http in batches of {}", self.batch),
                PublishVia::Ws => "publish by ws".to_owned(),
            });
        }
        words.join(", ")
    }
}

impl FromStr for ShapeName {
    type Err = String;

    fn from_str(text: &str) -> Result<ShapeName, String> {
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => {
                let number = number.parse::<u32>().ok().filter(|number| (1..=EVENTS_MAX).contains(number));
                (
                    name,
                    Some(number.ok_or_else(|| format!("the number of {text:?} is from 1 to {EVENTS_MAX}"))?),
                )
            }
            None => (text, None),
        };
        match (name, number) {
            ("steady", None) => Ok(ShapeName::Steady),
            ("burst", number) => Ok(ShapeName::Burst(number.unwrap_or(10))),
            ("saturation", number) => Ok(ShapeName::Saturation(number.unwrap_or(64))),
            ("publish", number) => Ok(ShapeName::Publish(number.unwrap_or(64))),
            ("connect", None) => Ok(ShapeName::Connect),
            ("idle", None) => Ok(ShapeName::Idle),
            _ => Err("must be steady, burst:K, saturation:W, publish:D, connect or idle".to_owned()),
        }
    }
}

impl FromStr for Topology {
    type Err = String;

    fn from_str(text: &str) -> Result<Topology, String> {
        let wrong = || "must be channels x subscribers of each, such as 1000x10".to_owned();
        let (channels, subscribers) = text.split_once('x').ok_or_else(wrong)?;
        let number =
            |text: &str| text.parse::<u32>().ok().filter(|number| (1..=SUBSCRIBERS_MAX).contains(number));
        let topology = Topology {
            channels: number(channels).ok_or_else(wrong)?,
            subscribers: number(subscribers).ok_or_else(wrong)?,
        };
        match topology.channels.checked_mul(topology.subscribers) {
            Some(all) if all <= SUBSCRIBERS_MAX => Ok(topology),
            _ => Err(format!("at most {SUBSCRIBERS_MAX} subscribers in all")),
        }
    }
}

/// Whether `id`, of `all`, is one of `some` that are spread evenly.
fn is_one_of(id: u32, some: u32, all: u32) -> bool {
    let (id, some, all) = (u64::from(id), u64::from(some), u64::from(all));
    id * some / all != (id + 1) * some / all
}

fn one_transport(text: &str) -> Result<Transport, String> {
    Transport::ALL
        .into_iter()
        .find(|transport| transport.name() == text)
        .ok_or_else(|| "must be ws or sse".to_owned())
}

/// The shapes, for `--list`.
pub(crate) const SHAPES: &str = "\
steady          one event at each due instant (-R a second); latency of every delivery
burst:K         K events due at one instant and handed over in one write, -R bursts a second; latency of every delivery
saturation:W    a new event as soon as fewer than W are not with everybody; latency of one delivery a reading
publish:D       no subscribers; 4 connections with D unanswered requests each; latency from request to answer
connect         opens and closes all connections, over and over; processor time of the server for each
idle            holds the connections; resident memory of the server for each

dimensions      -c 1 | 100 | 1000 | 5000, --topology 1000x10 | 10000x1, --wildcard, --stuck N, -s BYTES, --transport ws|sse,
                --publish-via http|http-batch|ws, --batch B
";

const SUBSCRIBERS_DEFAULT: u32 = 1_000;
const SUBSCRIBERS_MAX: u32 = 1_000_000;
const CEILING_DEFAULT: f64 = 1.3;
const SIZE_DEFAULT: u32 = 128;
const WATCH_SATURATION: u32 = 64;
const WATCHED_MIN: u32 = 8;
/// Servers ask for a sign of life some twenty seconds after the connection was opened, at the earliest.
const SKIP_NS_MAX: u64 = 15 * NS_PER_SECOND;
const BATCH_DEFAULT: u32 = 100;
const DURATION_NS_DEFAULT: u64 = 2 * NS_PER_SECOND;
const WARMUP_NS_DEFAULT: u64 = 3 * NS_PER_SECOND / 10;
const DRAIN_NS_DEFAULT: u64 = 10 * NS_PER_SECOND;
const EVENTS_MAX: u32 = 100_000;
const BATCH_MAX: i64 = 10_000;
const PUBLISHERS_MAX: i64 = 256;
const SIZE_MAX: u32 = 1024 * 1024;
/// About a third of a core at 7 µs a delivery, so that queues stay empty.
const STEADY_DELIVERIES: f64 = 50_000.0;
const STEADY_RATE_MAX: f64 = 5_000.0;
const BURST_DELIVERIES: f64 = 20_000.0;
const BURST_RATE_MAX: f64 = 200.0;
const DURATION_NS_MIN: u64 = NS_PER_SECOND / 100;
const DURATION_NS_MAX: u64 = 3_600 * NS_PER_SECOND;

#[cfg(test)]
mod tests {
    use super::*;

    fn load(arguments: &str) -> Result<Load, String> {
        Load::new(&arguments.parse()?)
    }

    #[test]
    fn a_load_is_what_its_options_say_or_an_error() {
        let check =
            |arguments: &str, expected: Result<(Shape, u32, u64), &str>| match (load(arguments), expected) {
                (Ok(got), Ok(wanted)) => {
                    assert_eq!((got.shape, got.subscribers, got.receivers()), wanted, "{arguments}");
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{arguments}: {error}"),
                (got, _) => panic!("{arguments}: {got:?}"),
            };
        let steady = |period_ns| Shape::Steady { period_ns };
        check("", Ok((steady(20_000_000), 1_000, 1_000)));
        check("-c 1", Ok((steady(200_000), 1, 1)));
        check("-c 5000 -R 20", Ok((steady(50_000_000), 5_000, 5_000)));
        check("--topology 1000x10", Ok((steady(200_000), 10_000, 10)));
        check("--topology 10x10 --wildcard -R 10", Ok((steady(100_000_000), 100, 100)));
        check("--shape burst:60", Ok((Shape::Burst { events: 60, period_ns: 50_000_000 }, 1_000, 1_000)));
        check("--shape saturation:4 --stuck 100", Ok((Shape::Saturation { outstanding: 4 }, 1_000, 900)));
        check("--shape publish:8", Ok((Shape::Publish { depth: 8 }, 0, 0)));
        check("--shape publish -c 4", Err("no subscribers"));
        check("-c 4 --stuck 4", Err("at least one must read"));
        check("--shape idle -R 5", Err("goes with steady"));
        check("--shape saturation:0", Err("from 1"));
        check("--shape calm", Err("must be steady"));
        check("--topology 5", Err("such as 1000x10"));
        check("-R max", Err("saturation:W"));
        check("-d 1ms", Err("from 10 ms"));
        check("--transport tcp", Err("ws or sse"));
    }

    #[test]
    fn options_of_one_side_go_over_those_of_both() {
        let flags = |text: &str| text.parse::<LoadFlags>().expect("options");
        let both = flags("-c 50 --shape burst:3 --stuck 5");
        let load = |side: &str| Load::new(&flags(side).over(&both)).expect("a load");
        assert_eq!((load("").subscribers, load("").stuck), (50, 5));
        assert_eq!((load("--stuck 0").subscribers, load("--stuck 0").stuck), (50, 0));
        assert_eq!(load("--topology 3x4 --stuck 0").subscribers, 12);
    }

    #[test]
    fn some_are_watched_where_all_are_sent_the_same() {
        let check = |arguments: &str, watched: u32| {
            let load = load(arguments).expect("a load");
            let watched = if machine::CAN_SKIP { watched } else { load.subscribers };
            assert_eq!(load.watched, watched, "{arguments}");
            let ids = (0..load.subscribers).filter(|id| load.is_watched(*id));
            assert_eq!(ids.count() as u32, watched, "{arguments}");
        };
        check("--shape saturation:4 -c 1000", 16);
        check("--shape saturation:4 -c 100", 8);
        check("--shape saturation:4 -c 3", 3);
        check("--shape saturation:4 -c 100 --watch 10", 10);
        check("--shape saturation:4 -c 100 --watch 1", 100);
        check("-c 100", 100);
        check("-c 100 --watch 5", 20);
        check("--shape saturation:4 -c 100 --stuck 10", 100);
        check("--shape saturation:4 --topology 10x10", 100);
        check("--shape saturation:4 --topology 10x10 --wildcard", 8);
        check("--shape saturation:4 -c 100 -d 20s", 100);
    }

    #[test]
    fn stuck_subscribers_are_spread_and_as_many_as_asked_for() {
        for (all, stuck) in [(1_000, 100), (7, 3), (5, 0)] {
            let load = load(&format!("-c {all} --stuck {stuck}")).expect("a load");
            let ids: Vec<u32> = (0..all).filter(|id| load.is_stuck(*id)).collect();
            assert_eq!(ids.len() as u32, stuck);
            assert!(ids.windows(2).all(|pair| all / stuck <= pair[1] - pair[0]), "{ids:?}");
        }
    }
}
