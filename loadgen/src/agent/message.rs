//! What a coordinator and an agent say to each other: JSON, a line each.
//!
//! # Contract       the coordinator asks `hello`, `order` and some dozen times `clock`, each of which is answered, and then `go`.
//! From there on both speak when they have something to say, and say so each [`SILENCE_TIME`] at the latest. All times are
//! those of the coordinator's clock but for the answer to `clock` and what an agent has measured
//! # Bounds         a line has at most [`LINE_BYTES_MAX`] bytes; waiting has the deadlines below

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::parcel::{Delivered, Ended, Told};
use super::wording::Wording;
use crate::account::Account;
use crate::environment::Environment;
use crate::machine;
use crate::plan::Role;
use crate::witness::Seen;

/// What a coordinator says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Ask {
    /// Who it is; the first line.
    Hello(Greeting),
    /// What to do.
    Order(Order),
    /// What does your clock say?
    Clock,
    /// Start the loops: they connect.
    Go {
        /// The agent's clock less the coordinator's.
        offset_ns: i64,
        /// When the run began, by the coordinator's clock.
        begun_ns: u64,
    },
    /// Events come from `start_ns` on; those due from `measured_from_ns` on are measured.
    Begin {
        /// When the first event may be due.
        start_ns: u64,
        /// When the measured part begins.
        measured_from_ns: u64,
    },
    /// The measured part ends then.
    Until(u64),
    /// Tell the latencies since the last time.
    Sample,
    /// Publishing has ended with these last events, one per channel.
    Drain(Vec<u64>),
    /// End the loops and tell what they found.
    Stop,
    /// Nothing new.
    Still,
}

/// What an agent says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Answer {
    /// Who it is.
    Hello(Greeting),
    /// It serves another run, speaks another version, or is asked for what cannot be.
    Refused(String),
    /// The order can be done.
    Ready(Box<Environment>),
    /// Nanoseconds of its monotonic clock.
    Clock(u64),
    /// Where its loops stand together.
    Progress {
        /// Subscribers that are open.
        open: u64,
        /// Connections that failed, where that is what is counted.
        refused: u64,
        /// Events delivered.
        delivered: u64,
    },
    /// All subscribers of one loop are subscribed.
    Connected,
    /// All subscribers of one loop have settled their last event.
    Drained,
    /// The end-to-end latencies of one loop since the last time.
    Sampled(String),
    /// What one loop got in an interval.
    Delivered(Box<Delivered>),
    /// Some of the events that one loop has seen.
    Seen {
        /// The loop.
        thread: u32,
        /// The events, ascending.
        events: Vec<Seen>,
    },
    /// The accounts of some of one loop's subscribers, by their number.
    Accounts {
        /// The loop.
        thread: u32,
        /// The accounts.
        accounts: Vec<(u32, Account)>,
    },
    /// One loop has ended, and this is the rest.
    Ended(Box<Ended>),
    /// All loops have ended.
    Told(Told),
    /// The run cannot go on, and why: the server's doing.
    Failed(String),
    /// The agent ends the run, and why.
    GivenUp(String),
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    /// The program's version, which must be the same on both sides.
    pub(crate) loadgen: String,
    /// The number of this protocol, which must be the same too.
    pub(crate) protocol: u32,
    /// The name of the monotonic clock.
    pub(crate) clock: String,
}

impl Greeting {
    /// Of this process.
    pub(crate) fn own() -> Greeting {
        Greeting {
            loadgen: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            clock: machine::clock_name().unwrap_or_default(),
        }
    }

    /// Whether both can work together.
    ///
    /// # Errors
    /// Names both versions.
    pub(crate) fn check(&self, other: &Greeting) -> Result<(), String> {
        if (&self.loadgen, self.protocol) == (&other.loadgen, other.protocol) {
            return Ok(());
        }
        Err(format!(
            "it is loadgen {} (protocol {}), and this is loadgen {} (protocol {})",
            other.loadgen, other.protocol, self.loadgen, self.protocol
        ))
    }
}

/// What an agent is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// What of a run is wanted.
    pub(crate) role: Role,
    /// The run's number, which stands in every event.
    pub(crate) run: u64,
    /// The agent's place among all agents.
    pub(crate) place: u32,
    /// What the plan is made of.
    pub(crate) wording: Wording,
}

/// Why a peer cannot be listened to any longer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It is gone.
    Gone,
    /// It said what is no message.
    Rubbish(String),
    /// It said too much at once.
    TooLong,
    /// It said nothing for too long.
    Silent(Duration),
    /// What the system says.
    Socket(io::Error),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Gone => formatter.write_str("it has hung up"),
            Trouble::Rubbish(excerpt) => write!(formatter, "it said what cannot be understood: {excerpt}"),
            Trouble::TooLong => write!(formatter, "it said more than {LINE_BYTES_MAX} bytes in one line"),
            Trouble::Silent(time) => write!(formatter, "it has said nothing for {} s", time.as_secs()),
            Trouble::Socket(error) => write!(formatter, "the connection broke: {error}"),
        }
    }
}

