//! What a stream got up to a sequence number, for tests of what it does not get.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fanfare::words::limits::Limits;
use serde_json::Value;

use super::PATIENCE;
use super::http::get;
use super::sse::Sse;
use super::stream::{Stream, Transport};
use super::websocket::Client;

/// Bounds with which a stream soon says how far it has come, so that what it does not get can be told from what is late.
pub(crate) fn talkative() -> Limits {
    Limits { quiet_after: Duration::from_millis(20), ..Limits::default() }
}

/// Opens a stream by its whole query. Returns when its subscriptions hold.
pub(crate) fn open(transport: Transport, address: SocketAddr, query: &str) -> Stream {
    match transport {
        Transport::WebSocket => {
            let mut client = Client::open(address, &format!("/ws?{query}"));
            assert_eq!(client.next()["type"], "subscribed", "{query}");
            Stream::WebSocket(client)
        }
        Transport::Sse => Stream::Sse(Sse::open(address, &format!("/events?{query}"), "")),
    }
}

/// Sends a command and returns its answer, behind events and cursors.
pub(crate) fn ask(client: &mut Client, command: &str) -> Value {
    client.send(command);
    loop {
        let message = client.next();
        if message["type"] != "cursor" && message["type"] != "event" {
            return message;
        }
    }
}

/// A WebSocket client that is subscribed to `channel`.
pub(crate) fn subscribed(address: SocketAddr, channel: &str) -> Client {
    let mut client = Client::open(address, &format!("/ws?channel={channel}"));
    assert_eq!(client.next()["type"], "subscribed", "{channel}");
    client
}

/// Everything that comes until the stream, of a server with [`talkative`] bounds, says that it stands at `last` or later:
/// the numbers of events, and gaps as they are.
pub(crate) fn upto(stream: &mut Stream, last: u64) -> (Vec<u64>, Vec<Value>) {
    let (mut seqs, mut gaps) = (Vec::new(), Vec::new());
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "the stream does not get to {last}: {seqs:?}");
        let message = match stream {
            Stream::WebSocket(client) => client.next(),
            Stream::Sse(sse) => {
                let block = sse.next_block().expect("the stream goes on");
                match (&block.data, &block.id) {
                    (Some(_), _) => block.json(),
                    (None, Some(id)) => {
                        let (_, seq) = id.rsplit_once('-').expect("an id is a cursor");
                        serde_json::json!({"type": "cursor", "seq": seq.parse::<u64>().unwrap()})
                    }
                    (None, None) => continue,
                }
            }
        };
        match message["type"].as_str().expect("a message has a type") {
            "event" => seqs.push(message["seq"].as_u64().unwrap()),
            "gap" => gaps.push(message),
            "cursor" if last <= message["seq"].as_u64().unwrap() => return (seqs, gaps),
            "cursor" => {}
            other => panic!("{other} among events: {message}"),
        }
    }
}

/// The numbers of the events of an answer of `/history`, and the answer.
pub(crate) fn history(address: SocketAddr, query: &str) -> (Vec<u64>, Value) {
    let answer = get(address, &format!("/history?limit=1000&{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    let document = answer.json();
    let events = document["events"].as_array().unwrap();
    (events.iter().map(|event| event["seq"].as_u64().unwrap()).collect(), document)
}
