//! Owns one load under way and those who wait for its end.
//! It must never run the loader: the leader does, on its own task.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::LoadError;
use crate::cache::app_code::contain;
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
    /// With the loader's error, of whatever type the leader's loader has.
    Failed(Arc<dyn Any + Send + Sync>),
    /// With a panic of the loader.
    Panicked(Arc<str>),
    /// It took longer than this, which is the most that it may.
    TimedOut(Duration),
    /// With tags over the limits: how many, and the length of the longest.
    BadTags(usize, usize),
    /// The leader went away; the next one is to lead.
    Abandoned,
}

impl<V> Ending<V> {
    /// What it comes to for a read that began at this place and has waited: a value or none; nothing if it
    /// has to ask again.
    pub(super) fn told<E: Send + Sync + 'static>(
        self,
        began: Stamp,
    ) -> Result<Option<Option<V>>, LoadError<E>> {
        match self {
            Ending::Value { value, outdated_since } => {
                Ok(outdated_since.is_none_or(|mark| began < mark).then_some(value))
            }
            Ending::Panicked(message) => Err(LoadError::Panicked { message }),
            Ending::TimedOut(after) => Err(LoadError::TimedOut { after }),
            Ending::BadTags(tags, longest) => Err(LoadError::BadTags { tags, longest }),
            // Another call may load the same key with a loader of another error type; its error
            // cannot be told here, so this caller tries for itself.
            Ending::Failed(error) => match error.downcast::<E>() {
                Ok(error) => Err(LoadError::Failed(error)),
                Err(_) => Ok(None),
            },
            Ending::Abandoned => Ok(None),
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
    wakers: Vec<Option<Waker>>,
}

impl<K, V> Flight<K, V> {
    pub(crate) fn new(key: K, hash: u64, birth: Birth) -> Self {
        let waiting = Mutex::new(Waiting { ending: None, wakers: Vec::new() });
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

    /// Tells everybody who waits, now or later. Only the first ending counts.
    pub(crate) fn end(&self, ending: Ending<V>) {
        let mut waiting = self.waiting.lock();
        if waiting.ending.is_none() {
            waiting.ending = Some(ending);
        }
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        // Should one panic, the others are still to be woken.
        for waker in wakers.into_iter().flatten() {
            contain(|| waker.wake());
        }
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

    pub(super) fn flight(&self) -> Arc<Flight<K, V>> {
        Arc::clone(&self.flight)
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
        let seat = self.seat.unwrap_or(waiting.wakers.len());
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
        let left = self.flight.waiting.lock().wakers.get_mut(seat).and_then(Option::take);
        drop(left);
    }
}
