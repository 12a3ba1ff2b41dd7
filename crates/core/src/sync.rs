//! Owns the choice of locks and atomics: the real ones, or those of the schedule explorer.
//! Everything shared between threads in this crate takes them from here and nowhere else, besides what
//! no promise depends on: counts, and what makes room.

#[cfg(not(flushcast_shuttle))]
pub(crate) use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
#[cfg(not(flushcast_shuttle))]
pub(crate) use std::sync::atomic;

#[cfg(flushcast_shuttle)]
pub(crate) use explored::{Mutex, RwLock};
#[cfg(flushcast_shuttle)]
pub(crate) use shuttle::sync::{RwLockWriteGuard, atomic};

#[cfg(flushcast_shuttle)]
mod explored {
    use std::sync::PoisonError;

    use shuttle::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

    /// The explorer's mutex behind the interface of the real one, which knows no poison.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// Its lock of many readers or one writer.
    #[derive(Debug)]
    pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
