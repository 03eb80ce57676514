//! What a run is to do, checked: the flags' texts become values here, and nowhere else.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::flags::RunFlags;
use crate::options::{OnSlow, Rate, Size, Transport, Verify, Via};
use crate::target::Target;

/// A valid run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) target: Target,
    /// Who subscribes to what, and how.
    pub(crate) seats: Vec<Seat>,
    /// Connections per second while connecting.
    pub(crate) connect_rate: f64,
    /// Number of publishers.
    pub(crate) publishers: u32,
    /// How fast they publish.
    pub(crate) rate: Rate,
    /// Unanswered requests per publisher at saturation.
    pub(crate) outstanding: usize,
    /// Length of the measured part.
    pub(crate) duration_ns: u64,
    /// Events at most.
    pub(crate) messages_max: u64,
    /// Time before the measured part.
    pub(crate) warmup_ns: u64,
    /// What events are made of.
    pub(crate) size: Size,
    /// Whether nothing is published.
    pub(crate) hold: bool,
    /// Names of the channels.
    pub(crate) channels: Vec<String>,
    /// How publishers publish.
    pub(crate) via: Via,
    /// Events per request.
    pub(crate) batch: u32,
    /// Chooses the payloads.
    pub(crate) seed: u64,
    /// What subscribers ask for in case that they are slow.
    pub(crate) on_slow: Option<OnSlow>,
    /// Subscribers per second that are cut off and resume.
    pub(crate) churn_rate: f64,
    /// Loops of subscribers.
    pub(crate) threads: u32,
    /// What is checked.
    pub(crate) verify: Verify,
    /// How long the last events may take.
    pub(crate) drain_ns: u64,
    /// Whether a bottleneck in the generator is only noted.
    pub(crate) lenient: bool,
    /// Where the JSON result goes; `-` is standard output.
    pub(crate) json: Option<PathBuf>,
    /// Where the percentiles go.
    pub(crate) hgrm: Option<PathBuf>,
    /// Whether only failures are printed.
    pub(crate) quiet: bool,
}

impl Plan {
    /// Checks what was typed.
    ///
    /// # Errors
    /// Says which option is wrong, and why.
    pub(crate) fn new(flags: RunFlags) -> Result<Plan, String> {
        let target = flags.target.target()?;
        check_channel(&flags.channel, flags.channels)?;
        let within = |name: &str, value: u64, least: u64, most: u64| {
            let fits = (least..=most).contains(&value);
            if fits { Ok(()) } else { Err(format!("--{name} is {value}, but must be {least} to {most}")) }
        };
        within("connections", flags.connections.into(), 0, CONNECTIONS_MAX)?;
        within("publishers", flags.publishers.into(), 1, PUBLISHERS_MAX)?;
        within("outstanding", flags.outstanding.into(), 1, OUTSTANDING_MAX)?;
        within("batch", flags.batch.into(), 1, BATCH_MAX)?;
        within("threads", flags.threads.into(), 1, THREADS_MAX)?;
        within("slow", flags.slow.into(), 0, flags.connections.into())?;
        if 1 < flags.batch && flags.publish_via == Via::WebSocket {
            return Err(
                "--batch needs --publish-via http: a WebSocket publishes one event at a time".to_owned()
            );
        }
        if flags.messages == Some(0) {
            return Err("--messages is 0; --hold is for publishing nothing".to_owned());
        }
        let Rate::PerSecond(connect_rate) = flags.connect_rate else {
            return Err("--connect-rate must be a number above 0".to_owned());
        };
        let churn_rate = match flags.resume_churn {
            None => 0.0,
            Some(Rate::PerSecond(rate)) => rate,
            Some(Rate::Saturation) => return Err("--resume-churn must be a number above 0".to_owned()),
        };
        if let Size::Bytes(bytes) = flags.size
            && DATA_BYTES_MAX < bytes
        {
            return Err(format!("--size is {bytes}, but must be at most {DATA_BYTES_MAX}"));
        }
        if flags.source_ip.is_some() && target.address.is_ipv6() {
            return Err("--source-ip takes IPv4 addresses, but the target's is IPv6".to_owned());
        }
        Ok(Plan {
            seats: seats(&flags),
            target,
            connect_rate,
            publishers: flags.publishers,
            rate: flags.rate,
            outstanding: flags.outstanding as usize,
            duration_ns: flags.duration.ns,
            messages_max: flags.messages.unwrap_or(EVENTS_MAX).min(EVENTS_MAX),
            warmup_ns: if flags.hold { 0 } else { flags.warmup.ns },
            size: flags.size,
            hold: flags.hold,
            channels: (0..flags.channels).map(|i| flags.channel.replace("{i}", &i.to_string())).collect(),
            via: flags.publish_via,
            batch: flags.batch,
            seed: flags.seed,
            on_slow: flags.on_slow,
            churn_rate,
            threads: flags.threads,
            verify: flags.verify,
            drain_ns: flags.drain.ns,
            lenient: flags.lenient,
            json: flags.json,
            hgrm: flags.hgrm,
            quiet: flags.quiet,
        })
    }

    /// The channel of a publisher's event: the events of all publishers go round all channels.
    pub(crate) fn channel_of(&self, publisher: u32, index: u64) -> usize {
        let place = u128::from(index) * u128::from(self.publishers) + u128::from(publisher);
        (place % self.channels.len() as u128) as usize
    }
}

