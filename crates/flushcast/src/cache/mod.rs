//! Owns the application's handle on one cache.

mod builder;
mod limits;
mod many;
mod read_through;
mod writes;

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::{self, Why};
use flushcast_core::load;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::clock::Clock;
use crate::node::{AnyCache, Inner};
use crate::{AsKey, Inspected, Key, LoadError, Loaded, Stats, ToKey, Value};
use limits::Limits;

pub use builder::{CacheBuilder, CacheError};
pub use many::Refreshed;
pub use read_through::{ReadThrough, Served};

/// The copies of one kind of thing on this node. Clones are handles on the same cache.
///
/// Keys are asked for by reference, or by [what stands for them](AsKey): a `Cache<String, V>` takes `&str`,
/// and a `Cache<(String, u64), V>` takes `&("eu", &7)`.
pub struct Cache<K, V> {
    parts: Arc<Parts<K, V>>,
}

/// What all handles share, and nobody else holds.
struct Parts<K, V> {
    copies: Arc<cache::Cache<K, V>>,
    name: String,
    node: Arc<Inner>,
    strict: bool,
    /// The one that its reads are on: at hand for every hit.
    clock: Clock,
    limits: Limits,
    /// Of a key that does not read back from its text.
    has_warned: AtomicBool,
}

impl<K, V> Parts<K, V> {
    #[inline]
    fn now(&self) -> Time {
        self.clock.now()
    }
}

impl<K, V> Drop for Parts<K, V> {
    fn drop(&mut self) {
        // A flush that is being applied may hold the copies for longer.
        self.copies.abandon();
    }
}

impl<K: Key, V: Value> Cache<K, V> {
    /// Like [`with_loader`](Self::with_loader), with a loader that is given what is held of its key, be it over
    /// its age or not; but nothing that was flushed or told to expire, nor anything while a flush is being
    /// applied. If the source says that it has not changed, give it back: with its tags and weight, it starts
    /// a new life, as long as the cache says, or you.
    ///
    /// ```
    /// # use flushcast::{Cache, Loaded};
    /// # #[derive(Clone)] struct Page { etag: String }
    /// # async fn fetch(_: u64, _: Option<&str>) -> Result<Option<Page>, std::io::Error> { unimplemented!() }
    /// # fn example(cache: Cache<u64, Page>) {
    /// let pages = cache.with_reloader(|id, held: Option<Loaded<Page>>| async move {
    ///     let etag = held.as_ref().map(|page| page.value().etag.as_str());
    ///     match (fetch(id, etag).await?, held) {
    ///         (Some(page), _) => Ok(Loaded::new(page)),
    ///         (None, Some(held)) => Ok(held), // not modified
    ///         (None, None) => Err(std::io::Error::other("not modified since never")),
    ///     }
    /// });
    /// # }
    /// ```
    pub fn with_reloader<W, E, F, L>(&self, loader: F) -> ReadThrough<K, V, E>
    where
        W: Into<Loaded<V>>,
        E: std::fmt::Display + Send + Sync + 'static,
        F: Fn(K, Option<Loaded<V>>) -> L + Send + Sync + 'static,
        L: Future<Output = Result<W, E>> + Send + 'static,
    {
        ReadThrough::new(self.clone(), move |copies, key| {
            let held = copies.held(&key);
            loader(key, held)
        })
    }

    /// This cache together with the loader of all its keys, which gives values, or values with what
    /// becomes of their copies ([`Loaded`]).
    ///
    /// ```
    /// # use flushcast::{Cache, LoadError, ReadThrough};
    /// # async fn read(_: u64) -> Result<String, std::io::Error> { unimplemented!() }
    /// # async fn example(cache: Cache<u64, String>) -> Result<(), LoadError<std::io::Error>> {
    /// let titles = cache.with_loader(|id| async move { read(id).await });
    /// let title = titles.load(&7).await?;
    /// titles.flush(&7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_loader<W, E, F, L>(&self, loader: F) -> ReadThrough<K, V, E>
    where
        W: Into<Loaded<V>>,
        E: std::fmt::Display + Send + Sync + 'static,
        F: Fn(K) -> L + Send + Sync + 'static,
        L: Future<Output = Result<W, E>> + Send + 'static,
    {
        ReadThrough::new(self.clone(), move |_, key| loader(key))
    }

