//! How long events take through this server, as it knows itself: histograms that loops write and anybody may read.
//!
//! What is measured:
//!
//! - a **delivery**: from the moment at which the server woke for the publish ([`crate::words::accepted::Accepted`]; for
//!   publishers of this process, from the call) until the write that had the event in it has returned. Live ones and those of
//!   streams that lag behind count, apart from each other ([`Pace`]); what a client asks for from further back does not;
//! - an **answer**: from the same moment until the write with the answer of an accepted publish has returned;
//! - a **span**: of one event at a time, from before its first write to after its last, over all loops and live streams.
//!
//! # Contract       one [`Recorder`] a loop, which that loop alone writes; [`Snapshot`]s are taken by anybody, at any time, and
//!   hold nobody up:
//!
//! ```
//! # use fanfare::{hub::Hub, words::{cursor::Epoch, limits::Limits}};
//! # let hub = Hub::new(Limits::default(), Epoch::from_bits(0), Vec::new());
//! let earlier = hub.latency();
//! // … a second later …
//! let second = hub.latency().since(&earlier);
//! let deliveries = second.deliveries();
//! let p99_ns = deliveries.quantile_ns(0.99);
//! for bucket in deliveries.buckets() {
//!     // A row of a heat map: bucket.low_ns ..= bucket.high_ns, bucket.count
//! }
//! # assert_eq!((p99_ns, deliveries.count()), (0, 0));
//! ```
//!
//! # Precision      values are exact to 1 part in 32 (to 32 ns below 2 µs), and never told smaller than they are. The clock is
//!   read once for several writes, and each counts as having returned then: at most a sixteenth of the writes that the sweep has
//!   made, or [`crate::event_loop`]'s smallest group of them, late
//! # Memory order   every counter is relaxed: a snapshot has each of them as it was at some moment while it was taken
//! # Bounds         [`NAMESPACES_MAX`] namespaces are told apart; those that come later count as [`OTHER`]. A loop's counters
//!   are taken once, and their pages cost memory when they are first touched: 8 KiB for each way and namespace in use

mod clock;
mod counts;
mod histogram;
mod namespaces;
mod recorder;
mod report;
mod snapshot;
mod span;

use crossbeam_utils::CachePadded;

pub use clock::Clock;
pub use counts::{Bucket, Counts};
pub use histogram::Histogram;
pub use namespaces::{NAMESPACES_MAX, Namer, Namespaces, OTHER};
pub use recorder::{Pace, Recorder, Transport, Way};
pub use report::{Format, hgrm, interval_log, json};
pub use snapshot::{Series, Snapshot};
pub use span::Span;

/// What all loops and the sequencer share of it.
#[derive(Debug, Default)]
pub struct Latency {
    /// The clock that everybody reads.
    pub clock: Clock,
    /// The namespaces that are told apart.
    pub namespaces: Namespaces,
    /// The event whose span is being measured. Apart from the others, which hardly change.
    pub span: CachePadded<Span>,
}
