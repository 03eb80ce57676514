//! Who is on a channel, who comes and goes, and what the server tells on channels of its own.

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};
use support::http::{ask, get, post};
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::sse::Sse;
use support::stream::{Stream, Transport};
use support::wait_until;
use support::websocket::Client;

/// Opens a stream of `user` on the channels of `query`; returns when the subscription holds.
fn open(transport: Transport, address: SocketAddr, query: &str) -> Stream {
    match transport {
        Transport::WebSocket => {
            let mut client = Client::open(address, &format!("/ws?{query}"));
            assert_eq!(client.next()["type"], "subscribed");
            Stream::WebSocket(client)
        }
        Transport::Sse => Stream::Sse(Sse::open(address, &format!("/events?{query}"), "")),
    }
}

fn presence(address: SocketAddr, query: &str) -> Value {
    let answer = get(address, &format!("/presence?{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()
}

/// The next event of a stream: kind and data.
fn told(stream: &mut Stream) -> (String, Value) {
    let event = stream.next();
    assert_eq!(event["type"], "event", "{event}");
    (event["event"].as_str().unwrap().to_owned(), event["data"].clone())
}

fn joined(user: &str, users: u64) -> (String, Value) {
    ("presence_joined".to_owned(), json!({"user": user, "users": users}))
}

fn left(user: &str, users: u64) -> (String, Value) {
    ("presence_left".to_owned(), json!({"user": user, "users": users}))
}

#[test]
fn a_user_joins_once_and_leaves_once_however_many_connections_there_are() {
    let server = ServerProcess::start(&["--presence", "chat", "--loops", "2"]);
    let mut watcher = open(Transport::WebSocket, server.public, "channel=chat:a");
    let mut of_alice = Vec::new();
    // Until both loops have some, over both transports.
    let mut loops = BTreeSet::new();
    while loops.len() < 2 || of_alice.len() < 4 {
        assert!(of_alice.len() < 64, "connections are spread over the loops");
        let transport = if of_alice.len() % 2 == 0 { Transport::WebSocket } else { Transport::Sse };
        of_alice.push(open(transport, server.public, "channel=chat:a&user=alice"));
        let clients = get(server.admin, "/clients").json()["clients"].clone();
        let of_alice = clients.as_array().unwrap().iter().filter(|client| client["user"] == "alice");
        loops = of_alice.map(|client| client["id"].as_str().unwrap()[..1].to_owned()).collect();
    }
    assert_eq!(told(&mut watcher), joined("alice", 1));
    let bob = open(Transport::Sse, server.public, "channel=chat:a&user=bob");
    assert_eq!(told(&mut watcher), joined("bob", 2));
    let count = of_alice.len();
    assert_eq!(
        presence(server.public, "channel=chat:a"),
        json!({
            "channel": "chat:a", "count": 2, "connections": count + 2, "anonymous": 1,
            "users": [{"user": "alice", "connections": count}, {"user": "bob", "connections": 1}],
        })
    );
    while 1 < of_alice.len() {
        drop(of_alice.pop());
        let left = of_alice.len();
        wait_until("a connection of alice is gone", || {
            presence(server.public, "channel=chat:a")["users"][0]["connections"] == left
        });
    }
    drop(bob);
    // Nothing was told of the connections that were not the last.
    assert_eq!(told(&mut watcher), left("bob", 1));
    drop(of_alice);
    assert_eq!(told(&mut watcher), left("alice", 0));
    let empty = json!({"channel": "chat:a", "count": 0, "connections": 1, "anonymous": 1, "users": []});
    assert_eq!(presence(server.public, "channel=chat:a"), empty);
}

#[test]
fn whoever_unsubscribes_or_says_goodbye_leaves() {
    let server = ServerProcess::start(&["--presence", "chat"]);
    let mut watcher = open(Transport::Sse, server.public, "channel=chat:a");
    let mut alice = Client::open(server.public, "/ws?user=alice");
    assert_eq!(alice.ask(r#"{"type":"subscribe","channel":"chat:a"}"#)["type"], "subscribed");
    assert_eq!(told(&mut watcher), joined("alice", 1));
    assert_eq!(alice.next()["event"], "presence_joined", "whoever comes sees it too");
    assert_eq!(alice.ask(r#"{"type":"unsubscribe","channel":"chat:a"}"#)["type"], "unsubscribed");
    assert_eq!(told(&mut watcher), left("alice", 0));
    assert_eq!(alice.ask(r#"{"type":"subscribe","channel":"chat:a"}"#)["type"], "subscribed");
    assert_eq!(told(&mut watcher), joined("alice", 1));
    alice.close();
    assert_eq!(told(&mut watcher), left("alice", 0));
}

#[test]
fn a_changed_filter_is_no_leaving() {
    let server = ServerProcess::start(&["--presence", "chat"]);
    let mut watcher = open(Transport::Sse, server.public, "channel=chat:a");
    let mut alice = Client::open(server.public, "/ws?user=alice&event_types=push");
    assert_eq!(alice.ask(r#"{"type":"subscribe","channel":"chat:a"}"#)["type"], "subscribed");
    assert_eq!(told(&mut watcher), joined("alice", 1));
    for command in [
        r#"{"type":"subscribe","channel":"chat:a","filter":{"tags":["x"]}}"#,
        r#"{"type":"filter","filter":{"event_types":["pr_opened"]}}"#,
        r#"{"type":"filter","filter":{}}"#,
        r#"{"type":"subscribe","channel":"chat:a"}"#,
    ] {
        let answer = alice.ask(command);
        assert!(answer["type"] == "subscribed" || answer["type"] == "filtered", "{answer}");
    }
    Publisher::connect(server.public).publish("chat:a", "0");
    assert_eq!(told(&mut watcher).1, 0, "nothing was told in between");
    assert_eq!(presence(server.public, "channel=chat:a")["users"][0]["connections"], 1);
}

#[test]
fn only_single_channels_of_chosen_namespaces_have_presence() {
    let server = ServerProcess::start(&["--presence", "chat,game"]);
    for query in ["channel=t:a", "channel=chats:a", "channel=repo:a/b"] {
        get(server.public, &format!("/presence?{query}")).assert_problem(404, "no_presence", query);
    }
    get(server.public, "/presence").assert_problem(400, "no_channel", "no channel");
    get(server.public, "/presence?channel=chat:*").assert_problem(400, "bad_channel", "a wildcard");
    get(server.public, "/presence?channel=chat:a&workspace=_x").assert_problem(
        400,
        "bad_workspace",
        "workspace",
    );
    ask(server.public, "POST", "/presence?channel=chat:a", "", "").assert_problem(
        405,
        "method_not_allowed",
        "",
    );
    let mut watcher = open(Transport::WebSocket, server.public, "channel=chat:*");
    let _everything = open(Transport::Sse, server.public, "channel=*&user=mallory");
    let _all = open(Transport::Sse, server.public, "channel=chat:**&user=mallory");
    let _game = open(Transport::Sse, server.public, "channel=game:a&user=gina");
    let _alice = open(Transport::Sse, server.public, "channel=chat:a&user=alice");
    assert_eq!(told(&mut watcher), joined("alice", 1), "wildcards are nowhere in particular");
    assert_eq!(presence(server.public, "channel=game:a")["users"][0]["user"], "gina");
    let alone = presence(server.public, "channel=chat:a");
    assert_eq!((&alone["count"], &alone["connections"]), (&json!(1), &json!(1)));
}

#[test]
fn a_workspace_has_its_own_presence() {
    let server = ServerProcess::start(&["--presence", "chat"]);
    let mut inside = open(Transport::WebSocket, server.public, "channel=chat:a&workspace=acme");
    let mut outside = open(Transport::WebSocket, server.public, "channel=chat:a");
    let alice = open(Transport::Sse, server.public, "channel=chat:a&workspace=Acme&user=alice");
    let event = inside.next();
    assert_eq!((&event["event"], &event["workspace"]), (&json!("presence_joined"), &json!("acme")));
    assert_eq!(presence(server.public, "channel=chat:a")["count"], 0);
    let of_acme = presence(server.public, "channel=chat:a&workspace=acme");
    assert_eq!((&of_acme["count"], &of_acme["connections"]), (&json!(1), &json!(2)));
    drop(alice);
    assert_eq!(told(&mut inside), left("alice", 0));
    Publisher::connect(server.public).publish("chat:a", "0");
    assert_eq!(told(&mut outside).1, 0, "nobody outside is told");
}

#[test]
fn moving_to_another_workspace_is_leaving_the_first() {
    let server = ServerProcess::start(&["--presence", "chat"]);
    let mut acme = open(Transport::Sse, server.public, "channel=chat:a&workspace=acme");
    let mut other = open(Transport::Sse, server.public, "channel=chat:a&workspace=other");
    let mut alice = Client::open(server.public, "/ws?user=alice&workspace=acme&channel=chat:a");
    assert_eq!(alice.next()["type"], "subscribed");
    assert_eq!(told(&mut acme), joined("alice", 1));
    alice.send(r#"{"type":"filter","filter":{"workspace":"other"}}"#);
    assert_eq!(told(&mut acme), left("alice", 0));
    assert_eq!(told(&mut other), joined("alice", 1));
}

#[test]
fn clients_and_occupied_channels_are_told_where_that_is_asked_for() {
    let server = ServerProcess::start(&["--sys-events"]);
    let mut clients = open(Transport::WebSocket, server.public, "channel=sys:clients");
    let mut channels = open(Transport::WebSocket, server.public, "channel=sys:channels");
    assert_eq!(told(&mut clients).0, "client_connected", "its own");
    assert_eq!(told(&mut clients).0, "client_connected", "that of the other watcher");
    let occupied = |name: &str| ("channel_occupied".to_owned(), json!({"channel": name}));
    // Whether that of `sys:clients` is seen depends on how far it has come by then; one's own is.
    while told(&mut channels) != occupied("sys:channels") {}
    let first = open(Transport::Sse, server.public, "channel=t:a&user=alice");
    let (kind, data) = told(&mut clients);
    assert_eq!((kind.as_str(), &data["user"]), ("client_connected", &json!("alice")));
    let listed = get(server.admin, "/clients").json()["clients"].clone();
    let ids: Vec<&Value> = listed.as_array().unwrap().iter().map(|client| &client["id"]).collect();
    assert!(ids.contains(&&data["client"]), "operators know it by this name: {data} {ids:?}");
    assert_eq!(told(&mut channels), occupied("t:a"));
    // The second on a channel is no news of the channel.
    let second = open(Transport::WebSocket, server.public, "channel=t:a,t:*");
    assert_eq!(told(&mut channels), occupied("t:*"));
    let acme = open(Transport::Sse, server.public, "channel=t:a&workspace=acme");
    let in_acme = json!({"channel": "t:a", "workspace": "acme"});
    assert_eq!(told(&mut channels), ("channel_occupied".to_owned(), in_acme.clone()));
    drop(acme);
    assert_eq!(told(&mut channels), ("channel_vacated".to_owned(), in_acme));
    drop(first);
    drop(second);
    let vacated: BTreeSet<String> = [told(&mut channels), told(&mut channels)]
        .into_iter()
        .map(|(kind, data)| format!("{kind} {}", data["channel"]))
        .collect();
    let expected = ["channel_vacated \"t:*\"", "channel_vacated \"t:a\""].map(str::to_owned);
    assert_eq!(vacated, BTreeSet::from(expected));
}

#[test]
fn nothing_of_that_is_told_unless_it_is_asked_for() {
    let server = ServerProcess::start(&[]);
    let mut watcher = open(Transport::WebSocket, server.public, "channel=*");
    let _alice = open(Transport::Sse, server.public, "channel=chat:a&user=alice");
    get(server.public, "/presence?channel=chat:a").assert_problem(404, "no_presence", "not chosen");
    assert_eq!(Publisher::connect(server.public).publish("chat:a", "0"), 1);
    assert_eq!(told(&mut watcher).1, 0);
}

#[test]
fn the_servers_own_channels_are_not_published_on() {
    let server = ServerProcess::start(&["--sys-events"]);
    for channel in ["sys:clients", "sys:announcements", "sys:anything"] {
        let body = format!(r#"{{"channel":"{channel}","event":"client_connected"}}"#);
        let forms = [
            post(server.public, "/publish", &body),
            post(server.public, "/publish", &format!("[{body}]")),
            post(server.public, &format!("/publish/{channel}"), "1"),
            ask(server.public, "POST", "/publish", "Content-Type: application/x-ndjson\r\n", &body),
            ask(
                server.public,
                "POST",
                &format!("/publish?channel={channel}"),
                "Content-Type: application/cloudevents+json\r\n",
                r#"{"specversion":"1.0","id":"1","source":"/s","type":"system","data":1}"#,
            ),
        ];
        for answer in forms {
            answer.assert_problem(400, "bad_channel", channel);
        }
        let mut client = Client::open(server.public, "/ws");
        let answer = client.ask(&format!(r#"{{"type":"publish","channel":"{channel}","event":"k"}}"#));
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("bad_channel")));
    }
}

#[test]
fn comings_and_goings_are_told_in_the_order_in_which_they_happened() {
    let server = ServerProcess::start(&["--presence", "chat", "--loops", "2"]);
    let mut watcher = open(Transport::WebSocket, server.public, "channel=chat:a");
    // One user, whose connections come and go on both loops at once.
    std::thread::scope(|scope| {
        for transport in [Transport::WebSocket, Transport::Sse, Transport::WebSocket, Transport::Sse] {
            let address = server.public;
            scope.spawn(move || {
                for _ in 0..50 {
                    drop(open(transport, address, "channel=chat:a&user=alice"));
                }
            });
        }
    });
    wait_until("everybody is gone", || presence(server.public, "channel=chat:a")["count"] == 0);
    wait_until("the last has been told", || {
        let newest = get(server.public, "/history?channel=chat:a&last=1").json()["events"][0].clone();
        newest["event"] == "presence_left"
    });
    Publisher::connect(server.public).publish("chat:a", "0");
    let mut is_there = false;
    loop {
        match told(&mut watcher) {
            (kind, _) if kind == "presence_joined" => assert!(!std::mem::replace(&mut is_there, true)),
            (kind, _) if kind == "presence_left" => assert!(std::mem::replace(&mut is_there, false)),
            _ => break,
        }
    }
    assert!(!is_there, "whoever listens knows who is there");
}
