//! Owns how loads and writes end: what that does to the simple map, and what those who wait are told.

use std::cell::Cell;
use std::future::{Future, poll_fn, ready};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::load::{Ending, Landing, Lead, LoadError, Loaded, Waiter, put};

use super::map::{Load, Model};
use super::steps::Step;
use super::{Gone, Numbers, TIME_TO_LIVE, seconds, tagged};

/// One that is under way, with those who wait for it.
pub(super) struct Flight<'c> {
    run: Run<'c>,
    pub(super) waiters: Vec<Waiter<String, u64>>,
}

enum Run<'c> {
    Load(Lead<'c, String, u64>),
    Write { future: Writing<'c>, source: Rc<Source> },
}

type Writing<'c> = Pin<Box<dyn Future<Output = Result<u64, LoadError<u64>>> + 'c>>;

/// Where a write is told what its change of the source came to, and tells that it is announced.
#[derive(Default)]
struct Source {
    told: Cell<Option<Result<Loaded<u64>, u64>>>,
    announced: Cell<u32>,
}

fn poll<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(told) => Some(told),
        Poll::Pending => None,
    }
}

impl<'c> Flight<'c> {
    pub(super) fn load(lead: Lead<'c, String, u64>) -> Self {
        Self { run: Run::Load(lead), waiters: Vec::new() }
    }

    /// A write that has begun. It goes on, whoever called it.
    pub(super) fn put(cache: &'c Numbers, key: &'c String, clock: &Rc<Cell<Time>>) -> Self {
        let source = Rc::<Source>::default();
        let (clock, asked, told) = (Rc::clone(clock), Rc::clone(&source), Rc::clone(&source));
        let write = move || poll_fn(move |_| told.told.take().map_or(Poll::Pending, Poll::Ready));
        let announce = move || asked.announced.set(asked.announced.get() + 1);
        let put = put(cache, key, move || clock.get(), write, announce);
        let mut future: Writing<'c> = Box::pin(put);
        assert!(poll(future.as_mut()).is_none(), "it has not been told yet");
        Self { run: Run::Write { future, source }, waiters: Vec::new() }
    }
}

/// What those who wait are told, and whether that is outdated.
type Told = (Option<u64>, bool);

/// Ends this one as a step says. Gives back whether its key is dropped behind that: it is however a write
/// ends, unless what was written is held.
pub(super) fn end(
    flight: Flight<'_>,
    load: &Load,
    step: &Step,
    model: &mut Model,
    gone: &Gone,
) -> bool {
    let Flight { run, waiters } = flight;
    let (told, drops) = match run {
        Run::Load(lead) => (end_load(lead, load, step, model, gone), false),
        Run::Write { future, source } => {
            let (told, is_held) = end_write(future, &source, load, step, model, gone);
            assert_eq!(source.announced.get(), 1, "{load:?} by {step:?}");
            (told, !is_held)
        }
    };
    for mut waiter in waiters {
        match (poll(pin!(&mut waiter)), told) {
            (Some(Ending::Value { value, outdated_since }), Ok(told)) => {
                assert_eq!((value, outdated_since.is_some()), told, "{load:?} by {step:?}");
            }
            (Some(Ending::Failed(_)), Err(true)) | (Some(Ending::Abandoned), Err(false)) => {}
            (told, _) => panic!("{load:?} by {step:?}: {told:?}"),
        }
    }
    drops
}

