//! What the simulation has found, each as the shortest play that shows it.

use std::time::Duration;

use fanfare::words::limits::Limits;

use crate::random::Random;
use crate::server::Server;

/// Seed 2475: a loop that let go of a stalled subscriber after it had shown its table slept on with the old one shown.
#[test]
fn a_subscription_that_a_deadline_ends_is_not_shown_any_longer() {
    let limits = Limits { stall_max: Duration::from_millis(300), ..Limits::default() };
    let mut server = Server::new(Random::new(1), limits, 1, true);
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
