//! What a run is to do, checked: the flags' texts become values here, and nowhere else.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::agent::wording::Wording;
use crate::cost::Source;
use crate::files::Files;
use crate::flags::{CHANNEL_DEFAULT, RunFlags};
use crate::foreign::{Foreign, Replacements};
use crate::load::arrival::Arrival;
use crate::load::chance::{self, Use};
use crate::load::share::Share;
use crate::load::size::Size;
use crate::load::skew::Shares;
use crate::load::stages::Stages;
use crate::machine::NS_PER_SECOND;
use crate::objective::Objective;
use crate::options::{OnSlow, Rate, Transport, Verify, Via};
use crate::report::outputs::OutputFlags;
use crate::target::Target;
use crate::tls::Trust;

/// What of a run is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// All of it.
    Whole,
    /// Publishing.
    Publish,
    /// Subscribing, to what somebody else publishes.
    Subscribe,
    /// Connecting.
    Connect,
}

impl Role {
    /// The command's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Whole => "run",
            Role::Publish => "pub",
            Role::Subscribe => "sub",
            Role::Connect => "connect",
        }
    }
}

/// A valid run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What of it is wanted.
    pub(crate) role: Role,
    /// The server.
    pub(crate) target: Target,
    /// Who subscribes to what, and how.
    pub(crate) seats: Vec<Seat>,
    /// Connections per second while connecting.
    pub(crate) connect_rate: f64,
    /// Number of publishers.
    pub(crate) publishers: u32,
    /// How fast they publish; the highest rate where it changes.
    pub(crate) rate: Rate,
    /// When events are due.
    pub(crate) arrival: Arrival,
    /// The rate over time, the warm-up included; of no meaning at saturation.
    pub(crate) stages: Stages,
    /// The same as it was asked for, if the rate changes.
    pub(crate) asked_stages: Option<Stages>,
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
    /// How the server is spoken to, if it is none of ours.
    pub(crate) foreign: Option<Foreign>,
    /// Whether nothing is published.
    pub(crate) hold: bool,
    /// Names of the channels.
    pub(crate) channels: Vec<String>,
    /// The channels' shares of the events, if they are not equal.
    pub(crate) shares: Option<Shares>,
    /// Channels that a subscriber takes.
    pub(crate) subscriptions: u32,
    /// Subscribers of each channel.
    pub(crate) receivers: Vec<u32>,
    /// The part of the events that have the tag which subscribers ask for, if they filter.
    pub(crate) filter: Option<f64>,
    /// How publishers publish.
    pub(crate) via: Via,
    /// Events per request.
    pub(crate) batch: u32,
    /// Chooses the payloads.
    pub(crate) seed: u64,
    /// What subscribers ask for in case that they are slow.
    pub(crate) on_slow: Option<OnSlow>,
    /// Bytes that a slow subscriber reads per second; nothing is read if there is none.
    pub(crate) slow_bytes_per_s: Option<u64>,
    /// Subscribers per second that are cut off and resume.
    pub(crate) churn_rate: f64,
    /// Subscribers per second that leave and come back without a cursor.
    pub(crate) turnover_rate: f64,
    /// When those who are part of the storm are cut off, after the start of the measured part.
    pub(crate) storm_after_ns: Option<u64>,
    /// Where the server's cost is told.
    pub(crate) source: Source,
    /// Loops of subscribers, those of all agents together if there are any.
    pub(crate) threads: u32,
    /// Where the agents listen that drive the subscribers, if this process does not.
    pub(crate) agents: Vec<String>,
    /// What agents make the same plan of; nothing where there are none.
    pub(crate) wording: Wording,
    /// What is checked.
    pub(crate) verify: Verify,
    /// What must be reached.
    pub(crate) objectives: Vec<Objective>,
    /// How long an objective may be missed before the run is called off; for good if there is none.
    pub(crate) patience_ns: Option<u64>,
    /// How long the last events may take.
    pub(crate) drain_ns: u64,
    /// Whether a bottleneck in the generator is only noted.
    pub(crate) lenient: bool,
    /// Where results go, and what is shown meanwhile.
    pub(crate) outputs: OutputFlags,
}

