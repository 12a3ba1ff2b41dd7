//! Owns reads under way: the real read-through future, polled by hand, over a loader that takes
//! virtual time and may fail.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use flushcast_core::Time;
use flushcast_core::cache::Cache;
use flushcast_core::load::{LoadError, Loaded, get_or_load};

use crate::member::Clock;
use crate::what::tag_of;

type Got = Result<u64, LoadError<&'static str>>;

/// A load that has begun somewhere and waits for the world to sample and end it.
#[derive(Debug, Default)]
pub(crate) struct LoadCell {
    begun: Cell<bool>,
    /// What the source said, at some moment of the load.
    pub(crate) sampled: Cell<Option<u64>>,
    ended: Cell<Option<bool>>,
}

impl LoadCell {
    /// Lets the loader return; a failing one without a value.
    pub(crate) fn end(&self, fails: bool) {
        self.ended.set(Some(fails));
    }
}

/// What a read must not be older than, fixed at its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadFloors {
    /// When it started.
    pub(crate) started: Time,
    /// The newest version whose flush was applied at its node.
    pub(crate) applied: u64,
    /// The newest version whose flush somebody awaited and was told `Ok`.
    pub(crate) confirmed: u64,
}

/// One read of one key, from its start.
pub(crate) struct Read {
    pub(crate) id: u64,
    pub(crate) key: usize,
    pub(crate) floors: ReadFloors,
    pub(crate) load: Rc<LoadCell>,
    future: Pin<Box<dyn Future<Output = Got>>>,
    announced: bool,
}

/// What polling a read came to.
pub(crate) enum Step {
    /// Its own loader was called just now.
    Loads,
    /// It waits, for its own load or another's.
    Waits,
    Done(Got),
}

impl Read {
    pub(crate) fn start(
        id: u64,
        key: usize,
        floors: ReadFloors,
        cache: &Arc<Cache<u64, u64>>,
        clock: Clock,
    ) -> Self {
        let (cache, load) = (Arc::clone(cache), Rc::new(LoadCell::default()));
        let cell = Rc::clone(&load);
        let future = Box::pin(async move {
            let now = || clock.now();
            let loader = || async {
                cell.begun.set(true);
                poll_fn(|_| match (cell.ended.get(), cell.sampled.get()) {
                    (Some(true), _) => Poll::Ready(Err("source down")),
                    (Some(false), Some(value)) => {
                        Poll::Ready(Ok(Loaded::new(value).tag(tag_of(key))))
                    }
                    _ => Poll::Pending,
                })
                .await
            };
            get_or_load(&cache, &(key as u64), now, loader).await
        });
        Self { id, key, floors, load, future, announced: false }
    }

    pub(crate) fn step(&mut self) -> Step {
        match self.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(loaded) => Step::Done(loaded),
            Poll::Pending if self.load.begun.get() && !self.announced => {
                self.announced = true;
                Step::Loads
            }
            Poll::Pending => Step::Waits,
        }
    }
}
