//! Owns the steps by which a read becomes a load, and a load a copy.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::app_code::{contain, let_go};
use super::copied::{Copied, More};
use super::shards::Shard;
use super::store::Going;
use super::{AsKey, Birth, Cache, Count, Guarantee, Key, RemovalCause, Stamp, Value};
use crate::Time;
use crate::load::{
    Ending, Failure, Flight, Landing, Lead, LoadError, Loaded, Waiter, check_length, part_of,
};
use crate::planted::{Fault, planted};
use crate::sync::RwLockWriteGuard;

/// What a miss, or a late hit, comes to.
pub enum Boarding<'c, K: Key, V: Value> {
    /// A usable copy was there after all.
    Hit(V),
    /// Somebody loads it already.
    Join(Waiter<K, V>),
    /// Somebody loads it, but may have looked at the source before this read started. Whoever
    /// waits for that load to end shares the next one, so that a cut-off node asks the source for
    /// a key no more than once at a time.
    Queue(Waiter<K, V>),
    /// The caller is to load it.
    Lead(Lead<'c, K, V>),
}

impl<K: Key, V: Value> Cache<K, V> {
    /// What a read that started at the place `read`, with its clock at `now`, does when
    /// [`get`](Self::get) gave it nothing.
    pub fn board(&self, key: &K, read: Stamp, now: Time) -> Boarding<'_, K, V> {
        let Ok(boarding) = self.board_unless(key, read, now, |_| None::<Infallible>);
        boarding
    }

    /// Like [`board`](Self::board), for a read that may be given an expired copy.
    ///
    /// # Errors
    /// There is one, and it is to be left alone, because its last load has failed with what is told here;
    /// if that makes nothing of it, the read goes on.
    pub(crate) fn board_unless<T>(
        &self,
        key: &K,
        read: Stamp,
        now: Time,
        has_failed: impl FnOnce(&Failure) -> Option<T>,
    ) -> Result<Boarding<'_, K, V>, T> {
        let hash = self.shards.hash(key);
        let shard = self.shards.write(hash);
        match shard.find(hash, key) {
            Some(copy) if self.serves(copy, now) => {
                copy.standing.warm();
                return Ok(Boarding::Hit(copy.value.clone()));
            }
            // Under the same hold as the rest: a load that ends a moment before is seen.
            Some(copy) if self.serves_expired(copy, now) => {
                if let Some(told) = copy.failure(now).and_then(has_failed) {
                    return Err(told);
                }
            }
            _ => {}
        }
        if let Some(waiter) = self.running(&shard, hash, key) {
            if self.trust.joinable(waiter.flight().birth(), read, now) {
                return Ok(Boarding::Join(waiter));
            }
            if self.config.guarantee == Guarantee::Strict {
                return Ok(Boarding::Queue(waiter));
            }
        }
        Ok(Boarding::Lead(self.depart(shard, key, hash, now)))
    }

    /// Begins a write of the application's own: it outruns a load that is under way, which is not
    /// stored any more.
    pub(crate) fn begin_write(&self, key: &K, now: Time) -> Lead<'_, K, V> {
        let hash = self.shards.hash(key);
        self.depart(self.shards.write(hash), key, hash, now)
    }

    /// Begins a load of `key`, on a task of its own, whether a copy is there or not.
    ///
    /// # Errors
    /// One is under way that may still be stored.
    pub fn begin_refresh(
        self: &Arc<Self>,
        key: &K,
        now: Time,
    ) -> Result<Lead<'static, K, V>, Waiter<K, V>> {
        let hash = self.shards.hash(key);
        // Many ask while it runs, beside others who read.
        if let Some(waiter) = self.running(&self.shards.of(hash).read(), hash, key) {
            return Err(waiter);
        }
        let shard = self.shards.write(hash);
        match self.running(&shard, hash, key) {
            Some(waiter) => Err(waiter),
            None => Ok(self.depart(shard, key, hash, now).own(self)),
        }
    }

    /// Like [`begin_refresh`](Self::begin_refresh), for a copy that was found to be due. Nothing if somebody
    /// loads it meanwhile, or has just done so in vain: that is to be left alone.
    pub fn begin_due(self: &Arc<Self>, key: &K, now: Time) -> Option<Lead<'static, K, V>> {
        let hash = self.shards.hash(key);
        let is_due = |shard: &Shard<K, V>| {
            let failure = shard.find(hash, key).and_then(|copy| copy.failure(now));
            failure.is_none() && self.running(shard, hash, key).is_none()
        };
        if !is_due(&self.shards.of(hash).read()) {
            return None;
        }
        let shard = self.shards.write(hash);
        is_due(&shard).then(|| self.depart(shard, key, hash, now).own(self))
    }

    /// To wait for the flight of a key that may still be stored.
    fn running(&self, shard: &Shard<K, V>, hash: u64, key: &K) -> Option<Waiter<K, V>> {
        let flight = shard.flights.find(hash, key).filter(|it| self.trust.trusts(it.birth()));
        flight.map(|flight| Waiter::new(Arc::clone(flight)))
    }

    /// Has a new flight take the place of one that is under way.
    fn depart(
        &self,
        mut shard: RwLockWriteGuard<'_, Shard<K, V>>,
        key: &K,
        hash: u64,
        now: Time,
    ) -> Lead<'_, K, V> {
        let flight = Arc::new(Flight::new(key.clone(), hash, self.trust.birth(now)));
        let outrun = shard.flights.put(Arc::clone(&flight));
        drop(shard);
        let_go(outrun);
        Lead::new(self, flight)
    }

    /// Stores a value that the application has, in place of what is held, here only; a load that is
    /// under way is not stored any more. What is not to be stored takes the place of a copy all the same.
    ///
    /// It begins and ends under one hold of its shard's lock, so that no flush can come between.
    ///
    /// # Errors
    /// Tags over the limits, or a key that is.
    pub fn insert(
        &self,
        key: &K,
        loaded: impl Into<Loaded<V>>,
        now: Time,
    ) -> Result<Landing, LoadError<Infallible>> {
        check_length(key)?;
        let loaded = loaded.into().checked()?;
        let (weight, owned) = (self.weigh(key, &loaded), key.clone());
        let hash = self.shards.hash(key);
        let mut shard = self.shards.write(hash);
        let birth = self.trust.birth(now);
        let outrun = shard.flights.take(hash, key);
        let copy = self.copy_of(owned, birth, loaded, weight, Duration::ZERO);
        let landing = if self.trust.trusts(birth) {
            self.replace(shard, (hash, key), Some(copy), now)
        } else {
            drop(shard);
            let_go(copy);
            Landing::Fenced
        };
        let_go(outrun);
        Ok(landing)
    }

    /// Takes a flight off the table, so that nobody joins it any more and its value is not stored.
    pub(crate) fn fence(&self, flight: &Arc<Flight<K, V>>) {
        self.shards.write(flight.hash()).flights.take_exactly(flight);
    }

    /// Ends a flight whose load has failed. What is held of its key stays, and is not loaded again in the
    /// background for a while. Where nothing is, all who wait get the fallback, if there is one, and it is held
    /// unless a flush or a younger flight came between. Gives back that one.
    pub(crate) fn fail(
        &self,
        flight: &Arc<Flight<K, V>>,
        failure: Failure,
        now: Time,
    ) -> Option<V> {
        let (hash, judge, mut gone) = (flight.hash(), self.judge(now), Going::new());
        // The application's code is asked without a lock, and what it gives dropped without one.
        let mut fallback = self.fallback_for(flight, &failure, now);
        let spare = fallback.as_ref().map(|(copy, _)| copy.value.clone());
        let mut before = None;
        let mut shard = self.shards.write(hash);
        let is_latest = shard.flights.take_exactly(flight) && self.trust.trusts(flight.birth());
        let held = shard.find_mut(hash, flight.key());
        let held = held.filter(|it| !it.standing.is_fallback() && judge.over(it).is_ok());
        let stays = held.is_some() && !planted(Fault::FallbackReplacesCopy);
        let pause = self.config.pause_after_failure;
        if let Some(copy) = held.filter(|_| is_latest && !pause.is_zero()) {
            before = copy.note_failure(Box::new((now + pause, failure.clone())));
        }
        let is_wanted = is_latest && !stays;
        if let Some((copy, _)) = fallback.take_if(|(_, is_stored)| *is_stored && is_wanted) {
            shard.insert(hash, copy, &judge, &mut gone);
        }
        drop(shard);
        self.shards.make_room(hash, &judge, &mut gone);
        for (copy, cause) in gone {
            self.note_gone(copy, cause);
        }
        let (value, spare) = if stays { (None, spare) } else { (spare, None) };
        let_go((fallback, spare, before));
        let ending = match value.clone() {
            Some(value) => Ending::Value { value: Some(value), outdated_since: None },
            None => Ending::Failed(failure),
        };
        if flight.end(ending) && value.is_some() {
            self.counts.one(Count::Fallbacks);
        }
        value
    }

    /// What is given in place of what could not be loaded, and whether it is to be stored.
    fn fallback_for(
        &self,
        flight: &Arc<Flight<K, V>>,
        failure: &Failure,
        now: Time,
    ) -> Option<(Copied<K, V>, bool)> {
        let fallback = self.config.fallback.as_ref()?;
        let ask = || contain(|| (fallback.value)(flight.key(), failure)).flatten();
        let value = part_of(flight, ask)?;
        let birth = flight.birth();
        // It lives from now on, however long the load took.
        let loaded = Loaded::new(value).time_to_live(Duration::MAX);
        let weight = part_of(flight, || self.weigh(flight.key(), &loaded));
        let key = flight.key().clone();
        let took = now.since(birth.started);
        let (mut copy, is_stored) = self.copy_of(key, birth, loaded, weight, took);
        copy.expires = now + self.jittered(fallback.time_to_live, birth.stamp);
        copy.standing.make_fallback();
        Some((copy, is_stored))
    }

    /// What the last load of `key` has failed with, while its copy is to be left alone because of that.
    pub fn failure_of<Q: AsKey<K, Via> + ?Sized, Via>(
        &self,
        key: &Q,
        now: Time,
    ) -> Option<Failure> {
        let hash = self.shards.hash(key);
        let shard = self.shards.of(hash).read();
        shard.find(hash, key)?.failure(now).cloned()
    }

    /// Ends a flight with what the source has said, after so much time, which may be that it has no value:
    /// that takes the place of what is held, which is older, whether it is stored or not; unless a flush of
    /// the key or a younger flight came between. Gives back, too, from which place on reads must not have
    /// it.
    pub(crate) fn land(
        &self,
        flight: &Arc<Flight<K, V>>,
        loaded: Option<Loaded<V>>,
        took: Duration,
    ) -> (Landing, Option<Stamp>) {
        let (birth, hash) = (flight.birth(), flight.hash());
        let now = birth.started + took;
        let copy = loaded.map(|loaded| {
            let weight = part_of(flight, || self.weigh(flight.key(), &loaded));
            self.copy_of(flight.key().clone(), birth, loaded, weight, took)
        });
        let tags = copy.iter().flat_map(|(copy, _)| copy.tags());
        let tags: SmallVec<[u64; 1]> = tags.map(|tag| self.shards.hash(tag)).collect();
        let mut shard = self.shards.write(hash);
        let is_latest = shard.flights.take_exactly(flight) && self.trust.trusts(birth);
        // Under the shard's lock, for C4; of a fenced one, too: who waits for it may have come behind.
        let outdated = self.trust.outdated(birth, &tags);
        let since = outdated.map(|it| it.since);
        if !is_latest {
            drop(shard);
            let_go(copy);
            return (Landing::Fenced, since);
        }
        // What was only told to expire meanwhile is there for when the source fails, as if it had been held.
        let stays = outdated.and_then(|it| self.stays(it.verb(now)));
        let may_stay = outdated.is_some() == stays.is_some();
        let copy = copy.map(|(mut copy, is_stored)| {
            if let Some(stay) = stays {
                copy.expire(stay.expired);
            }
            (copy, is_stored && may_stay)
        });
        let landing = self.replace(shard, (hash, flight.key()), copy, now);
        (if outdated.is_some() { Landing::Fenced } else { landing }, since)
    }

    /// Has a copy that is to be stored take the place of what is held of its key, or nothing does; others make
    /// room. Tells of what is gone, without a lock.
    fn replace(
        &self,
        shard: RwLockWriteGuard<'_, Shard<K, V>>,
        (hash, key): (u64, &K),
        copy: Option<(Copied<K, V>, bool)>,
        now: Time,
    ) -> Landing {
        let (judge, mut gone) = (self.judge(now), Going::new());
        let (stored, unstored) = match copy {
            Some((copy, true)) => (Some(copy), None),
            other => (None, other),
        };
        // Let go before these, should comparing keys panic.
        let mut shard = shard;
        let stamp = stored.as_ref().map(Copied::stamp);
        match stored {
            Some(copy) => shard.insert(hash, copy, &judge, &mut gone),
            None => {
                let replaced = shard.remove(hash, key);
                gone.extend(replaced.map(|old| (old, RemovalCause::Replaced)));
            }
        }
        drop(shard);
        self.shards.make_room(hash, &judge, &mut gone);
        let_go(unstored);
        let mut is_held = stamp.is_some();
        for (copy, cause) in gone {
            is_held &= Some(copy.stamp()) != stamp;
            self.note_gone(copy, cause);
        }
        if is_held { Landing::Stored } else { Landing::Unstored }
    }

    /// What the application says of a value's weight, which is asked without a lock; nothing if that panics.
    fn weigh(&self, key: &K, loaded: &Loaded<V>) -> Option<u64> {
        loaded.weight.or_else(|| match &self.config.weigher {
            Some(weigh) => contain(|| weigh(key, &loaded.value)),
            None => Some(1),
        })
    }

    /// What a value becomes, and whether it is to be stored.
    fn copy_of(
        &self,
        key: K,
        birth: Birth,
        loaded: Loaded<V>,
        weight: Option<u64>,
        took: Duration,
    ) -> (Copied<K, V>, bool) {
        let config = &self.config;
        let Loaded { value, tags, time_to_live, time_to_idle, is_stored, is_absent, .. } = loaded;
        let absent = config.absent_time_to_live.filter(|_| is_absent);
        let age = time_to_live.or(absent).or(config.time_to_live);
        let expires =
            age.map_or(Time::NEVER, |age| birth.started + self.jittered(age, birth.stamp));
        let time_to_idle = time_to_idle.or(config.time_to_idle);
        let loaded_at = birth.started + took;
        let more = More {
            tags,
            // So that a cache without room for more holds so many at most, and no sum overflows.
            weight: u32::try_from(weight.unwrap_or(1)).unwrap_or(u32::MAX).max(1),
            time_to_idle: time_to_idle.into(),
            used: loaded_at.as_nanos().into(),
            took: if config.refresh_early.is_some() { took.as_secs_f32() } else { 0.0 },
            failure: None,
        };
        let mut copy = Copied::new(key, value, birth, expires, more);
        if is_absent {
            copy.standing.make_absent();
        }
        let is_known = !is_absent || config.absent_time_to_live.is_some();
        // Nobody could ever be given it, neither as a copy nor as an expired one.
        let is_over = copy.ends() + config.keep_expired <= loaded_at;
        // What cannot be weighed is not held.
        (copy, is_stored && is_known && !is_over && weight.is_some())
    }

    /// An age with a part taken off: the same of the same load, so that a simulation can be replayed.
    fn jittered(&self, age: Duration, stamp: Stamp) -> Duration {
        let jitter = self.config.jitter.clamp(0.0, 1.0);
        if jitter == 0.0 {
            return age;
        }
        let chance = self.shards.hash(&stamp) as f64 / u64::MAX as f64;
        // The longest ages round up to more than there is: then nothing is taken off.
        Duration::try_from_secs_f64(age.as_secs_f64() * (1.0 - jitter * chance))
            .map_or(age, |jittered| jittered.min(age))
    }
}
