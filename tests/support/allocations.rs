//! A global allocator that counts what one piece of work allocates, and knows where from.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// The allocator of the system, which notes what the watched work of a thread asks it for.
pub(crate) struct Watching;

thread_local! {
    /// Whether this thread's allocations are counted. It is off while one is noted, which allocates itself.
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
    static NOTED: RefCell<Noted> = const { RefCell::new(Noted { count: 0, places: Vec::new() }) };
}

/// What has been allocated while somebody watched.
struct Noted {
    count: usize,
    /// Of the first [`PLACES_MAX`].
    places: Vec<Backtrace>,
}

/// Allocations whose place is kept. To find out where a place is takes a while.
const PLACES_MAX: usize = 200;

/// What a piece of work has allocated: blocks that were new, or that grew.
pub(crate) struct Allocations {
    /// How many.
    pub(crate) count: usize,
    places: Vec<Backtrace>,
}

/// Does `work` and says what it allocated on this thread.
pub(crate) fn allocations_of(work: impl FnOnce()) -> Allocations {
    NOTED.with_borrow_mut(|noted| *noted = Noted { count: 0, places: Vec::new() });
    IS_WATCHED.set(true);
    work();
    IS_WATCHED.set(false);
    NOTED.with_borrow_mut(|noted| Allocations {
        count: noted.count,
        places: std::mem::take(&mut noted.places),
    })
}

impl Display for Allocations {
    /// Each place once, the most frequent first, with the functions of this crate that led there.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = BTreeMap::new();
        for place in &self.places {
            *counts.entry(own_frames(place)).or_insert(0_usize) += 1;
        }
        let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.iter().try_for_each(|(place, count)| writeln!(out, "{count:6}  {place}"))
    }
}

/// The innermost functions of this crate, as `file:line function`.
fn own_frames(place: &Backtrace) -> String {
    let text = place.to_string();
    let mut lines = text.lines().map(str::trim).peekable();
    let mut frames = Vec::new();
    while let Some(line) = lines.next() {
        let Some((_, function)) = line.split_once(": ") else { continue };
        let Some(at) = lines.next_if(|next| next.starts_with("at ")) else { continue };
        let Some((_, inside)) = at.split_once("./src/").or_else(|| at.split_once("/fanfare/src/")) else {
            continue;
        };
        let inside = inside.rsplit_once(':').map_or(inside, |(line, _column)| line);
        frames.push(format!("{inside} {}", function.trim_start_matches("fanfare::")));
    }
    frames.truncate(FRAMES_SHOWN);
    frames.join(" < ")
}

/// Functions shown of each place.
const FRAMES_SHOWN: usize = 4;

fn note() {
    // What a panic allocates on its way out is its own business, and it may hold the lock of backtraces.
    if !IS_WATCHED.get() || std::thread::panicking() {
        return;
    }
    IS_WATCHED.set(false);
    NOTED.with_borrow_mut(|noted| {
        noted.count += 1;
        if noted.places.len() < PLACES_MAX {
            noted.places.push(Backtrace::force_capture());
        }
    });
    IS_WATCHED.set(true);
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: promised by the caller.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: promised by the caller.
        unsafe { System.realloc(start, layout, size) }
    }
}