impl Plan {
    /// Checks what was typed.
    ///
    /// # Errors
    /// Says which option is wrong, and why.
    pub(crate) fn new(flags: RunFlags) -> Result<Plan, String> {
        Plan::of(Role::Whole, flags)
    }

    /// Checks what was typed for a part of a run.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub(crate) fn of(role: Role, flags: RunFlags) -> Result<Plan, String> {
        let wording = if flags.agents.is_empty() { Wording::default() } else { Wording::of(&flags)? };
        Ok(Plan { wording, ..Plan::of_files(role, flags, &Files::Here)? })
    }

    /// Checks what was typed, here or elsewhere, as the files are in `files`.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub(crate) fn of_files(role: Role, flags: RunFlags, files: &Files) -> Result<Plan, String> {
        if role == Role::Publish && (0 < flags.connections || !flags.agents.is_empty()) {
            return Err("pub has no subscribers, so leave --connections and --agents out".to_owned());
        }
        let hold = flags.hold || matches!(role, Role::Subscribe | Role::Connect);
        let mut target = flags.target.target_of(files)?;
        if let Some(path) = &flags.subscriber_tokens {
            let text = files.read(path)?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let tokens = target.set_subscriber_tokens(lines.map(str::to_owned).collect());
            tokens.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        check_channel(&flags.channel, flags.channels)?;
        flags.output.check()?;
        let within = |name: &str, value: u64, least: u64, most: u64| {
            let fits = (least..=most).contains(&value);
            if fits { Ok(()) } else { Err(format!("--{name} is {value}, but must be {least} to {most}")) }
        };
        within("connections", flags.connections.into(), 0, CONNECTIONS_MAX)?;
        within("publishers", flags.publishers.into(), 1, PUBLISHERS_MAX)?;
        within("outstanding", flags.outstanding.into(), 1, OUTSTANDING_MAX)?;
        within("batch", flags.batch.into(), 1, BATCH_MAX)?;
        within("threads", flags.threads.into(), 1, THREADS_MAX)?;
        if AGENTS_MAX < flags.agents.len() {
            return Err(format!("--agents names {}, and {AGENTS_MAX} are the most", flags.agents.len()));
        }
        let threads = flags.threads * flags.agents.len().max(1) as u32;
        let slow = flags.slow.share.of(flags.connections);
        let storm = flags.reconnect.map_or(0, |storm| storm.share.of(flags.connections));
        within("slow", slow.into(), 0, flags.connections.into())?;
        within("reconnect", storm.into(), 0, flags.connections.into())?;
        within("subs-per-conn", flags.subs_per_conn.into(), 1, SUBSCRIPTIONS_MAX.min(flags.channels.into()))?;
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
        let churn = |name: &str, rate: Option<Rate>| match rate {
            None => Ok(0.0),
            Some(Rate::PerSecond(rate)) => Ok(rate),
            Some(Rate::Saturation) => Err(format!("--{name} must be a number above 0")),
        };
        let churn_rate = churn("resume-churn", flags.resume_churn)?;
        let turnover_rate = churn("churn", flags.churn)?;
        if DATA_BYTES_MAX < flags.size.bytes_max() {
            let bytes = flags.size.bytes_max();
            return Err(format!("--size is {bytes}, but must be at most {DATA_BYTES_MAX}"));
        }
        let filter = match flags.filter {
            None => None,
            Some(Share::Part(part)) => Some(part),
            Some(Share::Number(_)) => {
                return Err("--filter must be a share of the events such as 10%".to_owned());
            }
        };
        let pace = Pace::new(&flags)?;
        if flags.reconnect.is_some_and(|storm| pace.duration_ns <= storm.after_ns) {
            return Err(
                "--reconnect comes when the measured part is over, so make --duration longer".to_owned()
            );
        }
        if hold && flags.slo_abort_after.is_some() {
            return Err("--slo-abort-after watches what is published, and nothing is".to_owned());
        }
        let foreign = foreign(&flags, files)?;
        let channel_name = |number: u32| match &foreign {
            Some(foreign) if flags.channel == CHANNEL_DEFAULT => foreign.channel_name(number),
            _ => flags.channel.replace("{i}", &number.to_string()),
        };
        let channels: Vec<String> = (0..flags.channels).map(channel_name).collect();
        if flags.source_ip.is_some() && target.address.is_ipv6() {
            return Err("--source-ip takes IPv4 addresses, but the target's is IPv6".to_owned());
        }
        let seats = seats(&flags, threads, slow, storm);
        Ok(Plan {
            role,
            source: source(&flags)?,
            receivers: receivers(&seats, flags.subs_per_conn, channels.len()),
            seats,
            target,
            connect_rate,
            publishers: flags.publishers,
            rate: pace.rate,
            arrival: flags.arrival,
            asked_stages: flags.stages,
            stages: pace.stages,
            outstanding: pace.outstanding as usize,
            duration_ns: pace.duration_ns,
            messages_max: flags.messages.unwrap_or(EVENTS_MAX).min(EVENTS_MAX),
            warmup_ns: if hold { 0 } else { flags.warmup.ns },
            size: flags.size,
            hold,
            channels,
            foreign,
            shares: flags.skew.map(|skew| Shares::new(skew, flags.channels)),
            subscriptions: flags.subs_per_conn,
            filter,
            via: flags.publish_via,
            batch: flags.batch,
            seed: flags.seed,
            on_slow: flags.on_slow,
            slow_bytes_per_s: flags.slow.bytes_per_s,
            churn_rate,
            turnover_rate,
            storm_after_ns: flags.reconnect.map(|storm| storm.after_ns),
            threads,
            agents: flags.agents,
            wording: Wording::default(),
            verify: flags.verify,
            objectives: flags.objectives,
            patience_ns: flags.slo_abort_after.map(|patience| patience.ns),
            drain_ns: flags.drain.ns,
            lenient: flags.lenient,
            outputs: flags.output,
        })
    }

    /// The same run at another rate.
    pub(crate) fn at_rate(&self, rate: f64) -> Plan {
        Plan { rate: Rate::PerSecond(rate), stages: Stages::steady(rate), asked_stages: None, ..self.clone() }
    }

    /// The channel of a publisher's event: the events of all publishers go round all channels, unless some are busier.
    pub(crate) fn channel_of(&self, publisher: u32, index: u64) -> usize {
        if let Some(shares) = &self.shares {
            return shares.channel_at(chance::uniform(self.seed, Use::Channel, publisher, index));
        }
        let place = u128::from(index) * u128::from(self.publishers) + u128::from(publisher);
        (place % self.channels.len() as u128) as usize
    }

    /// Whether a publisher's event has the tag that subscribers ask for.
    pub(crate) fn is_tagged(&self, publisher: u32, index: u64) -> bool {
        self.filter.is_some_and(|part| chance::uniform(self.seed, Use::Filter, publisher, index) <= part)
    }

    /// Whether a publisher's event comes to those who take its channel.
    pub(crate) fn is_wanted(&self, publisher: u32, index: u64) -> bool {
        self.filter.is_none() || self.is_tagged(publisher, index)
    }

    /// How many subscribers a publisher's event is for.
    pub(crate) fn receivers_of(&self, publisher: u32, index: u64) -> u64 {
        let is_wanted = self.is_wanted(publisher, index);
        if is_wanted { self.receivers[self.channel_of(publisher, index)].into() } else { 0 }
    }

    /// The number of a publisher's event where the server gives none.
    pub(crate) fn foreign_number(&self, publisher: u32, index: u64) -> u64 {
        index
            .saturating_mul(u64::from(self.publishers))
            .saturating_add(u64::from(publisher))
            .saturating_add(1)
    }

    /// The loops that the agent in this place drives: they are dealt out in turn, so that each agent gets its share of whatever
    /// is shared out among loops.
    pub(crate) fn loops_of(&self, place: u32) -> impl ExactSizeIterator<Item = u32> + use<> {
        (place..self.threads).step_by(self.agents.len().max(1))
    }

    /// How many connections of the plan are those of the agent in this place, or of this process if there is none.
    pub(crate) fn connections_of(&self, place: Option<u32>) -> u64 {
        let agents = self.agents.len().max(1) as u32;
        let subscribers =
            |place: u32| self.seats.iter().filter(|seat| seat.thread % agents == place).count() as u64;
        match place {
            None if self.agents.is_empty() => self.seats.len() as u64 + u64::from(self.publishers),
            Some(place) => subscribers(place),
            None => self.publishers.into(),
        }
    }

    /// The channels that a subscriber takes.
    pub(crate) fn channels_of(&self, seat: &Seat) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (seat.channel as usize, self.channels.len());
        (0..self.subscriptions as usize).map(move |step| (first + step) % count)
    }

    /// Whether a subscriber takes the channel.
    pub(crate) fn takes(&self, seat: &Seat, channel: u32) -> bool {
        let count = self.channels.len() as u64;
        let step = (u64::from(channel) + count - u64::from(seat.channel)) % count;
        step < u64::from(self.subscriptions)
    }
}

