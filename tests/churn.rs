//! Churn: however many connections come and go, nothing is left of them.

mod support;

use std::net::SocketAddr;

use serde_json::Value;
use support::http::Http;
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::sse::Sse;
use support::websocket::{Client, Frames, frame};

const CYCLES: usize = 2000;
const THREADS: usize = 4;

/// Connects, subscribes and goes, in a way that depends on `number`.
fn come_and_go(address: SocketAddr, number: usize) {
    let channel = format!("t:{}", number % 97);
    match number % 6 {
        // In order.
        0 => Client::subscribed(address, &channel).0.close(),
        // Without goodbye.
        1 => drop(Client::subscribed(address, &channel)),
        2 => {
            let mut sse = Sse::open(address, &format!("/events?channel={channel}&channel=t:*"), "");
            assert!(sse.next_block().is_some());
        }
        // In the middle of a command.
        3 => {
            let mut frames = Frames::open(address);
            let bytes = frame(0x81, br#"{"type":"subscribe","channel":"*"}"#);
            frames.send(&bytes[..bytes.len() - number % 20]);
        }
        // In the middle of a request.
        4 => Http::connect(address).send("GET /events?channel=t:a HTTP/1.1\r\nHo"),
        // With unread events on the way.
        _ => {
            let (_client, _) = Client::subscribed(address, "*");
            Publisher::connect(address).publish_many(&channel, 10);
        }
    }
}

#[test]
fn two_thousand_connections_that_come_and_go_leave_nothing_behind() {
    let server = ServerProcess::start(&[]);
    let address = server.public;
    let mut operator = Http::connect(server.admin);
    operator.send("GET /stats HTTP/1.1\r\nHost: x\r\n\r\n");
    operator.answer();
    let descriptors_before = server.descriptors();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            std::thread::spawn(move || {
                for number in (thread..CYCLES).step_by(THREADS) {
                    come_and_go(address, number);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let mut stats = Value::Null;
    for _ in 0..200_000 {
        operator.send("GET /stats HTTP/1.1\r\nHost: x\r\n\r\n");
        stats = operator.answer().json();
        // The one connection is the operator's own.
        let is_quiet = stats["connections"] == 1 && stats["subscriptions"] == 0;
        if is_quiet && server.descriptors() == descriptors_before {
            return;
        }
    }
    panic!("{stats}, {} descriptors and {descriptors_before} before", server.descriptors());
}
