//! Owns calls of the application that are under way: the real futures, polled by hand, over a source
//! that takes virtual time and may fail.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use flushcast_core::Time;
use flushcast_core::cache::{Cache, Why};
use flushcast_core::load::{LoadError, Loaded, load_missed, put};

use crate::member::Clock;
use crate::tap::Floor;
use crate::what::{Id, tag_of};

pub(crate) type Got = Result<u64, LoadError<&'static str>>;

/// A load, or a write, that has begun somewhere and waits for the world to sample and end it.
#[derive(Debug, Default)]
pub(crate) struct LoadCell {
    begun: Cell<bool>,
    /// What the source said, at some moment of the load.
    pub(crate) sampled: Cell<Option<u64>>,
    ended: Cell<Option<bool>>,
    /// The read has found a copy that is to be loaded again.
    pub(crate) is_due: Cell<bool>,
    /// The read was given an expired copy.
    pub(crate) is_expired: Cell<bool>,
    /// The write is over here, and its flush is to be announced.
    pub(crate) announces: Cell<bool>,
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
    pub(crate) applied: Floor,
    /// The newest version whose flush somebody awaited and was told `Ok`.
    pub(crate) confirmed: Floor,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A copy, a load, or an expired copy if that fails.
    Read,
    /// A load in the background.
    Refresh,
    /// A write that leaves its value here.
    Put,
}

/// One call for one key, from its start.
pub(crate) struct Read {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
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
    /// `chance` is what the early refresh draws.
    pub(crate) fn start(
        (id, kind, key): (u64, Kind, usize),
        floors: ReadFloors,
        cache: &Arc<Cache<Id, u64>>,
        clock: Clock,
        chance: f64,
    ) -> Self {
        let (cache, load) = (Arc::clone(cache), Rc::new(LoadCell::default()));
        let cell = Rc::clone(&load);
        let future: Pin<Box<dyn Future<Output = Got>>> = match kind {
            Kind::Read => Box::pin(async move { read(key, &cache, &clock, &cell, chance).await }),
            Kind::Refresh => Box::pin(async move {
                let now = || clock.now();
                match cache.begin_refresh(&Id(key), now()) {
                    Ok(lead) => lead.run(now, || source(key, &cell)).await,
                    Err(_) => Err(LoadError::Failed(Arc::new("loads already"))),
                }
            }),
            Kind::Put => Box::pin(async move {
                let announce = || cell.announces.set(true);
                put(&cache, &Id(key), || clock.now(), || source(key, &cell), announce).await
            }),
        };
        Self { id, kind, key, floors, load, future, announced: false }
    }

    /// Drops it where it stands; the source goes on with what it was asked for.
    pub(crate) fn give_up(&mut self) {
        let (key, cell) = (self.key, Rc::clone(&self.load));
        self.future = Box::pin(async move {
            let told = source(key, &cell).await.map(|loaded| *loaded.value());
            told.map_err(|error| LoadError::Failed(Arc::new(error)))
        });
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

/// As the library's read-through does.
async fn read(
    key: usize,
    cache: &Cache<Id, u64>,
    clock: &Clock,
    cell: &LoadCell,
    chance: f64,
) -> Got {
    let now = || clock.now();
    if let Some((value, is_due)) = cache.get_or_due(&Id(key), now, || chance) {
        cell.is_due.set(is_due);
        return Ok(value);
    }
    let loaded = load_missed(cache, Id(key), now, || source(key, cell)).await;
    loaded.or_else(|error| {
        let (value, _) = cache.serve_expired(&Id(key), now(), Why::Failed).ok_or(error)?;
        cell.is_expired.set(true);
        Ok(value)
    })
}

/// The source's answer, once the world has given it.
async fn source(key: usize, cell: &LoadCell) -> Result<Loaded<u64>, &'static str> {
    cell.begun.set(true);
    poll_fn(|_| match (cell.ended.get(), cell.sampled.get()) {
        (Some(true), _) => Poll::Ready(Err("source down")),
        (Some(false), Some(value)) => Poll::Ready(Ok(Loaded::new(value).tag(tag_of(key)))),
        _ => Poll::Pending,
    })
    .await
}
