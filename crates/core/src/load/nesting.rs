//! Owns which loads are on the stack: those whose loader is being polled, the innermost last; and which of
//! them wait for the end of which others. Who would close a ring by waiting would wait for itself.
//! It must never be asked but while a future of this thread is polled.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::Flight;
use crate::cache::Stamp;

/// A flight: where it lies in memory, and its stamp, for when another one has come to lie there.
pub(super) type Place = (usize, Stamp);

/// How often a load waits for another one.
type Waits = BTreeMap<(Place, Place), usize>;

/// What loads wait for, of all caches: only of those that wait for one that they do not run themselves. Not of
/// the explorer's world: under it nobody waits for anything.
static WAITS: Mutex<Waits> = Mutex::new(BTreeMap::new());
/// With more loads on the stack, as where one call loads many keys, it is not noted for what each waits.
const MOST_NOTED: usize = 64;

type Stack = RefCell<Vec<Place>>;

#[cfg(not(flushcast_shuttle))]
std::thread_local! { static STACK: Stack = const { RefCell::new(Vec::new()) }; }
// The explorer's threads share one of the system's.
#[cfg(flushcast_shuttle)]
shuttle::thread_local! { static STACK: Stack = RefCell::new(Vec::new()); }

pub(super) fn place<K, V>(flight: &Arc<Flight<K, V>>) -> Place {
    (Arc::as_ptr(flight).addr(), flight.birth().stamp)
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

/// Runs the application's code, which must not panic, as a part of the load of this flight.
pub(crate) fn part_of<K, V, T>(flight: &Arc<Flight<K, V>>, run: impl FnOnce() -> T) -> T {
    leading(&[place(flight)], run)
}

/// That loads wait for another one, for as long as this is held.
#[derive(Default)]
pub(super) struct Wait(SmallVec<[(Place, Place); 1]>);

impl Drop for Wait {
    fn drop(&mut self) {
        if self.0.is_empty() {
            return;
        }
        let mut waits = WAITS.lock();
        for wait in &self.0 {
            match waits.get_mut(wait) {
                Some(times) if *times > 1 => *times -= 1,
                _ => drop(waits.remove(wait)),
            }
        }
    }
}

/// To be held by who waits for this flight; nothing if he must not, because it waits for a load that he is a
/// part of, or is that load.
pub(super) fn begin_wait<K, V>(flight: &Arc<Flight<K, V>>) -> Option<Wait> {
    let inside = STACK.try_with(|stack| stack.borrow().clone()).unwrap_or_default();
    let awaited = place(flight);
    if inside.contains(&awaited) {
        return None;
    }
    if inside.is_empty() || inside.len() > MOST_NOTED {
        return Some(Wait::default());
    }
    let mut waits = WAITS.lock();
    if waits_for_one_of(&waits, awaited, &inside) {
        return None;
    }
    let begun = inside.into_iter().map(|load| (load, awaited)).collect();
    let wait = Wait(begun);
    wait.0.iter().for_each(|&wait| *waits.entry(wait).or_default() += 1);
    Some(wait)
}

/// Whether this load is one of those, or waits for one, directly or through others.
fn waits_for_one_of(waits: &Waits, load: Place, those: &[Place]) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![load]);
    while let Some(load) = next.pop() {
        if those.contains(&load) {
            return true;
        }
        if seen.insert(load) {
            let of_it = waits.range((load, (0, Stamp::FIRST))..);
            let of_it = of_it.take_while(|((waiting, _), _)| *waiting == load);
            next.extend(of_it.map(|((_, awaited), _)| *awaited));
        }
    }
    false
}

#[cfg(all(test, not(flushcast_shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_found_however_long_and_each_wait_is_noted_as_often_as_it_is_begun() {
        let load = |number| (number, Stamp::FIRST);
        let wait = |from, to| ((load(from), load(to)), 1);
        let waits: Waits = [wait(1, 2), wait(2, 3), wait(2, 4), wait(4, 5), wait(6, 1)].into();
        assert!(waits_for_one_of(&waits, load(1), &[load(9), load(5)]));
        assert!(!waits_for_one_of(&waits, load(3), &[load(1), load(2)]));
        assert!(!waits_for_one_of(&waits, load(5), &[load(6)]));
    }
}
