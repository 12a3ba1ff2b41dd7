//! Owns what the application changes: its flushes, what it has expire, and values of its own.

use std::convert::Infallible;
use std::future::Future;
use std::panic::resume_unwind;
use std::sync::atomic::Ordering;

use flushcast_core::load;
use flushcast_core::node::AnnounceError;
use flushcast_core::wire::{MAX_KEY_BYTES, MAX_SCOPES, MAX_TAG_BYTES, Scope, Seq};

use tokio::task::JoinError;

use super::{Cache, Parts};
use crate::flush::{Flush, FlushError};
use crate::{AsKey, Key, LoadError, Loaded, Prefix, ToKey, Value};

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
    /// [load may take](crate::CacheBuilder::load_time_out), and loads if it fails; copies are served until it
    /// ends.
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
    pub fn flush<Q: ToKey<K, Via> + ?Sized, Via>(&self, key: &Q) -> Flush {
        self.flush_keys([key])
    }

    /// Drops the copies of many keys everywhere; otherwise like [`flush`](Self::flush), and cheaper
    /// than one after the other: 32 of them travel in one frame.
    ///
    /// Not atomic: a reader may find one of them dropped and another not yet. If a key's text is over
    /// the limit the others are flushed all the same, and awaiting gives the error.
    pub fn flush_keys<'k, Q, Via>(&self, keys: impl IntoIterator<Item = &'k Q>) -> Flush
    where
        Q: ToKey<K, Via> + ?Sized + 'k,
    {
        self.end_keys(keys, FLUSH, |key| self.parts.copies.flush_key(key))
    }

    fn end_keys<'k, Q, Via>(
        &self,
        keys: impl IntoIterator<Item = &'k Q>,
        verb: Verb,
        end_here: impl Fn(&Q),
    ) -> Flush
    where
        Q: ToKey<K, Via> + ?Sized + 'k,
    {
        let mut unannounced = Unannounced::new(self, verb, |text| Scope::Key(text), Vec::new());
        let mut too_long = None;
        for key in keys {
            let owned = key.to_key();
            let text = owned.to_text();
            match text.len() {
                ..=MAX_KEY_BYTES if self.scope_of(&owned, &text) == Scope::All => {
                    unannounced.is_all = true;
                }
                ..=MAX_KEY_BYTES => unannounced.texts.push(text),
                bytes => too_long = Some(FlushError::KeyTooLong { bytes }),
            }
            end_here(key);
        }
        let announced = unannounced.announce_all();
        self.flush_of(too_long.map_or(announced, Err))
    }

    /// Drops every copy that has a [tag](Loaded::tag) everywhere; otherwise like
    /// [`flush`](Self::flush). Costs a removal of each of them on each node.
    pub fn flush_tag(&self, tag: &str) -> Flush {
        self.flush_tags([tag])
    }

    /// Drops every copy that has one of these tags everywhere; otherwise like
    /// [`flush_tag`](Self::flush_tag), in one pass over the copies, and cheaper than one after the other:
    /// 32 tags travel in one frame. Of no tags it waits for the flushes before it.
    ///
    /// Not atomic: a reader may find one copy dropped and another not yet. If a tag is over the limit the
    /// others are flushed all the same, and awaiting gives the error.
    pub fn flush_tags<T: AsRef<str>>(&self, tags: impl IntoIterator<Item = T>) -> Flush {
        self.end_tags(tags, FLUSH)
    }

    fn end_tags<T: AsRef<str>>(&self, tags: impl IntoIterator<Item = T>, verb: Verb) -> Flush {
        let tags = tags.into_iter().map(|tag| tag.as_ref().to_owned());
        let (fit, longer): (Vec<_>, Vec<_>) = tags.partition(|tag| tag.len() <= MAX_TAG_BYTES);
        let too_long = longer.first().map(|tag| FlushError::TagTooLong { bytes: tag.len() });
        let unannounced = Unannounced::new(self, verb, |text| Scope::Tag(text), fit);
        let announced = unannounced.end_and_announce();
        self.flush_of(too_long.map_or(announced, Err))
    }

    /// Drops every copy whose key begins so, everywhere; otherwise like [`flush`](Self::flush). Costs a look
    /// at each copy on each node: for what is flushed often, give tags.
    ///
    /// A [prefix](Prefix) is the leading parts of a key that is a tuple, each by reference: `("orders", "eu")`
    /// names `("orders", "eu", 7)`, and not `("orders", "europe", 7)`. Or it is text that a key's
    /// [text](Key::to_text) begins with: `"orders/eu/"` names the same, `"orders/eu"` both. Text that no
    /// key of this cache [may begin with](Key::may_begin) names nothing: awaiting gives
    /// [`FlushError::BadPrefix`].
    pub fn flush_prefix(&self, prefix: impl Prefix<K>) -> Flush {
        self.end_prefix(&prefix, FLUSH)
    }

    fn end_prefix(&self, prefix: &impl Prefix<K>, verb: Verb) -> Flush {
        let prefix = match prefix.prefix_text() {
            Err(error) => return self.flush_of(Err(FlushError::BadPrefix(error))),
            Ok(text) if text.len() > MAX_KEY_BYTES => {
                return self.flush_of(Err(FlushError::KeyTooLong { bytes: text.len() }));
            }
            Ok(text) => vec![text],
        };
        let unannounced = Unannounced::new(self, verb, |text| Scope::Prefix(text), prefix);
        self.flush_of(unannounced.end_and_announce())
    }

    /// Drops every copy of this cache everywhere; otherwise like [`flush`](Self::flush).
    pub fn flush_all(&self) -> Flush {
        self.end_all(FLUSH)
    }

    fn end_all(&self, verb: Verb) -> Flush {
        let mut unannounced = Unannounced::new(self, verb, |_| Scope::All, Vec::new());
        unannounced.is_all = true;
        self.flush_of(unannounced.end_and_announce())
    }

    /// Has the copy of `key` expire everywhere: it is out of date, but may be served once more
    /// [as an expired one](crate::ReadThrough::load_or_expired), when the source fails. Otherwise like
    /// [`flush`](Self::flush): numbered, acknowledged, healed when missed, and awaited in the same way.
    ///
    /// No read that starts later is given the copy as fresh, and no load from before stores its value as
    /// fresh. It is held for as long as the cache [keeps expired copies](crate::CacheBuilder::keep_expired);
    /// a cache that keeps none drops it. A flush of it, or a reset, ends that. Where a flush would drop
    /// more than the key, because its text does not read back as the same one, all copies expire; a node
    /// that cannot read the key drops its whole cache.
    pub fn expire<Q: ToKey<K, Via> + ?Sized, Via>(&self, key: &Q) -> Flush {
        let now = self.parts.now();
        self.end_keys([key], EXPIRE, |key| self.parts.copies.expire_key(key, now))
    }

    /// Has every copy expire that has a [tag](Loaded::tag), everywhere; otherwise like
    /// [`expire`](Self::expire). A load that comes to have the tag, and began before, is held as one that
    /// has expired.
    pub fn expire_tag(&self, tag: &str) -> Flush {
        self.end_tags([tag], EXPIRE)
    }

    /// Has every copy expire whose key begins so, everywhere; otherwise like [`expire`](Self::expire). Prefix
    /// and cost are as in [`flush_prefix`](Self::flush_prefix).
    pub fn expire_prefix(&self, prefix: impl Prefix<K>) -> Flush {
        self.end_prefix(&prefix, EXPIRE)
    }

    /// Has every copy of this cache expire everywhere; otherwise like [`expire`](Self::expire). Costs a look
    /// at each copy on each node.
    pub fn expire_all(&self) -> Flush {
        self.end_all(EXPIRE)
    }

    /// Drops the copy of `key` on this node only, to make room. Nobody is told, and a load that is
    /// under way may store its value.
    pub fn evict<Q: AsKey<K, Via> + ?Sized, Via>(&self, key: &Q) {
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

/// Says what is to become of what a scope names.
type Verb = for<'t> fn(Scope<'t>) -> Scope<'t>;
const FLUSH: Verb = |scope| scope.flushed();
const EXPIRE: Verb = |scope| scope.expired();

