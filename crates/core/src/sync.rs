//! Owns the choice of locks and atomics: the real ones, or those of the schedule explorer.
//! Everything shared between threads in this crate takes them from here and nowhere else.

#[cfg(not(flushcast_shuttle))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(flushcast_shuttle))]
pub(crate) use std::sync::atomic;

#[cfg(flushcast_shuttle)]
pub(crate) use explored::Mutex;
#[cfg(flushcast_shuttle)]
pub(crate) use shuttle::sync::atomic;

#[cfg(flushcast_shuttle)]
mod explored {
    /// The explorer's mutex behind the interface of the real one, which knows no poison.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> shuttle::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}
