//! Owns one cache: its copies, its flights, and the steps by which one becomes the other.
//! It must never call the application's code that could wait while it holds a lock.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache as Store;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use super::stats::Counts;
use super::tags::Tags;
use super::{
    Birth, Caches, Count, Effect, Flushable, Guarantee, Key, NameTaken, Stamp, Stats, Tag, Trust,
    Value,
};
use crate::Time;
use crate::load::{Flight, FlightTable, Flights, Landing, Lead, LoadError, Loaded, Waiter};
use crate::planted::{Fault, planted};
use crate::wire::{MAX_KEY_BYTES, Scope};

/// How heavy an entry is, in the unit of the capacity. Called once for each install.
pub type Weigh<K, V> = dyn Fn(&K, &V) -> u64 + Send + Sync;

/// Seeds of a cache's hash function: random ones in production, fixed ones in a simulation.
#[derive(Debug, Clone, Copy)]
pub struct HashSeeds(pub [u64; 4]);

/// What a cache is made of.
pub struct CacheConfig<K, V> {
    /// Most weight that is held; with no weigher, most copies.
    pub capacity: u64,
    /// How heavy an entry is; each weighs 1 without it. A weight of 0 counts as 1.
    pub weigher: Option<Arc<Weigh<K, V>>>,
    /// How old a copy may get, counted from the *start* of its load; no limit without it.
    pub time_to_live: Option<Duration>,
    /// The largest part of its time to live that is taken off a copy's, by chance: 0 to 1.
    pub jitter: f64,
    /// How long an expired copy is held, for when the source fails.
    pub keep_expired: Duration,
    /// How old a copy may be when it is served.
    pub guarantee: Guarantee,
    /// How far the readings that reads pass in may lag behind the clock they are of.
    pub clock_step: Duration,
    /// Seeds of the hash function.
    pub seeds: HashSeeds,
}

/// The copies of one kind of thing on one node. Shared by threads; a hit takes one read lock of a
/// shard and never touches the node.
pub struct Cache<K, V> {
    pub(super) copies: Store<K, Copied<V>, ByWeight<K, V>, ahash::RandomState, OutOfRoom>,
    pub(super) flights: FlightTable<K, V>,
    pub(crate) tags: Tags<K>,
    pub(super) trust: Trust,
    pub(crate) counts: Counts,
    guarantee: Guarantee,
    time_to_live: Option<Duration>,
    jitter: f64,
    keep_expired: Duration,
    hasher: ahash::RandomState,
}

/// A value together with what tells whether it may still be served.
pub(super) struct Copied<V> {
    value: V,
    pub(super) birth: Birth,
    expires: Time,
    tags: Option<Box<TagsOfCopy>>,
}

/// Behind one pointer, as most copies have none.
struct TagsOfCopy(Box<[Tag]>);

impl<V> Copied<V> {
    fn tags(&self) -> &[Tag] {
        self.tags.as_deref().map_or(&[], |tags| &tags.0)
    }
}