/// One subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    /// Its number in the run.
    pub(crate) id: u32,
    /// The loop that drives it.
    pub(crate) thread: u32,
    /// How it connects first.
    pub(crate) transport: Transport,
    /// The channel it takes.
    pub(crate) channel: u32,
    /// Whether it stops reading for the measured part.
    pub(crate) slow: bool,
    /// The address it connects from.
    pub(crate) source: Option<SocketAddr>,
}

/// Shares transports, channels and threads out so that none of them go in step: every channel and every thread
/// gets its part of each transport.
fn seats(flags: &RunFlags) -> Vec<Seat> {
    let mut ordinals = [0; 2];
    (0..flags.connections)
        .map(|id| {
            let transport = flags.transport.of(id);
            let ordinal = ordinals[transport as usize];
            ordinals[transport as usize] += 1;
            Seat {
                id,
                thread: ordinal % flags.threads,
                transport,
                channel: ordinal % flags.channels,
                slow: id < flags.slow,
                source: flags.source_ip.map(|range| range.of(id)),
            }
        })
        .collect()
}

/// Names go into requests and JSON unescaped, so they are held to the bytes that the protocol allows.
fn check_channel(name: &str, count: u32) -> Result<(), String> {
    if !(1..=CHANNELS_MAX).contains(&count) {
        return Err(format!("--channels is {count}, but must be 1 to {CHANNELS_MAX}"));
    }
    if 1 < count && !name.contains("{i}") {
        return Err("--channel needs {i} in it when there are several --channels".to_owned());
    }
    let plain = name.replace("{i}", "0");
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:/-".contains(&byte);
    if plain.is_empty() || NAME_BYTES_MAX < plain.len() || !plain.bytes().all(allowed) {
        return Err(format!("--channel {name:?} is not a channel's name: letters, digits and _.:/- only"));
    }
    Ok(())
}

/// Events of one run at most: each costs 48 bytes per thread of subscribers in the record of what was seen.
pub(crate) const EVENTS_MAX: u64 = 1 << 24;

const CONNECTIONS_MAX: u64 = 1_000_000;
const PUBLISHERS_MAX: u64 = 10_000;
const OUTSTANDING_MAX: u64 = 16_384;
const BATCH_MAX: u64 = 1_000;
const THREADS_MAX: u64 = 256;
const CHANNELS_MAX: u32 = 1_000_000;
/// A server's events are at most 1 MiB.
const DATA_BYTES_MAX: usize = 1024 * 1024;
/// The protocol's bound is 255; a number takes the place of `{i}`.
const NAME_BYTES_MAX: usize = 245;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Command, Flags};
    use clap::Parser;

    fn plan(arguments: &str) -> Result<Plan, String> {
        let arguments =
            ["loadgen", "run", "http://127.0.0.1:8080"].into_iter().chain(arguments.split_whitespace());
        let flags = Flags::try_parse_from(arguments).map_err(|error| error.to_string())?;
        match flags.command {
            Command::Run(flags) => Plan::new(*flags),
            _ => panic!("another command"),
        }
    }

    #[test]
    fn transports_channels_and_threads_are_shared_out_evenly() {
        let plan = plan("-c 400 --transport ws:75,sse:25 --channels 2 -t 2 --slow 3").expect("a plan");
        let count = |check: &dyn Fn(&Seat) -> bool| plan.seats.iter().filter(|seat| check(seat)).count();
        assert_eq!(count(&|seat| seat.transport == Transport::Sse), 100);
        for channel in 0..2 {
            assert_eq!(count(&|seat| seat.channel == channel && seat.transport == Transport::Sse), 50);
            assert_eq!(count(&|seat| seat.channel == channel && seat.transport == Transport::WebSocket), 150);
        }
        assert_eq!(count(&|seat| seat.thread == 1), 200);
        assert_eq!(count(&|seat| seat.slow), 3);
        assert_eq!(plan.channels, ["bench:0", "bench:1"]);
    }

    #[test]
    fn events_go_round_all_channels() {
        let plan = plan("--channels 3 -p 2").expect("a plan");
        let mut counts = [0; 3];
        (0..6)
            .flat_map(|index| [(0, index), (1, index)])
            .for_each(|(p, i)| counts[plan.channel_of(p, i)] += 1);
        assert_eq!(counts, [4, 4, 4]);
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_options_name() {
        let check = |arguments: &str, named: &str| {
            let error = plan(arguments).expect_err(arguments);
            assert!(error.contains(named), "{arguments}: {error}");
        };
        check("--batch 2 --publish-via ws", "--batch");
        check("--channels 2 --channel bench:x", "--channel");
        check("--channels 0", "--channels");
        check("--channel a\"b:c", "--channel");
        check("--slow 11 -c 10", "--slow");
        check("--publishers 0", "--publishers");
        check("-n 0", "--messages");
        check("--connect-rate max", "--connect-rate");
        check("--size 2000000", "--size");
        check("--size big", "--size");
        check("--duration 3weeks", "--duration");
        check("--transport quic", "--transport");
        check("--transport ws:0,sse:0", "--transport");
        check("--verify some", "--verify");
        check("--on-slow wait", "--on-slow");
    }
}
