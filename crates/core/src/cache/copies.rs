//! Owns one cache and its reads. It must never call the application's code under a lock, besides
//! what is said at [`Cache::with`] and what comparing and cloning takes.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::app_code::{contain, in_turn, let_go};
use super::copied::Copied;
use super::judge::Judge;
use super::registry::Names;
use super::shards::Shards;
use super::stats::Counts;
use super::trust::Trust;
use super::{
    AsKey, CacheConfig, Caches, Count, Key, NameTaken, RemovalCause, Stamp, Stats, Tag, Value, Why,
};
use crate::Time;
use crate::load::{LoadLimit, Loaded};
use crate::planted::{Fault, planted};
use crate::sync::atomic::{AtomicBool, Ordering};

/// The copies of one kind of thing on one node. Shared by threads; a hit takes one read lock of a
/// shard and never touches the node.
pub struct Cache<K, V> {
    pub(super) shards: Shards<K, V>,
    pub(super) trust: Trust,
    pub(crate) counts: Counts,
    pub(super) config: CacheConfig<K, V>,
    /// Whether the application has no handle any more, though a flush that is being applied may still hold
    /// this. Apart, so that who asks need not.
    pub(super) abandoned: Arc<AtomicBool>,
    name: String,
    names: Arc<Names>,
}

/// What is known of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspected<K, V> {
    /// Its key.
    pub key: K,
    /// Its value.
    pub value: V,
    /// How long ago its load began.
    pub age: Duration,
    /// How long it will be served if nobody reads it and nothing comes between; without a limit,
    /// nothing.
    pub expires_in: Option<Duration>,
    /// The tags that its loader gave it.
    pub tags: Vec<Tag>,
    /// In the unit of the capacity.
    pub weight: u64,
}

impl<K, V> Cache<K, V> {
    /// The application has let it go: its name is free. Nobody may read from it any more.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        self.names.let_go(&self.name);
    }
}

impl<K, V> Drop for Cache<K, V> {
    fn drop(&mut self) {
        self.names.let_go(&self.name);
    }
}

impl<K: Key, V: Value> Cache<K, V> {
    /// A cache that flushes reach under `name`, for as long as the returned value is held and not
    /// [abandoned](Self::abandon).
    ///
    /// # Errors
    /// [`NameTaken`] if a living cache of this node has the name.
    pub fn register(
        caches: &Caches,
        name: &str,
        config: CacheConfig<K, V>,
    ) -> Result<Arc<Self>, NameTaken> {
        let CacheConfig { capacity, guarantee, clock_step, seeds, .. } = config;
        let cache = Arc::new(Self {
            shards: Shards::new(capacity, config.weigher.is_some(), seeds),
            counts: Counts::default(),
            trust: Trust::new(guarantee, clock_step, caches.proof(guarantee)),
            config,
            abandoned: Arc::default(),
            name: name.to_owned(),
            names: caches.names(),
        });
        caches.register(name, guarantee, clock_step, cache.reach())?;
        Ok(cache)
    }

    /// The copy of `key` if a read that starts at `now` may use it. Clones the value.
    #[inline]
    pub fn get<Q: AsKey<K, Via> + ?Sized, Via>(&self, key: &Q, now: Time) -> Option<V> {
        self.with(key, || now, V::clone)
    }

    /// What `look` makes of the copy of `key`, without cloning it, if a read that starts when `clock`
    /// is asked may use it: that is while memory is fetched, so that it costs next to nothing.
    ///
    /// It runs under a read lock that others who change the cache wait for: it must be quick, and must not
    /// call into a cache, or it might wait for ever.
    #[inline]
    pub fn with<Q: AsKey<K, Via> + ?Sized, Via, R>(
        &self,
        key: &Q,
        clock: impl FnOnce() -> Time,
        look: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        self.find(key, clock, |copy, _| look(&copy.value))
    }

    /// Like [`get`](Self::get), with whether it is due to be loaded again.
    ///
    /// A copy is due from the age on that the cache was told, and before that by chance, the sooner
    /// it expires and the longer its load took: by `chance`, which is drawn from 0 to 1, as in
    /// Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention"
    /// (VLDB 2015), with `refresh_early` as its beta.
    pub fn get_or_due<Q: AsKey<K, Via> + ?Sized, Via>(
        &self,
        key: &Q,
        clock: impl FnOnce() -> Time,
        chance: impl FnOnce() -> f64,
    ) -> Option<(V, bool)> {
        let found =
            self.find(key, clock, |copy, now| (copy.value.clone(), self.is_due(copy, now, chance)));
        if found.as_ref().is_some_and(|(_, is_due)| *is_due) {
            self.counts.one(Count::HitsDue);
        }
        found
    }

    fn is_due(&self, copy: &Copied<K, V>, now: Time, chance: impl FnOnce() -> f64) -> bool {
        if copy.standing.is_fallback() || copy.failure(now).is_some() {
            return false;
        }
        if self.config.refresh_after.is_some_and(|after| now.since(copy.started()) >= after) {
            return true;
        }
        let Some(beta) = self.config.refresh_early else { return false };
        let early = copy.took() * beta * -chance().max(f64::MIN_POSITIVE).ln();
        copy.expires.since(now).as_secs_f64() <= early
    }

