//! A place that holds an `Arc` or nothing, swapped whole.

#[cfg(not(fanfare_loom))]
mod real {
    use std::sync::Arc;

    /// A place that holds an `Arc` or nothing; loads never block stores.
    #[derive(Debug)]
    pub struct ArcCell<T>(arc_swap::ArcSwapOption<T>);

    /// A loaded value: keeps what it refers to alive, costs no reference count in the common case.
    pub type Loaded<T> = arc_swap::Guard<Option<Arc<T>>>;

    impl<T> ArcCell<T> {
        /// A place that holds `value`.
        #[must_use]
        pub fn new(value: Option<Arc<T>>) -> ArcCell<T> {
            ArcCell(arc_swap::ArcSwapOption::new(value))
        }

        /// What is held now. Cost: some nanoseconds, no lock.
        #[must_use]
        pub fn load(&self) -> Loaded<T> {
            self.0.load()
        }

        /// Puts `value` in and returns what was held; the old value may still be in use by earlier loads.
        pub fn swap(&self, value: Option<Arc<T>>) -> Option<Arc<T>> {
            self.0.swap(value)
        }
    }
}

#[cfg(fanfare_loom)]
mod real {
    use loom::sync::{Arc, Mutex};

    /// The modelled twin: see the header of the module above.
    #[derive(Debug)]
    pub struct ArcCell<T>(Mutex<Option<Arc<T>>>);

    /// A loaded value.
    pub type Loaded<T> = Option<Arc<T>>;

    impl<T> ArcCell<T> {
        /// A place that holds `value`.
        pub fn new(value: Option<Arc<T>>) -> ArcCell<T> {
            ArcCell(Mutex::new(value))
        }

        /// What is held now.
        pub fn load(&self) -> Loaded<T> {
            self.0.lock().unwrap().clone()
        }

        /// Puts `value` in and returns what was held.
        pub fn swap(&self, value: Option<Arc<T>>) -> Option<Arc<T>> {
            std::mem::replace(&mut *self.0.lock().unwrap(), value)
        }
    }
}

pub use real::{ArcCell, Loaded};