/// Reads a peer's lines, waiting a [`TICK`] at most for each piece.
#[derive(Debug)]
pub(crate) struct Lines {
    stream: TcpStream,
    held: Vec<u8>,
    /// How much of it is known to have no end of a line.
    searched: usize,
}

impl Lines {
    /// Of a connection whose timeouts this sets.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Lines> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(SILENCE_TIME))?;
        Ok(Lines { stream, held: Vec::new(), searched: 0 })
    }

    /// The next message, or nothing if none has come whole within a tick.
    ///
    /// # Errors
    /// No further one can come.
    pub(crate) fn next<Message: DeserializeOwned>(&mut self) -> Result<Option<Message>, Trouble> {
        loop {
            if let Some(length) = memchr::memchr(b'\n', &self.held[self.searched..]) {
                let end = self.searched + length;
                let message = serde_json::from_slice(&self.held[..end]);
                let message = message.map_err(|_| Trouble::Rubbish(excerpt(&self.held[..end])));
                self.held.drain(..=end);
                self.searched = 0;
                return message.map(Some);
            }
            self.searched = self.held.len();
            if LINE_BYTES_MAX < self.held.len() {
                return Err(Trouble::TooLong);
            }
            let mut piece = [0; PIECE_BYTES];
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(Trouble::Gone),
                Ok(count) => self.held.extend_from_slice(&piece[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(None),
                    ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return Err(Trouble::Gone),
                    _ => return Err(Trouble::Socket(error)),
                },
            }
        }
    }
}

/// Says something.
///
/// # Errors
/// The peer is gone or takes nothing, or it is more than one line may hold.
pub(crate) fn say(mut stream: &TcpStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    if LINE_BYTES_MAX <= line.len() {
        return Err(io::Error::other(format!("{} bytes are too many for one message", line.len())));
    }
    line.push(b'\n');
    stream.write_all(&line)
}

/// What can be shown of what somebody said.
fn excerpt(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(EXCERPT_BYTES)]);
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// How long a coordinator tries to reach an agent.
pub(crate) const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long an answer may take that the other side waits for, and how long one may take to introduce itself.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Who has not said anything whole for so long, or not taken anything, is given up.
pub(crate) const SILENCE_TIME: Duration = Duration::from_secs(10);
/// After so long without news one says that there is none.
pub(crate) const STILL_TIME: Duration = Duration::from_secs(1);
/// How long one waits before one looks whether somebody has ended the run.
pub(crate) const TICK: Duration = Duration::from_millis(100);
const _: () = assert!(STILL_TIME.as_millis() * 2 < SILENCE_TIME.as_millis());
/// The longest is the account of one subscriber that was told as many gaps as are kept.
pub(crate) const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;
const PIECE_BYTES: usize = 64 * 1024;
const EXCERPT_BYTES: usize = 100;
/// Changes whenever a message does.
const PROTOCOL: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn hear(bytes: &[u8]) -> Vec<Result<Option<Ask>, Trouble>> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut sender = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let mut lines = Lines::new(listener.accept().expect("accepted").0).expect("lines");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Who has heard enough hangs up.
                let _ = sender.write_all(bytes);
            });
            let mut heard = Vec::new();
            while heard.last().is_none_or(|last: &Result<_, _>| last.is_ok()) {
                match lines.next() {
                    Ok(None) => {}
                    next => heard.push(next),
                }
            }
            drop(lines);
            heard
        })
    }

    #[test]
    fn lines_are_heard_one_by_one_until_one_is_no_message() {
        let heard = hear(b"\"clock\"\n{\"go\":{\"offset_ns\":-5,\"begun_ns\":7}}\n\"stop\"\n");
        assert!(matches!(
            heard[..],
            [
                Ok(Some(Ask::Clock)),
                Ok(Some(Ask::Go { offset_ns: -5, begun_ns: 7 })),
                Ok(Some(Ask::Stop)),
                Err(Trouble::Gone)
            ]
        ));
        let check = |bytes: &[u8], part: &str| match hear(bytes).pop() {
            Some(Err(trouble)) => assert!(trouble.to_string().contains(part), "{trouble}"),
            other => panic!("{other:?}"),
        };
        check(b"GET / HTTP/1.1\r\n\r\n", "cannot be understood: GET / HTTP/1.1");
        check(b"\"clock", "hung up");
        check(b"\xff\x00\n", "cannot be understood");
        check(b"{\"go\":{\"offset_ns\":1e40}}\n", "cannot be understood");
        check(&vec![b'['; LINE_BYTES_MAX + 2 * PIECE_BYTES], "more than 33554432 bytes");
    }

    #[test]
    fn versions_must_be_the_same() {
        let own = Greeting::own();
        assert_eq!(own.check(&own), Ok(()));
        let newer = Greeting { loadgen: "9.9.9".to_owned(), ..own.clone() };
        assert!(own.check(&newer).is_err_and(|error| error.contains("loadgen 9.9.9")));
        assert!(own.check(&Greeting { protocol: 7, ..own.clone() }).is_err());
    }
}
