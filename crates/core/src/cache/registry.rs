//! Owns the caches of a node by name, so that a flush from elsewhere finds its copies and flights.
//! It must never keep a cache alive that the application has let go.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::{Apply, Applying, Guarantee, Proof, Sweep};
use crate::Time;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::wire::{EVERY_CACHE, Scope};

/// A cache of any type, as a flush sees it: a way to it that does not keep it alive. The registry calls
/// it under whatever lock its caller holds, so nothing of this runs the application's code, but where it
/// says so.
pub trait Flushable: Send + Sync {
    /// Begins to apply what `scopes` name together. When the job is done, no read that starts later gets
    /// it, and no flight that is under way will install it. `now` is by the clock of its reads: what is to
    /// expire has done so then, at the latest.
    fn begin(&self, scopes: &[Scope<'_>], now: Time) -> Box<dyn Apply>;

    /// Drops everything, as the application's own call does. Runs its code: to be called without a lock.
    fn flush_all(&self);

    /// When this returns, nothing whose load started before is served. Costs one atomic: copies
    /// are replaced as they are asked for.
    fn distrust(&self);

    /// Nothing is served or stored from here on: every read loads for itself. Costs one atomic:
    /// what is held goes with the cache.
    fn close(&self);

    /// Whether the application still has the cache: once it has not, it never will again.
    fn is_held(&self) -> bool;

    /// Does one piece of a [sweep](super::Cache::sweep) of what is over; gives back whether all is done, as it
    /// is where the application wants none. Runs the application's code.
    fn sweep(&self, _sweep: &mut Sweep, _now: Time) -> bool {
        true
    }
}

/// A cache of this name is in use already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cache {name:?} exists already: clone its handle instead")]
pub struct NameTaken {
    /// The name.
    pub name: String,
}

/// Caches by name. Each takes its own out when the application lets it go.
#[derive(Default)]
pub(super) struct Names(Mutex<BTreeMap<String, Named>>);

impl Names {
    /// The cache of this name may not be held any more.
    pub(super) fn let_go(&self, name: &str) {
        let mut by_name = self.0.lock();
        if by_name.get(name).is_some_and(|named| !named.cache.is_held()) {
            by_name.remove(name);
        }
    }
}

struct Named {
    guarantee: Guarantee,
    /// For how long it can do without a new proof; nothing if it asks for none.
    lease: Option<Duration>,
    cache: Arc<dyn Flushable>,
}

/// What the caches that an application holds ask of their node's proof, together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demands {
    /// Whether one of them is strict.
    pub(crate) strict: bool,
    /// The shortest time that one of them can do without a new proof; `None` if none asks for one.
    lease: Option<Duration>,
}

impl Demands {
    /// For how long the node calls itself in sync without a new proof, so that all of them serve what
    /// they hold meanwhile. Without any, as if there were one with the default guarantee.
    pub(crate) fn lease(self) -> Duration {
        self.lease.or(Guarantee::default().lease(Duration::ZERO)).unwrap_or_default()
    }
}

/// What may prove that a node has missed no flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prover {
    /// The links to its peers.
    Mesh,
    /// A log that an engine keeps.
    Log,
}

/// What each prover has published last, of bounded and of strict caches. Nobody is left out who ever has.
#[derive(Debug, Default)]
struct Published {
    mesh: Option<(Time, Time)>,
    log: Option<(Time, Time)>,
}

impl Published {
    /// What all of them have proven.
    fn all(&self) -> (Time, Time) {
        let all = [self.mesh, self.log].into_iter().flatten();
        all.reduce(|a, b| (a.0.min(b.0), a.1.min(b.1))).unwrap_or_default()
    }
}

/// The caches of one node.
#[derive(Default)]
pub struct Caches {
    names: Arc<Names>,
    had_any: AtomicBool,
    /// On the clock of reads of bounded caches, and on the node's own for strict ones.
    bounded: Arc<Proof>,
    strict: Arc<Proof>,
    published: Mutex<Published>,
    /// How far the former clock is behind the latter, besides its step, in nanoseconds.
    slept: AtomicU64,
    closed: AtomicBool,
}

