//! Owns the application's handle on one node.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use flushcast_core::ack::Outcome;
use flushcast_core::cache::HashSeeds;
use flushcast_core::node::Input;
use flushcast_core::peers::{CutOff, Peer};
use flushcast_core::wire::{EVERY_CACHE, Scope};
use parking_lot::Mutex;

use crate::alarm;
use crate::builder::{NodeBuilder, random};
use crate::cache::{Cache, CacheBuilder};
use crate::discovery::SourceStatus;
use crate::driver::Shared;
use crate::events::Events;
use crate::flush::{Flush, FlushError, Settled};
use crate::log::Line;
#[cfg(feature = "tls")]
use crate::mesh::Door;
#[cfg(feature = "tls")]
use crate::security::{self, Secrets, SecurityError};
use crate::strict::NotStrict;
use crate::{Key, Value};

/// How long goodbyes may take to be sent. With the next one, this is within two seconds.
const GOODBYE_WITHIN: Duration = Duration::from_millis(1500);
/// How long tasks may take to end that were told to, and the log to be written.
const TASKS_END_WITHIN: Duration = Duration::from_millis(500);

/// One running instance of an app: it holds caches, applies its peers' flushes and announces its
/// own. Clones are handles on the same node.
///
/// When the last handle on a node and its caches is dropped, the node stops at once, as if it were
/// killed; [`shutdown`](Self::shutdown) says goodbye, so that nobody waits for it.
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
}

/// What stops the node's tasks when the application has let it go.
pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: String,
    pub(crate) local: std::net::SocketAddr,
    pub(crate) confirm_within: Duration,
    /// Whether it can have strict caches.
    pub(crate) strict: Result<(), NotStrict>,
    /// Its caches that somebody holds, and, until the next one is built, some that nobody does any more.
    pub(crate) handles: Mutex<BTreeMap<String, AnyCache>>,
}

/// A cache of any types.
pub(crate) struct AnyCache {
    pub(crate) cache: Weak<dyn Any + Send + Sync>,
    pub(crate) types: &'static str,
}

/// Why there is no handle on a cache.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindCacheError {
    /// Nobody holds a cache of this name.
    #[error("this node has no cache {name:?}: build it, and keep a handle on it")]
    Missing {
        /// The name.
        name: String,
    },
    /// It holds other things.
    #[error("cache {name:?} is a {has}, and was asked for as a {asked}")]
    OtherTypes {
        /// The name.
        name: String,
        /// What it is.
        has: &'static str,
        /// What it was taken for.
        asked: &'static str,
    },
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// Why the secret of a running node was not changed.
#[cfg(feature = "tls")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeSecretError {
    /// It was started without one, and its links stay as they are.
    #[error("this node was started without .secret(..), and gets none while it runs")]
    NoSecret,
    /// Nothing could be made of the new one.
    #[error(transparent)]
    Security(#[from] SecurityError),
}

impl Node {
    /// A builder of a node of `cluster`. Nodes of other clusters are kept apart, even if they find
    /// each other.
    pub fn builder(cluster: impl Into<String>) -> NodeBuilder {
        NodeBuilder::new(cluster.into())
    }

    /// A builder of a cache that flushes of the same name reach, on every node of the cluster.
    pub fn cache<K: Key, V: Value>(&self, name: impl Into<String>) -> CacheBuilder<K, V> {
        CacheBuilder::new(Arc::clone(&self.inner), name.into())
    }

