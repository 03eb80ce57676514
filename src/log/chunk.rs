//! A run of bytes that is written once, front to back, while others read what lies before.
//!
//! # Invariants
//! - C1 bytes are written by the one writer only, each once between two owners of the chunk
//! - C2 readers are lent only what was written before the `published` cursor that they acquired
//!
//! # Why not a `Vec`   a reference to a `Vec` that grows, or to its spare capacity, would alias what readers hold

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Capacity of a pooled chunk, in bytes: small enough that a quiet segment wastes little, large enough that
/// dozens of frames lie back to back and merge into one slice of a vectored write.
pub const CHUNK_BYTES: usize = if cfg!(fanfare_loom) { 64 } else { 64 << 10 };

/// Capacity of a pooled chunk of labels, in bytes: those of an event take some tens, so that a segment fills about one.
pub(super) const LABEL_CHUNK_BYTES: usize = if cfg!(fanfare_loom) { 64 } else { 12 << 10 };

/// A fixed run of bytes.
#[derive(Debug)]
pub(super) struct Chunk {
    start: NonNull<u8>,
    capacity: usize,
}

// SAFETY: a chunk owns its bytes; C1 and C2 keep writes and reads of one byte apart.
unsafe impl Send for Chunk {}
// SAFETY: as above; shared access to the bytes goes through the unsafe methods only.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// A chunk of `capacity` bytes, not 0, whose pages are not touched until they are written.
    pub(super) fn new(capacity: usize) -> Chunk {
        assert_ne!(capacity, 0);
        let layout = Chunk::layout(capacity);
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Chunk { start, capacity }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Copies `first`, `parts` and `last` to `at`, one after the other.
    ///
    /// # Safety
    /// Only the writer calls this, for a range of `len` bytes that no reader was lent (C1); what is copied is no longer
    /// than that.
    #[inline]
    pub(super) unsafe fn write(
        &self,
        at: usize,
        len: usize,
        first: &[u8],
        parts: &[&[u8]],
        last: [&[u8]; 2],
    ) {
        // Once for all: an event comes in a dozen pieces.
        assert!(at + len <= self.capacity);
        let mut done = 0;
        let mut push = |part: &[u8]| {
            debug_assert!(done + part.len() <= len);
            // SAFETY: in bounds by the assertion, as the parts are no longer than `len`; nobody else touches the range
            // by C1.
            unsafe { copy(part, self.start.as_ptr().add(at + done)) };
            done += part.len();
        };
        push(first);
        parts.iter().for_each(|part| push(part));
        last.into_iter().for_each(&mut push);
        debug_assert_eq!(done, len);
    }

    /// Lends `len` bytes from `at`.
    ///
    /// # Safety
    /// The range was written, and that write happened before this call (C2).
    pub(super) unsafe fn read(&self, at: usize, len: usize) -> &[u8] {
        assert!(at + len <= self.capacity);
        // SAFETY: in bounds by the assertion, initialised and no longer written by C1 and C2.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at), len) }
    }

    fn layout(capacity: usize) -> Layout {
        Layout::array::<u8>(capacity).expect("a chunk is far smaller than the address space")
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with the same layout.
        unsafe { dealloc(self.start.as_ptr(), Chunk::layout(self.capacity)) };
    }
}

/// Copies `bytes` to `to`. An event comes in a dozen pieces of a few bytes, for which calling the library's copy costs
/// more than copying.
///
/// # Safety
/// `to` may be written for as many bytes, which do not overlap `bytes`.
#[inline]
unsafe fn copy(bytes: &[u8], to: *mut u8) {
    /// Copies the first and the last `N` of `N..=2 * N` bytes.
    ///
    /// # Safety
    /// As for [`copy`].
    #[inline]
    unsafe fn ends<const N: usize>(bytes: &[u8], to: *mut u8) {
        debug_assert!((N..=2 * N).contains(&bytes.len()));
        let last = bytes.len() - N;
        // SAFETY: both runs lie within `bytes`, and so within what may be written.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, N);
            std::ptr::copy_nonoverlapping(bytes.as_ptr().add(last), to.add(last), N);
        }
    }
    // SAFETY: promised by the caller.
    unsafe {
        match bytes.len() {
            0 => {}
            1..=2 => ends::<1>(bytes, to),
            3..=4 => ends::<2>(bytes, to),
            5..=8 => ends::<4>(bytes, to),
            9..=16 => ends::<8>(bytes, to),
            17..=32 => ends::<16>(bytes, to),
            33..=64 => ends::<32>(bytes, to),
            len => std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, len),
        }
    }
}
