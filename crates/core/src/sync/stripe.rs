//! Owns the small number that a thread has while it lives, the same for everything that keeps a line of
//! memory for each thread. No two living threads have the same one, besides the last, which is of all
//! for whom none is left.

/// How many there are: enough for the threads of a runtime on most machines.
pub(crate) const STRIPES: usize = if cfg!(flushcast_shuttle) { 3 } else { 32 };
/// The one of the threads for which none is left.
pub(crate) const SHARED: usize = STRIPES - 1;

#[cfg(not(flushcast_shuttle))]
pub(crate) use real::{drawn, own};

#[cfg(not(flushcast_shuttle))]
mod real {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use parking_lot::Mutex;

    use super::SHARED;

    std::thread_local! {
        static OWN: Cell<usize> = const { Cell::new(UNKNOWN) };
        static HELD: Held = const { Held(Cell::new(SHARED)) };
    }

    // Of a thread that has no number: it has not asked for one, or must not ask again. One for which none
    // was left has [`SHARED`].
    const UNKNOWN: usize = usize::MAX;
    const ENDED: usize = UNKNOWN - 1;

    /// Those that no thread has any more. Handing one on under its lock shows the next thread all that
    /// the last has done.
    static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    /// Whether there are any.
    static ANY_FREE: AtomicBool = AtomicBool::new(false);
    static DRAWN: AtomicUsize = AtomicUsize::new(0);

    /// Gives the number back when the thread ends.
    struct Held(Cell<usize>);

    impl Drop for Held {
        fn drop(&mut self) {
            // What the thread does behind this, it does as one of many.
            let _ = OWN.try_with(|own| own.set(ENDED));
            if self.0.get() < SHARED {
                let mut free = FREE.lock();
                free.push(self.0.get());
                ANY_FREE.store(true, Ordering::Relaxed);
            }
        }
    }

    /// This thread's.
    #[inline]
    pub(crate) fn own() -> usize {
        let own = OWN.get();
        if own < SHARED { own } else { take() }
    }

    /// For a thread that has none of its own.
    #[cold]
    fn take() -> usize {
        let asks = match OWN.get() {
            ENDED => false,
            SHARED => ANY_FREE.load(Ordering::Relaxed),
            _ => true,
        };
        if !asks {
            return SHARED;
        }
        let mut free = FREE.lock();
        let own = free.pop().unwrap_or_else(|| {
            let own = DRAWN.load(Ordering::Relaxed).min(SHARED);
            DRAWN.store((own + 1).min(SHARED), Ordering::SeqCst);
            own
        });
        ANY_FREE.store(!free.is_empty(), Ordering::Relaxed);
        drop(free);
        // A thread that is ending has nobody who would give it back.
        let own = HELD.try_with(|held| held.0.set(own)).map_or(SHARED, |()| own);
        OWN.set(own);
        own
    }

    /// All numbers that threads have of their own are below this, and were before what they do with them,
    /// in the one order of all that is [`SeqCst`](Ordering::SeqCst).
    pub(crate) fn drawn() -> usize {
        DRAWN.load(Ordering::SeqCst)
    }
}

/// The explorer's threads have numbers of their own.
#[cfg(flushcast_shuttle)]
pub(crate) fn own() -> usize {
    usize::from(shuttle::current::me()).min(SHARED)
}

#[cfg(flushcast_shuttle)]
pub(crate) fn drawn() -> usize {
    SHARED
}

#[cfg(all(test, not(flushcast_shuttle)))]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn no_two_living_threads_have_the_same_number_and_one_that_has_none_gets_one_later() {
        const THREADS: usize = 2 * STRIPES;
        let all_asked = Barrier::new(THREADS);
        let all = crate::sync::Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let first = own();
                    all.lock().push(first);
                    // Until here nobody ends.
                    all_asked.wait();
                    assert!(first == SHARED || own() == first);
                    while own() == SHARED {
                        thread::yield_now();
                    }
                });
            }
        });
        let mut all = all.into_inner();
        all.retain(|&number| number != SHARED);
        let held = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), held);
    }
}