/// What is dropped here, or has expired, and is to be announced: when that is asked for, or in any case when
/// this goes, because something panicked in between.
struct Unannounced<'c, K: Key, V: Value> {
    cache: &'c Cache<K, V>,
    verb: Verb,
    scope: for<'t> fn(&'t str) -> Scope<'t>,
    texts: Vec<String>,
    /// Everything is named elsewhere, whatever the texts are.
    is_all: bool,
}

impl<'c, K: Key, V: Value> Unannounced<'c, K, V> {
    fn new(
        cache: &'c Cache<K, V>,
        verb: Verb,
        scope: for<'t> fn(&'t str) -> Scope<'t>,
        texts: Vec<String>,
    ) -> Self {
        Self { cache, verb, scope, texts, is_all: false }
    }

    /// Does here what is named, and announces it.
    fn end_and_announce(self) -> Result<Seq, FlushError> {
        let Parts { copies, .. } = &*self.cache.parts;
        copies.apply(&self.scopes(&self.texts, self.is_all), self.cache.parts.now());
        self.announce_all()
    }

    fn scopes<'t>(&self, texts: &'t [String], is_all: bool) -> Vec<Scope<'t>> {
        if is_all {
            return vec![(self.verb)(Scope::All)];
        }
        texts.iter().map(|text| (self.verb)((self.scope)(text))).collect()
    }

    /// Gives back what the last frame of them came to: the log is in order.
    fn announce_all(mut self) -> Result<Seq, FlushError> {
        self.announce_rest()
    }

    fn announce_rest(&mut self) -> Result<Seq, FlushError> {
        let texts = std::mem::take(&mut self.texts);
        if std::mem::take(&mut self.is_all) {
            return self.cache.announce(self.scopes(&[], true));
        }
        let mut announced = None;
        for texts in texts.chunks(MAX_SCOPES) {
            announced = Some(self.cache.announce(self.scopes(texts, false)));
        }
        // Of no keys there is nothing to wait for but what came before.
        announced.unwrap_or_else(|| Ok(self.cache.parts.node.shared.head()))
    }
}

impl<K: Key, V: Value> Drop for Unannounced<'_, K, V> {
    fn drop(&mut self) {
        if (self.is_all || !self.texts.is_empty())
            && let Err(error) = self.announce_rest()
        {
            tracing::error!(%error, "a flush has told no other node");
        }
    }
}
