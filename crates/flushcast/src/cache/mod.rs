//! Owns the application's handle on one cache.

mod builder;
mod read_through;

use std::borrow::Borrow;
use std::convert::Infallible;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache;
use flushcast_core::load;
use flushcast_core::node::AnnounceError;
use flushcast_core::wire::{MAX_KEY_BYTES, MAX_SCOPES, MAX_TAG_BYTES, Scope, Seq};

use crate::clock::Clock;
use crate::flush::{Flush, FlushError};
use crate::node::Inner;
use crate::{Key, LoadError, Loaded, Stats, Value};

pub use builder::{CacheBuilder, CacheError};
pub use read_through::{ReadThrough, Served};

/// The copies of one kind of thing on this node. Clones are handles on the same cache.
///
/// Keys are asked for by reference; a `Cache<String, V>` takes `&str` too.
pub struct Cache<K, V> {
    parts: Arc<Parts<K, V>>,
}

struct Parts<K, V> {
    copies: Arc<cache::Cache<K, V>>,
    name: String,
    node: Arc<Inner>,
    strict: bool,
    /// The node's: at hand for every hit.
    clock: Clock,
}

impl<K, V> Parts<K, V> {
    /// The clock that its reads are on.
    fn now(&self) -> Time {
        if self.strict { self.clock.now() } else { self.clock.quick() }
    }
}

