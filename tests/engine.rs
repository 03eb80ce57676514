//! The engine inside one process, by what it promises: what the libraries of the dialects `engram` and `guts` were
//! tested for, what they failed at, and the readers against a simple twin.

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use fanfare::engine::{
    Answer, Before, Draft, Engine, Event, Filter, Gap, GapCause, Item, Metadata, Published, Since, Tap, Words,
};
use fanfare::words::channel::{Channel, Pattern};
use fanfare::words::limits::Limits;
use fanfare::words::now::Now;
use fanfare::words::workspace::Scope;
use proptest::prelude::*;
use support::local::LocalServer;
use support::publisher::Publisher;
use support::websocket::Client as WebSocketClient;

fn ring(retain_events: usize) -> Engine {
    Engine::builder().retain_events(retain_events).start().unwrap()
}

/// Publishes so many events on `t:a`, numbered from 0.
fn publish(engine: &Engine, count: u64) {
    for number in 0..count {
        engine.emit("t:a", "k", &number).unwrap();
    }
}

fn seqs<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<u64> {
    events.into_iter().map(Event::seq).collect()
}

fn kinds(names: &[&str]) -> Filter {
    Filter { kinds: Some(Words::new(names.iter().copied())), ..Filter::default() }
}

/// Everything that a tap has now.
fn drained(tap: &mut Tap) -> Vec<Item> {
    std::iter::from_fn(|| tap.try_next()).collect()
}

fn seqs_of(items: Vec<Item>) -> Vec<u64> {
    let seq = |item| match item {
        Item::Event(event) => event.seq(),
        other => panic!("no event: {other:?}"),
    };
    items.into_iter().map(seq).collect()
}

/// A gap in which everything was wanted.
fn lapped(from: u64, to: u64) -> Item {
    Item::Gap(Gap { matched: Some(to - from + 1), ..Gap::of((from, to), GapCause::Lapped) })
}

// What `engram` was tested for.

#[test]
fn registered_filters_are_counted_replaced_and_forgotten() {
    let engine = ring(10);
    assert_eq!(engine.client_count(), 0);
    engine.register("one", kinds(&["memory_created"])).unwrap();
    engine.register("one", kinds(&["memory_deleted"])).unwrap();
    assert_eq!((engine.client_count(), engine.filter("one")), (1, Some(kinds(&["memory_deleted"]))));
    engine.unregister("unknown");
    engine.unregister("one");
    assert_eq!((engine.client_count(), engine.filter("one")), (0, None));
}

#[test]
fn registering_under_a_clients_id_sets_its_filter() {
    let engine = ring(10);
    let client = engine.connect(Metadata::default()).unwrap();
    client.subscribe("t:a").unwrap();
    engine.register(client.id(), kinds(&["push"])).unwrap();
    assert_eq!((engine.client_count(), engine.filter(client.id())), (1, Some(kinds(&["push"]))));
    engine.emit("t:a", "k", &1).unwrap();
    engine.emit("t:a", "push", &2).unwrap();
    assert_eq!(client.try_recv().unwrap().event().unwrap().seq(), 2);
    engine.unregister(client.id());
    assert!(!client.is_connected());
    assert_eq!(engine.client_count(), 0);
}

#[test]
fn a_filter_passes_created_and_blocks_deleted() {
    let engine = ring(10);
    let mut tap = engine.tap().filter(kinds(&["memory_created"])).open().unwrap();
    for kind in ["memory_created", "memory_deleted", "memory_created"] {
        engine.publish(Draft::new("memory:default", kind).id(42)).unwrap();
    }
    assert_eq!(seqs_of(drained(&mut tap)), [1, 3]);
}

#[test]
fn every_condition_of_a_filter_is_looked_at() {
    let engine = ring(10);
    engine.publish(Draft::new("t:a", "push").ids([1, 2]).tags(["red"])).unwrap();
    engine.publish(Draft::new("t:a", "push")).unwrap();
    engine.publish(Draft::new("t:a", "k").id("x").tags(["blue", "red"])).unwrap();
    let check = |filter: Filter, expected: &[u64]| {
        let history = engine.history().filter(filter.clone()).read().unwrap();
        assert_eq!(seqs(&history.events), expected, "{filter:?}");
    };
    let words = |list: &[&str]| Some(Words::new(list.iter().copied()));
    check(Filter::default(), &[1, 2, 3]);
    check(kinds(&[]), &[]);
    check(kinds(&["push"]), &[1, 2]);
    check(Filter { ids: words(&["2", "x"]), ..Filter::default() }, &[1, 3]);
    check(Filter { ids: words(&["2"]), without_ids: true, ..Filter::default() }, &[1, 2]);
    check(Filter { tags: words(&["blue"]), ..Filter::default() }, &[3]);
    check(Filter { kinds: words(&["push"]), tags: words(&["red"]), ..Filter::default() }, &[1]);
}

#[test]
fn numbers_begin_at_one_and_current_seq_is_the_next() {
    let engine = ring(10);
    assert_eq!(engine.current_seq(), 1);
    assert_eq!([0; 3].map(|_| engine.emit("t:a", "k", &()).unwrap()), [1, 2, 3]);
    assert_eq!(engine.current_seq(), 4);
}

