//! Notifications: what a user shall be told, kept until it is read, and delivered while it happens.
//!
//! Values ([`Draft`], [`Notification`], [`Preferences`]), the [`Store`] that keeps them per user, and the service on it:
//! handles ([`Notifications`]) that ask, and one [`Worker`] that owns the store. It knows of no sockets and no loops;
//! what is to reach a user's open pages goes through a function that its owner gives it.
//!
//! ```
//! use fanfare::notify::{Draft, Notifications, NotificationKind, Notified, Store, User};
//! use fanfare::words::limits::Limits;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limits = Limits::default();
//! let store = Store::open(None, &limits)?;
//! let clock = Box::new(|| 1_795_316_060_123);
//! let deliver = Box::new(|delivery: &fanfare::notify::Delivery| {
//!     println!("{} on {}: {}", delivery.kind(), delivery.user().channel(), delivery.data());
//!     true
//! });
//! let (notifications, worker) =
//!     Notifications::new(store, limits.notification_queue_max, clock, deliver);
//! let thread = std::thread::spawn(move || worker.run());
//!
//! let alice = User::parse("alice")?;
//! let draft = Draft::new(alice.clone(), NotificationKind::Mention, "bob mentioned you", "in #7")?
//!     .url("/alice/demo/issues/7")?;
//! let Notified::Stored { notification, .. } = notifications.notify(draft)? else { unreachable!() };
//! assert_eq!(notifications.unread_count(&alice)?, 1);
//! assert_eq!(notifications.mark_read(&alice, notification.id)?, 0);
//!
//! // By default nobody is told of pushes.
//! let push = Draft::new(alice, NotificationKind::Push, "bob pushed", "")?;
//! assert_eq!(notifications.notify(push)?, Notified::Disabled(NotificationKind::Push));
//!
//! drop(notifications);
//! thread.join().unwrap();
//! # Ok(())
//! # }
//! ```

mod answer;
mod batch;
mod delivery;
mod draft;
mod kind;
mod notification;
mod preferences;
mod request;
mod service;
mod store;
#[cfg(test)]
mod tests;
mod user;

pub use answer::{Answer, Counts, Notified, Outcome, Page, Refusal};
pub use delivery::Delivery;
pub use draft::{BODY_BYTES_MAX, Draft, DraftError, METADATA_BYTES_MAX, TITLE_BYTES_MAX, URL_BYTES_MAX};
pub use kind::{NotificationKind, UnknownKind};
pub use notification::{Metadata, Notification};
pub use preferences::Preferences;
pub use request::{Before, Listing, Request};
pub use service::{Clock, Deliver, Notifications, Reply, Worker};
pub use store::{FILE_NAME, Store, StoreError};
pub use user::{User, UserError};
