//! Owns what the application changes: its flushes, and values of its own.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::future::Future;
use std::hash::Hash;
use std::panic::resume_unwind;
use std::sync::atomic::Ordering;

use flushcast_core::load;
use flushcast_core::node::AnnounceError;
use flushcast_core::wire::{MAX_KEY_BYTES, MAX_SCOPES, MAX_TAG_BYTES, Scope, Seq};

use tokio::task::JoinError;

use super::{Cache, Parts};
use crate::flush::{Flush, FlushError};
use crate::{Key, LoadError, Loaded, Value};

impl<K: Key, V: Value> Cache<K, V> {
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
    /// before is not stored either. Who misses the key meanwhile waits for `write`, for as long as a
    /// [load may take](crate::CacheBuilder::load_time_out); copies are served until it ends.
    ///
    /// `write` runs on a task of its own, in the caller's runtime or, where there is none, the node's, and
    /// is carried to its end if the caller goes away: a write that was begun may be done in any case, and
    /// its flush must come behind it. So it owns what it uses, and can be sent to another thread. If yours
    /// cannot, write, then [`flush`](Self::flush), and see to it that nobody drops the future in between.
    ///
    /// If `write` fails or panics, the key is flushed everywhere all the same: the source may have changed.
    /// So it is if the runtime is shut down in the middle, and there this is not safe: should the
    /// source change after that, what others have loaded in between stays. Waits for `write` without a
    /// limit: one of your database's is the right one, because it tells of what was done.
    ///
    /// # Errors
    /// Those of `write`; its panic; a key over the limit, and then it was not called; tags over the
    /// limits, and then the source has changed; the end of its runtime, and then nobody knows.
    pub async fn put<W, E, F, L>(&self, key: &K, write: F) -> Result<Flush, LoadError<E>>
    where
        W: Into<Loaded<V>>,
        E: Send + Sync + 'static,
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<W, E>> + Send,
    {
        let text = key.to_text();
        let bytes = text.len();
        if bytes > MAX_KEY_BYTES {
            return Err(LoadError::KeyTooLong { bytes });
        }
        let (cache, key) = (self.clone(), key.clone());
        let writing = self.spawn(async move {
            let mut flush = None;
            let scope = cache.scope_of(&key, &text);
            let announce = || flush = Some(cache.flush_of(cache.announce(vec![scope])));
            let Parts { copies, .. } = &*cache.parts;
            // It announces however `write` ends, and whatever panics on the way.
            load::put(copies, &key, || cache.parts.now(), write, announce).await?;
            // It was announced; doing it again would do no harm.
            Ok(flush.unwrap_or_else(|| cache.flush_of(cache.announce(vec![scope]))))
        });
        match writing.await.map_err(JoinError::try_into_panic) {
            Ok(written) => written,
            Err(Ok(panic)) => resume_unwind(panic),
            Err(Err(_)) => Err(LoadError::Cancelled),
        }
    }

