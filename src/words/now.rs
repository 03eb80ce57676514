//! What time it is, by both clocks.

/// The time, read once for everything that is done at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never jumps; for deadlines, and for how long things are remembered.
    pub mono_ms: u64,
    /// Unix milliseconds; for what users see.
    pub unix_ms: u64,
}
