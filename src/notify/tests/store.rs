//! Single behaviours of the store.

use super::*;
use crate::notify::answer::{Counts, Refusal};

fn in_memory(limits: Limits) -> Store {
    Store::open(None, &limits).unwrap()
}

fn is_refused(performed: &Performed, refusal: &Refusal) -> bool {
    performed.as_ref().is_err_and(|got| got == refusal)
}

#[test]
fn a_listing_is_newest_first_and_goes_on_where_it_ended() {
    let mut store = in_memory(Limits::default());
    for (title, now_ms) in [("1", 5000), ("2", 6000), ("3", 6000), ("4", 1000)] {
        add(&mut store, "alice", title, now_ms);
    }
    add(&mut store, "alice.b", "other", 9000);
    let first = page(&mut store, "alice", newest(3));
    assert_eq!(titles(&first), ["4", "3", "2"], "the order is that of acceptance, whatever the clock does");
    assert_eq!(first.counts, Counts { total: 4, unread: 4 });
    assert_eq!(first.notifications[0].created_at, 1, "the time is the clock's");
    let next = Listing { before: first.next.map(Before::Place), ..newest(3) };
    // Where a page begins does not depend on what is deleted meanwhile.
    let id = first.notifications[2].id;
    assert!(one(&mut store, Request::Delete { user: user("alice"), id }, 0).is_ok());
    let second = page(&mut store, "alice", next);
    assert_eq!((titles(&second), second.next), (vec!["1"], None));
    let by_id = Listing { before: Some(Before::Id(first.notifications[1].id)), ..newest(3) };
    assert_eq!(titles(&page(&mut store, "alice", by_id)), ["1"]);
    let by_deleted_id = Listing { before: Some(Before::Id(id)), ..newest(3) };
    let request = Request::List { user: user("alice"), listing: by_deleted_id };
    assert!(is_refused(&one(&mut store, request, 0), &Refusal::NotFound));
    let before_all = Listing { before: Some(Before::Place(0)), ..newest(3) };
    assert_eq!(titles(&page(&mut store, "alice", before_all)), [""; 0]);
    assert_eq!(page(&mut store, "nobody", newest(3)), Page::default());
}

#[test]
fn a_page_that_ends_with_the_list_has_no_next() {
    let mut store = in_memory(Limits::default());
    for title in ["1", "2", "3", "4"] {
        add(&mut store, "alice", title, 0);
    }
    assert!(page(&mut store, "alice", newest(3)).next.is_some());
    assert!(page(&mut store, "alice", newest(4)).next.is_none());
}

#[test]
fn a_page_is_bounded_in_bytes() {
    let mut store = in_memory(Limits::default());
    let body = "\u{1}".repeat(crate::notify::BODY_BYTES_MAX);
    for title in 0..30 {
        let draft = Draft::new(user("alice"), NotificationKind::Mention, title.to_string(), body.as_str());
        assert!(one(&mut store, Request::Notify(Box::new(draft.unwrap())), 0).is_ok());
    }
    let first = page(&mut store, "alice", newest(100));
    assert!((1..30).contains(&first.notifications.len()), "{} in one page", first.notifications.len());
    let rest = Listing { before: first.next.map(Before::Place), ..newest(100) };
    let rest = page(&mut store, "alice", rest);
    assert_eq!(first.notifications.len() + rest.notifications.len(), 30);
}

#[test]
fn reading_is_remembered_and_counted() {
    let mut store = in_memory(Limits::default());
    let ids: Vec<Uuid> = ["1", "2", "3"].map(|title| add(&mut store, "alice", title, 0).id).into();
    let unread = Listing { unread_only: true, ..newest(9) };
    let mark = |id| Request::MarkRead { user: user("alice"), id };
    let (outcome, delivery) = one(&mut store, mark(ids[1]), 0).unwrap();
    assert_eq!(outcome, Outcome::Read { id: ids[1], unread: 2 });
    assert!(delivery.is_some());
    let (outcome, delivery) = one(&mut store, mark(ids[1]), 0).unwrap();
    assert_eq!(outcome, Outcome::Read { id: ids[1], unread: 2 });
    assert!(delivery.is_none(), "what is read already is no news");
    assert_eq!(titles(&page(&mut store, "alice", unread)), ["3", "1"]);
    let reads: Vec<bool> =
        page(&mut store, "alice", newest(9)).notifications.iter().map(|n| n.read).collect();
    assert_eq!(reads, [false, true, false]);
    let all = Request::MarkAllRead { user: user("alice") };
    assert_eq!(one(&mut store, all.clone(), 0).unwrap().0, Outcome::AllRead { marked: 2 });
    assert_eq!(one(&mut store, all, 0).unwrap(), (Outcome::AllRead { marked: 0 }, None));
    assert_eq!(page(&mut store, "alice", unread).counts, Counts { total: 3, unread: 0 });
    let foreign = Request::MarkRead { user: user("bob"), id: ids[0] };
    assert!(is_refused(&one(&mut store, foreign, 0), &Refusal::NotFound), "everybody has their own");
}