    fn to_any(&self) -> AnyCache {
        let parts = Arc::downgrade(&self.parts);
        AnyCache { cache: parts, types: std::any::type_name::<Self>() }
    }

    pub(crate) fn from_any(cache: Arc<dyn Any + Send + Sync>) -> Option<Self> {
        cache.downcast::<Parts<K, V>>().ok().map(|parts| Self { parts })
    }

    /// The copy of `key`, if one is here. Never loads, never waits. Clones the value.
    #[inline]
    pub fn get<Q: AsKey<K, Via> + ?Sized, Via>(&self, key: &Q) -> Option<V> {
        self.with(key, V::clone)
    }

    /// What `look` makes of the copy of `key`, if one is here, without cloning it. Otherwise like
    /// [`get`](Self::get).
    ///
    /// `look` runs under a lock of the cache: it must be quick, and must not call into this cache or
    /// another one, or it might wait for ever.
    ///
    /// ```
    /// # use flushcast::Cache;
    /// # fn example(pages: Cache<u64, String>) {
    /// let length = pages.with(&7, |page| page.len());
    /// # }
    /// ```
    #[inline]
    pub fn with<Q: AsKey<K, Via> + ?Sized, Via, R>(
        &self,
        key: &Q,
        look: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        self.parts.copies.with(key, || self.parts.now(), look)
    }

    /// Like [`get`](Self::get), with whether it is due to be loaded again.
    fn get_or_due<Q: AsKey<K, Via> + ?Sized, Via>(&self, key: &Q) -> Option<(V, bool)> {
        self.parts.copies.get_or_due(key, || self.parts.now(), fastrand::f64)
    }

    fn serve_expired<Q: AsKey<K, Via> + ?Sized, Via>(
        &self,
        key: &Q,
        why: Why,
    ) -> Option<(V, Duration)> {
        self.parts.copies.serve_expired(key, self.parts.now(), why)
    }