/// What those who wait are told; if nothing, whether it has failed.
fn end_load(
    lead: Lead<'_, String, u64>,
    load: &Load,
    step: &Step,
    model: &mut Model,
    gone: &Gone,
) -> Result<Told, bool> {
    let now = seconds(model.now);
    match *step {
        Step::EndWithoutValue(_) => {
            let wanted = if load.fenced { Landing::Fenced } else { Landing::Unstored };
            assert_eq!(lead.complete_without_value(now), wanted, "{load:?}");
            if !load.fenced {
                model.copies.remove(&load.key);
            }
            Ok((None, false))
        }
        Step::Fail { falls_back, .. } => {
            model.drawn += 1;
            let drawn = model.drawn;
            let failed = match falls_back {
                true => {
                    poll(pin!(lead.run(|| now, || ready(Err::<u64, _>(drawn))))).map(Result::ok)
                }
                false => {
                    poll(pin!(lead.run(|| now, || ready(Err::<u64, _>("down"))))).map(Result::ok)
                }
            };
            let told = model.fail(load, falls_back).then_some(drawn);
            assert_eq!(failed, Some(told), "{load:?}");
            told.map(|value| (Some(value), false)).ok_or(true)
        }
        Step::GiveUp(_) => {
            drop(lead);
            Err(false)
        }
        _ => {
            let (loaded, wanted, outdated) = answer(load, step, model);
            let landing = lead.complete_at(loaded, now);
            let made_room = wanted == Landing::Stored && gone.made_room(model.drawn);
            assert_eq!(landing, if made_room { Landing::Unstored } else { wanted }, "{load:?}");
            Ok((Some(model.drawn), outdated))
        }
    }
}

/// What those who wait are told, as of a load, and whether what was written is held.
fn end_write(
    mut future: Writing<'_>,
    source: &Source,
    load: &Load,
    step: &Step,
    model: &mut Model,
    gone: &Gone,
) -> (Result<Told, bool>, bool) {
    match *step {
        Step::GiveUp(_) => (Err(false), false),
        // Also where there would be a fallback for a load.
        Step::EndWithoutValue(_) | Step::Fail { .. } => {
            source.told.set(Some(Err(model.drawn)));
            assert!(matches!(poll(future.as_mut()), Some(Err(LoadError::Failed(_)))), "{load:?}");
            // Who waits is told nothing by it: that a write has failed says nothing of a load.
            (Err(false), false)
        }
        _ => {
            let (loaded, wanted, outdated) = answer(load, step, model);
            source.told.set(Some(Ok(loaded)));
            let written = poll(future.as_mut()).map(Result::ok);
            assert_eq!(written, Some(Some(model.drawn)), "{load:?}");
            let is_held = wanted == Landing::Stored && !gone.made_room(model.drawn);
            (Ok((Some(model.drawn), outdated)), is_held)
        }
    }
}

/// What the source says, what is to become of it, and whether one of its tags is outdated.
fn answer(load: &Load, step: &Step, model: &mut Model) -> (Loaded<u64>, Landing, bool) {
    let Step::End { ref tags, time_to_live, time_to_idle, weight, stored, .. } = *step else {
        unreachable!("{step:?}")
    };
    model.drawn += 1;
    let loaded = tagged(model.drawn, tags).weight(weight);
    let lives = |loaded: Loaded<_>, age| loaded.time_to_live(Duration::from_secs(age));
    let idles = |loaded: Loaded<_>, age| loaded.time_to_idle(Duration::from_secs(age));
    let loaded = time_to_live.into_iter().fold(loaded, lives);
    let loaded = time_to_idle.into_iter().fold(loaded, idles);
    let loaded = if stored { loaded } else { loaded.not_stored() };
    let flushed = tags.iter().any(|tag| load.flushed.contains(tag));
    let expired = tags.iter().any(|tag| load.expired.contains(tag));
    let outdated = flushed || expired;
    let mut copy = model.copy(load.started, tags, weight);
    copy.expires = load.started + time_to_live.unwrap_or(TIME_TO_LIVE);
    copy.idle = time_to_idle;
    // The younger answer wins, whether it is stored or not.
    if expired {
        copy.expires = copy.ends().min(model.now);
    }
    let stays = stored && !flushed && !(expired && model.keep_expired == 0);
    let is_held = !load.fenced && model.answer(load.key, copy, stays);
    let wanted = match (load.fenced || outdated, is_held) {
        (true, _) => Landing::Fenced,
        (false, true) => Landing::Stored,
        (false, false) => Landing::Unstored,
    };
    (loaded, wanted, outdated)
}