    /// The keys of the copies that are to be loaded again, because they are due by their age, or have expired
    /// and are still held; not if their last load has failed a moment ago. Shard by shard, as
    /// [`iter`](Self::iter). Clones the keys of a shard under its read lock.
    pub fn due(&self, clock: impl Fn() -> Time) -> impl Iterator<Item = K> {
        self.shards.each().flat_map(move |shard| {
            let now = clock();
            let is_wanted = |copy: &&Copied<K, V>| {
                let is_known = self.trust.trusts(copy.birth()) && !copy.standing.is_fallback();
                let is_over = copy.ends() <= now && copy.failure(now).is_none();
                is_known && (is_over || self.is_due(copy, now, || 1.0))
            };
            shard.read().iter().filter(is_wanted).map(|copy| copy.key.clone()).collect::<Vec<_>>()
        })
    }

    /// What is held of `key`, be it over its age or not, for a loader that asks its source whether that has
    /// changed; to be asked when its load has begun. Nothing of what was told to expire: somebody has said
    /// that it is out of date; and no fallback. Nothing while a flush is being applied, whatever it names: the
    /// copy may be one that it has not come to yet, and would live on as what was loaded behind it.
    pub fn held<Q: AsKey<K, Via> + ?Sized, Via>(&self, key: &Q) -> Option<Loaded<V>> {
        // Asked first: a flush that begins behind this does so behind the load's start, and fences it.
        if !self.trust.order.is_settled() {
            return None;
        }
        let hash = self.shards.hash(key);
        let shard = self.shards.of(hash).read();
        let may_live_on = |copy: &&Copied<K, V>| {
            let standing = &copy.standing;
            self.trust.trusts(copy.birth()) && !standing.has_expired() && !standing.is_fallback()
        };
        let copy = shard.find(hash, key).filter(may_live_on)?;
        let is_absent = copy.standing.is_absent();
        let loaded = Loaded::new(copy.value.clone()).weight(copy.weight());
        let loaded = Loaded { is_absent, ..loaded };
        Some(copy.tags().iter().fold(loaded, |loaded, tag| loaded.tag(Arc::clone(tag))))
    }

    /// Has the copy of `key` that is served at `now` reach its age after so long, sooner or later than it
    /// would have. False if there is none.
    pub fn expire_after<Q: AsKey<K, Via> + ?Sized, Via>(
        &self,
        key: &Q,
        now: Time,
        length: Duration,
    ) -> bool {
        let hash = self.shards.hash(key);
        let mut shard = self.shards.write(hash);
        let Some(copy) = shard.find_mut(hash, key).filter(|copy| self.serves(copy, now)) else {
            return false;
        };
        copy.expires = now + length;
        shard.note_over(now + length);
        true
    }

    /// What `look` makes of a copy that may be used. Counts a hit or a miss, and takes the copy out when nobody
    /// has a use for it.
    #[inline]
    fn find<Q: AsKey<K, Via> + ?Sized, Via, R>(
        &self,
        key: &Q,
        clock: impl FnOnce() -> Time,
        look: impl FnOnce(&Copied<K, V>, Time) -> R,
    ) -> Option<R> {
        let hash = self.shards.hash(key);
        let shard = self.shards.of(hash).read();
        let Some(copy) = shard.find(hash, key) else {
            shard.note_miss();
            return None;
        };
        let now = clock();
        if copy.expires > now && self.trust.usable(copy.birth(), now) && copy.note_read(now) {
            let found = look(copy, now);
            shard.note_hit();
            return Some(found);
        }
        shard.note_miss();
        let (stamp, over) = (copy.stamp(), self.judge(now).over(copy));
        drop(shard);
        if let Err(cause) = over {
            self.remove_stamped(key, stamp, cause);
        }
        None
    }