    /// A handle on a cache of this node that was built somewhere else, for as long as somebody there holds
    /// one. It is told by its name and its types; a [loader](crate::Cache::with_loader) is not part of it.
    ///
    /// # Errors
    /// [`FindCacheError`]: no cache that anybody holds has the name, or it is of other types.
    ///
    /// ```
    /// # use flushcast::{Cache, FindCacheError, Node};
    /// # fn example(node: Node) -> Result<(), FindCacheError> {
    /// let titles = node.find_cache::<u64, String>("titles")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn find_cache<K: Key, V: Value>(&self, name: &str) -> Result<Cache<K, V>, FindCacheError> {
        let handles = self.inner.handles.lock();
        let found = handles.get(name).and_then(|it| Some((it.cache.upgrade()?, it.types)));
        drop(handles);
        let name = || name.to_owned();
        let (cache, has) = found.ok_or_else(|| FindCacheError::Missing { name: name() })?;
        Cache::from_any(cache).ok_or_else(|| FindCacheError::OtherTypes {
            name: name(),
            has,
            asked: std::any::type_name::<Cache<K, V>>(),
        })
    }

    /// Drops every copy of every cache, everywhere: of this node before it returns, and of all that the
    /// others have, whatever their names. It is one flush: await it to learn who has applied it.
    /// Otherwise like [`Cache::flush_all`].
    pub fn flush_all(&self) -> Flush {
        let Inner { shared, confirm_within, .. } = &*self.inner;
        shared.caches.flush_all();
        let announced = shared.announce(EVERY_CACHE, vec![Scope::All]);
        // Its name and scope are short.
        let announced = announced.map_err(|_| FlushError::NodeLeft);
        Flush::new(shared, *confirm_within, announced, shared.caches.has_strict())
    }

    /// The node's name, as outcomes and peers show it.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Where it listens for its peers.
    pub fn local_address(&self) -> std::net::SocketAddr {
        self.inner.local
    }

    /// A snapshot of who is where: a peer for each place that a discovery source lists, without the
    /// node's own, and one for each node that is linked, or was lost, and is at none of them. A node
    /// that takes part needs neither be listed nor be one that can be dialled. Flushes do not wait
    /// for a peer that has [left](Peer::left).
    pub fn peers(&self) -> Vec<Peer> {
        self.inner.shared.ask(flushcast_core::Node::peers)
    }

    /// Waits until `wanted` holds for [`peers`](Self::peers). Not bounded: put a time-out around
    /// it where the peers may never come to it.
    pub async fn peers_until(&self, mut wanted: impl FnMut(&[Peer]) -> bool) -> Vec<Peer> {
        let mut changes = self.inner.shared.watch_peers();
        loop {
            changes.mark_unchanged();
            let peers = self.peers();
            // The sender lives as long as this handle, so that waiting does not fail.
            if wanted(&peers) || changes.changed().await.is_err() {
                return peers;
            }
        }
    }

    /// Whether this node is provably in step with all others, as far as its caches ask for it: the
    /// proof is younger than the shortest bound of them, or than five seconds if none has one.
    /// Not once it was [shut down](Self::shutdown), or its runtime has ended: nobody tells it of
    /// changes any more. [`cut_off`](Self::cut_off) need not name anybody then.
    pub fn in_sync(&self) -> bool {
        let shared = &self.inner.shared;
        !shared.stop.is_cancelled() && shared.ask(flushcast_core::Node::in_sync)
    }

    /// The peers that it cannot prove to be in step with, and for how long; empty while it is in
    /// sync. Copies of caches with a bound are not served beyond it, so that reads load.
    pub fn cut_off(&self) -> Vec<CutOff> {
        self.inner.shared.ask(flushcast_core::Node::cut_off)
    }

    /// What happens to this node from now on: cut off, in sync again, links lost and healed, by
    /// replay or by reset.
    pub fn events(&self) -> Events {
        self.inner.shared.events.read()
    }

    /// How each discovery source stands: what it last failed with, and whether it has ended.
    pub fn discovery(&self) -> Vec<SourceStatus> {
        self.inner.shared.discovery.lock().values().cloned().collect()
    }

    /// Bytes of encoded flushes held for peers that are behind: one log for all of them,
    /// within [`flush_log`](crate::NodeBuilder::flush_log), however many and slow they are.
    pub fn flush_log_bytes(&self) -> usize {
        self.inner.shared.log_bytes()
    }

    /// Changes the secret of a node that has one. To replace a secret, do each of these steps on all nodes
    /// before the next: [`old.or(new)`](crate::Secret::or), `new.or(old)`, `new`. Whoever knows only the
    /// old one then gets no link.
    ///
    /// Links that the new secrets would not have let in end within two seconds and are made anew, so that
    /// nothing is missed; the others stay. No file is watched: call this where your app learns that its
    /// secret has changed.
    ///
    /// # Errors
    /// [`ChangeSecretError`]; the old secret stays in use.
    #[cfg(feature = "tls")]
    pub fn change_secret(&self, secrets: impl Into<Secrets>) -> Result<(), ChangeSecretError> {
        let shared = &self.inner.shared;
        let Door::Tls { key: Some(key), .. } = &shared.door else {
            return Err(ChangeSecretError::NoSecret);
        };
        let cluster = shared.ask(|core, _| core.config().cluster.clone());
        shared.door.replace(security::derive(&cluster, &secrets.into(), key)?);
        Ok(())
    }

    /// When the certificate expires that this node shows, for nodes with [certificates of your
    /// own](crate::NodeBuilder::tls). [`peers`](Self::peers) has those of the others.
    #[cfg(feature = "tls")]
    pub fn certificate_expires(&self) -> Option<std::time::SystemTime> {
        self.inner.shared.door.expires()
    }

    /// How many connections were turned away since the start, because they did not prove to be a member's:
    /// a wrong secret, none, silence, or more at once than there is room for. The log says whose and why,
    /// once for each source and reason, a line a second at the most. Without a secret, none.
    pub fn turned_away(&self) -> u64 {
        self.inner.shared.gate.turned_away()
    }

    /// Leaves the cluster: waits until the flushes announced so far are applied, at most
    /// `confirm_within`, says goodbye and stops. From then on nobody tells this node of changes, so
    /// its caches serve nothing: every read loads for itself, and flushes reach nobody.
    ///
    /// Takes `confirm_within` and two seconds at most, on any executor, even where the runtime is
    /// blocked that the node was started in; its sockets are closed when that goes on. Gives back who
    /// had applied the last flush. [`events`](Self::events) end.
    ///
    /// # Errors
    /// [`FlushError::NodeStopped`] if it was shut down already.
    pub async fn shutdown(&self) -> Result<Outcome, FlushError> {
        let shared = &self.inner.shared;
        let now = shared.clocks.exact.now();
        let deadline = now + self.inner.confirm_within;
        let outcome = Settled::by(shared, shared.head(), now, deadline, false).await;
        shared.feed(Input::Leave);
        let all_gone = async {
            loop {
                let changed = shared.conns_changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if shared.conns.lock().is_empty() {
                    return;
                }
                changed.await;
            }
        };
        if alarm::within(GOODBYE_WITHIN, all_gone).await.is_none() {
            shared.tell(Line::GoodbyeNotTaken);
        }
        shared.stop();
        shared.tasks.close();
        if alarm::within(TASKS_END_WITHIN, shared.tasks.wait()).await.is_none() {
            shared.tell(Line::TasksNotEnded);
        }
        outcome
    }

    /// Cuts this node from all others, for tests of what an app does then: nothing that is said
    /// passes any more, either way, and nobody is told. It is as if a network dropped everything.
    ///
    /// Has an effect on the mesh only: discovery goes on.
    #[cfg(feature = "faults")]
    pub fn cut(&self) {
        self.inner.shared.cable.set_cut(true);
    }

    /// Ends a [`cut`](Self::cut): what was missed is healed as after any break.
    #[cfg(feature = "faults")]
    pub fn heal(&self) {
        self.inner.shared.cable.set_cut(false);
    }

    pub(crate) fn hash_seeds() -> Result<HashSeeds, getrandom::Error> {
        let bytes = random::<32>()?;
        let mut seeds = [0; 4];
        for (seed, bytes) in seeds.iter_mut().zip(bytes.chunks_exact(8)) {
            *seed = bytes.iter().fold(0, |seed, &byte| seed << 8 | u64::from(byte));
        }
        Ok(HashSeeds(seeds))
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Inner { name, local, .. } = &*self.inner;
        out.debug_struct("Node").field("name", name).field("local", local).finish_non_exhaustive()
    }
}
