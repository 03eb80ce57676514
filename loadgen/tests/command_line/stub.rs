//! A small server that speaks the protocol for real, and can be told to break it.
//!
//! One thread per connection. The log is a vector; a subscriber is a cursor into it, so live delivery and resuming
//! are the same thing, as they are in the server that this stands for.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message, WebSocket};

/// How the stub behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// What goes wrong for one subscriber.
    pub(crate) fault: Fault,
    /// Whom it hits, by address; nobody else, and the first one if there is none.
    pub(crate) fault_at: Option<IpAddr>,
    /// Every so many publishes one is refused; 0 is never.
    pub(crate) refuse_every: u64,
    /// Whether refused events are delivered all the same.
    pub(crate) delivers_refused: bool,
    /// The header that goes with a refusal.
    pub(crate) retry_after: &'static str,
    /// At this event everything stands still for so long.
    pub(crate) stall: Option<(u64, Duration)>,
    /// So many events are held for those whom faults hit by address, or for all; who is further behind is told a gap. 0 is all.
    pub(crate) retain: u64,
    /// Answers every request with this status instead.
    pub(crate) status: Option<u16>,
    /// Tells one event more in `matched` than there are.
    pub(crate) wrong_matched: bool,
    /// Closes every subscriber's first connection after this event.
    pub(crate) close_after: u64,
    /// After so many publishes publishers are hung up on; 0 is never.
    pub(crate) publishes_max: u64,
    /// Publishes are answered one number too high.
    pub(crate) wrong_answer: bool,
    /// Every event takes so long, and the next waits for it.
    pub(crate) event_time: Option<Duration>,
    /// After so many subscribers others are answered 503; 0 is never.
    pub(crate) subscribers_max: u64,
    /// After so many looks at its metrics there are none any more; 0 is never.
    pub(crate) looks_max: u64,
}

/// What goes wrong for the first subscriber, at an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It is left out.
    Lose(u64),
    /// It comes twice.
    Repeat(u64),
    /// It comes behind the next one.
    Swap(u64),
    /// It and some more are left out, and that is told.
    Gap(u64, u64),
    /// It and some more are thinned out: of them every third and the last are kept, with a flaw in that.
    Thin(u64, u64, Flaw),
    /// It comes with other data, for everyone.
    Alter(u64),
    /// An old event comes in its place.
    Replace(u64),
}

/// What is wrong with what is kept of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Nothing.
    #[default]
    None,
    /// The first of them does not come.
    Lost,
    /// The first of them comes twice.
    Repeated,
    /// One that was left out comes too.
    Stray,
    /// In place of the newest comes the one before.
    Stale,
    /// The first two come in the other order.
    Swapped,
    /// The first of them has been overtaken, and that is told.
    Overtaken,
    /// The connection ends behind the first of them.
    Cut,
}

/// A running stub. It ends with the test's process.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    hub: Arc<Hub>,
}

struct Hub {
    script: Script,
    log: Mutex<Vec<Event>>,
    grown: Condvar,
    subscribers: AtomicU64,
    publishes: AtomicU64,
    looks: AtomicU64,
}

#[derive(Clone)]
struct Event {
    channel: String,
    kind: String,
    tags: Vec<String>,
    json: String,
}

/// What one connection subscribes to.
#[derive(Default)]
struct Interest {
    channels: Vec<String>,
    /// Any of these, unless there are none.
    tags: Vec<String>,
}

impl Interest {
    fn of(target: &str) -> Interest {
        Interest { channels: query(target, "channel"), tags: query(target, "tags") }
    }

    fn wants(&self, event: &Event) -> bool {
        let is_tagged = self.tags.is_empty() || self.tags.iter().any(|tag| event.tags.contains(tag));
        self.channels.contains(&event.channel) && is_tagged
    }
}

#[derive(Deserialize)]
struct Publish {
    channel: String,
    event: String,
    data: Box<RawValue>,
    #[serde(default)]
    tags: Vec<String>,
    id: Option<u64>,
}

impl Stub {
    /// Starts on a port of the system's choice.
    pub(crate) fn start(script: Script) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let hub = Arc::new(Hub {
            script,
            log: Mutex::new(Vec::new()),
            grown: Condvar::new(),
            subscribers: AtomicU64::new(0),
            publishes: AtomicU64::new(0),
            looks: AtomicU64::new(0),
        });
        let shared = Arc::clone(&hub);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hub = Arc::clone(&shared);
                // A peer that goes away is not the stub's concern.
                thread::spawn(move || drop(hub.serve(stream)));
            }
        });
        Stub { address, hub }
    }

    /// How many subscribers there were so far.
    pub(crate) fn subscribers(&self) -> u64 {
        self.hub.subscribers.load(Ordering::SeqCst)
    }

    /// The channels and kinds of all events so far.
    pub(crate) fn published(&self) -> Vec<(String, String)> {
        let log = self.hub.log.lock().expect("the log");
        log.iter().map(|event| (event.channel.clone(), event.kind.clone())).collect()
    }

    /// All events so far, as subscribers get them.
    pub(crate) fn events(&self) -> Vec<String> {
        self.hub.log.lock().expect("the log").iter().map(|event| event.json.clone()).collect()
    }
}

