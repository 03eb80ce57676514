//! Asking again: for a channel that is held, after ending a subscription, twice for goodbye.

mod support;

use std::time::{Duration, Instant};

use fanfare::words::limits::Limits;
use serde_json::Value;
use support::PATIENCE;
use support::http::{Http, get, post};
use support::local::LocalServer;
use support::publisher::Publisher;
use support::sse::Sse;
use support::websocket::{Client, Frames, frame};

fn start() -> LocalServer {
    let limits = Limits {
        linger_max: Duration::from_millis(50),
        quiet_after: Duration::from_secs(3600),
        ..Limits::default()
    };
    LocalServer::start_with_loops(limits, 1)
}

/// What a message is: its type, and the number it carries.
fn brief(message: &Value) -> (String, u64) {
    (message["type"].as_str().unwrap().to_owned(), message["seq"].as_u64().unwrap_or_default())
}

/// What comes up to and with the next `subscribed`.
fn until_subscribed(client: &mut Client) -> Vec<(String, u64)> {
    let mut seen = Vec::new();
    loop {
        seen.push(brief(&client.next()));
        if seen.last().is_some_and(|(kind, _)| kind == "subscribed") {
            return seen;
        }
    }
}

fn check(got: &[(String, u64)], expected: &[(&str, u64)], context: &str) {
    let got: Vec<(&str, u64)> = got.iter().map(|(kind, seq)| (kind.as_str(), *seq)).collect();
    assert_eq!(got, expected, "{context}");
}

#[test]
fn older_events_of_a_channel_that_is_held_come_once() {
    let server = start();
    let mut publisher = Publisher::connect(server.public);
    for _ in 0..2 {
        publisher.publish("t:a", "1");
    }
    let (mut client, _) = Client::subscribed(server.public, "t:a");
    publisher.publish("t:a", "1");
    assert_eq!(client.next()["seq"], 3);
    client.send(r#"{"type":"subscribe","channel":"t:a","since":"earliest"}"#);
    let expected = [("replay", 0), ("event", 1), ("event", 2), ("subscribed", 3)];
    check(&until_subscribed(&mut client), &expected, "what came before it was held");
    client.send(r#"{"type":"subscribe","channel":"t:a","since":"earliest"}"#);
    check(&until_subscribed(&mut client), &[("replay", 0), ("subscribed", 3)], "it has had all of them");
    client.send(r#"{"type":"subscribe","channel":"*","since":"earliest"}"#);
    check(&until_subscribed(&mut client), &[("replay", 0), ("subscribed", 3)], "also by another pattern");
    client.send(r#"{"type":"subscribe","channel":"t:a","last":2}"#);
    let expected = [("replay", 0), ("event", 2), ("event", 3), ("subscribed", 3)];
    check(&until_subscribed(&mut client), &expected, "the newest were asked for");
    publisher.publish("t:a", "1");
    assert_eq!(client.next()["seq"], 4);
}

#[test]
fn whoever_has_had_events_goes_back_in_a_bracket_only() {
    let server = start();
    let mut publisher = Publisher::connect(server.public);
    let (mut client, _) = Client::subscribed(server.public, "t:a");
    publisher.publish("t:a", "1");
    assert_eq!(client.next()["seq"], 1);
    assert_eq!(client.ask(r#"{"type":"unsubscribe","channel":"t:a"}"#)["type"], "unsubscribed");
    client.send(r#"{"type":"subscribe","channel":"t:a","since":"earliest"}"#);
    check(&until_subscribed(&mut client), &[("replay", 0), ("event", 1), ("subscribed", 1)], "again");
}

#[test]
fn announcements_go_on_for_who_has_asked_for_them_besides() {
    let server = start();
    let (mut client, _) = Client::subscribed(server.public, "sys:announcements");
    assert_eq!(client.ask(r#"{"type":"unsubscribe","channel":"sys:announcements"}"#)["type"], "unsubscribed");
    assert_eq!(post(server.admin, "/announce", r#"{"message":"hello"}"#).status, 202);
    // Were there none, the pong would be first.
    client.send(r#"{"type":"ping"}"#);
    assert_eq!(client.next()["message"], "hello");
}

#[test]
fn a_client_that_is_told_goodbye_twice_goes_all_the_same() {
    let server = start();
    // It never closes its end.
    let mut client = Frames::open(server.public);
    client.send(&frame(0x81, br#"{"type":"ping"}"#));
    client.next().expect("a pong");
    let clients = get(server.admin, "/clients").json();
    let id = clients["clients"][0]["id"].as_str().expect("a client").to_owned();
    let disconnect = || {
        let mut http = Http::connect(server.admin);
        http.send(format!("DELETE /clients/{id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        http.answer().status
    };
    assert_eq!(disconnect(), 200);
    assert_eq!(disconnect(), 404, "it is no client any more");
    assert_eq!(get(server.admin, "/clients").json()["clients"].as_array().map(Vec::len), Some(0));
    let begin = Instant::now();
    // Only the one that asks is left.
    while get(server.admin, "/stats").json()["connections"] != 1 {
        assert!(begin.elapsed() < PATIENCE / 4, "the connection stays");
        std::thread::yield_now();
    }
}

#[test]
fn the_newest_events_of_history_come_in_pages() {
    let server = start();
    let mut publisher = Publisher::connect(server.public);
    publisher.publish_many("t:a", 9);
    let page = get(server.public, "/history?channel=t:a&last=5&limit=3").json();
    let seqs: Vec<u64> =
        page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!((seqs, page["more"].as_bool()), (vec![5, 6, 7], Some(true)), "{page}");
    let next = page["next"].as_str().unwrap();
    let rest = get(server.public, &format!("/history?channel=t:a&after={next}")).json();
    assert_eq!(rest["events"][0]["seq"], 8, "{rest}");
    assert_eq!(get(server.public, "/history?channel=t:a&last=5&after=3").status, 400);
}

#[test]
fn a_stream_of_newest_events_has_a_cursor_also_when_there_are_none() {
    let server = start();
    Publisher::connect(server.public).publish("t:other", "1");
    let mut stream = Sse::open(server.public, "/events?channel=t:a&last=2", "");
    assert!(stream.next_block().is_some_and(|block| block.retry.is_some()));
    let id = stream.next_block().and_then(|block| block.id);
    assert_eq!(id, Some(format!("{}-1", server.epoch())));
}
