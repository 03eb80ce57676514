//! What is too old leaves the window although nothing happens: the first loop wakes for it.

use std::rc::Rc;
use std::time::Duration;

use fanfare::words::limits::Limits;

use crate::random::Random;
use crate::server::Server;
use crate::wishes::publish_inside;

#[test]
fn the_first_loop_wakes_when_an_event_is_too_old() {
    let limits = Limits { retain_age: Some(Duration::from_millis(700)), ..Limits::default() };
    let mut server = Server::new(Random::new(1), limits, 1);
    let context = Rc::clone(&server.context);
    context.is_calm.set(true);
    let publish = |server: &mut Server, at_ms: u64, count: usize| {
        context.now_ms.set(at_ms);
        publish_inside(&context, count);
        server.drive_to_rest();
    };
    publish(&mut server, 2000, 3);
    publish(&mut server, 2500, 2);
    let log = &context.hub.log;
    for (deadline_ms, oldest) in [(2700, 1), (3200, 4)] {
        assert_eq!((server.deadline_ms(), log.oldest()), (Some(deadline_ms), oldest));
        context.now_ms.set(deadline_ms - 1);
        server.drive_to_rest();
        assert_eq!(log.oldest(), oldest, "a millisecond before");
        context.now_ms.set(deadline_ms);
        server.drive_to_rest();
    }
    // What others publish while it sleeps is not too old before that.
    assert_eq!((server.deadline_ms(), log.oldest(), log.published()), (Some(3900), 6, 6));
}

#[test]
fn a_loop_does_not_sleep_long_over_a_clock_that_may_be_set() {
    let limits = Limits { retain_age: Some(Duration::MAX), ..Limits::default() };
    let mut server = Server::new(Random::new(1), limits, 1);
    let context = Rc::clone(&server.context);
    context.is_calm.set(true);
    publish_inside(&context, 1);
    server.drive_to_rest();
    assert_eq!(server.deadline_ms(), Some(context.now_ms.get() + 60_000));
}
