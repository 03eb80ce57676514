//! What a run is to do, checked: the flags' texts become values here, and nowhere else.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use crate::flags::RunFlags;
use crate::machine::NS_PER_SECOND;

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
        let target = Target::parse(&flags.target.url, flags.target.token.clone())?;
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
        if let (Some(range), true) = (flags.source_ip, target.address.is_ipv6()) {
            return Err(format!("--source-ip {} is IPv4, but the target is not", range.first));
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
            warmup_ns: flags.warmup.ns,
            size: flags.size,
            hold: flags.hold,
            channels: (0..flags.channels).map(|i| flags.channel.replace("{i}", &i.to_string())).collect(),
            via: flags.publish_via,
            batch: flags.batch,
            seed: flags.seed,
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

/// Where the server is.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Host and port as typed, for the `Host` header.
    pub(crate) authority: String,
    /// The address to connect to.
    pub(crate) address: SocketAddr,
    /// Bearer token.
    pub(crate) token: Option<String>,
}

impl Target {
    /// Reads `http://HOST[:PORT]` or `ws://HOST[:PORT]` and looks the host up.
    ///
    /// # Errors
    /// Another scheme, a path, a host that cannot be found, or a token that is no header value.
    pub(crate) fn parse(url: &str, token: Option<String>) -> Result<Target, String> {
        let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("ws://")) else {
            return Err(format!("{url} does not begin with http:// or ws://"));
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(format!("{url} must be a scheme, a host and a port, and nothing else"));
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let lookup = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let address = lookup
            .to_socket_addrs()
            .map_err(|error| format!("cannot find {authority}: {error}"))?
            .min_by_key(SocketAddr::is_ipv6)
            .ok_or_else(|| format!("{authority} has no address"))?;
        if token.as_deref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err("--token has characters that a header cannot carry".to_owned());
        }
        Ok(Target { authority: authority.to_owned(), address, token })
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

/// How a subscriber connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// WebSocket.
    WebSocket,
    /// Server-sent events.
    Sse,
}

impl Transport {
    /// Both, in the order in which arrays hold what is kept per transport.
    pub(crate) const ALL: [Transport; 2] = [Transport::WebSocket, Transport::Sse];

    /// The short name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Transport::WebSocket => "ws",
            Transport::Sse => "sse",
        }
    }

    /// The other one.
    pub(crate) fn other(self) -> Transport {
        match self {
            Transport::WebSocket => Transport::Sse,
            Transport::Sse => Transport::WebSocket,
        }
    }
}

/// Shares of the transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transports {
    websocket: u32,
    sse: u32,
}

impl Transports {
    /// The transport of the subscriber `id`: the shares are kept at every prefix as nearly as they can be.
    fn of(self, id: u32) -> Transport {
        let (share, whole) = (u64::from(self.websocket), u64::from(self.websocket) + u64::from(self.sse));
        let before = u64::from(id) * share / whole;
        let after = (u64::from(id) + 1) * share / whole;
        if before < after { Transport::WebSocket } else { Transport::Sse }
    }
}

impl FromStr for Transports {
    type Err = String;

    fn from_str(text: &str) -> Result<Transports, String> {
        let mut shares = Transports { websocket: 0, sse: 0 };
        for part in text.split(',') {
            let (name, share) = part.split_once(':').unwrap_or((part, "1"));
            let share: u32 = share.parse().map_err(|_| format!("{share:?} is not a share"))?;
            match name.trim() {
                "ws" => shares.websocket = share,
                "sse" => shares.sse = share,
                other => return Err(format!("{other:?} is neither ws nor sse")),
            }
        }
        if shares.websocket == 0 && shares.sse == 0 { Err("all shares are 0".to_owned()) } else { Ok(shares) }
    }
}

/// How often something happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// So many times a second, more than 0.
    PerSecond(f64),
    /// As often as the server takes it.
    Saturation,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        if text == "max" {
            return Ok(Rate::Saturation);
        }
        let number = text.strip_suffix("/s").unwrap_or(text);
        let (number, factor) = match number.as_bytes().last() {
            Some(b'k') => (&number[..number.len() - 1], 1e3),
            Some(b'M') => (&number[..number.len() - 1], 1e6),
            _ => (number, 1.0),
        };
        match number.parse::<f64>() {
            Ok(0.0) => Ok(Rate::Saturation),
            Ok(rate) if 0.0 < rate && rate * factor <= RATE_MAX => Ok(Rate::PerSecond(rate * factor)),
            _ => Err("must be a number such as 100/s, 2.5k/s or 1M, at most 10M, or max".to_owned()),
        }
    }
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    /// In nanoseconds.
    pub(crate) ns: u64,
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Interval, String> {
        let interval = if text == "0" {
            std::time::Duration::ZERO
        } else {
            humantime::parse_duration(text).map_err(|error| error.to_string())?
        };
        match u64::try_from(interval.as_nanos()) {
            Ok(ns) if ns <= INTERVAL_NS_MAX => Ok(Interval { ns }),
            _ => Err("must be at most a week".to_owned()),
        }
    }
}