impl Hub {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut start = [0; 7];
        while stream.peek(&mut start)? < start.len() {
            thread::yield_now();
        }
        let is_full = self.script.subscribers_max != 0
            && self.script.subscribers_max <= self.subscribers.load(Ordering::SeqCst);
        match (&start, self.script.status) {
            (b"GET /ws", None) if !is_full => self.serve_websocket(stream),
            _ => self.serve_http(stream),
        }
    }

    fn serve_http(&self, stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let (mut length, mut cursor) = (0, None);
            loop {
                let mut header = String::new();
                reader.read_line(&mut header)?;
                let Some((name, value)) = header.trim_end().split_once(": ") else { break };
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.parse().expect("a length"),
                    "last-event-id" => cursor = Some(cursor_of(value)),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let path = line.split(' ').nth(1).expect("a path").to_owned();
            let full = (path.starts_with("/events") || path.starts_with("/ws"))
                && self.script.subscribers_max != 0
                && self.script.subscribers_max <= self.subscribers.load(Ordering::SeqCst);
            if path == "/health/ready" {
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            } else if path == "/metrics" {
                // Each look costs half a second of processor time and a kilobyte.
                let looks = self.looks.fetch_add(1, Ordering::SeqCst);
                if self.script.looks_max != 0 && self.script.looks_max <= looks {
                    return Ok(());
                }
                let (seconds, bytes) = (0.5 * looks as f64, 1_000_000 + 1_000 * looks);
                let text =
                    format!("process_cpu_seconds_total {seconds}\nprocess_resident_memory_bytes {bytes}\n");
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())?;
                return Ok(());
            } else if let Some(status) = self.script.status.or(full.then_some(503)) {
                write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nno")?;
            } else if path.starts_with("/events") {
                return self.serve_event_stream(stream, &Interest::of(&path), cursor);
            } else {
                let published = self.publishes.load(Ordering::SeqCst);
                if self.script.publishes_max != 0 && self.script.publishes_max <= published {
                    return Ok(());
                }
                let answer = self.handle_publish(&body);
                stream.write_all(answer.as_bytes())?;
            }
        }
    }

    fn handle_publish(&self, body: &[u8]) -> String {
        let (publishes, batch): (Vec<Publish>, bool) = match body.first() {
            Some(b'[') => (serde_json::from_slice(body).expect("a batch"), true),
            _ => (vec![serde_json::from_slice(body).expect("an event")], false),
        };
        let answer = match self.publish(publishes) {
            Some((first, last)) if batch => format!(r#"{{"first":{first},"last":{last}}}"#),
            Some((first, _)) => format!(r#"{{"seq":{first}}}"#),
            None => {
                let retry_after = self.script.retry_after;
                return format!(
                    "HTTP/1.1 503 Busy\r\nRetry-After: {retry_after}\r\nContent-Length: 0\r\n\r\n"
                );
            }
        };
        format!("HTTP/1.1 202 Accepted\r\nContent-Length: {}\r\n\r\n{answer}", answer.len())
    }

    /// Appends all of them, or none if they are refused.
    fn publish(&self, publishes: Vec<Publish>) -> Option<(u64, u64)> {
        let number = self.publishes.fetch_add(1, Ordering::SeqCst) + 1;
        let refused = self.script.refuse_every != 0 && number.is_multiple_of(self.script.refuse_every);
        if refused && !self.script.delivers_refused {
            return None;
        }
        let mut log = self.log.lock().expect("the log");
        let first = log.len() as u64 + 1;
        for publish in publishes {
            let sequence = log.len() as u64 + 1;
            if let Some(time) = self.script.event_time {
                thread::sleep(time);
            }
            if let Some((_, time)) = self.script.stall.filter(|(at, _)| *at == sequence) {
                // With the log locked, so that nothing at all moves.
                thread::sleep(time);
            }
            let mut data = publish.data.get().to_owned();
            if self.script.fault == Fault::Alter(sequence) {
                data = data.replace("fox", "hen");
            }
            let (channel, kind, tags) = (publish.channel, publish.event, publish.tags);
            let json = format!(
                r#"{{"type":"event","seq":{sequence},"channel":"{channel}","event":"{kind}","data":{data},"timestamp":1}}"#
            );
            log.push(Event { channel, kind, tags, json });
        }
        let last = log.len() as u64;
        self.grown.notify_all();
        let shift = u64::from(self.script.wrong_answer);
        (!refused).then_some((first + shift, last + shift))
    }

    fn serve_event_stream(
        &self,
        mut stream: TcpStream,
        interest: &Interest,
        cursor: Option<u64>,
    ) -> io::Result<()> {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\nretry: 3000\n\n";
        stream.write_all(head.as_bytes())?;
        let start = cursor.unwrap_or_else(|| self.head());
        stream.write_all(format!("id: E-{start}\n\n").as_bytes())?;
        let peer = stream.peer_addr()?.ip();
        self.follow(interest, start, peer, |delivery| match delivery {
            Delivery::Event(sequence, event) => {
                let Event { kind, json, .. } = event;
                stream.write_all(format!("id: E-{sequence}\nevent: {kind}\ndata: {json}\n\n").as_bytes())
            }
            Delivery::Gap(json, to) => {
                stream.write_all(format!("id: E-{to}\nevent: gap\ndata: {json}\n\n").as_bytes())
            }
            Delivery::End => Err(io::ErrorKind::ConnectionAborted.into()),
        })
    }

    fn serve_websocket(&self, stream: TcpStream) -> io::Result<()> {
        let mut target = String::new();
        #[allow(clippy::result_large_err, reason = "the library's type of callback")]
        let keep_target = |request: &Request, response: Response| {
            target = request.uri().to_string();
            Ok(response)
        };
        let mut socket = tungstenite::accept_hdr(stream, keep_target)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let interest = Interest::of(&target);
        if interest.channels.is_empty() {
            return self.serve_websocket_publisher(socket);
        }
        let since = query(&target, "since").first().map(|cursor| cursor_of(cursor));
        let start = since.unwrap_or_else(|| self.head());
        for channel in &interest.channels {
            let text = format!(r#"{{"type":"subscribed","channel":"{channel}","seq":{start},"epoch":"E"}}"#);
            send(&mut socket, text)?;
        }
        send_message(&mut socket, Message::Ping("?".into()))?;
        let peer = socket.get_ref().peer_addr()?.ip();
        self.follow(&interest, start, peer, |delivery| match delivery {
            Delivery::Event(_, event) => send(&mut socket, event.json.clone()),
            Delivery::Gap(json, _) => send(&mut socket, json),
            Delivery::End => {
                let frame = CloseFrame { code: CloseCode::Away, reason: "".into() };
                send_message(&mut socket, Message::Close(Some(frame)))?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        })
    }

    fn serve_websocket_publisher(&self, mut socket: WebSocket<TcpStream>) -> io::Result<()> {
        loop {
            let Message::Text(text) = socket.read().map_err(io::Error::other)? else { continue };
            let publish: Publish = serde_json::from_str(&text).expect("a publish");
            let id = publish.id.expect("an id");
            let answer = match self.publish(vec![publish]) {
                Some((sequence, _)) => format!(r#"{{"type":"published","seq":{sequence},"id":{id}}}"#),
                None => format!(r#"{{"type":"error","code":"overloaded","message":"later","id":{id}}}"#),
            };
            send(&mut socket, answer)?;
        }
    }

    fn head(&self) -> u64 {
        self.log.lock().expect("the log").len() as u64
    }

    /// Hands a subscriber all that follows its cursor, with the fault if it is the first subscriber.
    fn follow(
        &self,
        interest: &Interest,
        start: u64,
        peer: IpAddr,
        mut deliver: impl FnMut(Delivery<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let ordinal = self.subscribers.fetch_add(1, Ordering::SeqCst);
        let is_hit = self.script.fault_at.map_or(ordinal == 0, |address| address == peer);
        let retain =
            if self.script.fault_at.is_none_or(|address| address == peer) { self.script.retain } else { 0 };
        let fault = if is_hit { self.script.fault } else { Fault::None };
        let mut cursor = start;
        let mut swapped = None;
        loop {
            // The gap waits until all that it leaves out is there.
            let awaited = match fault {
                Fault::Gap(from, to) | Fault::Thin(from, to, _) if from == cursor + 1 => to,
                _ => cursor + 1,
            };
            let mut log = self.log.lock().expect("the log");
            while (log.len() as u64) < awaited {
                log = self.grown.wait(log).expect("the log");
            }
            let held_from = match retain {
                0 => 0,
                retain => (log.len() as u64).saturating_sub(retain),
            };
            if let Fault::Thin(_, to, flaw) = fault
                && cursor + 1 < awaited
            {
                let events = log.clone();
                drop(log);
                self.thin(&events, (cursor + 1, to), &interest.channels, flaw, &mut deliver)?;
                cursor = to;
                continue;
            }
            let left_out_to = if cursor + 1 < awaited { awaited } else { held_from };
            if cursor < left_out_to {
                let gap = self.gap(&log, (cursor + 1, left_out_to), &interest.channels);
                drop(log);
                deliver(Delivery::Gap(gap, left_out_to))?;
                cursor = left_out_to;
                continue;
            }
            let sequence = cursor + 1;
            let (event, oldest) = (log[cursor as usize].clone(), log[0].clone());
            drop(log);
            cursor = sequence;
            if !interest.wants(&event) {
                continue;
            }
            match fault {
                Fault::Lose(at) if at == sequence => {}
                Fault::Repeat(at) if at == sequence => {
                    deliver(Delivery::Event(sequence, &event))?;
                    deliver(Delivery::Event(sequence, &event))?;
                }
                Fault::Swap(at) if at == sequence => swapped = Some(event),
                Fault::Replace(at) if at == sequence => deliver(Delivery::Event(1, &oldest))?,
                _ => deliver(Delivery::Event(sequence, &event))?,
            }
            if let Some(late) = swapped.take_if(|_| fault == Fault::Swap(sequence - 1)) {
                deliver(Delivery::Event(sequence - 1, &late))?;
            }
            let first_round = ordinal < FIRST_ROUND;
            if first_round && self.script.close_after == sequence {
                return deliver(Delivery::End);
            }
        }
    }

    /// Thins a range out, or what is made of that.
    fn thin(
        &self,
        log: &[Event],
        (from, to): (u64, u64),
        channels: &[String],
        flaw: Flaw,
        deliver: &mut impl FnMut(Delivery<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let event = |sequence: u64| &log[sequence as usize - 1];
        let wanted: Vec<u64> = (from..=to).filter(|at| channels.contains(&event(*at).channel)).collect();
        let is_kept = |at: &usize| at.is_multiple_of(3) || *at + 1 == wanted.len();
        let mut kept: Vec<u64> = (0..wanted.len()).filter(is_kept).map(|at| wanted[at]).collect();
        let matched = (wanted.len() - kept.len()) as u64 + u64::from(self.script.wrong_matched);
        let gap =
            format!(r#"{{"type":"gap","from":{from},"to":{to},"cause":"skipped","matched":{matched}}}"#);
        deliver(Delivery::Gap(gap, from - 1))?;
        let first = kept[0];
        match flaw {
            Flaw::None | Flaw::Cut => {}
            Flaw::Lost => drop(kept.remove(0)),
            Flaw::Repeated => kept.insert(0, first),
            Flaw::Stray => kept.insert(1, first + 1),
            Flaw::Stale => *kept.last_mut().expect("some") -= 1,
            Flaw::Swapped => kept.swap(0, 1),
            Flaw::Overtaken => {
                deliver(Delivery::Gap(self.gap(log, (first, first), channels), first))?;
                kept.remove(0);
            }
        }
        for sequence in kept {
            deliver(Delivery::Event(sequence, event(sequence)))?;
            if flaw == Flaw::Cut {
                deliver(Delivery::End)?;
            }
        }
        Ok(())
    }

    fn gap(&self, log: &[Event], (from, to): (u64, u64), channels: &[String]) -> String {
        let inside = &log[from as usize - 1..to as usize];
        let count = inside.iter().filter(|event| channels.contains(&event.channel)).count();
        let matched = count as u64 + u64::from(self.script.wrong_matched);
        format!(r#"{{"type":"gap","from":{from},"to":{to},"cause":"lapped","matched":{matched}}}"#)
    }
}

enum Delivery<'a> {
    Event(u64, &'a Event),
    /// What is told, and the cursor behind it.
    Gap(String, u64),
    End,
}

fn send(socket: &mut WebSocket<TcpStream>, text: String) -> io::Result<()> {
    send_message(socket, Message::text(text))
}

fn send_message(socket: &mut WebSocket<TcpStream>, message: Message) -> io::Result<()> {
    socket.send(message).map_err(io::Error::other)
}

fn cursor_of(text: &str) -> u64 {
    text.strip_prefix("E-").unwrap_or(text).parse().expect("a cursor")
}

fn query(target: &str, name: &str) -> Vec<String> {
    let members = target.split_once('?').map_or("", |(_, query)| query).split('&');
    let members = members.filter_map(|member| member.split_once('='));
    members.filter(|(member, _)| *member == name).map(|(_, value)| value.to_owned()).collect()
}

/// The tests that close connections have four subscribers, whose second connections are left alone.
const FIRST_ROUND: u64 = 4;
