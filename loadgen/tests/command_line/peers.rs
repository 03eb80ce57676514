//! Small servers that speak what others have documented, strictly: whoever speaks it wrongly is refused.
//!
//! What a subscriber gets begins where the channel ends when it comes. Answers of event streams are chunked, and their chunks cut
//! events anywhere.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use serde_json::{Value, json};
use tungstenite::handshake::server::create_response;
use tungstenite::http::Request as HttpRequest;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

/// Whose protocol it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Pusher,
    Mercure,
    DurableStreams,
    Nchan,
    Centrifugo,
}

impl Protocol {
    /// What `--protocol` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Pusher => "pusher",
            Protocol::Mercure => "mercure",
            Protocol::DurableStreams => "durable-streams",
            Protocol::Nchan => "nchan",
            Protocol::Centrifugo => "centrifugo",
        }
    }
}

/// A running server. It ends with the test's process.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    hub: Arc<Hub>,
}

struct Hub {
    protocol: Protocol,
    channels: Mutex<HashMap<String, Vec<String>>>,
    grown: Condvar,
    /// Answers to what the server asked of its clients.
    pongs: Mutex<usize>,
}

/// A request with its body.
struct Request {
    method: String,
    path: String,
    fields: HashMap<String, String>,
    body: String,
}

impl Peer {
    /// Starts on a port of the system's choice.
    pub(crate) fn start(protocol: Protocol) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (channels, grown, pongs) = (Mutex::default(), Condvar::new(), Mutex::new(0));
        let hub = Arc::new(Hub { protocol, channels, grown, pongs });
        let shared = Arc::clone(&hub);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hub = Arc::clone(&shared);
                // A peer that goes away is not the server's concern.
                thread::spawn(move || drop(hub.serve(stream)));
            }
        });
        Peer { address, hub }
    }

    /// How many questions were answered.
    pub(crate) fn pongs(&self) -> usize {
        *self.hub.pongs.lock().expect("the count")
    }
}

impl Hub {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        while let Some(request) = Request::read(&mut reader)? {
            match (self.protocol, request.method.as_str()) {
                (Protocol::DurableStreams, "PUT") => {
                    self.channels.lock().expect("the channels").entry(request.path).or_default();
                    write!(stream, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")?;
                }
                (_, "POST") => match self.publish(&request) {
                    Some((status, body)) => {
                        let length = body.len();
                        // No answer of this status has a length.
                        let length = if status == 204 {
                            String::new()
                        } else {
                            format!("Content-Length: {length}\r\n")
                        };
                        write!(stream, "HTTP/1.1 {status} OK\r\n{length}\r\n{body}")?;
                    }
                    None => return refuse(&mut stream),
                },
                _ => match self.subscription(&request) {
                    Some(channel) if request.fields.contains_key("sec-websocket-key") => {
                        return self.serve_websocket(stream, &request, channel);
                    }
                    Some(channel) => return self.serve_event_stream(stream, &channel),
                    None => return refuse(&mut stream),
                },
            }
        }
        Ok(())
    }

