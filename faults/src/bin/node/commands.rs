//! Owns what is done on each command.

use std::ops::Range;
use std::time::Duration;

use flushcast::{Node, Peer};
use flushcast_faults::words::{self, Answer, Change, Command, Flushed, Standing, Versions};
use tokio::task::JoinSet;

use crate::caches::Caches;
use crate::loader::Loader;
use crate::readers::Readers;
use crate::tally::Tally;

#[derive(Debug)]
pub(crate) struct Commands {
    node: Node,
    caches: Caches,
    loader: Loader,
    readers: Readers,
    tally: Tally,
}

impl Commands {
    pub(crate) fn new(node: Node, caches: Caches, loader: Loader) -> Self {
        let tally = Tally::of(&node);
        Self { node, caches, loader, readers: Readers::default(), tally }
    }

    pub(crate) async fn obey(&mut self, command: Command) -> Answer {
        let answer = match command {
            Command::Link { others } => self.link(others).await,
            Command::Read { keys } => self.read(keys).await.map(Answer::Versions),
            Command::StartReader { keys, pause } => {
                self.readers.start(keys, pause, self.caches.clone(), self.loader.clone());
                Ok(Answer::Done)
            }
            Command::History => self.readers.history().map(Answer::History),
            Command::Loads => Ok(Answer::Loads(self.loader.loads())),
            Command::Change { key } => self.change(key).await.map(Answer::Changed),
            Command::Burst { keys, changes, pause } => self.burst(keys, changes, pause).await,
            Command::Slow { by } => {
                self.loader.slow(by);
                Ok(Answer::Done)
            }
            Command::Standing => Ok(Answer::Standing(self.standing())),
            Command::Happened => Ok(Answer::Happened(self.tally.happened())),
            Command::Stop => match self.node.shutdown().await {
                Ok(_) => Ok(Answer::Done),
                Err(error) => Err(error.to_string()),
            },
        };
        answer.unwrap_or_else(|why| Answer::Failed { why })
    }

    async fn link(&self, others: usize) -> Result<Answer, String> {
        let linked = |peers: &[Peer]| peers.iter().filter(|peer| peer.is_linked()).count();
        self.node.peers_until(|peers| linked(peers) == others).await;
        Ok(Answer::Done)
    }

    async fn read(&self, keys: Range<u64>) -> Result<Versions, String> {
        let mut versions = Versions::new();
        for kept in self.caches.iter() {
            let of_cache = versions.entry(kept.guarded).or_default();
            for key in keys.clone() {
                let version = self.loader.read(kept, key).await;
                of_cache.insert(key, version.map_err(|error| error.to_string())?);
            }
        }
        Ok(versions)
    }

    async fn change(&self, key: u64) -> Result<Change, String> {
        let version = self.loader.truth().change(key).map_err(|error| error.to_string())?;
        // All at once: none waits for what another comes to.
        let mut flushes = JoinSet::new();
        for kept in self.caches.iter().cloned() {
            flushes.spawn(async move { (kept.guarded, kept.flush(key).await) });
        }
        let mut change = Change { key, version, flushes: Default::default() };
        while let Some(flushed) = flushes.join_next().await {
            let (guarded, flushed): (_, Flushed) = flushed.map_err(|error| error.to_string())?;
            change.flushes.insert(guarded, flushed);
        }
        Ok(change)
    }

    /// The flushes get the numbers that follow: cache after cache for each change.
    async fn burst(
        &self,
        keys: Range<u64>,
        changes: u64,
        pause: Duration,
    ) -> Result<Answer, String> {
        for key in keys.cycle().take(usize::try_from(changes).unwrap_or(usize::MAX)) {
            self.loader.truth().change(key).map_err(|error| error.to_string())?;
            self.caches.iter().for_each(|kept| drop(kept.cache.flush(&key)));
            if pause > Duration::ZERO {
                tokio::time::sleep(pause).await;
            }
        }
        Ok(Answer::Done)
    }

    fn standing(&self) -> Standing {
        let peer = |peer: Peer| words::Peer {
            linked: peer.is_linked(),
            name: peer.name.unwrap_or_else(|| peer.address.to_string()),
            applied: peer.applied.0,
        };
        let peers = self.node.peers().into_iter().map(peer).collect();
        let cut_off = self.node.cut_off().into_iter().map(|peer| peer.node).collect();
        Standing { in_sync: self.node.in_sync(), cut_off, peers }
    }
}