    /// Drops the copy of `key` everywhere: here before this returns, elsewhere as fast as the
    /// network carries it. Call it after the source has changed.
    ///
    /// Works in sync code too. Await what it gives back to learn who has applied it.
    ///
    /// A key that does not read back from [its text](Key) drops the whole cache on all other nodes; the log
    /// tells of the first such key.
    ///
    /// A panic in the drop of a value, or in a listener, is caught for each copy, so that the others are
    /// dropped and everybody is told; the panic hook hears of it. If the key's hash or comparison panics,
    /// the whole cache is dropped here.
    pub fn flush<Q>(&self, key: &Q) -> Flush
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.flush_keys([key])
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
        let mut unannounced = Unannounced::new(self, |text| Scope::Key(text), Vec::new());
        let mut too_long = None;
        for key in keys {
            let owned = key.to_owned();
            let text = owned.to_text();
            match text.len() {
                ..=MAX_KEY_BYTES if self.scope_of(&owned, &text) == Scope::All => {
                    unannounced.is_all = true;
                }
                ..=MAX_KEY_BYTES => unannounced.texts.push(text),
                bytes => too_long = Some(FlushError::KeyTooLong { bytes }),
            }
            self.parts.copies.flush_key(key);
        }
        let announced = unannounced.announce_all();
        self.flush_of(too_long.map_or(announced, Err))
    }

    /// Drops every copy that has a [tag](Loaded::tag) everywhere; otherwise like
    /// [`flush`](Self::flush). Costs a removal of each of them on each node.
    pub fn flush_tag(&self, tag: &str) -> Flush {
        let bytes = tag.len();
        if bytes > MAX_TAG_BYTES {
            return self.flush_of(Err(FlushError::TagTooLong { bytes }));
        }
        let unannounced = Unannounced::new(self, |text| Scope::Tag(text), vec![tag.to_owned()]);
        self.parts.copies.flush_tag(tag);
        unannounced.announce()
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
        let unannounced =
            Unannounced::new(self, |text| Scope::Prefix(text), vec![prefix.to_owned()]);
        self.parts.copies.flush_prefix(prefix);
        unannounced.announce()
    }

    /// Drops every copy of this cache everywhere; otherwise like [`flush`](Self::flush).
    pub fn flush_all(&self) -> Flush {
        let mut unannounced = Unannounced::new(self, |_| Scope::All, Vec::new());
        unannounced.is_all = true;
        self.parts.copies.flush_all();
        unannounced.announce()
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

    /// What a flush of this key names on other nodes.
    fn scope_of<'t>(&self, key: &K, text: &'t str) -> Scope<'t> {
        let Parts { copies, name, has_warned, .. } = &*self.parts;
        let scope = copies.scope_of(key, text);
        if scope == Scope::All && !has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                cache = name,
                key = text,
                "this text does not read back as the key that was flushed: each flush of such a key \
                 drops the whole cache on all other nodes; give keys a type whose texts differ"
            );
        }
        scope
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

/// What is dropped here and to be announced: when that is asked for, or in any case when this goes, because
/// something panicked in between.
struct Unannounced<'c, K: Key, V: Value> {
    cache: &'c Cache<K, V>,
    scope: for<'t> fn(&'t str) -> Scope<'t>,
    texts: Vec<String>,
    /// Everything is dropped elsewhere, whatever the texts are.
    is_all: bool,
}

impl<'c, K: Key, V: Value> Unannounced<'c, K, V> {
    fn new(
        cache: &'c Cache<K, V>,
        scope: for<'t> fn(&'t str) -> Scope<'t>,
        texts: Vec<String>,
    ) -> Self {
        Self { cache, scope, texts, is_all: false }
    }

    fn announce(self) -> Flush {
        let cache = self.cache;
        cache.flush_of(self.announce_all())
    }

    /// Gives back what the last frame of them came to: the log is in order.
    fn announce_all(mut self) -> Result<Seq, FlushError> {
        self.announce_rest()
    }

    fn announce_rest(&mut self) -> Result<Seq, FlushError> {
        let (cache, scope) = (self.cache, self.scope);
        let texts = std::mem::take(&mut self.texts);
        if std::mem::take(&mut self.is_all) {
            return cache.announce(vec![Scope::All]);
        }
        let mut announced = None;
        for texts in texts.chunks(MAX_SCOPES) {
            announced = Some(cache.announce(texts.iter().map(|text| scope(text)).collect()));
        }
        // Of no keys there is nothing to wait for but what came before.
        announced.unwrap_or_else(|| Ok(cache.parts.node.shared.head()))
    }
}

impl<K: Key, V: Value> Drop for Unannounced<'_, K, V> {
    fn drop(&mut self) {
        if (self.is_all || !self.texts.is_empty())
            && let Err(error) = self.announce_rest()
        {
            tracing::error!(%error, "a flush was applied here only");
        }
    }
}
