//! The store against a simple twin and against power cuts, and the service on it.

mod disk;
mod power;
mod service;
mod store;
mod twin;

use uuid::Uuid;

use super::answer::{Notified, Outcome, Page};
use super::batch::Batch;
use super::draft::Draft;
use super::kind::NotificationKind;
use super::notification::Notification;
use super::request::{Before, Listing, Request};
use super::service::{Performed, perform};
use super::store::{Store, StoreError};
use super::user::User;
use crate::words::limits::Limits;

fn user(name: &str) -> User {
    User::parse(name).unwrap()
}

/// A mention of `name`, told apart by its title.
fn mention(name: &str, title: &str) -> Draft {
    Draft::new(user(name), NotificationKind::Mention, title, "b").unwrap()
}

fn newest(limit: usize) -> Listing {
    Listing { unread_only: false, before: None, limit }
}

/// Does one request in a transaction of its own.
fn one(store: &mut Store, request: Request, now_ms: u64) -> Performed {
    store.transact(|batch| perform(batch, request, now_ms)).unwrap()
}

/// Stores a mention.
fn add(store: &mut Store, name: &str, title: &str, now_ms: u64) -> Notification {
    match one(store, Request::Notify(Box::new(mention(name, title))), now_ms) {
        Ok((Outcome::Notified(Notified::Stored { notification, .. }), Some(_))) => *notification,
        other => panic!("{other:?}"),
    }
}

fn page(store: &mut Store, name: &str, listing: Listing) -> Page {
    match one(store, Request::List { user: user(name), listing }, 0) {
        Ok((Outcome::Page(page), None)) => page,
        other => panic!("{other:?}"),
    }
}

fn titles(page: &Page) -> Vec<&str> {
    page.notifications.iter().map(|notification| notification.title.as_str()).collect()
}
