//! CloudEvents over sockets: in as one, as a list and with attributes in headers; out over both transports; and round.

mod support;

use serde_json::{Value, json};
use support::http::{Answer, ask, get};
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::sse::Sse;
use support::websocket::Client;

const ONE: &str = "Content-Type: application/cloudevents+json; charset=utf-8\r\n";
const BATCH: &str = "Content-Type: application/cloudevents-batch+json\r\n";

fn publish(server: &ServerProcess, path: &str, fields: &str, body: &str) -> Answer {
    ask(server.public, "POST", path, fields, body)
}

/// An event with these members besides those that must be there.
fn cloud_event(id: &str, members: Value) -> Value {
    let mut event = json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "com.example.Sold"});
    event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    event
}

#[test]
fn one_event_becomes_one_of_ours() {
    let server = ServerProcess::start(&[]);
    let (mut client, _) = Client::subscribed(server.public, "shop:berlin");
    let mut check = |path: &str, fields: &str, body: &str, expected: Value| {
        let answer = publish(&server, path, fields, body);
        assert_eq!(answer.status, 202, "{path} {body}: {}", answer.text());
        let mut event = client.next();
        assert_eq!(answer.json()["seq"], event["seq"]);
        let members = event.as_object_mut().unwrap();
        ["type", "seq", "channel", "timestamp"].iter().for_each(|name| drop(members.remove(*name)));
        assert_eq!(event, expected, "{path} {body}");
    };
    let channel = json!({"channel": "shop:berlin", "subject": "lamp", "tags": "new, red", "data": {"n": 1}});
    let sold = "com.example.sold";
    check(
        "/publish",
        ONE,
        &cloud_event("1", channel).to_string(),
        json!({"event": sold, "data": {"n": 1}, "event_id": "1", "ids": ["lamp"], "tags": ["new", "red"]}),
    );
    let body = cloud_event("2", json!({"time": "2026-11-22T00:00:00Z", "other": true})).to_string();
    let plain = json!({"event": sold, "data": null, "event_id": "2"});
    check("/publish/shop:berlin", ONE, &body, plain.clone());
    check("/publish?channel=shop:berlin", ONE, &body, plain);
    let body = cloud_event("3", json!({"subject": "shop:berlin", "data": [1.50]})).to_string();
    check("/publish", ONE, &body, json!({"event": sold, "data": [1.5], "event_id": "3"}));
    let headers = "Content-Type: application/json\r\nce-specversion: 1.0\r\nce-id: 4\r\nce-source: /s\r\n\
        ce-type: pr.opened\r\nce-subject: %C3%A4\r\nce-channel: shop:berlin\r\nce-tags: t\r\n";
    check(
        "/publish",
        headers,
        "{\"n\": 2}",
        json!({"event": "pr_opened", "data": {"n": 2}, "event_id": "4", "ids": ["ä"], "tags": ["t"]}),
    );
}

#[test]
fn a_list_is_published_whole_or_not_at_all() {
    let server = ServerProcess::start(&[]);
    let (mut client, _) = Client::subscribed(server.public, "shop:**");
    let list = |second: Value| {
        let first = cloud_event("1", json!({"channel": "shop:a", "data": 1}));
        json!([first, cloud_event("2", second)]).to_string()
    };
    let answer = publish(&server, "/publish", BATCH, &list(json!({"channel": "shop:b", "data": 2})));
    assert_eq!((answer.status, answer.json()), (202, json!({"first": 1, "last": 2})));
    assert_eq!([&client.next()["channel"], &client.next()["channel"]], ["shop:a", "shop:b"]);
    let answer = publish(&server, "/publish", BATCH, &list(json!({"channel": "shop:"})));
    answer.assert_problem(400, "bad_channel", "the second");
    assert!(answer.json()["detail"].as_str().unwrap().starts_with("event 2: "), "{}", answer.text());
    publish(&server, "/publish", BATCH, "[]").assert_problem(400, "empty_batch", "none");
    assert_eq!(Publisher::connect(server.public).publish("shop:a", "0"), 3);
}

