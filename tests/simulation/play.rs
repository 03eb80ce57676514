//! One play: a server and its clients among faults, then calm, then the end; all from one seed.

use std::rc::Rc;

use fanfare::hub::Hub;

use crate::context::Context;
use crate::publisher::Publisher;
use crate::random::Random;
use crate::server::Server;
use crate::settings::Settings;
use crate::subscriber::Subscriber;
use crate::tally::Tally;
use crate::wishes::{announce_inside, clear_inside, publish_inside};

/// Everybody in it.
struct Play {
    context: Rc<Context>,
    server: Server,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
}

/// Rounds after which everybody has caught up, once there are no more faults.
const ROUNDS_MAX: usize = 20_000;

/// Plays the seed through. Returns what has happened.
///
/// # Panics
/// When a promise is broken.
pub(crate) fn play(seed: u64) -> Tally {
    let random = Random::new(seed);
    let settings = Settings::new(&random, Random::new(!seed), &Random::new(seed.rotate_left(32)));
    let limits = settings.limits.clone();
    let server = Server::new(random, limits, settings.loops);
    let context = Rc::clone(&server.context);
    context.has_busybody.set(settings.has_busybody);
    context.trace(|| {
        format!("{:?} loops {} busybody {}", settings.limits, settings.loops, settings.has_busybody)
    });
    let mut play = Play {
        subscribers: (0..settings.subscribers)
            .map(|n| Subscriber::new(&context, format!("subscriber {n}")))
            .collect(),
        publishers: (0..settings.publishers)
            .map(|n| Publisher::new(&context, format!("publisher {n}")))
            .collect(),
        context,
        server,
    };
    play.chaos(&settings);
    play.calm();
    play.drain();
    let context = play.context;
    let reuses = context.hub.log.names().as_ref().map_or(0, |names| names.reuses());
    context.tally.add("channel number used again", reuses);
    let tally = Tally::default();
    tally.merge(&context.tally);
    tally
}

impl Play {
    /// Everything goes on at once, and goes wrong.
    fn chaos(&mut self, settings: &Settings) {
        let context = Rc::clone(&self.context);
        let random = &context.random;
        context.has_floods.set(settings.has_floods);
        let drain_at = if settings.drains_early { random.index(settings.steps) } else { usize::MAX };
        for step in 0..settings.steps {
            if step == drain_at {
                context.trace(|| "drain".to_owned());
                context.hub.drain();
            }
            if let Some(dice) = settings.clears.as_ref().filter(|dice| dice.chance(15)) {
                clear_inside(&context, dice);
            }
            match random.below(100) {
                0..38 => {
                    let index = random.index(self.server.loops());
                    if self.server.is_runnable(index) {
                        self.server.drive(index);
                    }
                }
                38..50 => {
                    context.step();
                }
                50..74 => {
                    let index = random.index(self.subscribers.len());
                    self.subscribers[index].act(&mut self.server);
                }
                74..88 => {
                    let index = random.index(self.publishers.len());
                    self.publishers[index].act(&mut self.server);
                }
                88..97 => {
                    let ms = match random.below(100) {
                        0..70 => random.below(4),
                        70..97 => random.below(60),
                        _ => random.below(700),
                    };
                    context.now_ms.set(context.now_ms.get() + ms);
                }
                97 if random.chance(700) => announce_inside(&context),
                _ => {
                    let most = match (settings.has_floods, settings.limits.channels_max < 100) {
                        (true, _) => 700,
                        (false, true) => 150,
                        (false, false) => 40,
                    };
                    publish_inside(&context, 1 + random.index(most));
                }
            }
        }
    }

