//! The service: what it answers, delivers and refuses, and in which order. The worker runs on the test's own thread
//! where nobody waits for an answer, after everything was handed in.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::disk::Disk;
use super::*;
use crate::notify::answer::{Answer, Refusal};
use crate::notify::delivery::Delivery;
use crate::notify::preferences::Preferences;
use crate::notify::service::{Notifications, Worker};

const NOW_MS: u64 = 1_795_316_060_123;

/// What happened, in order.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<Vec<String>>>);

impl Record {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn service(store: Store, queue_max: usize, record: &Record) -> (Notifications, Worker) {
    let record = record.clone();
    let deliver = move |delivery: &Delivery| {
        record.note(format!("{} {} {}", delivery.kind(), delivery.user(), delivery.data()));
        true
    };
    Notifications::new(store, queue_max, Box::new(|| NOW_MS), Box::new(deliver))
}

fn in_memory() -> Store {
    Store::open(None, &Limits::default()).unwrap()
}

fn notify(title: &str) -> Request {
    Request::Notify(Box::new(mention("alice", title)))
}

/// Hands in a request whose answer is noted under its name.
fn submit(handle: &Notifications, request: Request, name: &str, record: &Record) {
    let (name, record) = (name.to_owned(), record.clone());
    let reply = move |answer: Answer| {
        let text = match answer {
            Ok(Outcome::Notified(Notified::Stored { unread, .. })) => format!("stored, {unread} unread"),
            Ok(outcome) => format!("{outcome:?}"),
            Err(refusal) => refusal.code().to_owned(),
        };
        record.note(format!("{name}: {text}"));
    };
    handle.submit(request, Box::new(reply));
}

#[test]
fn a_full_queue_refuses_at_once_and_what_waits_is_finished_before_the_worker_ends() {
    let record = Record::default();
    let (handle, worker) = service(in_memory(), 2, &record);
    for name in ["first", "second", "third"] {
        submit(&handle, Request::Count { user: user("alice") }, name, &record);
    }
    assert_eq!(record.lines(), ["third: overloaded"]);
    drop(handle);
    worker.run();
    let zero = "Counts(Counts { total: 0, unread: 0 })";
    assert_eq!(record.lines(), [format!("first: {zero}"), format!("second: {zero}")]);
}

#[test]
fn each_change_is_delivered_before_it_is_answered_and_one_after_the_other() {
    let record = Record::default();
    let (handle, worker) = service(in_memory(), 9, &record);
    submit(&handle, notify("1"), "first", &record);
    submit(&handle, notify("2"), "second", &record);
    submit(&handle, Request::MarkAllRead { user: user("alice") }, "third", &record);
    drop(handle);
    worker.run();
    let lines = record.lines();
    assert!(lines[0].starts_with(r#"notification alice {"id":""#), "{lines:?}");
    assert!(lines[0].contains(
        r#""title":"1","body":"b","url":null,"read":false,"created_at":1795316060,"metadata":{}}"#
    ));
    assert_eq!(lines[1], "first: stored, 1 unread");
    assert!(lines[2].contains(r#""title":"2""#), "{lines:?}");
    assert_eq!(lines[3], "second: stored, 2 unread");
    assert_eq!(lines[4], r#"notification_read alice {"all":true,"unread":0}"#);
    assert_eq!(lines[5..], ["third: AllRead { marked: 2 }"]);
}

#[test]
fn what_is_delivered_is_on_the_disk() {
    let disk = Disk::default();
    let store = Store::on_backend(disk.clone(), &Limits::default()).unwrap();
    let found = Arc::new(Mutex::new(Vec::new()));
    let (seen, copy) = (Arc::clone(&found), disk.clone());
    let deliver = move |_: &Delivery| {
        let copy = copy.after_power_cut(copy.deeds(), || false);
        let mut copy = Store::on_backend(copy, &Limits::default()).unwrap();
        seen.lock().unwrap().push(page(&mut copy, "alice", newest(9)).counts.total);
        true
    };
    let (handle, worker) = Notifications::new(store, 9, Box::new(|| NOW_MS), Box::new(deliver));
    handle.submit(notify("1"), Box::new(|answer| assert!(answer.is_ok())));
    handle.submit(notify("2"), Box::new(|answer| assert!(answer.is_ok())));
    drop(handle);
    worker.run();
    assert_eq!(*found.lock().unwrap(), [2, 2], "both were in one transaction, and that was over");
}

#[test]
fn what_waits_together_is_one_transaction() {
    let syncs = |requests: usize| {
        let disk = Disk::default();
        let store = Store::on_backend(disk.clone(), &Limits::default()).unwrap();
        let (handle, worker) = service(store, requests, &Record::default());
        let before = disk.syncs();
        for at in 0..requests {
            submit(&handle, notify(&at.to_string()), "", &Record::default());
        }
        drop(handle);
        worker.run();
        disk.syncs() - before
    };
    assert_eq!(syncs(1), syncs(100));
    assert!(syncs(1) < syncs(300), "256 requests are the bound of one");
}

#[test]
fn listings_of_one_transaction_are_bounded() {
    let mut store = in_memory();
    for _ in 0..100 {
        add(&mut store, "alice", "t", 0);
    }
    // The clock is read once a transaction.
    let looks = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&looks);
    let clock = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        NOW_MS
    };
    let (handle, worker) = Notifications::new(store, 99, Box::new(clock), Box::new(|_: &Delivery| true));
    for _ in 0..21 {
        let list = Request::List { user: user("alice"), listing: newest(100) };
        handle.submit(list, Box::new(|answer| assert!(answer.is_ok())));
    }
    drop(handle);
    worker.run();
    assert_eq!(looks.load(Ordering::Relaxed), 3, "ten and ten and one");
}

#[test]
fn looking_costs_no_synchronisation() {
    let disk = Disk::default();
    let mut store = Store::on_backend(disk.clone(), &Limits::default()).unwrap();
    let id = add(&mut store, "alice", "1", 0).id;
    one(&mut store, Request::MarkRead { user: user("alice"), id }, 0).unwrap();
    let before = disk.syncs();
    for request in [
        Request::List { user: user("alice"), listing: newest(9) },
        Request::Count { user: user("alice") },
        Request::Preferences { user: user("alice") },
        Request::MarkRead { user: user("alice"), id },
        Request::MarkAllRead { user: user("alice") },
        Request::Notify(Box::new(Draft::new(user("alice"), NotificationKind::Push, "t", "").unwrap())),
        Request::Kinds,
    ] {
        one(&mut store, request, 0).unwrap();
    }
    assert_eq!(disk.syncs(), before);
}

#[test]
fn a_broken_disk_is_told_to_everybody_and_nothing_is_delivered() {
    let disk = Disk::default();
    let record = Record::default();
    let store = Store::on_backend(disk.clone(), &Limits::default()).unwrap();
    // More than one transaction takes: the second one cannot even begin.
    let (handle, worker) = service(store, 300, &record);
    for _ in 0..300 {
        submit(&handle, notify("1"), "one", &record);
    }
    disk.break_down();
    drop(handle);
    worker.run();
    assert_eq!(record.lines(), vec!["one: store_failed"; 300]);
}

#[test]
fn a_worker_that_is_gone_is_told() {
    let record = Record::default();
    let (handle, worker) = service(in_memory(), 9, &record);
    drop(worker);
    submit(&handle, Request::Kinds, "first", &record);
    assert_eq!(record.lines(), ["first: draining"]);
    assert_eq!(handle.unread_count(&user("alice")), Err(Refusal::Stopped));
}

#[test]
fn what_is_not_handed_on_is_stored_all_the_same() {
    let deliver = Box::new(|_: &Delivery| false);
    let (handle, worker) = Notifications::new(in_memory(), 9, Box::new(|| NOW_MS), deliver);
    let thread = std::thread::spawn(move || worker.run());
    let notified = handle.notify(mention("alice", "1")).unwrap();
    assert!(matches!(notified, Notified::Stored { delivered: false, unread: 1, .. }), "{notified:?}");
    assert_eq!(handle.unread_count(&user("alice")), Ok(1));
    drop(handle);
    thread.join().unwrap();
}

#[test]
fn calls_of_the_library() {
    let record = Record::default();
    let (handle, worker) = service(in_memory(), 9, &record);
    let thread = std::thread::spawn(move || worker.run());
    let alice = user("alice");
    let stored = |title: &str| match handle.notify(mention("alice", title)) {
        Ok(Notified::Stored { notification, delivered: true, .. }) => *notification,
        other => panic!("{other:?}"),
    };
    let (first, second) = (stored("1"), stored("2"));
    assert_eq!(record.lines().len(), 2);
    assert_eq!(handle.list(&alice, newest(9)).unwrap().notifications, [second.clone(), first.clone()]);
    assert_eq!(handle.mark_read(&alice, first.id), Ok(1));
    assert_eq!(handle.mark_read(&alice, first.id), Ok(1));
    assert_eq!(handle.mark_read(&user("bob"), first.id), Err(Refusal::NotFound));
    let told = format!(r#"notification_read alice {{"id":"{}","unread":1}}"#, first.id);
    assert_eq!(record.lines(), [told], "once");
    assert_eq!(handle.delete(&alice, second.id), Ok(0));
    assert_eq!(handle.delete(&alice, second.id), Err(Refusal::NotFound));
    let told = format!(r#"notification_deleted alice {{"id":"{}","unread":0}}"#, second.id);
    assert_eq!(record.lines(), [told]);
    assert_eq!(handle.mark_all_read(&alice), Ok(0));

    let mut preferences = handle.preferences(&alice).unwrap();
    assert_eq!(preferences, Preferences::for_user(alice.clone()));
    preferences.enabled_types = [NotificationKind::Push].into();
    assert_eq!(handle.set_preferences(preferences.clone()), Ok(()));
    assert_eq!(handle.preferences(&alice), Ok(preferences));
    assert_eq!(handle.notify(mention("alice", "3")), Ok(Notified::Disabled(NotificationKind::Mention)));
    assert_eq!(handle.unread_count(&alice), Ok(0));
    assert_eq!(record.lines(), [""; 0], "what is not wanted is not delivered");
    let push = Draft::new(alice.clone(), NotificationKind::Push, "t", "").unwrap();
    assert!(matches!(handle.clone().notify(push), Ok(Notified::Stored { .. })));
    assert_eq!(handle.unread_count(&alice), Ok(1));
    drop(handle);
    thread.join().unwrap();
}
