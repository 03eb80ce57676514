//! What the simulation has found, each as the shortest play that shows it.

use std::time::Duration;

use fanfare::words::limits::Limits;

use crate::random::Random;
use crate::server::Server;
use crate::wishes::publish_inside;

/// Seed 2475: a loop that let go of a stalled subscriber after it had shown its table slept on with the old one shown.
#[test]
fn a_subscription_that_a_deadline_ends_is_not_shown_any_longer() {
    let limits = Limits { stall_max: Duration::from_millis(300), ..Limits::default() };
    let mut server = Server::new(Random::new(1), limits, 1);
    let context = std::rc::Rc::clone(&server.context);
    context.is_calm.set(true);
    let mut subscriber = server.connect(5000, 40);
    subscriber.send(b"GET /events?channel=x:a HTTP/1.1\r\nHost: fanfare\r\n\r\n");
    subscriber.pump();
    server.drive_to_rest();
    assert_eq!(context.hub.counters.subscriptions(), 1);
    context.now_ms.set(context.now_ms.get() + 1000);
    server.drive_to_rest();
    assert_eq!(subscriber.server_gone_ms(), Some(context.now_ms.get()), "it was let go");
    assert_eq!(context.hub.counters.subscriptions(), 0);
}

/// A stream that is sent away while it is still being given the newest events said that it stood behind them all.
#[test]
fn a_goodbye_does_not_pass_over_the_newest_events_that_a_stream_begins_with() {
    let mut server = Server::new(Random::new(1), Limits::default(), 1);
    let context = std::rc::Rc::clone(&server.context);
    context.is_calm.set(true);
    publish_inside(&context, 20);
    server.drive_to_rest();
    let mut subscriber = server.connect(5000, 700);
    subscriber.send(b"GET /events?channel=*&workspace=*&last=50 HTTP/1.1\r\nHost: fanfare\r\n\r\n");
    subscriber.pump();
    server.drive_to_rest();
    context.hub.drain();
    server.drive_to_rest();
    // It is waited for as long as there is time for its last words.
    let limits = Limits::default();
    let patience = limits.drain_deadline - limits.linger_max;
    context.now_ms.set(context.now_ms.get() + patience.as_millis() as u64);
    server.drive_to_rest();
    while subscriber.pull() {
        server.drive_to_rest();
    }
    let text = String::from_utf8_lossy(&subscriber.incoming);
    let sent = text.matches("\"seq\":").count();
    let goodbye = text.rsplit("id: ").next().unwrap_or_default().trim();
    assert!(0 < sent && sent < 20, "{text}");
    assert_eq!(goodbye, format!("{}-{sent}", context.hub.epoch), "{text}");
}