    /// Lets everybody go on until nobody can without the clock.
    ///
    /// # Panics
    /// If that does not come to an end.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut is_still = true;
            while self.context.step() {
                is_still = false;
            }
            for index in 0..self.server.loops() {
                while self.server.is_runnable(index) {
                    self.server.drive(index);
                    is_still = false;
                    if self.context.random.chance(300) {
                        break;
                    }
                }
            }
            for subscriber in &mut self.subscribers {
                is_still &= !subscriber.move_bytes();
            }
            for publisher in &mut self.publishers {
                is_still &= !publisher.move_bytes();
            }
            if is_still {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// Lets time pass, deadline by deadline.
    fn pass(&mut self, ms: u64) {
        let end_ms = self.context.now_ms.get() + ms;
        loop {
            self.settle();
            let Some(next_ms) = self.server.deadline_ms().filter(|next_ms| *next_ms < end_ms) else { break };
            self.context.now_ms.set(next_ms.max(self.context.now_ms.get()));
        }
        self.context.now_ms.set(end_ms);
        self.settle();
    }

    /// No more faults: everybody catches up, at once and completely.
    fn calm(&mut self) {
        let context = Rc::clone(&self.context);
        context.trace(|| "calm".to_owned());
        context.is_calm.set(true);
        self.settle();
        self.check_settled();
        if context.hub.is_draining() {
            return;
        }
        // Those who were on their way out come back.
        for _ in 0..3 {
            self.subscribers.iter_mut().for_each(Subscriber::drop_unless_going_on);
            self.publishers.iter_mut().for_each(Publisher::drop_unless_going_on);
            self.settle();
            self.subscribers.iter_mut().for_each(|subscriber| subscriber.connect(&mut self.server));
            self.publishers.iter_mut().for_each(|publisher| publisher.connect(&mut self.server));
            self.settle();
            self.check_settled();
        }
        // Whoever is asked answers, and whoever publishes is let in.
        for index in 0..self.publishers.len() {
            let before = self.publishers[index].overloaded;
            self.publishers[index].publish();
            self.settle();
            assert_eq!(self.publishers[index].overloaded, before, "an idle server refuses to publish");
        }
        self.subscribers.iter_mut().for_each(Subscriber::ping);
        self.settle();
        self.check_settled();
    }

    /// Nothing more can happen without the clock: nobody waits for anything.
    fn check_settled(&mut self) {
        self.subscribers.iter_mut().for_each(Subscriber::check_settled);
        self.publishers.iter().for_each(Publisher::check_settled);
        assert_eq!(self.server.ghosts(), 0, "the server holds connections whose clients have left");
        let connected = self.subscribers.iter().filter(|subscriber| subscriber.is_connected()).count()
            + self.publishers.iter().filter(|publisher| publisher.is_connected()).count();
        let hub = &self.context.hub;
        if hub.is_draining() {
            return;
        }
        assert!(hub.connections() <= connected, "{} connections of {connected} clients", hub.connections());
        let held: usize = self
            .subscribers
            .iter()
            .filter(|subscriber| subscriber.is_going_on())
            .map(|subscriber| subscriber.receiver.holdings.patterns().len())
            .sum();
        assert_eq!(hub.counters.subscriptions(), held as u64, "subscriptions");
    }

    /// The server shuts down: everybody is told.
    fn drain(&mut self) {
        let context = Rc::clone(&self.context);
        let hub: &Hub = &context.hub;
        let is_early = hub.is_draining();
        if !is_early {
            let quiet_ms = hub.limits.quiet_after.as_millis() as u64;
            self.pass(quiet_ms.min(1000) + 100);
            self.check_settled();
            if quiet_ms < 1000 {
                self.check_cursors();
            }
            let going_on: Vec<bool> = self.subscribers.iter().map(Subscriber::is_going_on).collect();
            context.trace(|| "drain".to_owned());
            hub.drain();
            // The loops look at one another a few times.
            self.pass(50);
            for (subscriber, was_going_on) in self.subscribers.iter().zip(going_on) {
                if was_going_on {
                    subscriber.check_goodbye();
                }
            }
        }
        let longest = hub.limits.drain_deadline + hub.limits.linger_max;
        self.pass(longest.as_millis() as u64 + 200);
        assert!(self.server.is_over(), "the drain does not come to an end");
        if !is_early {
            assert_eq!(hub.connections(), 0, "connections after the end");
        }
        context.twin.borrow().check_groups();
    }

    fn check_cursors(&self) {
        let last = self.context.twin.borrow().end() - 1;
        for subscriber in self.subscribers.iter().filter(|subscriber| subscriber.is_going_on()) {
            if subscriber.has_cursors && !subscriber.receiver.holdings.is_empty() {
                let name = &subscriber.receiver.name;
                assert_eq!(subscriber.cursor(), last, "{name}: silence moves the cursor");
            }
        }
    }
}
