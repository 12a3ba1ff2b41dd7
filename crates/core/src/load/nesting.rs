//! Owns which loads are on the stack: those whose loader is being polled, the innermost last. Who waits for
//! one of them from inside would wait for itself.
//! It must never be asked but while a future of this thread is polled.

use std::cell::RefCell;
use std::sync::Arc;

use super::Flight;

/// Where a flight lies in memory: of those that are held, no two are at one place.
pub(super) type Place = usize;

type Stack = RefCell<Vec<Place>>;

#[cfg(not(flushcast_shuttle))]
std::thread_local! { static STACK: Stack = const { RefCell::new(Vec::new()) }; }
// The explorer's threads share one of the system's.
#[cfg(flushcast_shuttle)]
shuttle::thread_local! { static STACK: Stack = RefCell::new(Vec::new()); }

pub(super) fn place<K, V>(flight: &Arc<Flight<K, V>>) -> Place {
    Arc::as_ptr(flight).addr()
}

/// Runs this, which must not panic, as a part of the loads of flights that are held meanwhile.
pub(super) fn leading<T>(led: &[Place], run: impl FnOnce() -> T) -> T {
    // At the end of a thread there may be no place to put anything: then who waits does until the time-out.
    let before = STACK.try_with(|stack| {
        let mut stack = stack.borrow_mut();
        let before = stack.len();
        stack.extend_from_slice(led);
        before
    });
    let told = run();
    if let Ok(before) = before {
        let _ = STACK.try_with(|stack| stack.borrow_mut().truncate(before));
    }
    told
}

/// Whether who asks is a part of this flight's own load.
pub(super) fn is_inside<K, V>(flight: &Arc<Flight<K, V>>) -> bool {
    STACK.try_with(|stack| stack.borrow().contains(&place(flight))).unwrap_or(false)
}
