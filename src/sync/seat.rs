//! A seat for one worker that whoever has work takes over: flat combining.
//!
//! # Contract       whoever makes work visible calls [`Seat::work`] afterwards. It works if nobody sits; if somebody does,
//!   that one looks for work again after getting up, and so does the caller's work as well
//! # Invariants     the worker is in the seat, or with exactly one thread
//! # Memory order   both [`Seat::take`] and [`Seat::put_back`] are swaps that acquire and release. Who found the seat taken
//!   has made his work visible before his swap, and his swap stands before the one that puts the worker back: who puts
//!   it back therefore sees that work when he looks again. No fence is needed; a plain store in place of the second swap
//!   would see nothing of the first, and work would be left lying ([`crossbeam_utils::atomic::AtomicCell::store`] is one)
//! # Bounds         no locks, no waiting: a swap to sit down, a swap to get up
//! # Why not …      a mutex: who finds it taken would wait for others' work, instead of leaving his own to them

#[cfg(not(fanfare_loom))]
type Cell<T> = crossbeam_utils::atomic::AtomicCell<Option<Box<T>>>;

/// The modelled twin: a mutex acquires and releases as the swaps do.
#[cfg(fanfare_loom)]
struct Cell<T>(loom::sync::Mutex<Option<Box<T>>>);

#[cfg(fanfare_loom)]
impl<T> Cell<T> {
    fn new(value: Option<Box<T>>) -> Cell<T> {
        Cell(loom::sync::Mutex::new(value))
    }

    fn swap(&self, value: Option<Box<T>>) -> Option<Box<T>> {
        std::mem::replace(&mut *self.0.lock().unwrap(), value)
    }
}

/// A seat and the one worker for it.
pub struct Seat<T>(Cell<T>);

impl<T> Seat<T> {
    /// A free seat, with `worker` beside it.
    pub fn new(worker: T) -> Seat<T> {
        Seat(Cell::new(Some(Box::new(worker))))
    }

    /// Whether sitting down and getting up take no lock on this machine.
    #[cfg(not(fanfare_loom))]
    #[must_use]
    pub fn is_lock_free() -> bool {
        Cell::<T>::is_lock_free()
    }

    /// The worker, if nobody has it. Whoever takes it puts it back, and looks for work after that.
    pub fn take(&self) -> Option<Box<T>> {
        self.0.swap(None)
    }

    /// Gets up.
    pub fn put_back(&self, worker: Box<T>) {
        let before = self.0.swap(Some(worker));
        debug_assert!(before.is_none(), "two sat in one seat");
    }

    /// Works while `is_work` says that something is to be done, unless somebody else does it. `turn` does some of it, and
    /// says whether the caller has done enough for others: then it gets up, and the answer is whether work may be left
    /// for which somebody is to be called.
    pub fn work(&self, is_work: impl Fn() -> bool, mut turn: impl FnMut(&mut T) -> bool) -> bool {
        while is_work() {
            let Some(mut worker) = self.take() else { return false };
            let is_enough = turn(&mut worker);
            self.put_back(worker);
            if is_enough {
                return is_work();
            }
            if cfg!(fanfare_mutant = "seat_left_without_a_look") {
                return false;
            }
        }
        false
    }
}

#[cfg(all(test, not(fanfare_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_taken_seat_leaves_the_work_to_whoever_sits() {
        let seat = Seat::new(0);
        assert!(Seat::<u64>::is_lock_free());
        let worker = seat.take().unwrap();
        assert!(seat.take().is_none());
        assert!(!seat.work(|| true, |_| panic!("somebody sits already")));
        seat.put_back(worker);
        let left = std::cell::Cell::new(3);
        let turn = |done: &mut i32| {
            *done += 1;
            left.set(left.get() - 1);
            false
        };
        assert!(!seat.work(|| 0 < left.get(), turn));
        assert_eq!(*seat.take().unwrap(), 3);
    }

    #[test]
    fn who_has_done_enough_says_whether_work_is_left() {
        let seat = Seat::new(());
        assert!(seat.work(|| true, |()| true));
        let is_first = std::cell::Cell::new(true);
        assert!(!seat.work(|| is_first.replace(false), |()| true));
    }
}
