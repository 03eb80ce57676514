//! Health, readiness and statistics.

mod support;

use support::http::{Http, get};
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::websocket::Client;

const HEALTH_PATHS: [&str; 6] =
    ["/health", "/healthz", "/health/live", "/health/ready", "/health/startup", "/readyz"];

#[test]
fn every_health_path_answers_at_both_doors() {
    let server = ServerProcess::start(&[]);
    for address in [server.public, server.admin] {
        for path in HEALTH_PATHS {
            let answer = get(address, path);
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(answer.field("content-type"), Some("application/json"), "{path}");
            assert_eq!(answer.field("cache-control"), Some("no-store"), "{path}");
            assert_eq!(answer.json()["status"], "ok", "{path}");
        }
    }
}

#[test]
fn a_head_request_has_the_length_and_no_body() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    http.send("HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = http.answer_to("HEAD");
    assert_eq!(head.status, 200);
    http.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(head.field("content-length"), Some(http.answer().body.len().to_string().as_str()));
}

#[test]
fn the_public_door_does_not_lead_to_the_operators_rooms() {
    let server = ServerProcess::start(&[]);
    for path in ["/stats", "/stats/events", "/latency", "/metrics", "/clients", "/log-level", "/dashboard"] {
        get(server.public, path).assert_problem(404, "not_found", path);
    }
    for path in ["/ws", "/events?channel=t:a", "/history?channel=t:a", "/publish", "/page.js"] {
        get(server.admin, path).assert_problem(404, "not_found", path);
    }
}

#[test]
fn statistics_count_connections_subscriptions_and_events() {
    let server = ServerProcess::start(&[]);
    let mut operator = Http::connect(server.admin);
    let mut stats = || {
        operator.send("GET /stats HTTP/1.1\r\nHost: x\r\n\r\n");
        operator.answer().json()
    };
    let before = stats();
    assert_eq!(before["connections"], 1, "the operator's own");
    assert_eq!(before["subscriptions"], 0);
    assert_eq!(before["published"], 1, "the next number");

    let (mut client, answer) = Client::subscribed(server.public, "t:a");
    assert_eq!(answer["epoch"], before["epoch"]);
    let mut publisher = Publisher::connect(server.public);
    assert_eq!(publisher.publish("t:a", "1"), 1);
    assert_eq!(publisher.publish("t:b", "2"), 2);
    assert_eq!(client.next()["seq"], 1);
    let after = stats();
    assert_eq!(after["connections"], 3);
    assert_eq!(after["subscriptions"], 1);
    assert_eq!(after["published"], 3);
    assert_eq!(after["channels"], 2);
}