#[test]
fn the_oldest_leave_beyond_the_bound() {
    let mut store = in_memory(Limits { notifications_per_user_max: 2, ..Limits::default() });
    let first = add(&mut store, "alice", "1", 0).id;
    assert!(one(&mut store, Request::MarkRead { user: user("alice"), id: first }, 0).is_ok());
    add(&mut store, "alice", "2", 0);
    add(&mut store, "alice", "3", 0);
    let left = page(&mut store, "alice", newest(9));
    assert_eq!((titles(&left), left.counts), (vec!["3", "2"], Counts { total: 2, unread: 2 }));
    let gone = Request::Delete { user: user("alice"), id: first };
    assert!(is_refused(&one(&mut store, gone, 0), &Refusal::NotFound));
    store.transact(|batch| batch.invariants()).unwrap();
}

#[test]
fn users_and_bytes_are_bounded_and_what_is_deleted_makes_room() {
    let notify = |name: &str| Request::Notify(Box::new(mention(name, "t")));
    let mut store = in_memory(Limits { notification_users_max: 1, ..Limits::default() });
    let id = add(&mut store, "alice", "t", 0).id;
    assert!(is_refused(&one(&mut store, notify("bob"), 0), &Refusal::UsersFull));
    assert!(one(&mut store, Request::Delete { user: user("alice"), id }, 0).is_ok());
    let text_bytes = add(&mut store, "bob", "t", 0).to_json().len() as u64;
    for (name, expected) in [("carol", true), ("carol", true), ("dave", false)] {
        let preferences = crate::notify::Preferences::for_user(user(name));
        let set = one(&mut store, Request::SetPreferences(preferences), 0);
        assert_eq!(set.is_ok(), expected, "{name}: {set:?}");
    }

    let mut store = in_memory(Limits { notification_bytes_max: 2 * text_bytes - 1, ..Limits::default() });
    add(&mut store, "bob", "t", 0);
    assert!(is_refused(&one(&mut store, notify("bob"), 0), &Refusal::StoreFull), "a byte is missing");
    let mut store = in_memory(Limits { notification_bytes_max: 2 * text_bytes, ..Limits::default() });
    let id = add(&mut store, "bob", "t", 0).id;
    add(&mut store, "bob", "t", 0);
    assert!(is_refused(&one(&mut store, notify("bob"), 0), &Refusal::StoreFull));
    assert!(one(&mut store, Request::Delete { user: user("bob"), id }, 0).is_ok());
    add(&mut store, "bob", "t", 0);
    store.transact(|batch| batch.invariants()).unwrap();
}

#[test]
fn a_file_is_found_again_as_it_was_left() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits::default();
    let mut store = Store::open(Some(directory.path()), &limits).unwrap();
    let ids: Vec<Uuid> = ["1", "2", "3"].map(|title| add(&mut store, "alice", title, 5000).id).into();
    one(&mut store, Request::MarkRead { user: user("alice"), id: ids[2] }, 0).unwrap();
    let mut chosen = crate::notify::Preferences::for_user(user("alice"));
    chosen.enabled_types.clear();
    one(&mut store, Request::SetPreferences(chosen.clone()), 0).unwrap();
    let before = page(&mut store, "alice", newest(9));
    assert!(Store::open(Some(directory.path()), &limits).is_err(), "two writers would spoil the file");
    drop(store);

    // Fewer are kept from now on: the next one lets the older ones leave.
    let limits = Limits { notifications_per_user_max: 2, ..limits };
    let mut store = Store::open(Some(directory.path()), &limits).unwrap();
    assert_eq!(page(&mut store, "alice", newest(9)), before);
    let kept = one(&mut store, Request::Preferences { user: user("alice") }, 0).unwrap();
    assert_eq!(kept, (Outcome::Preferences(chosen.clone()), None));
    chosen.enabled_types.insert(NotificationKind::Mention);
    one(&mut store, Request::SetPreferences(chosen), 0).unwrap();
    add(&mut store, "alice", "4", 1000);
    assert_eq!(
        titles(&page(&mut store, "alice", newest(9))),
        ["4", "3"],
        "and is the newest, though the clock fell"
    );
}

#[test]
fn a_transaction_that_fails_leaves_nothing_behind() {
    let mut store = in_memory(Limits::default());
    add(&mut store, "alice", "1", 0);
    let failed: Result<(), StoreError> = store.transact(|batch| {
        perform(batch, Request::Notify(Box::new(mention("alice", "2"))), 0)?.unwrap();
        Err(StoreError::new(redb::Error::Corrupted("for the test".into())))
    });
    assert_eq!(failed.unwrap_err().to_string(), "DB corrupted: for the test");
    assert_eq!(titles(&page(&mut store, "alice", newest(9))), ["1"]);
}

#[test]
fn what_is_no_store_of_ours_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Store::open(Some(directory.path()), &Limits::default());
    assert!(Store::open(Some(&directory.path().join("none")), &Limits::default()).is_err());
    let file = directory.path().join(crate::notify::FILE_NAME);
    std::fs::write(&file, vec![7; 10_000]).unwrap();
    assert!(open().is_err());
    std::fs::remove_file(&file).unwrap();
    let mut store = open().unwrap();
    let found = store.transact(|batch: &mut Batch<'_>| batch.set_format(2));
    assert!(found.is_ok());
    drop(store);
    let refused = open().unwrap_err().to_string();
    assert!(refused.contains("the tables have format 2, and this version knows 1"), "{refused}");
}
