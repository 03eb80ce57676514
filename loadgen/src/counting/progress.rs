//! How far one subscriber is.

/// What one subscriber was delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Events.
    pub(crate) events: u64,
    /// Bytes of these, with the headers of frames and without what else came.
    pub(crate) bytes: u64,
    /// Of these, skipped.
    pub(crate) skipped_bytes: u64,
    /// Messages behind the first event that are neither events nor comments. Of one that skips, they may be the torn rest of an
    /// event that was too many.
    pub(crate) strays: u64,
    /// Whether it reads everything, and its latencies are recorded.
    pub(crate) is_watched: bool,
}

impl Progress {
    /// Nothing came yet.
    pub(crate) fn new(is_watched: bool) -> Progress {
        Progress { events: 0, bytes: 0, skipped_bytes: 0, strays: 0, is_watched }
    }
}
