//! A cell that one thread writes before others may read; who may when is the caller's promise.

/// An `UnsafeCell` that loom can watch.
#[derive(Debug)]
pub struct SharedCell<T>(
    #[cfg(not(fanfare_loom))] std::cell::UnsafeCell<T>,
    #[cfg(fanfare_loom)] loom::cell::UnsafeCell<T>,
);

// SAFETY: access goes through the unsafe methods only, whose callers promise that a write never meets another access.
unsafe impl<T: Send + Sync> Sync for SharedCell<T> {}

impl<T> SharedCell<T> {
    /// A cell that holds `value`.
    pub fn new(value: T) -> SharedCell<T> {
        #[cfg(not(fanfare_loom))]
        return SharedCell(std::cell::UnsafeCell::new(value));
        #[cfg(fanfare_loom)]
        return SharedCell(loom::cell::UnsafeCell::new(value));
    }

    /// The value, for the owner of the cell.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }

    /// Reads the value.
    ///
    /// # Safety
    /// The last write happened before this call, and no write happens while the returned reference lives.
    pub unsafe fn get(&self) -> &T {
        #[cfg(not(fanfare_loom))]
        // SAFETY: promised by the caller.
        return unsafe { &*self.0.get() };
        #[cfg(fanfare_loom)]
        // SAFETY: promised by the caller; loom checks the moment of the call.
        return self.0.with(|value| unsafe { &*value });
    }

    /// Replaces the value.
    ///
    /// # Safety
    /// No other access happens at the same time.
    pub unsafe fn set(&self, value: T) {
        #[cfg(not(fanfare_loom))]
        // SAFETY: promised by the caller.
        unsafe {
            *self.0.get() = value;
        }
        #[cfg(fanfare_loom)]
        // SAFETY: promised by the caller; loom checks it.
        self.0.with_mut(|place| unsafe { *place = value });
    }
}
