//! What clients ask for: to publish, to connect, to leave.

use super::callgrind::{Metric, begin_metric, counted_work};
use super::crowd::{Peer, Rig, channel, event, event_stream, post, rig, text, web_socket};

/// Requests counted of each kind.
const TIMES: usize = 500;

/// Clients that are there already.
const OTHERS: usize = 100;

pub(crate) fn metrics() -> Vec<Metric> {
    vec![
        Metric::new("publish by HTTP, one request a read", || publish(&post(&envelope()), 1)),
        Metric::new("publish by HTTP, 16 requests a read", || publish(&post(&envelope()).repeat(16), 16)),
        Metric::new("publish by HTTP, an event of a batch of 100", || {
            publish(&post(&format!("[{}]", vec![envelope(); 100].join(","))), 100)
        }),
        Metric::new("publish by WebSocket", publish_by_web_socket),
        Metric::new("connect, WebSocket with a channel that others have", || connect(web_socket)),
        Metric::new("connect, SSE with a channel that others have", || connect(event_stream)),
        Metric::new("leave, WebSocket with a channel that others have", leave),
    ]
}

/// An event of 190 bytes of JSON, as publishers write it.
fn envelope() -> String {
    let data = r#"{"action":"opened","number":1347,"title":"Found a bug","sender":"octocat","draft":false}"#;
    format!(r#"{{"channel":"{}","event":"issue_opened","data":{data}}}"#, channel(0))
}

/// A rig whose log has gone round.
fn warm_rig() -> Rig {
    let mut rig = rig();
    for _ in 0..96 {
        rig.publish((0..128).map(|_| event(&channel(0))));
        rig.settle();
    }
    rig
}

/// From the bytes on the link to those of the answer, the sequencer's step between them; per event.
fn say(rig: &mut Rig, peer: &Peer, bytes: &[u8], events: usize) -> usize {
    let rounds = TIMES.div_ceil(events);
    let mut all = |is_counted: bool| {
        for _ in 0..rounds {
            let mut once = || {
                rig.say(peer, bytes);
                rig.settle();
            };
            if is_counted {
                counted_work(&mut once)
            } else {
                once()
            }
            rig.wait_ms(1);
        }
        rig.hub.log.published()
    };
    let before = all(false);
    begin_metric();
    assert_eq!(all(true) - before, (rounds * events) as u64, "every event was published");
    rounds * events
}

fn publish(requests: &[u8], events: usize) -> usize {
    let mut rig = warm_rig();
    let peer = rig.connect();
    say(&mut rig, &peer, requests, events)
}

fn publish_by_web_socket() -> usize {
    let mut rig = warm_rig();
    let peer = web_socket(&mut rig, "");
    rig.settle();
    let command = format!(r#"{{"type":"publish",{}"#, &envelope()[1..]);
    say(&mut rig, &peer, &text(&command), 1)
}

/// Clients on a channel.
fn clients(rig: &mut Rig, connect: fn(&mut Rig, &str) -> Peer, count: usize) -> Vec<Peer> {
    let query = format!("?channel={}", channel(0));
    let mut client = || {
        let peer = connect(rig, &query);
        rig.settle();
        peer
    };
    (0..count).map(|_| client()).collect()
}

/// From the link to the confirmation of the subscription; per client.
fn connect(how: fn(&mut Rig, &str) -> Peer) -> usize {
    begin_metric();
    for _ in 0..RIGS {
        let mut rig = rig();
        let others = clients(&mut rig, how, OTHERS);
        let mut new = Vec::new();
        counted_work(&mut || new = clients(&mut rig, how, CLIENTS));
        assert_eq!(rig.hub.counters.subscriptions() as usize, others.len() + new.len());
    }
    RIGS * CLIENTS
}

/// A connection that breaks; per client.
fn leave() -> usize {
    begin_metric();
    for _ in 0..RIGS {
        let mut rig = rig();
        let peers = clients(&mut rig, web_socket, OTHERS);
        counted_work(&mut || {
            for peer in &peers[..CLIENTS] {
                rig.cut(peer);
                rig.settle();
            }
        });
        assert_eq!(rig.hub.counters.subscriptions() as usize, OTHERS - CLIENTS);
    }
    RIGS * CLIENTS
}

/// Loops that clients connect to. Their tables are hashed with seeds of their own, and how deep a name lies is luck: in one
/// loop alone a client was up to three in a hundred dearer or cheaper.
const RIGS: usize = 32;

/// Clients counted in each of them.
const CLIENTS: usize = 16;