impl Caches {
    /// Lets flushes reach `cache` under `name` for as long as it [is held](Flushable::is_held). The clock that its
    /// reads are on lags at most `clock_step`.
    ///
    /// # Errors
    /// [`NameTaken`] if a living cache has the name; nothing has changed then.
    pub fn register(
        &self,
        name: &str,
        guarantee: Guarantee,
        clock_step: Duration,
        cache: Arc<dyn Flushable>,
    ) -> Result<(), NameTaken> {
        let mut by_name = self.names.0.lock();
        if by_name.get(name).is_some_and(|named| named.cache.is_held()) {
            return Err(NameTaken { name: name.to_owned() });
        }
        if self.closed.load(Ordering::SeqCst) {
            cache.close();
        }
        let lease = guarantee.lease(clock_step);
        self.had_any.store(true, Ordering::Relaxed);
        by_name.insert(name.to_owned(), Named { guarantee, lease, cache });
        Ok(())
    }

    /// Begins to apply flushes at `now`, by the node's own clock, each of a cache's name and a scope: what
    /// they drop of one cache is one pass over it, and what they have expire is another one. A name that is
    /// unknown here has no copies here: nothing to do.
    ///
    /// This itself looks at no copy, and runs none of the application's code.
    pub fn begin<'a>(
        &self,
        now: Time,
        flushes: impl IntoIterator<Item = (&'a str, Scope<'a>)>,
    ) -> Applying {
        let mut scopes = BTreeMap::<_, Vec<_>>::new();
        for (name, scope) in flushes {
            scopes.entry(name).or_default().push(scope);
        }
        let by_name = self.names.0.lock();
        let jobs = scopes.into_iter().flat_map(|(name, scopes)| {
            let caches = match name {
                EVERY_CACHE => by_name.range::<str, _>(..),
                name => by_name.range::<str, _>((Bound::Included(name), Bound::Included(name))),
            };
            let held = caches.filter(|(_, named)| named.cache.is_held());
            held.map(move |(name, Named { guarantee, cache, .. })| {
                let now = if *guarantee == Guarantee::Strict { now } else { self.awake(now) };
                (name.clone(), Arc::clone(cache), cache.begin(&scopes, now))
            })
        });
        Applying::new(jobs)
    }

    /// Drops everything that all caches hold, as the application's own call does; the caller announces it,
    /// of [`EVERY_CACHE`]. Runs the application's code: to be called without a lock.
    pub fn flush_all(&self) {
        self.all(|_| true).iter().for_each(|cache| cache.flush_all());
    }

    /// Whether one of those that the application has is strict.
    pub fn has_strict(&self) -> bool {
        self.demands().strict
    }

    /// Distrusts all copies and flights of all caches, lazily.
    pub fn distrust(&self) {
        self.all(|_| true).iter().for_each(|cache| cache.distrust());
    }

    /// Like [`distrust`](Self::distrust), for caches with a [`Guarantee::Strict`] only.
    pub(crate) fn distrust_strict(&self) {
        let strict = |guarantee| guarantee == Guarantee::Strict;
        self.all(strict).iter().for_each(|cache| cache.distrust());
    }

    /// Ends all caches, for a node that leaves: nobody will tell it of flushes any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.all(|_| true).iter().for_each(|cache| cache.close());
    }

    /// All caches, each with whether it is strict: its reads are on another clock then. To be asked for a
    /// [sweep](Flushable::sweep) now and then.
    pub fn to_sweep(&self) -> Vec<(bool, Arc<dyn Flushable>)> {
        let by_name = self.names.0.lock();
        let is_strict = |named: &Named| named.guarantee == Guarantee::Strict;
        by_name.values().map(|named| (is_strict(named), Arc::clone(&named.cache))).collect()
    }

    pub(super) fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names)
    }

    fn all(&self, wanted: impl Fn(Guarantee) -> bool) -> Vec<Arc<dyn Flushable>> {
        let by_name = self.names.0.lock();
        let wanted = by_name.values().filter(|named| wanted(named.guarantee));
        wanted.map(|named| Arc::clone(&named.cache)).collect()
    }

    /// The node's proof of sync, as caches of that guarantee read it.
    pub fn proof(&self, guarantee: Guarantee) -> Arc<Proof> {
        Arc::clone(if guarantee == Guarantee::Strict { &self.strict } else { &self.bounded })
    }

    /// Tells how far the clock that bounded caches read is behind the node's own, besides its step:
    /// the time that the machine has slept, which the former does not count.
    pub fn note_sleep(&self, slept: Duration) {
        self.slept.store(u64::try_from(slept.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether there was ever any.
    pub(crate) fn any(&self) -> bool {
        self.had_any.load(Ordering::Relaxed)
    }

    /// What the caches that the application has ask of the node's proof.
    pub(crate) fn demands(&self) -> Demands {
        let by_name = self.names.0.lock();
        let held = || by_name.values().filter(|named| named.cache.is_held());
        Demands {
            strict: held().any(|named| named.guarantee == Guarantee::Strict),
            lease: held().filter_map(|named| named.lease).min(),
        }
    }

    /// Publishes what one prover has proven, on the node's clock: what caches get is what all have, from the
    /// first time on that each publishes anything.
    pub(crate) fn prove(&self, by: Prover, bounded: Time, strict: Time) {
        // To the end, or two could publish in another order than they were asked in.
        let mut published = self.published.lock();
        match by {
            Prover::Mesh => published.mesh = Some((bounded, strict)),
            Prover::Log => published.log = Some((bounded, strict)),
        }
        let (bounded, strict) = published.all();
        self.bounded.set(self.awake(bounded));
        self.strict.set(strict);
    }

    /// What the clock that bounded caches read, but for its step, says at this time of the node's own.
    fn awake(&self, time: Time) -> Time {
        let slept = Duration::from_nanos(self.slept.load(Ordering::Relaxed));
        match time {
            Time::NEVER => Time::NEVER,
            _ => Time::ZERO + time.since(Time::ZERO).saturating_sub(slept),
        }
    }
}

impl std::fmt::Debug for Caches {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.names.0.lock().keys()).finish()
    }
}