/// When events are due, of the flags that say so.
struct Pace {
    rate: Rate,
    stages: Stages,
    outstanding: u32,
    duration_ns: u64,
}

impl Pace {
    fn new(flags: &RunFlags) -> Result<Pace, String> {
        let outstanding = match flags.arrival {
            Arrival::Closed(outstanding) if u64::from(outstanding) <= OUTSTANDING_MAX => outstanding,
            Arrival::Closed(_) => {
                return Err(format!("--arrival closed: at most {OUTSTANDING_MAX} requests are unanswered"));
            }
            _ => flags.outstanding,
        };
        let has_own_rate = matches!(flags.arrival, Arrival::Closed(_) | Arrival::Burst { .. });
        if has_own_rate && (flags.stages.is_some() || flags.rate.is_some()) {
            let name = flags.arrival.name();
            return Err(format!(
                "--arrival {name} says itself how many events come, so leave --rate and --stages out"
            ));
        }
        let rate = match (flags.arrival, &flags.stages) {
            (Arrival::Closed(_), _) => Rate::Saturation,
            (Arrival::Burst { events, period_ns }, _) => {
                Rate::PerSecond(f64::from(events) * NS_PER_SECOND as f64 / period_ns as f64)
            }
            (_, Some(stages)) => Rate::PerSecond(stages.rate_max()),
            (_, None) => flags.rate.unwrap_or(Rate::PerSecond(RATE_DEFAULT)),
        };
        if rate == Rate::Saturation && flags.arrival == Arrival::Poisson {
            return Err(
                "--arrival poisson needs a --rate: at saturation answers say when events come".to_owned()
            );
        }
        let (stages, duration_ns) = match (&flags.stages, rate) {
            (Some(stages), _) => (stages.clone().after(flags.warmup.ns), stages.length_ns()),
            (None, Rate::PerSecond(rate)) => (Stages::steady(rate), flags.duration.ns),
            (None, Rate::Saturation) => (Stages::steady(RATE_DEFAULT), flags.duration.ns),
        };
        Ok(Pace { rate, stages, outstanding, duration_ns })
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
    /// The channel it takes, or the first of those that follow one another.
    pub(crate) channel: u32,
    /// Whether it reads slowly, or not at all, for the measured part.
    pub(crate) slow: bool,
    /// Whether the storm cuts it off.
    pub(crate) storm: bool,
    /// The address it connects from.
    pub(crate) source: Option<SocketAddr>,
}

/// Shares transports, channels and threads out so that none of them go in step: every channel and every thread
/// gets its part of each transport.
fn seats(flags: &RunFlags, threads: u32, slow: u32, storm: u32) -> Vec<Seat> {
    let mut ordinals = [0; 2];
    (0..flags.connections)
        .map(|id| {
            let transport = flags.transport.of(id);
            let ordinal = ordinals[transport as usize];
            ordinals[transport as usize] += 1;
            Seat {
                id,
                thread: ordinal % threads,
                transport,
                channel: (u64::from(ordinal) * u64::from(flags.subs_per_conn) % u64::from(flags.channels))
                    as u32,
                slow: id < slow,
                // From the other end, so that the slow ones are the last to be part of it.
                storm: flags.connections - storm <= id,
                source: flags.source_ip.map(|range| range.of(id)),
            }
        })
        .collect()
}

/// Counts the subscribers of each channel: those who begin with it, and those who began shortly before and go on to it.
fn receivers(seats: &[Seat], subscriptions: u32, channels: usize) -> Vec<u32> {
    let mut first = vec![0; channels];
    seats.iter().for_each(|seat| first[seat.channel as usize] += 1);
    let before = |channel: usize, steps: usize| first[(channel + channels - steps) % channels];
    let subscriptions = subscriptions as usize;
    let mut sum: u32 = (0..subscriptions).map(|steps| before(0, steps)).sum();
    let mut receivers = Vec::with_capacity(channels);
    for channel in 0..channels {
        receivers.push(sum);
        let next = (channel + 1) % channels;
        sum = sum + first[next] - before(next, subscriptions);
    }
    receivers
}

/// Finds the profile, and refuses what only we can do.
fn foreign(flags: &RunFlags, files: &Files) -> Result<Option<Foreign>, String> {
    let replacements = Replacements {
        subscribe_path: flags.subscribe_path.clone(),
        subscribe_send: flags.subscribe_send.clone(),
        subscribe_confirm: flags.subscribe_confirm.clone(),
        publish_path: flags.publish_path.clone(),
        publish_body: flags.publish_body.clone(),
        publish_headers: flags.publish_headers.clone(),
    };
    let Some(foreign) = Foreign::find(&flags.protocol, &replacements, files)? else { return Ok(None) };
    let name = foreign.name();
    let needs_cursor = flags.resume_churn.is_some() || flags.reconnect.is_some();
    let refused = [
        (needs_cursor, "--resume-churn and --reconnect need cursors"),
        (flags.on_slow.is_some(), "--on-slow asks for what only a fanfare can do"),
        (flags.filter.is_some(), "--filter asks for what only a fanfare can do"),
        (1 < flags.batch, "--batch needs a fanfare"),
        (1 < flags.subs_per_conn, "--subs-per-conn needs a fanfare"),
        (flags.publish_via == Via::WebSocket, "--publish-via ws needs a fanfare"),
        (flags.size.bytes_max() == 0, "--size corpus and projection need a server that takes JSON as it is"),
        (
            1 < flags.publishers && flags.verify != Verify::None,
            "what is in order can be told of one publisher only: -p 1, or --verify none",
        ),
        (!foreign.publishes(), "its profile does not say how to publish"),
    ];
    if let Some((_, reason)) = refused.into_iter().find(|(is_refused, _)| *is_refused) {
        return Err(format!("--protocol {name}: {reason}"));
    }
    let missing =
        (0..flags.connections).map(|id| flags.transport.of(id)).find(|transport| !foreign.has(*transport));
    match missing {
        Some(transport) => Err(format!("--protocol {name} has no --transport {}", transport.name())),
        None => Ok(Some(foreign)),
    }
}

fn source(flags: &RunFlags) -> Result<Source, String> {
    let Some(url) = &flags.metrics else { return Ok(flags.pid.map_or(Source::Unknown, Source::Process)) };
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, "metrics"));
    let target = Target::parse_any(&format!("{scheme}://{authority}"), None, &Trust::System);
    let target = target.map_err(|error| format!("--metrics: {error}"))?;
    Ok(Source::Metrics(Box::new(target), format!("/{path}")))
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