#[test]
fn a_ring_holds_exactly_what_it_is_asked_to() {
    let check = |size: usize, published: u64, expected: &[u64]| {
        let engine = ring(size);
        publish(&engine, published);
        let history = engine.after(0, 1000);
        assert_eq!(seqs(&history.events), expected, "a ring of {size} after {published}");
        assert_eq!(engine.oldest(), published + 1 - expected.len() as u64);
        let missing = published - expected.len() as u64;
        assert_eq!(history.complete, missing == 0);
        assert_eq!(history.gap.and_then(|gap| gap.range), (0 < missing).then_some((1, missing)));
    };
    check(0, 0, &[]);
    check(0, 5, &[]);
    check(1, 5, &[5]);
    check(3, 5, &[3, 4, 5]);
    check(3, 2, &[1, 2]);
    check(10, 20, &(11..=20).collect::<Vec<_>>());
    check(500, 1000, &(501..=1000).collect::<Vec<_>>());
}

#[test]
fn events_after_a_number() {
    let engine = ring(10);
    publish(&engine, 3);
    let check = |after: u64, limit: usize, expected: &[u64], complete: bool, more: bool| {
        let history = engine.after(after, limit);
        assert_eq!(seqs(&history.events), expected, "after {after}");
        assert_eq!((history.complete, history.more), (complete, more), "after {after}");
    };
    check(1, 10, &[2, 3], true, false);
    check(0, 10, &[1, 2, 3], true, false);
    check(3, 10, &[], true, false);
    check(0, 2, &[1, 2], true, true);
    check(9999, 10, &[], false, true);
    assert_eq!(engine.after(9999, 10).gap.unwrap().cause, GapCause::Epoch);
    let (first, rest) = (engine.after(0, 2), engine.after(engine.after(0, 2).next, 10));
    assert_eq!((seqs(&first.events), seqs(&rest.events)), (vec![1, 2], vec![3]), "pages follow one another");
}

#[test]
fn a_clone_is_the_same_engine() {
    let engine = ring(10);
    let clone = engine.clone();
    publish(&engine, 2);
    assert_eq!(clone.emit("t:b", "k", &()), Ok(3));
    assert_eq!(seqs(&clone.after(0, 10).events), [1, 2, 3]);
    let mut tap = clone.tap().open().unwrap();
    drop(clone);
    publish(&engine, 1);
    assert_eq!(seqs_of(drained(&mut tap)), [4], "another handle is left");
}

// What `guts` was tested for.

#[test]
fn clients_come_and_go() {
    let engine = Engine::builder().clock(|| 1_795_316_060_123).clients_max(2).start().unwrap();
    let metadata = Metadata { user: Some("alice".into()), address: Some("::1".into()), agent: None };
    let client = engine.connect(metadata.clone()).unwrap();
    assert_eq!(client.id().len(), 36);
    assert_eq!((client.metadata(), client.connected_at_ms()), (&metadata, 1_795_316_060_123));
    assert_eq!((engine.connection_count(), engine.client_count()), (1, 1));
    let other = engine.connect(Metadata::default()).unwrap();
    let refused = engine.connect(Metadata::default()).err().unwrap();
    assert_eq!(refused.to_string(), "maximum connections reached: 2");
    assert!(engine.register("three", Filter::default()).is_err());
    engine.disconnect("unknown");
    engine.disconnect(client.id());
    assert!(engine.client(client.id()).is_none());
    assert_eq!(engine.connection_count(), 1);
    assert!(client.subscribe("t:a").is_err(), "it has gone");
    drop(other);
    assert_eq!((engine.connection_count(), engine.client_count()), (0, 0), "dropping is leaving");
}

#[test]
fn churn_leaves_nothing_behind() {
    let engine = ring(10);
    for _ in 0..1000 {
        let client = engine.connect(Metadata::default()).unwrap();
        client.subscribe("t:a").unwrap();
        let tap = engine.tap().open().unwrap();
        publish(&engine, 1);
        drop((client, tap));
    }
    let stats = engine.stats();
    assert_eq!((stats.clients, stats.taps, stats.totals.current_connections), (0, 0, 0));
    assert_eq!(stats.totals.total_connections, 1000);
}

