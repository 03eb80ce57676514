//! Those who lag behind have their turns one after the other, and nobody waits for all of them.

use std::rc::Rc;

use fanfare::sync::Ordering;
use fanfare::words::limits::{CATCH_UP_LOOK_EVENTS, CATCH_UP_TURN_EVENTS_MAX, Limits};

use crate::link::Conn;
use crate::random::Random;
use crate::server::Server;
use crate::wishes::publish_inside;

/// More than one turn serves.
const CLIENTS: usize = 300;

#[test]
fn those_who_lag_behind_share_a_budget_and_each_has_a_turn() {
    let mut server = Server::new(Random::new(1), Limits::default(), 1);
    let context = Rc::clone(&server.context);
    context.is_calm.set(true);
    // Each takes less than an event at a time.
    let mut clients: Vec<Conn> = (0..CLIENTS).map(|_| server.connect(5000, 250)).collect();
    for client in &mut clients {
        client.send(b"GET /events?channel=*&workspace=* HTTP/1.1\r\nHost: fanfare\r\n\r\n");
        client.pump();
    }
    server.drive_to_rest();
    let pull_all =
        |clients: &mut [Conn]| clients.iter_mut().filter_map(|client| client.pull().then_some(())).count();
    while 0 < pull_all(&mut clients) {
        server.drive_to_rest();
    }
    publish_inside(&context, 100);
    server.drive_to_rest();
    let sent = || context.hub.desks()[0].traffic.sse_events.load(Ordering::Relaxed);
    assert_eq!(context.hub.desks()[0].traffic.lagging.load(Ordering::Relaxed), CLIENTS as u64);
    clients.iter_mut().for_each(|client| client.incoming.clear());
    assert_eq!(pull_all(&mut clients), CLIENTS);
    clients.iter_mut().for_each(|client| client.incoming.clear());
    let in_one_turn = CATCH_UP_TURN_EVENTS_MAX.div_ceil(CATCH_UP_LOOK_EVENTS);
    let mut served = 0;
    while served < CLIENTS {
        assert!(server.is_runnable(0), "{served} of {CLIENTS} have had their turn, and the loop sleeps");
        let before = sent();
        server.drive(0);
        // Each of them can be given a part of one event, or the end of one and a part of the next.
        assert!(sent() - before <= 2 * in_one_turn as u64, "more than the budget of one turn");
        let now_served = pull_all(&mut clients);
        assert!((1..=in_one_turn).contains(&now_served), "{now_served} in one turn");
        // What they have taken makes room for more; but nobody is served again before all have had their turn.
        served += now_served;
        let had = clients.iter().filter(|client| !client.incoming.is_empty()).count();
        assert_eq!(had, served.min(CLIENTS), "somebody was served twice before all were once");
    }
}
