//! A few nodes on loopback that find each other by a members file, as a fabric would keep it, and
//! what tests need to look at them.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by test binaries, each of which uses its part"
)]

pub mod hostile;
pub mod load;
#[cfg(feature = "tls")]
pub mod papers;
pub mod relay;
pub mod strangers;
pub mod told;
#[cfg(feature = "tls")]
pub mod turned_away;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use flushcast::discovery::File;
use flushcast::{Cache, Guarantee, Node, NodeBuilder, Peer};
use tempfile::TempDir;

/// Bounds a wait that is not expected to be long; no test passes or fails by how long it took.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The bound of [`bounded`] caches: short, so that a node soon runs for longer than that.
pub const BOUND: Duration = Duration::from_millis(1500);

pub struct Cluster {
    folder: TempDir,
    pub nodes: Vec<Node>,
    members: Vec<SocketAddr>,
}

impl Cluster {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, nodes: Vec::new(), members: Vec::new() }
    }

    /// A cluster of `count` nodes, all linked.
    pub async fn of(count: usize) -> Self {
        let mut cluster = Self::new();
        for _ in 0..count {
            cluster.join().await;
        }
        cluster.all_linked().await;
        cluster
    }

    /// Starts another node and lists it.
    pub async fn join(&mut self) -> Node {
        self.join_with(|builder| builder).await
    }

    pub async fn join_with(&mut self, change: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Node {
        let name = format!("n{}", self.members.len());
        let builder = Node::builder("test")
            .listen("127.0.0.1:0".parse().unwrap())
            .name(name)
            .confirm_within(PATIENCE)
            .discovery(File::new(self.members_path()));
        let node = change(builder).start().await.unwrap();
        self.list(node.local_address());
        self.nodes.push(node.clone());
        node
    }

    pub fn list(&mut self, address: SocketAddr) {
        self.members.push(address);
        self.write_members();
    }

    pub fn unlist(&mut self, address: SocketAddr) {
        self.members.retain(|&member| member != address);
        self.write_members();
    }

    /// Lists these and nobody else.
    pub fn list_only(&mut self, addresses: impl IntoIterator<Item = SocketAddr>) {
        self.members = addresses.into_iter().collect();
        self.write_members();
    }

    fn write_members(&self) {
        let members = BTreeMap::from([("members", &self.members)]);
        let text = serde_json::to_string(&members).unwrap();
        let beside = self.folder.path().join("members.new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.members_path()).unwrap();
    }

    pub fn members_path(&self) -> std::path::PathBuf {
        self.folder.path().join("members.json")
    }

    /// Waits until flushes travel between all nodes.
    pub async fn all_linked(&self) {
        for node in &self.nodes {
            let others = self.nodes.len() - 1;
            until(node, |peers| peers.iter().filter(|peer| peer.is_linked()).count() == others)
                .await;
        }
    }

    pub fn caches(&self) -> Vec<Cache<String, u64>> {
        self.nodes.iter().map(numbers).collect()
    }
}

pub fn numbers(node: &Node) -> Cache<String, u64> {
    node.cache("numbers").build().unwrap()
}

/// A cache of the name of [`numbers`] whose copies need a proof of sync that is younger than
/// [`BOUND`].
pub fn bounded(node: &Node) -> Cache<String, u64> {
    node.cache("numbers").guarantee(Guarantee::Bounded(BOUND)).build().unwrap()
}

/// Addresses on loopback that were free a moment ago, all with different ports.
pub fn free<const COUNT: usize>() -> [SocketAddr; COUNT] {
    // Free on all addresses of the machine, for nodes that listen on all.
    let bind = |_| std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let listeners: [_; COUNT] = std::array::from_fn(bind);
    listeners.map(|listener| on_loopback(listener.local_addr().unwrap().port()))
}

pub fn on_loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Waits until the nodes have run for longer than [`BOUND`], so that none is in sync only because
/// it has just started, and then until all of them are in sync.
pub async fn in_sync_beyond_the_bound(nodes: &[&Node]) {
    tokio::time::sleep(BOUND * 2).await;
    for node in nodes {
        until(node, |_| node.in_sync()).await;
    }
}

/// Whether all of these are out of sync, all the time from a lease behind now: what was proven until now
/// counts for so long, and its last part may arrive yet.
pub async fn out_of_sync_for_good(nodes: &[&Node]) {
    tokio::time::sleep(Guarantee::STRICT_LEASE).await;
    let until = tokio::time::Instant::now() + BOUND;
    while tokio::time::Instant::now() < until {
        for node in nodes {
            assert!(!node.in_sync(), "{} is in sync: {:#?}", node.name(), node.peers());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub async fn until(node: &Node, wanted: impl FnMut(&[Peer]) -> bool) -> Vec<Peer> {
    let peers = tokio::time::timeout(PATIENCE, node.peers_until(wanted)).await;
    peers.unwrap_or_else(|_| panic!("{}: still {:#?}", node.name(), node.peers()))
}

/// Loads `value` unless a copy is there.
pub async fn load(cache: &Cache<String, u64>, key: &str, value: u64) -> u64 {
    cache.get_or_load(key, || async { Ok::<_, std::io::Error>(value) }).await.unwrap()
}