#[test]
fn commands_are_answered_in_the_native_language() {
    let engine = Engine::builder().subscriptions_max(2).epoch_bits(0).start().unwrap();
    let client = engine.connect(Metadata::default()).unwrap();
    let check = |command: &str, expected: &[&str]| {
        assert_eq!(client.handle_command(command).to_json(), expected, "{command}");
    };
    check(
        r#"{"type":"subscribe","channel":"repo:a/b","id":1}"#,
        &[r#"{"type":"subscribed","channel":"repo:a/b","seq":0,"epoch":"aaaaaaaa","id":1}"#],
    );
    assert_eq!(client.subscription_count(), 1);
    check(
        r#"{"type":"publish","channel":"repo:a/b","event":"push","data":[1]}"#,
        &[r#"{"type":"published","seq":1}"#],
    );
    check(r#"{"type":"ping"}"#, &[r#"{"type":"pong","seq":0}"#]);
    assert_eq!(client.try_recv().unwrap().event().unwrap().data(), "[1]");
    check(r#"{"type":"ping"}"#, &[r#"{"type":"pong","seq":1}"#]);
    check(
        r#"{"type":"subscribe","channels":["user:x","repo:a/b"]}"#,
        &[
            r#"{"type":"subscribed","channel":"user:x","seq":1,"epoch":"aaaaaaaa"}"#,
            r#"{"type":"subscribed","channel":"repo:a/b","seq":1,"epoch":"aaaaaaaa"}"#,
        ],
    );
    check(
        r#"{"type":"list","id":"x"}"#,
        &[r#"{"type":"subscriptions","channels":["repo:a/b","user:x"],"seq":1,"epoch":"aaaaaaaa","id":"x"}"#],
    );
    check(
        r#"{"type":"subscribe","channel":"user:x","on_slow":"latest","id":2}"#,
        &[
            r#"{"type":"error","code":"unsupported","message":"'on_slow' is for streams over a network","id":2}"#,
        ],
    );
    check(
        r#"{"type":"subscribe","channel":"user:y"}"#,
        &[
            r#"{"type":"error","code":"subscription_limit","message":"subscription limit exceeded: max 2 subscriptions"}"#,
        ],
    );
    check(r#"{"type":"filter","filter":{"event_types":["push"]}}"#, &[r#"{"type":"filtered","seq":1}"#]);
    assert_eq!(client.filter(), kinds(&["push"]));
    check(
        r#"{"type":"unsubscribe","channel":"repo:a/b"}"#,
        &[r#"{"type":"unsubscribed","channel":"repo:a/b"}"#],
    );
    assert_eq!(client.subscription_count(), 1);
    for (command, code) in [
        ("nonsense", "bad_message"),
        (r#"{"type":"subscribe","channel":"x"}"#, "bad_channel"),
        (r#"{"type":"publish","channel":"sys:x","event":"k"}"#, "bad_channel"),
        (r#"{"type":"filter","filter":{"event_types":["bogus"]}}"#, "unknown_event_type"),
    ] {
        assert_eq!(client.handle_command(command).error_code(), Some(code), "{command}");
    }
    assert!(client.is_connected(), "errors never end it");
}

#[test]
fn an_event_reaches_its_subscriber_and_nobody_else() {
    let engine = ring(10);
    let connect = |channels: &[&str]| {
        let client = engine.connect(Metadata::default()).unwrap();
        channels.iter().for_each(|channel| assert_eq!(client.subscribe(channel), Ok(true)));
        client
    };
    let (repository, twice) = (connect(&["repo:alice/demo"]), connect(&["repo:alice/demo", "repo:alice/*"]));
    let (pulls, other) = (connect(&["repo:alice/demo/prs"]), connect(&["repo:alice/other"]));
    engine.emit("repo:alice/demo", "pr.opened", &1).unwrap();
    engine.emit("repo:alice/demo", "push", &2).unwrap();
    let got = |client: &fanfare::engine::Client| {
        let items = std::iter::from_fn(|| client.try_recv());
        items.map(|item| item.event().unwrap().seq()).collect::<Vec<_>>()
    };
    assert_eq!(got(&repository), [1, 2]);
    assert_eq!(got(&twice), [1, 2], "once, however many subscriptions match");
    assert_eq!(got(&pulls), [1]);
    assert_eq!(got(&other), [0; 0]);
    let event = &engine.after(0, 1).events[0];
    assert!(repository.matches(event) && pulls.matches(event) && !other.matches(event));
    assert!(event.as_json().contains(r#""type":"event""#) && event.as_json().contains(r#""pr_opened""#));
}

#[test]
fn subscriptions_are_a_bounded_set() {
    let engine = Engine::new();
    let client = engine.connect(Metadata::default()).unwrap();
    for number in 0..100 {
        assert_eq!(client.subscribe(&format!("repo:a/{number}")), Ok(true));
    }
    assert_eq!(client.subscribe("repo:a/7"), Ok(false), "held already, and fine at the bound");
    let refused = client.subscribe("repo:a/100").unwrap_err();
    assert_eq!(refused.to_string(), "subscription limit exceeded: max 100 subscriptions");
    assert!(client.is_subscribed("repo:a/7") && !client.is_subscribed("repo:a/100"));
    assert_eq!((client.unsubscribe("repo:a/7"), client.unsubscribe("repo:a/7")), (Ok(true), Ok(false)));
    assert_eq!((client.subscription_count(), client.subscriptions().len()), (99, 99));
    client.clear_subscriptions();
    assert_eq!(client.subscription_count(), 0);
    assert!(client.subscribe("repo:only").unwrap_err().to_string().starts_with("invalid channel: "));
}

#[test]
fn a_subscription_begins_now_and_not_where_the_client_slept() {
    let engine = ring(10);
    let client = engine.connect(Metadata::default()).unwrap();
    publish(&engine, 3);
    assert_eq!(client.handle_command(r#"{"type":"subscribe","channel":"t:a"}"#).answer, subscribed(3));
    assert!(client.try_recv().is_none());
    publish(&engine, 1);
    assert_eq!(client.try_recv().unwrap().event().unwrap().seq(), 4);
}

fn subscribed(seq: u64) -> Answer {
    Answer::Subscribed { channels: vec!["t:a".into()], seq }
}

#[test]
fn older_events_of_an_added_channel_come_first_and_once() {
    let engine = ring(100);
    let client = engine.connect(Metadata::default()).unwrap();
    client.subscribe("t:b").unwrap();
    for channel in ["t:a", "t:b", "t:a/x", "t:b"] {
        engine.emit(channel, "k", &()).unwrap();
    }
    let got = |count: usize| -> Vec<u64> {
        (0..count).map(|_| client.try_recv().unwrap().event().unwrap().seq()).collect()
    };
    assert_eq!(got(1), [2]);
    let reply = client.handle_command(r#"{"type":"subscribe","channels":["t:a","t:*"],"since":0}"#);
    assert_eq!(reply.answer, Answer::Subscribed { channels: vec!["t:a".into(), "t:*".into()], seq: 3 });
    engine.emit("t:a", "k", &()).unwrap();
    assert_eq!(got(4), [1, 3, 4, 5], "2 was given before");
    assert!(client.try_recv().is_none());
    let reply = client.handle_command(r#"{"type":"subscribe","channel":"t:a/x","last":1}"#);
    assert_eq!(reply.error_code(), None);
    assert_eq!(got(1), [3], "the newest is asked for by name");
    assert!(client.try_recv().is_none());
}

#[test]
fn announcements_reach_everybody_and_are_numbered() {
    let engine = ring(10);
    let client = engine.connect(Metadata::default()).unwrap();
    let mut tap = engine.tap().channels(["t:never"]).open().unwrap();
    assert_eq!(engine.announce("hello \"you\""), Ok(1));
    for item in [client.try_recv().unwrap(), tap.try_next().unwrap()] {
        let Item::Announcement(announcement) = item else { panic!("{item:?}") };
        assert_eq!((announcement.seq, &*announcement.message), (1, "hello \"you\""));
    }
    assert_eq!(engine.announce(&"x".repeat(300 << 10)).unwrap_err().code(), "event_too_large");
    assert_eq!(seqs(&engine.after(0, 10).events), [0; 0], "it is no event");
}

#[test]
fn stats_have_the_four_counters_and_ours() {
    let engine = ring(1);
    let client = engine.connect(Metadata::default()).unwrap();
    client.subscribe("t:a").unwrap();
    client.subscribe("t:a").unwrap();
    let mut tap = engine.tap().since(Since::Earliest).open().unwrap();
    publish(&engine, 2);
    assert_eq!(drained(&mut tap).len(), 2);
    let stats = engine.stats();
    assert_eq!(
        stats.totals.to_json(),
        r#"{"current_connections":1,"total_connections":1,"total_subscriptions":1,"total_events":2}"#
    );
    assert_eq!((stats.current_seq, stats.oldest, stats.channels), (3, 2, 1));
    assert_eq!((stats.clients, stats.taps, stats.deliveries, stats.gaps), (1, 1, 2, 0));
}

#[test]
fn channels_parse_match_and_print() {
    for text in ["repo:alice/myrepo", "repo:alice/myrepo/prs", "user:alice", "org:acme"] {
        assert_eq!(Channel::parse(text).unwrap().to_string(), text);
    }
    for text in ["invalid", ":test", "repo:", "repo:onlyname", "repo:/", "repo:a/", "repo:a/b/", "user:a/b"] {
        assert!(Channel::parse(text).is_err(), "{text}");
    }
    let check = |pattern: &str, channel: &str, expected: bool| {
        assert_eq!(Pattern::parse(pattern).unwrap().matches(channel), expected, "{pattern} {channel}");
    };
    check("repo:a/b", "repo:a/b", true);
    check("repo:a/b", "repo:a/b/prs", true);
    check("repo:a/b/prs", "repo:a/b", false);
    check("repo:a/b/prs", "repo:a/b/issues", false);
    check("repo:a/b", "repo:a/c", false);
    check("user:a", "org:a", false);
}

// What both failed at.

#[test]
fn four_publishers_make_one_order_in_the_ring_and_in_taps() {
    const EACH: u64 = 50_000;
    let engine = Engine::builder().retain_events(4 * EACH as usize).retain_bytes(1 << 30).start().unwrap();
    let mut tap = engine.tap().open().unwrap();
    let begin = Barrier::new(4);
    let of_thread = |thread: u64| {
        begin.wait();
        let mut before = 0;
        for number in 0..EACH {
            let seq = engine.emit("t:a", "k", &(thread, number)).unwrap();
            assert!(before < seq, "a publisher's events are in its order");
            before = seq;
        }
    };
    let live = thread::scope(|scope| {
        for number in 0..4 {
            scope.spawn(move || of_thread(number));
        }
        let mut seqs = Vec::new();
        while (seqs.len() as u64) < 4 * EACH {
            match tap.next_timeout(support::PATIENCE).expect("an event comes") {
                Item::Event(event) => seqs.push(event.seq()),
                other => panic!("{other:?}"),
            }
        }
        seqs
    });
    assert!(live.iter().copied().eq(1..=4 * EACH), "no inversion, no hole, no repeat");
    let ring = engine.after(0, usize::MAX);
    assert!(ring.complete && ring.events.iter().map(Event::seq).eq(1..=4 * EACH));
    let mut next = [0; 4];
    for event in &ring.events {
        let (thread, number): (usize, u64) = event.data_as().unwrap();
        assert_eq!(number, next[thread], "of thread {thread}");
        next[thread] += 1;
    }
}

#[test]
fn batches_are_consecutive_under_load() {
    let engine = Engine::builder().retain_events(100_000).start().unwrap();
    thread::scope(|scope| {
        for number in 0..4 {
            let engine = engine.clone();
            scope.spawn(move || {
                for _ in 0..500 {
                    let drafts = (0..7).map(|place| Draft::new("t:a", "k").data(&(number, place)));
                    let Published { first, last, is_repeat } = engine.publish_batch(drafts).unwrap();
                    assert_eq!((last - first, is_repeat), (6, false));
                }
            });
        }
    });
    let events = engine.after(0, usize::MAX).events;
    assert_eq!(events.len(), 4 * 500 * 7);
    for batch in events.chunks(7) {
        let places: Vec<(u32, u64)> = batch.iter().map(|event| event.data_as().unwrap()).collect();
        assert!(places.iter().enumerate().all(|(at, place)| *place == (places[0].0, at as u64)));
    }
}

#[test]
fn replay_meets_live_without_loss_or_repeat() {
    let engine = Engine::builder().retain_events(100_000).start().unwrap();
    publish(&engine, 1000);
    const RESUMES: u64 = 200;
    let (is_over, published) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while is_over.load(Ordering::Relaxed) == 0 {
                publish(&engine, 10);
                published.fetch_add(10, Ordering::Relaxed);
            }
        });
        for resume in 0..RESUMES {
            let after = engine.current_seq().saturating_sub(resume + 1);
            let mut tap = engine.tap().since(Since::After { epoch: None, seq: after }).open().unwrap();
            for expected in after + 1..after + 2 * resume + 20 {
                let item = tap.next_timeout(support::PATIENCE).expect("an event comes");
                assert_eq!(item.event().unwrap().seq(), expected);
            }
        }
        is_over.store(1, Ordering::Relaxed);
    });
    assert!(0 < published.load(Ordering::Relaxed), "there was load");
}

#[test]
fn a_tap_that_never_reads_costs_nothing_and_is_told_its_gap() {
    let engine = Engine::builder().retain_events(100).retain_bytes(64 << 10).start().unwrap();
    let mut tap = engine.tap().channels(["t:a"]).open().unwrap();
    let mut other = engine.tap().channels(["t:b"]).open().unwrap();
    publish(&engine, 20_000);
    assert_eq!(tap.behind(), 20_000);
    let items = drained(&mut tap);
    let Item::Gap(Gap { range: Some((1, last)), cause: GapCause::Lapped, .. }) = items[0] else {
        panic!("{:?}", items[0]);
    };
    assert!(items.len() as u64 - 1 <= 8192, "what is held is bounded");
    assert!(seqs_of(items[1..].to_vec()).into_iter().eq(last + 1..=20_000), "then all that is left");
    assert_eq!(drained(&mut other), [], "who wanted nothing of it has missed nothing");
    assert_eq!((tap.behind(), engine.stats().gaps), (0, 1));
}

#[test]
fn what_was_cleared_is_told_to_whoever_was_behind() {
    let engine = ring(100);
    let mut tap = engine.tap().open().unwrap();
    publish(&engine, 10);
    assert_eq!(engine.clear(Before::Seq(6)).map(|cleared| (cleared.count, cleared.oldest)), Ok((5, 6)));
    let items = drained(&mut tap);
    assert_eq!(items[0], lapped(1, 5));
    assert_eq!(seqs_of(items[1..].to_vec()), [6, 7, 8, 9, 10]);
}

#[test]
fn events_leave_by_age_though_no_thread_watches() {
    let clock = Arc::new(AtomicU64::new(5000));
    let now = Arc::clone(&clock);
    let engine = Engine::builder()
        .retain_age(Duration::from_secs(1))
        .clock(move || now.load(Ordering::Relaxed))
        .start()
        .unwrap();
    publish(&engine, 2);
    assert_eq!(engine.after(0, 10).events.len(), 2);
    clock.store(6000, Ordering::Relaxed);
    assert_eq!(engine.after(0, 10).gap.unwrap().range, Some((1, 2)));
    assert_eq!(engine.oldest(), 3);
}

#[test]
fn a_key_publishes_once() {
    let engine = ring(10);
    let attempt = |data: u32| engine.publish_once("key", [Draft::new("t:a", "k").data(&data)]);
    assert_eq!(attempt(1), Ok(Published { first: 1, last: 1, is_repeat: false }));
    assert_eq!(attempt(1), Ok(Published { first: 1, last: 1, is_repeat: true }));
    assert_eq!(attempt(2).unwrap_err().code(), "idempotency_key_reused");
    assert_eq!(engine.current_seq(), 2);
}

#[test]
fn bad_events_are_refused_whole() {
    let limits = Limits { event_bytes_max: 32, batch_events_max: 2, channels_max: 1, ..Limits::default() };
    let engine = Engine::builder().limits(limits).start().unwrap();
    let check = |draft: Draft, code: &str| {
        let error = engine.publish_batch([Draft::new("t:a", "k"), draft]).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    };
    check(Draft::new("t", "k"), "bad_channel");
    check(Draft::new("sys:announcements", "k"), "bad_channel");
    check(Draft::new("t:a", "K"), "bad_event");
    check(Draft::new("t:a", "k").json("{"), "bad_json");
    check(Draft::new("t:a", "k").data(&std::collections::HashMap::from([((1, 2), 3)])), "bad_json");
    check(Draft::new("t:a", "k").data(&"x".repeat(40)), "event_too_large");
    check(Draft::new("t:a", "k").event_id("a\nb"), "bad_event_id");
    check(Draft::new("t:a", "k").tags(["x".repeat(300)]), "bad_labels");
    check(Draft::new("t:a", "k").workspace("a b"), "bad_workspace");
    check(Draft::new("t:b", "k"), "channels_full");
    assert_eq!(engine.publish_batch([]).unwrap_err().code(), "empty_batch");
    let three = [0; 3].map(|_| Draft::new("t:a", "k"));
    assert_eq!(engine.publish_batch(three).unwrap_err().code(), "batch_too_large");
    assert_eq!(engine.current_seq(), 1, "nothing was published");
}

#[test]
fn taps_are_bounded_and_refuse_what_they_cannot_do() {
    let engine = Engine::builder().taps_max(1).subscriptions_max(1).start().unwrap();
    let code = |result: Result<Tap, fanfare::engine::OpenError>| result.err().map(|error| error.code());
    assert_eq!(code(engine.tap().channels(["t:a", "t:b"]).open()), Some("subscription_limit"));
    assert_eq!(code(engine.tap().channels(["t"]).open()), Some("bad_channel"));
    assert_eq!(code(engine.tap().since(Since::Earliest).last(1).open()), Some("bad_last"));
    let tap = engine.tap().open().unwrap();
    assert_eq!(code(engine.tap().open()), Some("connections_full"));
    drop(tap);
    assert!(engine.tap().open().is_ok(), "the place was given back");
    assert!(Engine::builder().channels_max(0).start().is_err());
}

#[test]
fn a_workspace_is_seen_by_those_who_name_it() {
    let engine = ring(10);
    engine.publish(Draft::new("t:a", "k").workspace("acme")).unwrap();
    engine.publish(Draft::new("t:a", "k")).unwrap();
    let in_workspace = |name| Filter { scope: Some(Scope::parse(name).unwrap()), ..Filter::default() };
    let check = |filter: Filter, channels: &[&str], expected: &[u64]| {
        let history = engine.history().filter(filter).channels(channels).read().unwrap();
        assert_eq!(seqs(&history.events), expected, "{channels:?}");
    };
    check(Filter::default(), &[], &[1, 2]);
    check(Filter::default(), &["t:a"], &[2]);
    check(in_workspace("acme"), &["t:a"], &[1]);
    check(in_workspace("acme"), &[], &[1]);
    check(in_workspace("*"), &["t:a"], &[1, 2]);
    assert_eq!(engine.after(0, 1).events[0].workspace(), Some("acme"));
}

#[test]
fn a_sleeping_reader_is_woken_for_its_own_events() {
    let engine = ring(10);
    let mut tap = engine.tap().channels(["t:a"]).open().unwrap();
    let client = engine.connect(Metadata::default()).unwrap();
    thread::scope(|scope| {
        let tapped = scope.spawn(|| tap.next());
        let received = scope.spawn(|| client.recv());
        engine.emit("t:other", "k", &()).unwrap();
        // It may sleep already: it is woken by what it is subscribed to meanwhile.
        client.handle_command(r#"{"type":"subscribe","channel":"t:a"}"#);
        engine.emit("t:a", "k", &()).unwrap();
        assert_eq!(tapped.join().unwrap().unwrap().event().unwrap().seq(), 2);
        assert_eq!(received.join().unwrap().unwrap().event().unwrap().seq(), 2);
    });
}

#[test]
fn readers_that_wait_are_told_the_end() {
    let engine = ring(10);
    let mut tap = engine.tap().open().unwrap();
    let (client, gone) =
        (engine.connect(Metadata::default()).unwrap(), engine.connect(Metadata::default()).unwrap());
    publish(&engine, 1);
    thread::scope(|scope| {
        let tapped = scope.spawn(|| tap.by_ref().count());
        let received = scope.spawn(|| client.recv());
        let disconnected = scope.spawn(|| gone.recv());
        gone.disconnect();
        assert_eq!(disconnected.join().unwrap(), None);
        drop(engine);
        assert_eq!(tapped.join().unwrap(), 1, "what was published before comes first");
        assert_eq!(received.join().unwrap(), None);
    });
    assert!(tap.is_over());
    let reply = client.handle_command(r#"{"type":"publish","channel":"t:a","event":"k"}"#);
    assert_eq!(reply.error_code(), Some("draining"));
}

#[test]
fn waiting_ends_with_its_time() {
    let engine = ring(10);
    let mut tap = engine.tap().open().unwrap();
    let begin = Instant::now();
    assert_eq!(tap.next_timeout(Duration::from_millis(10)), None);
    assert!(Duration::from_millis(10) <= begin.elapsed());
    assert!(!tap.is_over());
}

#[test]
fn a_tap_moves_where_it_is_told_to() {
    let engine = ring(3);
    publish(&engine, 5);
    let mut tap = engine.tap().channels(["t:a"]).last(2).open().unwrap();
    assert_eq!(seqs_of(drained(&mut tap)), [4, 5]);
    tap.seek(&Since::Earliest);
    assert_eq!((tap.cursor(), seqs_of(drained(&mut tap))), (2, vec![3, 4, 5]));
    tap.seek(&Since::After { epoch: None, seq: 0 });
    let items = drained(&mut tap);
    let evicted = Gap { matched: Some(2), ..Gap::of((1, 2), GapCause::Evicted) };
    assert_eq!(items[0], Item::Gap(evicted));
    assert_eq!(seqs_of(items[1..].to_vec()), [3, 4, 5]);
    tap.seek(&Since::After { epoch: Some("x".into()), seq: 4 });
    let foreign = Gap::of_epoch("x-4".into());
    assert_eq!(drained(&mut tap)[0], Item::Gap(foreign));
    assert_eq!(tap.set_filter(kinds(&["push"])), 5);
    engine.emit("t:a", "k", &()).unwrap();
    engine.emit("t:a", "push", &()).unwrap();
    assert_eq!(seqs_of(drained(&mut tap)), [7]);
}

// Beside a server.

fn beside(server: &LocalServer) -> Engine {
    let now = Now { mono_ms: 0, unix_ms: 1_795_316_060_123 };
    Engine::of_hub(server.hub(), Box::new(move || now))
}

#[test]
fn an_engine_and_a_server_share_one_log() {
    for loops in [1, 2] {
        let server = LocalServer::start_with_loops(Limits::default(), loops);
        let engine = beside(&server);
        let (mut far, _) = WebSocketClient::subscribed(server.public, "t:a");
        let mut tap = engine.tap().channels(["t:a"]).open().unwrap();
        let seq = engine.publish(Draft::new("t:a", "k").data(&"ü\n").id(7).tags(["x"])).unwrap();
        let mut publisher = Publisher::connect(server.public);
        publisher.publish("t:a", r#"{ "b": 1.0, "a": [] }"#);
        for expected in [seq, seq + 1] {
            let event = tap.next_timeout(support::PATIENCE).unwrap().event().unwrap();
            assert_eq!(event.seq(), expected);
            let text = far.next_text();
            assert_eq!(event.as_json(), text, "a tap yields what the server sends");
            assert_eq!(serde_json::to_string(&event).unwrap(), text);
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        }
        let client = engine.connect(Metadata::default()).unwrap();
        assert_eq!(engine.connection_count(), 2, "the server's stream, and ours");
        drop((client, engine));
        publisher.publish("t:a", "3");
        assert!(tap.next_timeout(support::PATIENCE).is_some(), "the server goes on");
    }
}

#[test]
fn many_threads_publish_beside_a_server() {
    let server = LocalServer::start(Limits::default());
    let engine = beside(&server);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| publish(&engine, 500));
        }
    });
    assert!(engine.after(0, usize::MAX).events.iter().map(Event::seq).eq(1..=2000));
}

// Against a twin.

/// One thing done to an engine and its twin.
#[derive(Clone, Debug)]
enum Deed {
    Publish { channel: usize, kind: usize },
    Clear { keep: u64 },
    Open { pattern: usize, kind: Option<usize>, since: Option<u64> },
    Read { tap: usize, count: usize },
    Filter { tap: usize, kind: Option<usize> },
    Seek { tap: usize, since: u64 },
}

const CHANNELS: [&str; 4] = ["t:a", "t:a/x", "t:b", "u:c"];
const PATTERNS: [&str; 5] = ["t:a", "t:*", "*", "u:c", "t:a/*"];
const KINDS: [&str; 2] = ["push", "k"];

fn deed() -> impl Strategy<Value = Deed> {
    let kind = || prop::option::of(0..KINDS.len());
    prop_oneof![
        8 => (0..CHANNELS.len(), 0..KINDS.len()).prop_map(|(channel, kind)| Deed::Publish { channel, kind }),
        1 => (0_u64..8).prop_map(|keep| Deed::Clear { keep }),
        2 => (0..PATTERNS.len(), kind(), prop::option::of(0_u64..40))
            .prop_map(|(pattern, kind, since)| Deed::Open { pattern, kind, since }),
        4 => (0_usize..6, 0_usize..12).prop_map(|(tap, count)| Deed::Read { tap, count }),
        1 => (0_usize..6, kind()).prop_map(|(tap, kind)| Deed::Filter { tap, kind }),
        1 => (0_usize..6, 0_u64..40).prop_map(|(tap, since)| Deed::Seek { tap, since }),
    ]
}

/// What a tap should be given, worked out the long way.
struct Twin {
    tap: Tap,
    pattern: Pattern,
    kind: Option<usize>,
    /// The next number that it has not been given.
    next: u64,
}

impl Twin {
    fn has_pattern(&self, (channel, _): (usize, usize)) -> bool {
        self.pattern.matches(CHANNELS[channel])
    }

    fn wants(&self, event: (usize, usize)) -> bool {
        self.has_pattern(event) && self.kind.is_none_or(|kind| kind == event.1)
    }

    /// Checks the next item, if there is one.
    fn read(&mut self, log: &[(usize, usize)]) -> bool {
        let ahead = || (self.next..=log.len() as u64).map(|seq| (seq, log[seq as usize - 1]));
        match self.tap.try_next() {
            None => {
                let missed = ahead().find(|(_, event)| self.wants(*event));
                assert_eq!(missed, None, "nothing is left out");
                return false;
            }
            Some(Item::Event(event)) => {
                let expected = ahead().find(|(_, event)| self.wants(*event)).expect("it was wanted").0;
                assert_eq!(event.seq(), expected);
                self.next = expected + 1;
            }
            Some(Item::Gap(Gap { range: Some((from, to)), .. })) => {
                let before =
                    (self.next..from).map(|seq| log[seq as usize - 1]).any(|event| self.wants(event));
                assert!(self.next <= from && !before, "nothing is left out before a gap");
                let lost = (from..=to).map(|seq| log[seq as usize - 1]);
                assert!(lost.into_iter().any(|event| self.has_pattern(event)), "no false gap");
                self.next = to + 1;
            }
            Some(other) => panic!("{other:?}"),
        }
        true
    }
}

fn filter_of(kind: Option<usize>) -> Filter {
    kind.map_or_else(Filter::default, |kind| kinds(&[KINDS[kind]]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn taps_give_everything_in_order_or_say_what_is_missing(
        size in 0_usize..12,
        deeds in prop::collection::vec(deed(), 1..120),
    ) {
        let engine = ring(size);
        let mut log: Vec<(usize, usize)> = Vec::new();
        let mut twins: Vec<Twin> = Vec::new();
        for deed in deeds {
            let published = log.len() as u64;
            match deed {
                Deed::Publish { channel, kind } => {
                    let seq = engine.emit(CHANNELS[channel], KINDS[kind], &()).unwrap();
                    log.push((channel, kind));
                    prop_assert_eq!(seq, log.len() as u64);
                }
                Deed::Clear { keep } => drop(engine.clear(Before::Keep(keep)).unwrap()),
                Deed::Open { pattern, kind, since } if twins.len() < 6 => {
                    let since = since.map(|seq| seq.min(published));
                    let builder = engine.tap().channels([PATTERNS[pattern]]).filter(filter_of(kind));
                    let builder = match since {
                        Some(seq) => builder.since(Since::After { epoch: None, seq }),
                        None => builder,
                    };
                    let next = since.unwrap_or(published) + 1;
                    let pattern = Pattern::parse(PATTERNS[pattern]).unwrap();
                    twins.push(Twin { tap: builder.open().unwrap(), pattern, kind, next });
                }
                Deed::Open { .. } => drop(twins.pop()),
                Deed::Read { tap, count } => {
                    if let Some(twin) = twins.get_mut(tap) {
                        (0..count).take_while(|_| twin.read(&log)).for_each(drop);
                    }
                }
                Deed::Filter { tap, kind } => {
                    if let Some(twin) = twins.get_mut(tap) {
                        // What has left the ring under it may be told as a gap, which comes first.
                        while twin.next < engine.oldest() && twin.read(&log) {}
                        let holds_after = twin.tap.set_filter(filter_of(kind));
                        let skipped = (twin.next..=holds_after).map(|seq| log[seq as usize - 1]);
                        prop_assert!(!skipped.into_iter().any(|event| twin.wants(event)));
                        twin.next = twin.next.max(holds_after + 1);
                        twin.kind = kind;
                    }
                }
                Deed::Seek { tap, since } => {
                    if let Some(twin) = twins.get_mut(tap) {
                        let seq = since.min(published);
                        twin.tap.seek(&Since::After { epoch: None, seq });
                        twin.next = seq + 1;
                    }
                }
            }
        }
        for twin in &mut twins {
            while twin.read(&log) {}
            prop_assert_eq!(twin.tap.behind(), 0);
        }
        let history = engine.after(0, usize::MAX);
        prop_assert!(history.events.len() <= size);
        let oldest = engine.oldest();
        prop_assert!(seqs(&history.events).into_iter().eq(oldest..=log.len() as u64));
    }
}