    /// Runs this on a task of its own, in the caller's runtime, or, where there is none, in the node's. It
    /// must not hold the cache's handle, or the node, unless it is to keep them.
    fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        match Handle::try_current() {
            Ok(runtime) => runtime.spawn(task.in_current_span()),
            Err(_) => self.parts.node.shared.runtime().spawn(task.in_current_span()),
        }
    }

    /// The copy of `key` that has expired and is [still held](CacheBuilder::keep_expired), and for how
    /// long it has been: for when the source fails, and an old value is better than none.
    ///
    /// Only its age is given up: no flush has named it, and with a bound the node is in step, or the
    /// copy is younger than that. Counts as no read.
    pub fn get_expired<Q: AsKey<K, Via> + ?Sized, Via>(&self, key: &Q) -> Option<(V, Duration)> {
        self.parts.copies.get_expired(key, self.parts.now())
    }

    /// Has the copy of `key` that is served here expire after `length` from now, sooner or later than it
    /// would have: to have it live longer, for instance, when the source has said that it has not changed.
    /// False if there is none. A flush ends it all the same; other nodes' copies stay as they are.
    pub fn expire_after<Q: AsKey<K, Via> + ?Sized, Via>(&self, key: &Q, length: Duration) -> bool {
        self.parts.copies.expire_after(key, self.parts.now(), length)
    }

    /// The copy of `key`, or what `loader` reads from the source of truth.
    ///
    /// All who miss the same key meanwhile wait for one load; if its caller goes away, one of them
    /// loads. The value is stored unless a flush has named the key since the load started, and a
    /// read that starts after a flush was applied never gets a load that started before it. The
    /// loader runs on the caller's task and may borrow. Waiting is bounded by
    /// [`load_time_out`](CacheBuilder::load_time_out), as in [`ReadThrough::load`], or by the loader itself.
    ///
    /// # Errors
    /// The loader's error or panic, told to all who waited for that load; nothing is stored then.
    /// A key whose text is over the limit is refused before the loader is called.
    pub async fn get_or_load<Q, Via, E, F, L>(&self, key: &Q, loader: F) -> Result<V, LoadError<E>>
    where
        Q: ToKey<K, Via> + ?Sized,
        E: Send + Sync + 'static,
        F: FnOnce() -> L,
        L: Future<Output = Result<V, E>>,
    {
        load::get_or_load(&self.parts.copies, key, || self.parts.now(), loader).await
    }

    /// Like [`get_or_load`](Self::get_or_load), with a loader that says what becomes of the copy: its
    /// [tags](Loaded::tag), its own [time to live](Loaded::time_to_live), or that
    /// [none is stored](Loaded::not_stored).
    ///
    /// The tags are known when the load ends. If one of them was flushed meanwhile, nothing is stored,
    /// and who asked behind that flush loads anew.
    ///
    /// # Errors
    /// Those of `get_or_load`; [`LoadError::BadTags`] with more tags, or a longer one, than is allowed.
    pub async fn get_or_load_with<Q, Via, E, F, L>(
        &self,
        key: &Q,
        loader: F,
    ) -> Result<V, LoadError<E>>
    where
        Q: ToKey<K, Via> + ?Sized,
        E: Send + Sync + 'static,
        F: FnOnce() -> L,
        L: Future<Output = Result<Loaded<V>, E>>,
    {
        load::get_or_load(&self.parts.copies, key, || self.parts.now(), loader).await
    }

    /// The copies of many keys, in their order, with one call of `loader` for all that are neither
    /// here nor loaded by somebody else. A key that it says nothing of has no value: nothing is stored
    /// for it, and all who wait for it in such a read are told the same. Collect it into a `Result` where
    /// one error is as bad as many.
    ///
    /// Each key is loaded once for all who miss it, and kept from being stored by a flush, as in
    /// [`get_or_load`](Self::get_or_load). The values are not of one moment: a key may be flushed
    /// while another is read. If somebody gives up a load that this call waits for, the loader is
    /// called once more, for that. Waits for the own load, then for those of others, each at most
    /// [`load_time_out`](CacheBuilder::load_time_out) from its start.
    ///
    /// # Errors
    /// Each key has its own: the loader's error or panic for all that this call loads, that of a load it
    /// waited for, bad tags, a key over the limit. They keep no other key from being loaded and stored.
    pub async fn get_or_load_many<W, E, F, L, I>(
        &self,
        keys: &[K],
        loader: F,
    ) -> Vec<Result<Option<V>, LoadError<E>>>
    where
        W: Into<Loaded<V>>,
        E: Send + Sync + 'static,
        F: FnMut(Vec<K>) -> L,
        L: Future<Output = Result<I, E>>,
        I: IntoIterator<Item = (K, W)>,
    {
        let found = keys.iter().map(|key| self.get(key)).collect();
        load::get_or_load_many(&self.parts.copies, keys, found, false, || self.parts.now(), loader)
            .await
    }

    /// The copies that are here and would be served, with their ages and tags, for a look at them: a part
    /// of the cache after the other, each as it is when its turn comes. Counts as no read.
    ///
    /// Clones a part at a time: about 2,816 copies at most (more in a cache of over 11 million), or with a
    /// weigher a 64th of all. Reads go on meanwhile; who changes that part waits for it.
    pub fn iter(&self) -> impl Iterator<Item = Inspected<K, V>> + '_ {
        self.parts.copies.iter(|| self.parts.now())
    }

    /// How many copies are held here, expired ones that nobody asked for since included.
    pub fn len(&self) -> usize {
        self.parts.copies.len()
    }

    /// Whether no copy is held here.
    pub fn is_empty(&self) -> bool {
        self.parts.copies.is_empty()
    }

    /// Takes out all copies that have expired by now and are not kept, and those that are not trusted any
    /// more; tells the listener. The [sweep](CacheBuilder::sweep) does it within seconds by itself. Looks at
    /// each copy of a part of the cache in which there may be any, and locks a part for eight removals at most.
    pub fn evict_expired(&self) {
        self.parts.copies.evict_expired(self.parts.now());
    }

    /// What has happened to this cache on this node since it was made, and what it holds. Looks at each part
    /// of the cache.
    pub fn stats(&self) -> Stats {
        self.parts.copies.stats()
    }

    /// The weight of what is held here, in the unit of the capacity.
    pub fn weight(&self) -> u64 {
        self.parts.copies.weight()
    }

    /// The name that flushes know it by.
    pub fn name(&self) -> &str {
        &self.parts.name
    }
}

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self { parts: Arc::clone(&self.parts) }
    }
}

impl<K, V> std::fmt::Debug for Cache<K, V> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Cache").field("name", &self.parts.name).finish_non_exhaustive()
    }
}
