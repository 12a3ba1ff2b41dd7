//! Owns the choice of locks and atomics: the real ones, or those of the schedule explorer.
//! Everything shared between threads in this crate takes them from here and nowhere else, besides what
//! no promise depends on (counts, and what makes room) and the numbers of threads, which the explorer has
//! its own of.

pub(crate) mod locks;
pub(crate) mod stripe;

#[cfg(not(flushcast_shuttle))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(flushcast_shuttle))]
pub(crate) use std::sync::atomic;

#[cfg(flushcast_shuttle)]
pub(crate) use explored::Mutex;
#[cfg(flushcast_shuttle)]
pub(crate) use shuttle::sync::{MutexGuard, atomic};

#[cfg(flushcast_shuttle)]
mod explored {
    use std::sync::PoisonError;

    use shuttle::sync::MutexGuard;

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
    }
}

/// For who waits until another thread is done with something short; `turns` is how often this was called
/// for it before.
#[cfg(not(flushcast_shuttle))]
#[expect(clippy::disallowed_methods, reason = "a lock waits; what the core decides does not")]
pub(crate) fn relax(turns: u32) {
    const SPINS: u32 = 64;
    const SPINS_AND_YIELDS: u32 = SPINS + 32;
    /// The other one has lost its core for long, or does what is not short.
    const PAUSE: std::time::Duration = std::time::Duration::from_micros(50);
    match turns {
        0..SPINS => std::hint::spin_loop(),
        SPINS..SPINS_AND_YIELDS => std::thread::yield_now(),
        _ => std::thread::sleep(PAUSE),
    }
}

#[cfg(flushcast_shuttle)]
pub(crate) fn relax(_turns: u32) {
    shuttle::thread::yield_now();
}