#[cfg(all(test, not(flushcast_shuttle)))]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;
    use crate::cache::{Cache, CacheConfig, HashSeeds};

    const SECOND: Duration = Duration::from_secs(1);

    fn cache(caches: &Caches, name: &str, guarantee: Guarantee) -> Arc<Cache<u64, u64>> {
        let config = CacheConfig::new(10, guarantee, HashSeeds([1, 2, 3, 4]));
        Cache::register(caches, name, config).unwrap()
    }

    #[test]
    fn what_is_asked_for_is_what_caches_ask_for_that_are_held() {
        let caches = Caches::default();
        let asked = || {
            let Demands { strict, lease } = caches.demands();
            (strict, lease)
        };
        assert_eq!(asked(), (false, None));
        let _long = cache(&caches, "long", Guarantee::Bounded(SECOND * 10));
        let long = asked();
        let short = cache(&caches, "short", Guarantee::Bounded(SECOND * 5));
        let both = asked();
        assert!(!long.0 && !both.0 && both.1 < long.1);
        let strict = cache(&caches, "strict", Guarantee::Strict);
        assert!(asked().0 && asked().1 < both.1);
        let _ever = cache(&caches, "ever", Guarantee::Eventual);
        drop(strict);
        assert_eq!(asked(), both);
        drop(short);
        assert_eq!(asked(), long);
    }

    #[test]
    fn what_is_proven_is_what_all_have_proven_whoever_was_last() {
        let caches = Caches::default();
        let at = |seconds| Time::ZERO + SECOND * seconds;
        let proven = || {
            let proof = |guarantee| caches.proof(guarantee).get();
            (proof(Guarantee::default()), proof(Guarantee::Strict))
        };
        caches.prove(Prover::Mesh, at(9), at(8));
        assert_eq!(proven(), (at(9), at(8)));
        caches.prove(Prover::Log, Time::ZERO, Time::ZERO);
        assert_eq!(proven(), (Time::ZERO, Time::ZERO), "the log has proven nothing yet");
        caches.prove(Prover::Mesh, at(10), at(7));
        caches.prove(Prover::Log, at(9), at(9));
        assert_eq!(proven(), (at(9), at(7)));
        caches.prove(Prover::Mesh, Time::NEVER, at(10));
        assert_eq!(proven(), (at(9), at(9)));
    }

    #[test]
    fn the_names_of_caches_that_are_gone_take_no_memory() {
        let caches = Caches::default();
        let kept = cache(&caches, "kept", Guarantee::Eventual);
        for number in 0..1000 {
            drop(cache(&caches, &number.to_string(), Guarantee::Eventual));
        }
        assert_eq!(caches.names.0.lock().len(), 1);
        let abandoned = cache(&caches, "abandoned", Guarantee::Eventual);
        abandoned.abandon();
        assert_eq!(caches.names.0.lock().len(), 1, "though somebody holds it");
        let next = cache(&caches, "abandoned", Guarantee::Eventual);
        drop(abandoned);
        assert_eq!(caches.names.0.lock().len(), 2, "the name is the next one's");
        drop(next);
        let taken = caches.register("kept", Guarantee::Eventual, Duration::ZERO, kept.reach());
        assert!(taken.is_err(), "it is held");
    }
}