    /// Takes an event in; nothing if it was not said as the protocol has it.
    fn publish(&self, request: &Request) -> Option<(u16, String)> {
        let is = |kind: &str| request.fields.get("content-type").is_some_and(|is| is == kind);
        let (channel, event, answer) = match self.protocol {
            Protocol::Pusher => {
                let event: Value = serde_json::from_str(&request.body).ok()?;
                let data = event["data"].as_str()?.to_owned();
                event["name"].as_str()?;
                let is_right = is("application/json") && request.path == "/apps/app/events";
                (event["channel"].as_str().filter(|_| is_right)?.to_owned(), data, (200, "{}".to_owned()))
            }
            Protocol::Mercure => {
                request.fields.get("authorization")?.strip_prefix("Bearer ")?;
                let is_right = is("application/x-www-form-urlencoded") && request.path == HUB;
                let fields = query(&request.body);
                let event = fields.get("data").filter(|_| is_right)?.clone();
                (fields.get("topic")?.clone(), event, (200, "urn:uuid:1".to_owned()))
            }
            Protocol::DurableStreams => {
                let exists = self.channels.lock().expect("the channels").contains_key(&request.path);
                let event = request.body.strip_suffix('\n').filter(|_| exists && is("text/plain"))?;
                (request.path.clone(), event.to_owned(), (204, String::new()))
            }
            Protocol::Nchan => {
                let channel = request.path.strip_prefix("/publish/")?;
                (channel.to_owned(), request.body.clone(), (201, "queued messages: 1\r\n".to_owned()))
            }
            Protocol::Centrifugo => {
                let event: Value = serde_json::from_str(&request.body).ok()?;
                let is_right = is("application/json") && request.path == "/api/publish";
                let channel = event["channel"].as_str().filter(|_| is_right)?.to_owned();
                (channel, event["data"].to_string(), (200, r#"{"result":{}}"#.to_owned()))
            }
        };
        self.channels.lock().expect("the channels").entry(channel).or_default().push(event);
        self.grown.notify_all();
        Some(answer)
    }

    /// The channel that this subscribes to, empty if a message will say so; nothing if it is no subscription.
    fn subscription(&self, request: &Request) -> Option<String> {
        let (path, text) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let fields = query(text);
        let has = |name: &str, value: &str| fields.get(name).is_some_and(|is| is == value);
        let is_stream = request.fields.get("accept").is_some_and(|accept| accept == "text/event-stream");
        let is_socket = request.fields.contains_key("sec-websocket-key");
        match self.protocol {
            Protocol::Pusher => (is_socket && path == "/app/app" && has("protocol", "7")).then(String::new),
            Protocol::Mercure => fields.get("topic").filter(|_| is_stream && path == HUB).cloned(),
            Protocol::DurableStreams => (has("offset", "now") && has("live", "sse")).then(|| path.to_owned()),
            Protocol::Nchan if is_stream || is_socket => path.strip_prefix("/subscribe/").map(str::to_owned),
            Protocol::Nchan => None,
            Protocol::Centrifugo if is_socket => (path == "/connection/uni_websocket").then(String::new),
            Protocol::Centrifugo => {
                let connect: Value = serde_json::from_str(fields.get("cf_connect")?).ok()?;
                let channel = connect["subs"].as_object()?.keys().next()?.clone();
                (is_stream && path == "/connection/uni_sse").then_some(channel)
            }
        }
    }

    fn serve_event_stream(&self, mut stream: TcpStream, channel: &str) -> io::Result<()> {
        let mut at = self.end(channel);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes())?;
        let hello = match self.protocol {
            Protocol::Mercure => ":\n",
            Protocol::Nchan => ": hi\n\n",
            Protocol::Centrifugo => "data: {\"connect\":{\"client\":\"c\",\"version\":\"0\"}}\n\n",
            _ => "",
        };
        send_chunks(&mut stream, hello)?;
        loop {
            let events = self.wait(channel, &mut at);
            let blocks = match self.protocol {
                // All that there is in one block, and where it ends in another.
                Protocol::DurableStreams => {
                    let lines: String = events.iter().map(|event| format!("data: {event}\n")).collect();
                    format!(
                        "event: data\n{lines}\nevent: control\ndata: {{\"streamNextOffset\":\"{at}\"}}\n\n"
                    )
                }
                Protocol::Centrifugo => {
                    let block = |event: &String| {
                        format!("data: {{\"channel\":\"{channel}\",\"pub\":{{\"data\":{event}}}}}\n\n")
                    };
                    events.iter().map(block).collect()
                }
                _ => events.iter().map(|event| format!("id: {at}\ndata: {event}\n\n")).collect(),
            };
            send_chunks(&mut stream, &blocks)?;
        }
    }

    fn serve_websocket(&self, stream: TcpStream, request: &Request, mut channel: String) -> io::Result<()> {
        let mut head = HttpRequest::builder().method("GET").uri(&request.path);
        for (name, value) in &request.fields {
            head = head.header(name, value);
        }
        let answer = create_response(&head.body(()).expect("a head")).map_err(io::Error::other)?;
        let mut text = "HTTP/1.1 101 Switching Protocols\r\n".to_owned();
        for (name, value) in answer.headers() {
            text.push_str(&format!("{name}: {}\r\n", value.to_str().expect("text")));
        }
        (&stream).write_all(format!("{text}\r\n").as_bytes())?;
        let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
        let say = |socket: &mut WebSocket<TcpStream>, text: String| {
            socket.send(Message::text(text)).map_err(io::Error::other)
        };
        let hear = |socket: &mut WebSocket<TcpStream>| -> io::Result<Value> {
            let message = socket.read().map_err(io::Error::other)?;
            serde_json::from_slice(&message.into_data()).map_err(io::Error::other)
        };
        match self.protocol {
            Protocol::Pusher => {
                let data = json!({"socket_id": "1.1", "activity_timeout": 120}).to_string();
                say(
                    &mut socket,
                    json!({"event": "pusher:connection_established", "data": data}).to_string(),
                )?;
                let heard = hear(&mut socket)?;
                if heard["event"] != "pusher:subscribe" {
                    return Ok(());
                }
                channel = heard["data"]["channel"].as_str().unwrap_or_default().to_owned();
                // Whoever does not answer is taken for gone.
                say(&mut socket, json!({"event": "pusher:ping", "data": {}}).to_string())?;
                if hear(&mut socket)?["event"] != "pusher:pong" {
                    return Ok(());
                }
                *self.pongs.lock().expect("the count") += 1;
            }
            Protocol::Centrifugo => {
                let subscriptions = hear(&mut socket)?;
                let name = subscriptions["subs"].as_object().and_then(|subs| subs.keys().next().cloned());
                channel = name.unwrap_or_default();
            }
            _ => {}
        }
        let mut at = self.end(&channel);
        match self.protocol {
            Protocol::Pusher => {
                let event = "pusher_internal:subscription_succeeded";
                say(&mut socket, json!({"event": event, "data": "{}", "channel": channel}).to_string())?;
            }
            Protocol::Centrifugo => say(&mut socket, json!({"connect": {"client": "c"}}).to_string())?,
            _ => {}
        }
        loop {
            for event in self.wait(&channel, &mut at) {
                say(
                    &mut socket,
                    match self.protocol {
                        Protocol::Pusher => {
                            json!({"event": "m", "data": event, "channel": channel}).to_string()
                        }
                        Protocol::Centrifugo => {
                            format!("{{\"channel\":\"{channel}\",\"pub\":{{\"data\":{event}}}}}")
                        }
                        _ => event,
                    },
                )?;
            }
        }
    }

    fn end(&self, channel: &str) -> usize {
        self.channels.lock().expect("the channels").get(channel).map_or(0, Vec::len)
    }

    /// Waits for what comes behind `at`, and moves it.
    fn wait(&self, channel: &str, at: &mut usize) -> Vec<String> {
        let mut channels = self.channels.lock().expect("the channels");
        loop {
            match channels.get(channel).map(|events| &events[*at..]) {
                Some(events) if !events.is_empty() => {
                    *at += events.len();
                    return events.to_vec();
                }
                _ => channels = self.grown.wait(channels).expect("the channels"),
            }
        }
    }
}

impl Request {
    /// The next one of a connection; nothing at its end.
    fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut fields = HashMap::new();
        loop {
            let mut field = String::new();
            reader.read_line(&mut field)?;
            let Some((name, value)) = field.trim_end().split_once(": ") else { break };
            fields.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = fields.get("content-length").map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Some(Request { method, path, fields, body: String::from_utf8(body).map_err(io::Error::other)? }))
    }
}

fn refuse(stream: &mut TcpStream) -> io::Result<()> {
    write!(stream, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn send_chunks(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    let mut chunks = Vec::new();
    for piece in text.as_bytes().chunks(CHUNK_BYTES) {
        chunks.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunks.extend_from_slice(piece);
        chunks.extend_from_slice(b"\r\n");
    }
    stream.write_all(&chunks)
}

/// The members of a query or a form.
fn query(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), unescaped(value))).collect()
}

fn unescaped(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at(2);
        out.push(char::from(u8::from_str_radix(digits, 16).expect("two digits")));
        out.push_str(rest);
    }
    out
}

/// Where a hub of Mercure is.
const HUB: &str = "/.well-known/mercure";

/// No multiple of anything that is sent.
const CHUNK_BYTES: usize = 61;