    /// What tells at this moment which copies are over.
    pub(super) fn judge(&self, now: Time) -> Judge<'_> {
        Judge { trust: &self.trust, keep_expired: self.config.keep_expired, now }
    }

    /// Stamps are unique, so this removes what was judged and nothing newer.
    #[cold]
    fn remove_stamped<Q>(&self, key: &Q, stamp: Stamp, cause: RemovalCause)
    where
        Q: Hash + ?Sized,
    {
        let hash = self.shards.hash(key);
        let removed = self.shards.write(hash).remove_stamped(hash, stamp);
        self.note_removed(removed, cause);
    }

    /// The copy of `key` that has expired and is still held, and for how long it has been: no flush
    /// has named it, and the guarantee would let a younger one be served.
    pub fn get_expired<Q: AsKey<K, Via> + ?Sized, Via>(
        &self,
        key: &Q,
        now: Time,
    ) -> Option<(V, Duration)> {
        let hash = self.shards.hash(key);
        let shard = self.shards.of(hash).read();
        let copy = shard.find(hash, key).filter(|copy| self.serves_expired(copy, now))?;
        copy.standing.warm();
        Some((copy.value.clone(), now.since(copy.ends())))
    }

    /// Like [`get_expired`](Self::get_expired), for who serves it where a read found nothing; counts why.
    pub fn serve_expired<Q: AsKey<K, Via> + ?Sized, Via>(
        &self,
        key: &Q,
        now: Time,
        why: Why,
    ) -> Option<(V, Duration)> {
        let found = self.get_expired(key, now)?;
        self.counts.one(match why {
            Why::Failed => Count::ExpiredAsFailed,
            Why::Slow => Count::ExpiredAsSlow,
        });
        Some(found)
    }

    /// The place of a read in the order of this cache, to be drawn when it starts.
    pub fn read_begins(&self) -> Stamp {
        self.trust.order.draw()
    }

    /// Drops the copy of `key` for room, here only. A flight goes on and may install.
    pub fn evict<Q: AsKey<K, Via> + ?Sized, Via>(&self, key: &Q) {
        let hash = self.shards.hash(key);
        let removed = self.shards.write(hash).remove(hash, key);
        self.note_removed(removed, RemovalCause::Evicted);
    }

    /// The copies that a read might use, shard by shard as it is asked for more: each is of the moment when
    /// its shard was looked at, and judged by the clock of then. Counts as no read.
    ///
    /// While a shard's copies are cloned, its read lock is held: for some 2,816 copies at the most, for more
    /// in a cache of over 11 million, and with a weigher for a 64th of all or more.
    pub fn iter(&self, clock: impl Fn() -> Time) -> impl Iterator<Item = Inspected<K, V>> {
        self.shards.each().flat_map(move |shard| {
            let shard = shard.read();
            let now = clock();
            let usable = shard.iter().filter(|copy| self.serves(copy, now));
            let inspect = |copy: &Copied<K, V>| {
                let ends = copy.ends();
                Inspected {
                    key: copy.key.clone(),
                    value: copy.value.clone(),
                    age: now.since(copy.started()),
                    expires_in: (ends < Time::NEVER).then(|| ends.since(now)),
                    tags: copy.tags().to_vec(),
                    weight: copy.weight(),
                }
            };
            usable.map(inspect).collect::<Vec<_>>()
        })
    }

    /// How many copies are held, unusable ones that nobody asked for since included. Looks at each
    /// shard.
    pub fn len(&self) -> usize {
        self.shards.each().map(|shard| shard.read().len()).sum()
    }

    /// Whether no copy is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The weight of what is held.
    pub fn weight(&self) -> u64 {
        self.shards.weight()
    }

    /// What has happened to it since it was made, and what it holds.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { weight: self.weight(), ..self.counts.stats() };
        for shard in self.shards.each() {
            shard.read().add_to(&mut stats);
        }
        stats
    }

    /// Counts what made room, or was over, tells of it and drops it.
    pub(super) fn note_gone(&self, copy: Copied<K, V>, cause: RemovalCause) {
        match cause {
            RemovalCause::Evicted => self.counts.one(Count::Evictions),
            RemovalCause::TooHeavy => {
                let before = self.counts.add(Count::TooHeavy, 1);
                if let Some(tell) = self.config.too_heavy.as_ref().filter(|_| before == 0) {
                    contain(|| tell(copy.weight()));
                }
            }
            _ => {}
        }
        self.note_removed(Some(copy), cause);
    }

    /// Tells of what was taken out, and drops it, without a lock: now, or, inside of where another one is
    /// told of or dropped, behind that.
    pub(super) fn note_removed(&self, removed: Option<Copied<K, V>>, cause: RemovalCause) {
        let Some(copy) = removed else { return };
        let listener = self.config.listener.clone();
        in_turn(move || {
            if let Some(listener) = listener {
                contain(|| listener(&copy.key, &copy.value, cause));
            }
            let_go(copy);
        });
    }

    pub(super) fn serves(&self, copy: &Copied<K, V>, now: Time) -> bool {
        copy.is_fresh(now) && self.trust.usable(copy.birth(), now)
    }

    /// Whether it has expired, and may be served all the same.
    pub(super) fn serves_expired(&self, copy: &Copied<K, V>, now: Time) -> bool {
        let is_held = !copy.is_fresh(now) && copy.is_over_at(self.config.keep_expired) > now;
        let proven = || self.trust.proven(copy.birth(), now) || planted(Fault::ExpiredBeyondProof);
        is_held && self.trust.trusts(copy.birth()) && proven()
    }

    pub(crate) fn load_limit(&self) -> Option<&LoadLimit> {
        self.config.load_limit.as_ref()
    }

    /// How far the readings that reads pass in may lag.
    pub(crate) fn clock_step(&self) -> Duration {
        self.config.clock_step
    }

    /// Its own, seeded one.
    pub(crate) fn hasher(&self) -> ahash::RandomState {
        self.shards.hasher()
    }

    /// How many copies have tags, each counted once for each of its tags.
    #[cfg(all(test, not(flushcast_shuttle)))]
    pub(crate) fn tag_count(&self) -> usize {
        self.shards.each().map(|shard| shard.read().tag_count()).sum()
    }
}
