//! Readers: what a cursor into the log gets next, whoever it belongs to.
//!
//! A slow socket, a resumed stream, history and a tap in the same process ask the same three questions: where can I begin
//! ([`start()`]), what comes next ([`select()`]), and what were the newest events ([`newest`]).

mod conflate;
mod matched;
mod newest;
mod select;
mod start;
mod subscription;
mod view;

pub use conflate::{Thinned, thin};
pub use matched::matched;
pub use newest::{TooMany, newest};
pub use select::{Ahead, Selector, begin, select};
pub use start::{Start, start};
pub use subscription::{Sieve, Subscription};
pub use view::{EventText, EventView};