impl<K: Key, V: Value> Cache<K, V> {
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
        ReadThrough::new(self.clone(), loader)
    }

    /// The copy of `key`, if one is here. Never loads, never waits. Clones the value.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.parts.copies.get(key, self.parts.now())
    }

    fn get_with_age<Q>(&self, key: &Q) -> Option<(V, Duration)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.parts.copies.get_with_age(key, self.parts.now())
    }

    /// Loads a key again, unless somebody does.
    async fn refresh<E, F, L>(&self, key: &K, loader: F) -> Result<(), LoadError<E>>
    where
        E: Send + Sync + 'static,
        F: FnOnce() -> L,
        L: Future<Output = Result<Loaded<V>, E>>,
    {
        match self.parts.copies.begin_refresh(key, self.parts.now()) {
            Some(lead) => lead.run(loader).await.map(drop),
            None => Ok(()),
        }
    }

    /// The copy of `key` that has expired and is [still held](CacheBuilder::keep_expired), and for how
    /// long it has been: for when the source fails, and an old value is better than none.
    ///
    /// Only its age is given up: no flush has named it, and with a bound the node is in step, or the
    /// copy is younger than that. Counts as no read.
    pub fn get_expired<Q>(&self, key: &Q) -> Option<(V, Duration)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.parts.copies.get_expired(key, self.parts.now())
    }

    /// The copy of `key`, or what `loader` reads from the source of truth.
    ///
    /// All who miss the same key meanwhile wait for one load; if its caller goes away, one of them
    /// loads. The value is stored unless a flush has named the key since the load started, and a
    /// read that starts after a flush was applied never gets a load that started before it. The
    /// loader runs on the caller's task and may borrow. Waiting is bounded by the loader: give it
    /// a time-out of its own.
    ///
    /// # Errors
    /// The loader's error or panic, told to all who waited for that load; nothing is stored then.
    /// A key whose text is over the limit is refused before the loader is called.
    pub async fn get_or_load<Q, E, F, L>(&self, key: &Q, loader: F) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
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
    pub async fn get_or_load_with<Q, E, F, L>(&self, key: &Q, loader: F) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
        F: FnOnce() -> L,
        L: Future<Output = Result<Loaded<V>, E>>,
    {
        load::get_or_load(&self.parts.copies, key, || self.parts.now(), loader).await
    }

    /// The copies of many keys, in their order, with one call of `loader` for all that are neither
    /// here nor loaded by somebody else. A key that it says nothing of has no value: nothing is stored
    /// for it.
    ///
    /// Each key is loaded once for all who miss it, and kept from being stored by a flush, as in
    /// [`get_or_load`](Self::get_or_load). The values are not of one moment: a key may be flushed
    /// while another is read. If somebody gives up a load that this call waits for, the loader is
    /// called once more, for that.
    ///
    /// # Errors
    /// The loader's error or panic, this call's or that of a load it waited for. A key over the limit
    /// is refused before the loader is called.
    pub async fn get_or_load_many<W, E, F, L, I>(
        &self,
        keys: &[K],
        loader: F,
    ) -> Result<Vec<Option<V>>, LoadError<E>>
    where
        W: Into<Loaded<V>>,
        E: Send + Sync + 'static,
        F: FnMut(Vec<K>) -> L,
        L: Future<Output = Result<I, E>>,
        I: IntoIterator<Item = (K, W)>,
    {
        load::get_or_load_many(&self.parts.copies, keys, || self.parts.now(), loader).await
    }

    /// Stores a value that the application has at hand, on this node only: nobody is told. A load of
    /// the key that is under way is not stored any more.
    ///
    /// The value has to be at least as new as the last flush of its key: read it from the source
    /// after that, or let [`get_or_load`](Self::get_or_load) do it.
    ///
    /// # Errors
    /// A key or tags over the limits; nothing is stored then.
    pub fn insert(
        &self,
        key: &K,
        value: impl Into<Loaded<V>>,
    ) -> Result<(), LoadError<Infallible>> {
        self.parts.copies.insert(key, value, self.parts.now()).map(drop)
    }

    /// Runs `write`, which changes the source of truth and gives back the new value, then has that
    /// value here and drops the copies of all others. Await the flush to learn who has applied it.
    ///
    /// It is safe beside any other write: if the key is flushed while `write` runs, or written by
    /// another `put`, the value is not stored, because nobody knows which was last. A load from
    /// before is not stored either. Who misses the key meanwhile waits for `write`; copies are
    /// served until it ends.
    ///
    /// If `write` fails, panics or is given up in the middle, the key is flushed everywhere all the
    /// same: the source may have changed.
    ///
    /// # Errors
    /// Those of `write`; its panic; a key over the limit, and then it was not called; tags over the
    /// limits, and then the source has changed.
    pub async fn put<W, E, F, L>(&self, key: &K, write: F) -> Result<Flush, LoadError<E>>
    where
        W: Into<Loaded<V>>,
        E: Send + Sync + 'static,
        F: FnOnce() -> L,
        L: Future<Output = Result<W, E>>,
    {
        let text = key.to_text();
        let bytes = text.len();
        if bytes > MAX_KEY_BYTES {
            return Err(LoadError::KeyTooLong { bytes });
        }
        let mut flush = None;
        let announce = || flush = Some(self.flush_of(self.announce(vec![Scope::Key(&text)])));
        let Parts { copies, .. } = &*self.parts;
        load::put(copies, key, self.parts.now(), write, announce).await?;
        // It was announced; doing it again would do no harm.
        Ok(flush.unwrap_or_else(|| self.flush_of(self.announce(vec![Scope::Key(&text)]))))
    }

    /// Drops the copy of `key` everywhere: here before this returns, elsewhere as fast as the
    /// network carries it. Call it after the source has changed.
    ///
    /// Works in sync code too. Await what it gives back to learn who has applied it.
    pub fn flush<Q>(&self, key: &Q) -> Flush
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.parts.copies.flush_key(key);
        let text = key.to_owned().to_text();
        self.flush_of(match text.len() {
            ..=MAX_KEY_BYTES => self.announce(vec![Scope::Key(&text)]),
            bytes => Err(FlushError::KeyTooLong { bytes }),
        })
    }

    /// Drops the copies of many keys everywhere; otherwise like [`flush`](Self::flush), and cheaper
    /// than one after the other: 32 of them travel in one frame.
    ///
    /// Not atomic: a reader may find one of them dropped and another not yet. If a key's text is over
    /// the limit the others are flushed all the same, and awaiting gives the error.
    pub fn flush_keys<'k, Q>(&self, keys: impl IntoIterator<Item = &'k Q>) -> Flush
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized + 'k,
    {
        let (mut texts, mut too_long) = (Vec::new(), None);
        for key in keys {
            self.parts.copies.flush_key(key);
            let text = key.to_owned().to_text();
            match text.len() {
                ..=MAX_KEY_BYTES => texts.push(text),
                bytes => too_long = Some(FlushError::KeyTooLong { bytes }),
            }
        }
        let scopes: Vec<_> = texts.iter().map(|text| Scope::Key(text)).collect();
        let mut announced = Ok(self.parts.node.shared.head());
        for scopes in scopes.chunks(MAX_SCOPES) {
            announced = self.announce(scopes.to_vec());
        }
        self.flush_of(too_long.map_or(announced, Err))
    }

    /// Drops every copy that has a [tag](Loaded::tag) everywhere; otherwise like
    /// [`flush`](Self::flush). Costs a removal of each of them on each node.
    pub fn flush_tag(&self, tag: &str) -> Flush {
        let bytes = tag.len();
        if bytes > MAX_TAG_BYTES {
            return self.flush_of(Err(FlushError::TagTooLong { bytes }));
        }
        self.parts.copies.flush_tag(tag);
        self.flush_of(self.announce(vec![Scope::Tag(tag)]))
    }

    /// Drops every copy whose key, [as text](Key::to_text), begins with `prefix`, everywhere;
    /// otherwise like [`flush`](Self::flush). Costs a look at each copy on each node: for what is
    /// flushed often, give tags.
    ///
    /// `orders/eu/` names `orders/eu/7`; `orders/eu` names `orders/europe/7`, too.
    pub fn flush_prefix(&self, prefix: &str) -> Flush {
        let bytes = prefix.len();
        if bytes > MAX_KEY_BYTES {
            return self.flush_of(Err(FlushError::KeyTooLong { bytes }));
        }
        self.parts.copies.flush_prefix(prefix);
        self.flush_of(self.announce(vec![Scope::Prefix(prefix)]))
    }

    /// Drops every copy of this cache everywhere; otherwise like [`flush`](Self::flush).
    pub fn flush_all(&self) -> Flush {
        self.parts.copies.flush_all();
        self.flush_of(self.announce(vec![Scope::All]))
    }

    /// Drops the copy of `key` on this node only, to make room. Nobody is told, and a load that is
    /// under way may store its value.
    pub fn evict<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.parts.copies.evict(key);
    }

    /// How many copies are held here, expired ones that nobody asked for since included.
    pub fn len(&self) -> usize {
        self.parts.copies.len()
    }

    /// Whether no copy is held here.
    pub fn is_empty(&self) -> bool {
        self.parts.copies.is_empty()
    }

    /// What has happened to this cache on this node since it was made. Costs a walk over 32 lines of
    /// memory; counting costs each read an addition to a line that is its thread's own.
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

    /// Names of keys, tags and prefixes are within their limits, so that they fit into a frame.
    fn announce(&self, scopes: Vec<Scope<'_>>) -> Result<Seq, FlushError> {
        let Parts { name, node, .. } = &*self.parts;
        let bytes = scopes.iter().map(|scope| scope.text().len()).max().unwrap_or(0);
        node.shared.announce(name, scopes).map_err(|error| match error {
            AnnounceError::Left => FlushError::NodeLeft,
            AnnounceError::Frame(_) => FlushError::KeyTooLong { bytes },
        })
    }

    fn flush_of(&self, announced: Result<Seq, FlushError>) -> Flush {
        let Parts { node, strict, .. } = &*self.parts;
        Flush::new(&node.shared, node.confirm_within, announced, *strict)
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
