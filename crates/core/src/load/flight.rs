//! Owns one load under way and those who wait for its end.
//! It must never run the loader: the leader does, on its own task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{Failure, LoadError};
use crate::cache::app_code::{contain, let_go};
use crate::cache::{Birth, Stamp};
use crate::sync::Mutex;

/// How a flight ended for those who waited.
#[derive(Debug, Clone)]
pub enum Ending<V> {
    /// With a value, stored or not, or with the news that there is none.
    Value {
        /// The value; nothing if a loader of many keys had none for this one.
        value: Option<V>,
        /// Reads that began behind this place must not have it: a tag of it was flushed there.
        outdated_since: Option<Stamp>,
    },
    /// Without one, for this reason.
    Failed(Failure),
    /// The leader went away; the next one is to lead.
    Abandoned,
}

impl<V> Ending<V> {
    /// What it comes to for a read that began at this place and has waited: a value or none; nothing if it
    /// has to ask again, because that load was not for this read, for instance.
    pub(super) fn told<E: Send + Sync + 'static>(
        self,
        began: Stamp,
        is_for_this_read: bool,
    ) -> Result<Option<Option<V>>, LoadError<E>> {
        match self {
            Ending::Value { value, outdated_since }
                if is_for_this_read && outdated_since.is_none_or(|mark| began < mark) =>
            {
                Ok(Some(value))
            }
            // Another call may load the same key with a loader of another error type; its error
            // cannot be told here, so this caller tries for itself.
            Ending::Failed(failure) if is_for_this_read => failure.downcast().map_or(Ok(None), Err),
            not_for_this => {
                let_go(not_for_this);
                Ok(None)
            }
        }
    }
}

/// One running load of one key.
pub struct Flight<K, V> {
    key: K,
    hash: u64,
    birth: Birth,
    waiting: Mutex<Waiting<V>>,
}

struct Waiting<V> {
    ending: Option<Ending<V>>,
    /// By seat. Those who leave make theirs free, so that there are as many as waited at a time at most.
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl<K, V> Flight<K, V> {
    pub(crate) fn new(key: K, hash: u64, birth: Birth) -> Self {
        let waiting = Mutex::new(Waiting { ending: None, wakers: Vec::new(), free: Vec::new() });
        Self { key, hash, birth, waiting }
    }

    pub(crate) fn key(&self) -> &K {
        &self.key
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn birth(&self) -> Birth {
        self.birth
    }

    /// Tells everybody who waits, now or later. Only the first ending counts: gives back whether this is it.
    pub(crate) fn end(&self, ending: Ending<V>) -> bool {
        let mut waiting = self.waiting.lock();
        let is_first = waiting.ending.is_none();
        let spare = if is_first { waiting.ending.replace(ending) } else { Some(ending) };
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        let_go(spare);
        // Should one panic, the others are still to be woken.
        for waker in wakers.into_iter().flatten() {
            contain(|| waker.wake());
        }
        is_first
    }
}

impl<K, V> Drop for Flight<K, V> {
    fn drop(&mut self) {
        let_go(self.waiting.get_mut().ending.take());
    }
}

/// Waits for the end of somebody else's load. Cancel by dropping.
pub struct Waiter<K, V> {
    flight: Arc<Flight<K, V>>,
    seat: Option<usize>,
}

impl<K, V> Waiter<K, V> {
    pub(crate) fn new(flight: Arc<Flight<K, V>>) -> Self {
        Self { flight, seat: None }
    }

    pub(crate) fn flight(&self) -> &Arc<Flight<K, V>> {
        &self.flight
    }
}

impl<K, V: Clone> Future for Waiter<K, V> {
    type Output = Ending<V>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ending<V>> {
        let flight = Arc::clone(&self.flight);
        let mut waiting = flight.waiting.lock();
        if let Some(ending) = &waiting.ending {
            return Poll::Ready(ending.clone());
        }
        let free = |waiting: &mut Waiting<V>| waiting.free.pop().unwrap_or(waiting.wakers.len());
        let seat = self.seat.unwrap_or_else(|| free(&mut waiting));
        let (waker, mut before) = (Some(context.waker().clone()), None);
        match waiting.wakers.get_mut(seat) {
            Some(taken) => before = std::mem::replace(taken, waker),
            None => waiting.wakers.push(waker),
        }
        drop(waiting);
        // It may be all that is left of a task, and of what that holds.
        drop(before);
        self.seat = Some(seat);
        Poll::Pending
    }
}

impl<K, V> Drop for Waiter<K, V> {
    fn drop(&mut self) {
        let Some(seat) = self.seat else { return };
        let mut waiting = self.flight.waiting.lock();
        let left = waiting.wakers.get_mut(seat).and_then(Option::take);
        if left.is_some() {
            waiting.free.push(seat);
        }
        drop(waiting);
        drop(left);
    }
}

#[cfg(all(test, not(flushcast_shuttle)))]
mod tests {
    use super::*;
    use crate::Time;
    use crate::cache::Stamp;

    #[test]
    fn who_gives_up_leaves_its_seat_to_the_next() {
        let birth = Birth { started: Time::ZERO, stamp: Stamp::FIRST };
        let flight = Arc::new(Flight::<u64, u64>::new(7, 0, birth));
        let mut context = Context::from_waker(Waker::noop());
        let mut wait = || {
            let mut waiter = Waiter::new(Arc::clone(&flight));
            assert!(Pin::new(&mut waiter).poll(&mut context).is_pending());
            waiter
        };
        let (stays, leaves) = (wait(), wait());
        drop(leaves);
        for _ in 0..1000 {
            drop((wait(), wait()));
        }
        let seats = |flight: &Flight<u64, u64>| {
            let waiting = flight.waiting.lock();
            (waiting.wakers.len(), waiting.free.len())
        };
        assert_eq!(seats(&flight), (3, 2), "as many as waited at a time");
        flight.end(Ending::Abandoned);
        drop(stays);
    }
}
