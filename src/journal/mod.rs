//! The log of the process: one event, one line on standard error.
//!
//! # Contract     saying something never waits: the line is made by who says it and goes to a bounded queue, which a thread of
//!   its own writes. What finds no room is left out and counted, and the next line that is written says how many
//! # Invariants   a line is one line: whatever a client chose is escaped in it. No query of a URL, no header and no body is
//!   ever part of one, since those are where secrets are
//! # Bounds       [`QUEUE_BYTES_MAX`] bytes wait; a text has at most [`line::TEXT_BYTES_MAX`] bytes
//!
//! There is one per process, since there is one standard error. Where none was opened, as in somebody else's program, what
//! matters is written directly.

pub mod line;
mod queue;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use line::{Field, Form, Value};
pub use queue::QUEUE_BYTES_MAX;
use queue::Queue;

use crate::words::level::Level;

static QUEUE: OnceLock<(Queue, Form)> = OnceLock::new();

/// The level as a number. Relaxed: nothing travels along with it.
static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Whether every request is logged. Relaxed, as above.
static ACCESS: AtomicBool = AtomicBool::new(false);

/// Opens the journal on standard error, once per process: later calls change nothing. `access`: whether every request is
/// logged at its end.
///
/// # Errors
/// When the system refuses a thread or a descriptor.
pub fn open(form: Form, access: bool) -> std::io::Result<()> {
    if QUEUE.get().is_none() {
        let queue = Queue::to_standard_error(form)?;
        let _ = QUEUE.set((queue, form));
        ACCESS.store(access, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether there is one.
#[must_use]
pub fn is_open() -> bool {
    QUEUE.get().is_some()
}

/// Whether lines of this level are written.
#[must_use]
pub fn is_on(level: Level) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Whether every request is logged.
#[must_use]
pub fn logs_access() -> bool {
    ACCESS.load(Ordering::Relaxed)
}

/// How much is logged now.
#[must_use]
pub fn level() -> Level {
    Level::ALL[usize::from(LEVEL.load(Ordering::Relaxed))]
}

/// Sets how much is logged.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// The same, and says so if either the old or the new level lets it.
pub fn change_level(level: Level) {
    let before = self::level();
    set_level(level.max(before));
    let fields = [("before", before.name().into()), ("now", level.name().into())];
    say(Level::Info, "audit", "the log level changes", &fields);
    set_level(level);
}

/// Says something, without waiting for anybody. `target`: which part of the program speaks.
pub fn say(level: Level, target: &'static str, message: &str, fields: &[Field<'_>]) {
    if !is_on(level) {
        return;
    }
    match QUEUE.get() {
        Some((queue, form)) => queue.push(line::line(*form, now_ms(), level, target, message, fields)),
        None if level <= Level::Warn => eprintln!("fanfare: {message}"),
        None => {}
    }
}

/// Says what matters so much that the process may end with it: waits a moment until it is written.
pub fn last_words(target: &'static str, message: &str) {
    say(Level::Error, target, message, &[]);
    flush(LAST_WORDS_MAX);
}

/// Waits until everything is written, at most so long.
pub fn flush(patience: Duration) {
    if let Some((queue, _)) = QUEUE.get() {
        queue.flush(patience);
    }
}

/// Lines that were left out because nobody reads them fast enough.
#[must_use]
pub fn dropped() -> u64 {
    QUEUE.get().map_or(0, |(queue, _)| queue.dropped())
}

/// How long the end of the process waits for the reader of its log.
pub const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// Unix milliseconds.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