#[test]
fn what_is_no_cloud_event_is_refused() {
    let server = ServerProcess::start(&[]);
    let check = |fields: &str, body: &str, status: u16, code: &str| {
        publish(&server, "/publish", fields, body).assert_problem(status, code, &format!("{fields} {body}"));
    };
    let good = cloud_event("1", json!({"channel": "t:a"}));
    for name in ["specversion", "id", "source", "type"] {
        let mut event = good.clone();
        event.as_object_mut().unwrap().remove(name);
        check(ONE, &event.to_string(), 400, "bad_cloud_event");
    }
    check(ONE, &cloud_event("1", json!({})).to_string(), 400, "no_channel");
    check(
        ONE,
        &cloud_event("1", json!({"specversion": "0.3", "channel": "t:a"})).to_string(),
        400,
        "bad_cloud_event",
    );
    check(ONE, &cloud_event("1", json!({"channel": "t:a", "type": "a b"})).to_string(), 400, "bad_event");
    check(
        ONE,
        &cloud_event("1", json!({"channel": "t:a", "workspace": "_x"})).to_string(),
        400,
        "bad_workspace",
    );
    let base64 = json!({"channel": "t:a", "data_base64": "AA=="});
    check(ONE, &cloud_event("1", base64).to_string(), 415, "unsupported_media_type");
    let xml = json!({"channel": "t:a", "datacontenttype": "text/xml", "data": "<a/>"});
    check(ONE, &cloud_event("1", xml).to_string(), 415, "unsupported_media_type");
    check(ONE, "{", 400, "bad_json");
    check("Content-Type: application/cloudevents+avro\r\n", "", 415, "unsupported_media_type");
    check(
        "ce-specversion: 1.0\r\nce-type: k\r\nce-source: /s\r\nce-channel: t:a\r\n",
        "1",
        400,
        "bad_cloud_event",
    );
    assert_eq!(get(server.admin, "/stats").json()["published"], 1, "nothing was published");
}

#[test]
fn every_event_can_be_read_as_a_cloud_event_over_both_transports() {
    let server = ServerProcess::start(&[]);
    let epoch = get(server.admin, "/stats").json()["epoch"].as_str().unwrap().to_owned();
    let mut client = Client::open(server.public, "/ws?channel=t:a&dialect=cloudevents");
    assert_eq!(client.next()["type"], "subscribed");
    let (mut protocol, chosen) = Client::open_protocol(server.public, "/ws?channel=t:a", "cloudevents");
    assert_eq!(chosen.as_deref(), Some("cloudevents"));
    assert_eq!(protocol.next()["type"], "subscribed");
    let mut sse = Sse::open(server.public, "/events?channel=t:a&dialect=cloudevents", "");
    let body = r#"{"channel":"t:a","event":"pr.opened","data":{"n":1.0,"n":2},"ids":[42,"x"],"tags":["t"]}"#;
    assert_eq!(ask(server.public, "POST", "/publish", "", body).status, 202);
    let text = client.next_text();
    assert_eq!(protocol.next_text(), text);
    let block = sse.next_data();
    assert_eq!(block.data.as_deref(), Some(text.as_str()), "the same text on both transports");
    assert_eq!((block.id, block.event), (Some(format!("{epoch}-1")), Some("pr_opened".to_owned())));
    assert!(text.ends_with(r#""data":{"n":1.0,"n":2}}"#), "{text}");
    let mut event: Value = serde_json::from_str(&text).unwrap();
    let time = event.as_object_mut().unwrap().remove("time").unwrap();
    assert!(humantime::parse_rfc3339(time.as_str().unwrap()).is_ok(), "{time}");
    let expected = json!({
        "specversion": "1.0", "id": format!("{epoch}-1"), "source": "/channels/t:a", "type": "pr_opened",
        "subject": "42", "datacontenttype": "application/json", "sequence": "1", "channel": "t:a", "data": {"n": 2},
    });
    assert_eq!(event, expected);
    // Commands and gaps are those of the native dialect.
    assert_eq!(client.ask(r#"{"type":"ping","id":1}"#), json!({"type": "pong", "seq": 1, "id": 1}));
    let mut late = Sse::open(server.public, "/events?channel=t:a&dialect=cloudevents&since=other-7", "");
    assert_eq!(late.next_json()["cause"], "epoch");
    assert_eq!(late.next_data().data, Some(text));
    // It takes texts alone, too.
    client.send_message(tungstenite::Message::binary(vec![1]));
    assert_eq!(client.goodbye(|text| panic!("{text}")).0, 1003);
}

#[test]
fn what_goes_out_may_come_in_again_elsewhere() {
    let (first, second) = (ServerProcess::start(&[]), ServerProcess::start(&[]));
    let open = |server: &ServerProcess| {
        let mut client = Client::open(server.public, "/ws?channel=t:a&dialect=cloudevents&workspace=acme");
        assert_eq!(client.next()["type"], "subscribed");
        client
    };
    let (mut here, mut there) = (open(&first), open(&second));
    let body = r#"{"channel":"t:a","event":"push","data":{"z":1,"a":[1.50,"\u00e4"]},"event_id":"e-1","ids":["7"],"workspace":"acme"}"#;
    assert_eq!(ask(first.public, "POST", "/publish", "", body).status, 202);
    let text = here.next_text();
    let answer = publish(&second, "/publish", ONE, &text);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let without_time = |text: &str| {
        let (before, after) = text.split_once("\"time\":\"").unwrap();
        format!("{before}{}", after.split_once('"').unwrap().1)
    };
    assert_eq!(without_time(&there.next_text()), without_time(&text));
}
