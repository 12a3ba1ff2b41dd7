//! Owns the two sides of a comparison: a publisher in this process and its follower processes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flushcast::{Cache, Node, Outcome, Peer, Secret};
use tokio::time::timeout;

use crate::error::BenchError;
use crate::process::{ANSWER_WITHIN, Follower, ProcessError};
use crate::raw;
use crate::words::{CACHE, CLUSTER, Keys, Role, SECRET};

/// How long a flush may take. Nothing is judged by it: it ends a run that hangs.
const CONFIRM_WITHIN: Duration = Duration::from_secs(60);

/// Who publishes, and who follows.
#[derive(Debug)]
pub struct Side {
    /// Who publishes.
    pub publisher: Publisher,
    /// The followers.
    pub followers: Vec<Follower>,
}

/// Who publishes.
#[derive(Debug)]
pub enum Publisher {
    /// A node of Flushcast.
    Node {
        /// Kept, for the node stops with its last handle.
        node: Node,
        /// Holds nothing here: what a flush costs the others is measured.
        cache: Cache<String, u64>,
    },
    /// The rival.
    Raw(raw::Publisher),
}

impl Side {
    /// A node, and nodes that are linked with it and with each other.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn node(followers: usize) -> Result<Side, BenchError> {
        Self::of_nodes(followers, Role::Node).await
    }

    /// The same, with links that are encrypted.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn encrypted(followers: usize) -> Result<Side, BenchError> {
        Self::of_nodes(followers, Role::Encrypted).await
    }

    async fn of_nodes(followers: usize, role: Role) -> Result<Side, BenchError> {
        let node = Node::builder(CLUSTER)
            .listen(([127, 0, 0, 1], 0).into())
            .name("publisher")
            .confirm_within(CONFIRM_WITHIN);
        let node = match role {
            Role::Encrypted => node.secret(Secret::new(SECRET)?),
            _ => node,
        };
        let node = node.start().await?;
        let cache = node.cache(CACHE).build()?;
        let mut known = vec![node.local_address()];
        let mut started = Vec::new();
        for number in 0..followers {
            let name = format!("node-{number}");
            let follower = Follower::start(&this_program()?, role, &name, &known).await?;
            known.extend(follower.address());
            started.push(follower);
        }
        let linked = |peers: &[Peer]| {
            peers.len() == followers
                && peers.iter().all(|peer| peer.name.is_some() && peer.is_linked())
        };
        if timeout(ANSWER_WITHIN, node.peers_until(linked)).await.is_err() {
            return Err(BenchError::NotLinked { seen: format!("{:?}", node.peers()) });
        }
        for follower in &mut started {
            follower.link(followers).await?;
        }
        Ok(Side { publisher: Publisher::Node { node, cache }, followers: started })
    }

    /// Bare sockets.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn raw(followers: usize) -> Result<Side, BenchError> {
        let origin = raw::Origin::bind().await.map_err(BenchError::Raw)?;
        let address = origin.address().map_err(BenchError::Raw)?;
        let (mut streams, mut started) = (Vec::new(), Vec::new());
        for number in 0..followers {
            let name = format!("raw-{number}");
            started.push(Follower::start(&this_program()?, Role::Raw, &name, &[address]).await?);
            // It has connected before it said that it runs, so this does not wait.
            streams.push(origin.accept().await.map_err(BenchError::Raw)?);
        }
        let publisher = Publisher::Raw(raw::Publisher::new(streams));
        Ok(Side { publisher, followers: started })
    }

    /// Has every follower hold a copy of each key, and a slot to stamp for it.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn load(&mut self, keys: &Keys) -> Result<(), BenchError> {
        for follower in &mut self.followers {
            let copies = follower.load(keys).await?;
            check_copies(follower, keys, copies, keys.count)?;
        }
        Ok(())
    }

    /// Checks that no follower serves a copy of any of the keys.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn none_served(&mut self, keys: &Keys) -> Result<(), BenchError> {
        for follower in &mut self.followers {
            let copies = follower.count(keys).await?;
            check_copies(follower, keys, copies, 0)?;
        }
        Ok(())
    }
}

impl Publisher {
    /// Announces one key and waits until all followers have acknowledged it.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn announce(
        &mut self,
        followers: usize,
        number: usize,
        key: &str,
    ) -> Result<(), BenchError> {
        match self {
            Publisher::Node { cache, .. } => {
                let outcome = cache.flush(key).await?;
                check_outcome(number, followers, &outcome)
            }
            Publisher::Raw(raw) => raw.announce(number, key).await.map_err(BenchError::Raw),
        }
    }

    /// Announces the keys as fast as it can, and waits until all followers have acknowledged all.
    /// A node does so by the ordinary call, once for each key, in a loop that never yields.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn announce_all(
        &mut self,
        followers: usize,
        keys: &Arc<[String]>,
    ) -> Result<(), BenchError> {
        match self {
            Publisher::Node { cache, .. } => {
                let (cache, all) = (cache.clone(), Arc::clone(keys));
                let flush_all = move || {
                    let mut last = None;
                    for key in all.iter() {
                        last = Some(cache.flush(key.as_str()));
                    }
                    last
                };
                // A thread that may be kept busy, as an app's own would be.
                let Some(last) = tokio::task::spawn_blocking(flush_all).await? else {
                    return Ok(());
                };
                check_outcome(keys.len() - 1, followers, &last.await?)
            }
            Publisher::Raw(raw) => raw.announce_all(keys).await.map_err(BenchError::Raw),
        }
    }
}

fn check_outcome(number: usize, followers: usize, outcome: &Outcome) -> Result<(), BenchError> {
    if outcome.applied.len() == followers && outcome.is_complete() {
        return Ok(());
    }
    Err(BenchError::Unconfirmed { number, outcome: format!("{outcome:?}") })
}

fn check_copies(
    follower: &Follower,
    keys: &Keys,
    copies: usize,
    wanted: usize,
) -> Result<(), BenchError> {
    if copies == wanted {
        return Ok(());
    }
    let (follower, keys) = (follower.name().to_owned(), format!("{keys:?}"));
    Err(BenchError::Copies { follower, copies, keys, wanted })
}

/// Where the program that runs is.
///
/// # Errors
/// [`ProcessError::Start`] where the system does not tell.
pub fn this_program() -> Result<PathBuf, ProcessError> {
    std::env::current_exe()
        .map_err(|source| ProcessError::Start { program: "this program".into(), source })
}