/// What a read takes with it: the tags stay with what is held.
impl<V: Clone> Clone for Copied<V> {
    fn clone(&self) -> Self {
        let Self { value, birth, expires, tags: _ } = self;
        Self { value: value.clone(), birth: *birth, expires: *expires, tags: None }
    }
}

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
    /// A cache that flushes reach under `name`, for as long as the returned value is held.
    ///
    /// # Errors
    /// [`NameTaken`] if a living cache of this node has the name.
    pub fn register(
        caches: &Caches,
        name: &str,
        config: CacheConfig<K, V>,
    ) -> Result<Arc<Self>, NameTaken> {
        let HashSeeds([a, b, c, d]) = config.seeds;
        let hasher = ahash::RandomState::with_seeds(a, b, c, d);
        let items = usize::try_from(config.capacity).unwrap_or(usize::MAX).min(1 << 20);
        let mut options = OptionsBuilder::new();
        options.weight_capacity(config.capacity).estimated_items_capacity(items);
        // The builder fails only when one of the two values above is missing.
        let Ok(options) = options.build() else { unreachable!("both capacities are given") };
        let by_weight = ByWeight(config.weigher);
        let copies = Store::with_options(options, by_weight, hasher.clone(), OutOfRoom);
        let cache = Arc::new(Self {
            copies,
            flights: FlightTable::default(),
            tags: Tags::default(),
            counts: Counts::default(),
            trust: Trust::new(config.guarantee, config.clock_step, caches.proof(config.guarantee)),
            guarantee: config.guarantee,
            time_to_live: config.time_to_live,
            jitter: config.jitter.clamp(0.0, 1.0),
            keep_expired: config.keep_expired,
            hasher,
        });
        let flushable: Arc<dyn Flushable> = Arc::clone(&cache) as _;
        caches.register(name, config.guarantee, config.clock_step, Arc::downgrade(&flushable))?;
        Ok(cache)
    }

    /// The copy of `key` if a read that starts at `now` may use it. Clones the value.
    pub fn get<Q>(&self, key: &Q, now: Time) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let found = self.get_with_age(key, now);
        if found.is_none() {
            self.counts.one(Count::Misses);
        }
        found.map(|(value, _)| value)
    }

    /// Like [`get`](Self::get), with how long ago its load started, for who will
    /// [load](crate::load::get_or_load) it if it is not there: that counts the miss.
    pub fn get_with_age<Q>(&self, key: &Q, now: Time) -> Option<(V, Duration)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let copy = self.find(key, now)?;
        self.counts.one(Count::Hits);
        Some((copy.value, now.since(copy.birth.started)))
    }

    fn find<Q>(&self, key: &Q, now: Time) -> Option<Copied<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let copy = self.copies.get(key)?;
        if self.serves(&copy, now) {
            return Some(copy);
        }
        if self.is_over(&copy, now) || !self.trust.trusts(copy.birth) {
            // Stamps are unique, so this removes what was judged and nothing newer. What is only
            // unproven stays: it is served again once the node is back in step.
            let stamp = copy.birth.stamp;
            self.note_gone(self.copies.remove_if(key, |held| held.birth.stamp == stamp));
        }
        None
    }

    /// The copy of `key` that has expired and is still held, and for how long it has been: no flush
    /// has named it, and the guarantee would let a younger one be served.
    pub fn get_expired<Q>(&self, key: &Q, now: Time) -> Option<(V, Duration)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let copy = self.copies.get(key)?;
        let is_held = copy.expires <= now && !self.is_over(&copy, now);
        let usable = is_held && self.trust.usable(copy.birth, now);
        usable.then(|| (copy.value, now.since(copy.expires)))
    }

    /// The place of a read in the order of this cache, to be drawn when it starts.
    pub fn read_begins(&self) -> Stamp {
        self.trust.read_begins()
    }

    /// What a read that started at the place `read`, with its clock at `now`, does when
    /// [`get`](Self::get) gave it nothing.
    pub fn board(&self, key: &K, read: Stamp, now: Time) -> Boarding<'_, K, V> {
        let hash = self.hash(key);
        let flights = self.flights.lock(hash);
        if let Some(copy) = self.copies.get(key)
            && self.serves(&copy, now)
        {
            return Boarding::Hit(copy.value);
        }
        if let Some(flight) = flights.find(hash, key)
            && self.trust.trusts(flight.birth())
        {
            let waiter = Waiter::new(Arc::clone(flight));
            if self.trust.joinable(flight.birth(), read, now) {
                return Boarding::Join(waiter);
            }
            if self.guarantee == Guarantee::Strict {
                return Boarding::Queue(waiter);
            }
        }
        Boarding::Lead(self.depart(flights, key, now))
    }

    /// Begins a write of the application's own: it outruns a load that is under way, which is not
    /// stored any more.
    pub(crate) fn begin_write(&self, key: &K, now: Time) -> Lead<'_, K, V> {
        self.depart(self.flights.lock(self.hash(key)), key, now)
    }

    /// Begins a load of `key` whether a copy is there or not, unless one is under way that may still be
    /// stored.
    pub fn begin_refresh(&self, key: &K, now: Time) -> Option<Lead<'_, K, V>> {
        let hash = self.hash(key);
        let flights = self.flights.lock(hash);
        let runs = flights.find(hash, key).is_some_and(|it| self.trust.trusts(it.birth()));
        (!runs).then(|| self.depart(flights, key, now))
    }

    /// Has a new flight take the place of one that is under way.
    fn depart(&self, mut flights: Flights<'_, K, V>, key: &K, now: Time) -> Lead<'_, K, V> {
        let flight = Arc::new(Flight::new(key.clone(), self.hash(key), self.trust.birth(now)));
        let outrun = flights.put(Arc::clone(&flight));
        drop(flights);
        drop(outrun);
        Lead::new(self, flight)
    }

    /// Stores a value that the application has, in place of what is held, here only; a load that is
    /// under way is not stored any more.
    ///
    /// # Errors
    /// Tags over the limits, or a key that is.
    pub fn insert(
        &self,
        key: &K,
        loaded: impl Into<Loaded<V>>,
        now: Time,
    ) -> Result<Landing, LoadError<Infallible>> {
        let mut loaded = loaded.into();
        let bytes = key.to_text().len();
        if bytes > MAX_KEY_BYTES {
            return Err(LoadError::KeyTooLong { bytes });
        }
        loaded.check_tags().map_err(|(tags, longest)| LoadError::BadTags { tags, longest })?;
        Ok(self.begin_write(key, now).complete(loaded))
    }

    /// Drops the copy of `key` and fences its flight, here only; the caller announces it.
    pub fn flush_key<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.counts.one(Count::FlushesHere);
        self.drop_key(key);
    }

    pub(crate) fn drop_key<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let mut flights = self.flights.lock(hash);
        let fenced = match planted(Fault::KeyFlushLeavesLoad) {
            true => None,
            false => flights.take(hash, key),
        };
        let dropped = self.copies.remove(key);
        // The application's own drop code runs without the lock.
        drop(flights);
        self.note_gone(dropped);
        drop(fenced);
    }

    /// Drops the copy of `key` for room, here only. A flight goes on and may install.
    pub fn evict<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.note_gone(self.copies.remove(key));
    }

    /// How many copies are held, unusable ones that nobody asked for since included.
    pub fn len(&self) -> usize {
        self.copies.len()
    }

    /// Whether no copy is held.
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    /// What has happened to it since it was made.
    pub fn stats(&self) -> Stats {
        self.counts.stats()
    }

    /// The weight of what is held.
    pub fn weight(&self) -> u64 {
        self.copies.weight()
    }

    /// Ends a flight: stores what was loaded if no flush came between, and takes the flight off the
    /// table. Gives back, too, behind which place reads that wait for it must not have it.
    pub(crate) fn land(
        &self,
        flight: &Arc<Flight<K, V>>,
        loaded: Option<Loaded<V>>,
    ) -> (Landing, Option<Stamp>) {
        let mut gone = Gone::default();
        let mut flights = self.flights.lock(flight.hash());
        let fenced = !flights.take_exactly(flight);
        let landing = match loaded {
            None => (Landing::Empty, None),
            // Flushes of tags are not noted for one that was fenced, but before that somebody may
            // have joined it behind one.
            Some(_) if fenced || !self.trust.trusts(flight.birth()) => {
                (Landing::Fenced, flight.first_flushed(None))
            }
            Some(loaded) => match flight.first_flushed(Some(&loaded.tags)) {
                Some(mark) => (Landing::Fenced, Some(mark)),
                None if !loaded.is_stored => (Landing::Unstored, None),
                None => {
                    self.install(flight, loaded, &mut gone);
                    (Landing::Stored, None)
                }
            },
        };
        drop(flights);
        // What made room is dropped without the lock.
        // The store tells of what it replaces, too.
        let others = gone.0.iter().filter(|(key, _)| key != flight.key()).count();
        self.note_landing(landing.0, others);
        gone.0.into_iter().for_each(|gone| self.note_gone(Some(gone)));
        landing
    }

    fn note_landing(&self, landing: Landing, evicted: usize) {
        self.counts.one(Count::Loads);
        match landing {
            Landing::Empty => self.counts.one(Count::FailedLoads),
            Landing::Fenced => self.counts.one(Count::Fenced),
            Landing::Stored | Landing::Unstored => {}
        }
        if evicted > 0 {
            self.counts.add(Count::OutOfRoom, evicted as u64);
        }
    }

    /// Under the flight table's lock.
    fn install(&self, flight: &Flight<K, V>, loaded: Loaded<V>, gone: &mut Gone<K, V>) {
        let (key, birth) = (flight.key(), flight.birth());
        let Loaded { value, tags, time_to_live, .. } = loaded;
        let age = time_to_live.or(self.time_to_live);
        let expires =
            age.map_or(Time::NEVER, |age| birth.started + self.jittered(age, birth.stamp));
        self.tags.add(&tags, birth.stamp, key);
        let tags = (!tags.is_empty()).then(|| Box::new(TagsOfCopy(tags.into())));
        let copy = Copied { value, birth, expires, tags };
        self.copies.insert_with_lifecycle(key.clone(), copy, gone);
    }

    /// An age with a part taken off: the same of the same load, so that a simulation can be replayed.
    fn jittered(&self, age: Duration, stamp: Stamp) -> Duration {
        if self.jitter == 0.0 {
            return age;
        }
        let chance = self.hasher.hash_one(stamp) as f64 / u64::MAX as f64;
        age.mul_f64(1.0 - self.jitter * chance)
    }

    /// Drops what was taken out, and what is known of its tags.
    pub(super) fn note_gone(&self, gone: Option<(K, Copied<V>)>) {
        if let Some((_, copy)) = gone {
            self.tags.remove(copy.tags(), copy.birth.stamp);
        }
    }

    /// Whether nobody has a use for it any more, for its age.
    fn is_over(&self, copy: &Copied<V>, now: Time) -> bool {
        copy.expires + self.keep_expired <= now
    }

    fn serves(&self, copy: &Copied<V>, now: Time) -> bool {
        copy.expires > now && self.trust.usable(copy.birth, now)
    }

    /// Its own, seeded one.
    pub(crate) fn hasher(&self) -> ahash::RandomState {
        self.hasher.clone()
    }

    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }
}

