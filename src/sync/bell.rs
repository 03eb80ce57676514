//! The bell of a thread that sleeps: rung only when somebody sleeps, and never missed.
//!
//! # Contract       the sleeper calls [`Bell::lie_down`], looks once more for work, and blocks only if there is none;
//!   the writer makes work visible, calls [`fence_before_ring`], then [`Bell::ring`]
//! # Memory order   two `SeqCst` fences: either the writer sees `asleep`, or the sleeper sees the work. With either fence
//!   missing both can miss (the store-buffer shape); the loom models `sleeping_loop_*` show it
//! # Bounds         at most one wake per sleep, however many writers ring

use super::{AtomicBool, Ordering, fence};

/// What really wakes the sleeper, such as an eventfd.
pub trait Waker: Send + Sync {
    /// Makes the sleeper's blocking call return, now or as soon as it starts.
    fn wake(&self);
}

impl<W: Waker + ?Sized> Waker for Box<W> {
    fn wake(&self) {
        (**self).wake();
    }
}

/// The bell of one sleeper.
pub struct Bell<W> {
    /// `true` from [`Bell::lie_down`] until somebody rings or the sleeper gets up by itself. Changed by swaps only, also
    /// where a store would do: loom does not know that a swap stands right behind the value that it took, and would
    /// find a wake-up lost that no machine can lose.
    asleep: AtomicBool,
    waker: W,
}

impl<W: Waker> Bell<W> {
    /// The bell of a sleeper that is awake.
    pub fn new(waker: W) -> Bell<W> {
        Bell { asleep: AtomicBool::new(false), waker }
    }

    /// What wakes the sleeper.
    pub fn waker(&self) -> &W {
        &self.waker
    }

    /// The sleeper says that it is about to block. It must look for work after this call, and block only if it finds none.
    pub fn lie_down(&self) {
        // Release: who sees it also sees what the sleeper showed before, such as its table. The fence below orders it
        // before the sleeper's look for work.
        self.asleep.swap(true, Ordering::Release);
        #[cfg(not(fanfare_mutant = "sleeper_without_fence"))]
        fence(Ordering::SeqCst);
    }

    /// The sleeper is awake again, by itself or by the bell.
    pub fn get_up(&self) {
        // Relaxed: a ring that comes too late wakes a waking thread once more, which is harmless.
        self.asleep.swap(false, Ordering::Relaxed);
    }

    /// Whether the sleeper said it would block. Only a hint for skipping work; [`Bell::ring`] decides.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Acquire)
    }

    /// Wakes the sleeper if it sleeps and returns whether it did. Call [`fence_before_ring`] first, after making the work visible.
    pub fn ring(&self) -> bool {
        // Relaxed: nothing travels along with the flag, the work is published on its own; the swap makes the wake single.
        let is_mutant = cfg!(fanfare_mutant = "bell_not_swapped");
        let woke = self.is_asleep() && (is_mutant || self.asleep.swap(false, Ordering::Relaxed));
        if woke {
            self.waker.wake();
        }
        woke
    }
}

/// The writer's half of the protocol: after the work is visible and before any bell is looked at. One serves many bells.
pub fn fence_before_ring() {
    #[cfg(not(fanfare_mutant = "writer_without_fence"))]
    fence(Ordering::SeqCst);
}