/// What an event's data is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Padding to this many bytes.
    Bytes(usize),
    /// Real payloads.
    Corpus,
    /// A few members of real payloads.
    Projection,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        match text {
            "corpus" => Ok(Size::Corpus),
            "projection" => Ok(Size::Projection),
            bytes => bytes
                .parse()
                .map(Size::Bytes)
                .map_err(|_| "must be a number of bytes, corpus or projection".to_owned()),
        }
    }
}

/// How publishers publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// Pipelined requests.
    Http,
    /// Commands on a WebSocket.
    WebSocket,
}

impl FromStr for Via {
    type Err = String;

    fn from_str(text: &str) -> Result<Via, String> {
        match text {
            "http" => Ok(Via::Http),
            "ws" => Ok(Via::WebSocket),
            _ => Err("must be http or ws".to_owned()),
        }
    }
}

/// What subscribers check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verify {
    /// Nothing.
    None,
    /// That sequence numbers rise.
    Order,
    /// Order, content, completeness.
    Full,
}

impl FromStr for Verify {
    type Err = String;

    fn from_str(text: &str) -> Result<Verify, String> {
        match text {
            "none" => Ok(Verify::None),
            "order" => Ok(Verify::Order),
            "full" => Ok(Verify::Full),
            _ => Err("must be none, order or full".to_owned()),
        }
    }
}

/// A range of IPv4 addresses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceRange {
    first: Ipv4Addr,
    count: u32,
}

impl SourceRange {
    /// The address of the subscriber `id`; the port is left to the system.
    fn of(self, id: u32) -> SocketAddr {
        let address = Ipv4Addr::from(u32::from(self.first) + id % self.count);
        SocketAddr::new(IpAddr::V4(address), 0)
    }
}

impl FromStr for SourceRange {
    type Err = String;

    fn from_str(text: &str) -> Result<SourceRange, String> {
        let wrong = || format!("{text:?} is not an address, nor a range such as 127.0.0.2..9");
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let first: Ipv4Addr = first.parse().map_err(|_| wrong())?;
        // The end may be a whole address or only its last number.
        let last: Ipv4Addr = match last.parse::<u8>() {
            Ok(number) => {
                let [a, b, c, _] = first.octets();
                Ipv4Addr::new(a, b, c, number)
            }
            Err(_) => last.parse().map_err(|_| wrong())?,
        };
        match u32::from(last).checked_sub(u32::from(first)) {
            Some(steps) if steps < SOURCES_MAX => Ok(SourceRange { first, count: steps + 1 }),
            Some(_) => Err(format!("{text:?} is more than {SOURCES_MAX} addresses")),
            None => Err(format!("{text:?} ends before it begins")),
        }
    }
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
const SOURCES_MAX: u32 = 65_536;
/// A server's events are at most 1 MiB.
const DATA_BYTES_MAX: usize = 1024 * 1024;
const RATE_MAX: f64 = 1e7;
const INTERVAL_NS_MAX: u64 = 7 * 24 * 3_600 * NS_PER_SECOND;
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
            Command::Replay(_) => panic!("another command"),
        }
    }

    #[test]
    fn rates_are_read_with_their_units() {
        let check = |text: &str, expected: Option<Rate>| {
            assert_eq!(text.parse::<Rate>().ok(), expected, "{text}");
        };
        check("100/s", Some(Rate::PerSecond(100.0)));
        check("2.5k/s", Some(Rate::PerSecond(2_500.0)));
        check("1M", Some(Rate::PerSecond(1e6)));
        check("0", Some(Rate::Saturation));
        check("0/s", Some(Rate::Saturation));
        check("max", Some(Rate::Saturation));
        for wrong in ["", "-1", "1e99", "NaN", "inf", "10/m", "k", "/s", "1 k", "11M"] {
            check(wrong, None);
        }
    }

    #[test]
    fn source_ranges_are_read_short_and_long() {
        let check = |text: &str, expected: Option<(&str, u32)>| {
            let got = text.parse::<SourceRange>().ok();
            assert_eq!(
                got.map(|range| (range.first.to_string(), range.count)),
                expected.map(|(a, n)| (a.into(), n))
            );
        };
        check("127.0.0.2", Some(("127.0.0.2", 1)));
        check("127.0.0.2..9", Some(("127.0.0.2", 8)));
        check("127.0.0.2..127.0.1.1", Some(("127.0.0.2", 256)));
        for wrong in ["127.0.0.9..2", "127.0.0.2..256", "::1", "", "10.0.0.0..11.0.0.0"] {
            check(wrong, None);
        }
    }

    #[test]
    fn targets_are_a_host_and_a_port() {
        let check = |url: &str, expected: Option<&str>| {
            let got = Target::parse(url, None).ok().map(|target| target.address.to_string());
            assert_eq!(got.as_deref(), expected, "{url}");
        };
        check("http://127.0.0.1:8080", Some("127.0.0.1:8080"));
        check("ws://127.0.0.1:8080/", Some("127.0.0.1:8080"));
        check("http://127.0.0.1", Some("127.0.0.1:80"));
        check("http://[::1]:81", Some("[::1]:81"));
        for wrong in [
            "https://127.0.0.1",
            "127.0.0.1:80",
            "http://",
            "http://127.0.0.1:8080/ws",
            "http://a b",
            "http://u@h",
        ] {
            check(wrong, None);
        }
        assert!(Target::parse("http://127.0.0.1:1", Some("a\r\nb".to_owned())).is_err());
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
    }
}