impl<K: Key, V: Value> Flushable for Cache<K, V> {
    fn apply(&self, scope: Scope<'_>) -> Effect {
        self.counts.one(Count::FlushesFromElsewhere);
        match scope {
            Scope::Key(text) => match K::from_text(text) {
                Ok(key) => self.drop_key(&key),
                Err(_) => {
                    self.drop_all();
                    return Effect::Widened;
                }
            },
            Scope::All => self.drop_all(),
            Scope::Tag(tag) => self.drop_tag(tag),
            Scope::Prefix(prefix) => self.drop_prefix(prefix),
        }
        Effect::AsNamed
    }

    fn distrust(&self) {
        self.trust.distrust();
    }

    fn close(&self) {
        self.trust.close();
    }
}

/// Keeps what the store takes out, to make room or to replace it, until no lock is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutOfRoom;

pub(super) struct Gone<K, V>(Vec<(K, Copied<V>)>);

impl<K, V> Default for Gone<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K, V> Lifecycle<K, Copied<V>> for OutOfRoom {
    type RequestState = Gone<K, V>;

    fn on_evict(&self, gone: &mut Gone<K, V>, key: K, copy: Copied<V>) {
        gone.0.push((key, copy));
    }
}

/// Asks the application's weigher, within what the store can add up.
pub(super) struct ByWeight<K, V>(Option<Arc<Weigh<K, V>>>);

impl<K, V> Clone for ByWeight<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Weighter<K, Copied<V>> for ByWeight<K, V> {
    fn weight(&self, key: &K, copy: &Copied<V>) -> u64 {
        // The store takes 0 for "never evict", and a sum that overflows for a bug.
        let weigh = |weigher: &Weigh<K, V>| weigher(key, &copy.value).clamp(1, u64::from(u32::MAX));
        self.0.as_deref().map_or(1, weigh)
    }
}