/// Events per second.
const RATE_DEFAULT: f64 = 100.0;
const CONNECTIONS_MAX: u64 = 1_000_000;
/// As many as fit into a request's head.
const SUBSCRIPTIONS_MAX: u64 = 100;
const PUBLISHERS_MAX: u64 = 10_000;
const OUTSTANDING_MAX: u64 = 16_384;
const BATCH_MAX: u64 = 1_000;
const THREADS_MAX: u64 = 256;
/// Each has a connection and two threads of the coordinator's.
const AGENTS_MAX: usize = 64;
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
    fn busier_channels_and_tagged_events_are_those_of_the_seed() {
        let channels = |arguments: &str| -> Vec<usize> {
            let plan = plan(&format!("--channels 50 --skew zipf:1.1 {arguments}")).expect("a plan");
            (0..1_000).map(|index| plan.channel_of(0, index)).collect()
        };
        assert_eq!(channels("--seed 5"), channels("--seed 5"));
        assert_ne!(channels("--seed 5"), channels("--seed 6"));
        let first = channels("").iter().filter(|channel| **channel == 0).count();
        assert!((200..350).contains(&first), "the first of 50 has about 27 %: {first}");
        let plan = plan("--filter 10%").expect("a plan");
        let tagged = (0..10_000).filter(|index| plan.is_tagged(0, *index)).count();
        assert!((900..1_100).contains(&tagged), "{tagged}");
    }

    #[test]
    fn a_subscriber_of_several_channels_takes_neighbours() {
        let plan = plan("-c 4 --channels 5 --subs-per-conn 2").expect("a plan");
        let taken: Vec<Vec<usize>> = plan.seats.iter().map(|seat| plan.channels_of(seat).collect()).collect();
        assert_eq!(taken, [[0, 1], [2, 3], [4, 0], [1, 2]]);
        for (seat, taken) in plan.seats.iter().zip(&taken) {
            let told: Vec<usize> = (0..5).filter(|channel| plan.takes(seat, *channel as u32)).collect();
            let mut taken = taken.clone();
            taken.sort_unstable();
            assert_eq!(told, taken);
        }
    }

    #[test]
    fn an_event_is_for_all_who_take_its_channel() {
        for (arguments, channels) in [
            ("-c 4 --channels 5 --subs-per-conn 2", 5),
            ("-c 7 --channels 3 --subs-per-conn 3 --transport ws:2,sse:1", 3),
            ("-c 5 --channels 2", 2),
            ("-c 3", 1),
            ("-c 2 --channels 4", 4),
        ] {
            let plan = plan(arguments).expect("a plan");
            for index in 0..channels {
                let channel = plan.channel_of(0, index) as u32;
                let takers = plan.seats.iter().filter(|seat| plan.takes(seat, channel)).count();
                assert_eq!(plan.receivers_of(0, index), takers as u64, "{arguments}: {channel}");
            }
        }
        let plan = plan("-c 3 --filter 10%").expect("a plan");
        let owed: u64 = (0..1_000).map(|index| plan.receivers_of(0, index)).sum();
        assert_eq!(owed, 3 * (0..1_000).filter(|index| plan.is_tagged(0, *index)).count() as u64);
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
        check("--arrival burst:5@1s -R 10", "--rate");
        check("--arrival closed:2 --stages 1:1s", "--stages");
        check("--arrival closed:20000", "--arrival");
        check("--arrival poisson -R max", "--arrival");
        check("--stages 1:1s -R 5", "--stages");
        check("--subs-per-conn 2", "--subs-per-conn");
        check("--filter 5", "--filter");
        check("--churn max", "--churn");
        check("--protocol kafka", "--protocol");
        check("--protocol nchan -p 2", "-p 1");
        check("--protocol nchan --resume-churn 5", "--resume-churn");
        check("--protocol mercure", "--transport ws");
        check("--reconnect storm:2000@1s", "--reconnect");
        check("--reconnect storm:50%@40s -d 30s", "--reconnect");
        check("--reconnect storm:50%@2s --stages 1:1s,2:1s", "--reconnect");
        check("--hold --slo p99<1s --slo-abort-after 3s", "--slo-abort-after");
        check("--subscribe-path /x", "--subscribe-path");
        check("--publish-header a:b", "--publish-header");
        check("--interval 99ms", "--interval");
    }
}
