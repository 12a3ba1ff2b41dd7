//! Some nodes in processes of their own, over one truth, and the claims about what they served.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

pub(crate) mod claims;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use claims::Claims;
use flushcast_faults::namespaces::{Namespaces, NetworkError};
use flushcast_faults::process::{Process, Start};
use flushcast_faults::truth::Truth;
use flushcast_faults::words::{Command, Loads, Standing};
use tempfile::TempDir;
use tokio::time::timeout;

/// Ends a test that hangs; nothing passes or fails by how long it took.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what cannot be awaited.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long readers rest after each round.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);
/// Keys of a cluster.
pub(crate) const KEYS: Range<u64> = 0..100;

/// A network of its own, or a line that says why the test is left out.
pub(crate) fn network(nodes: usize) -> Option<Namespaces> {
    match Namespaces::new(nodes) {
        Ok(network) => Some(network),
        Err(why @ NetworkError::Unavailable(_)) => {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            // Not by a macro: what those print is not shown of a test that passes.
            let mut stderr = std::io::stderr();
            writeln!(stderr, "skipped {test}: {why}").unwrap();
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Addresses on loopback that no other test uses: its whole network is this machine.
pub(crate) fn loopback(nodes: u8) -> Vec<SocketAddr> {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = |_| {
        let last = NEXT.fetch_add(1, Ordering::Relaxed);
        SocketAddr::from((Ipv4Addr::new(127, 64 + high % 128, low, last), 7400))
    };
    (0..nodes).map(address).collect()
}

/// How the nodes of a cluster find each other.
pub(crate) enum Discovery {
    /// All are told the same list.
    Fixed(Vec<SocketAddr>),
    /// All watch a file.
    Members,
}

/// Dropped in this order: processes before the network they run in.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Process>,
    pub(crate) network: Option<Namespaces>,
    discovery: Discovery,
    members: Vec<SocketAddr>,
    folder: TempDir,
}

impl Cluster {
    pub(crate) fn new(network: Option<Namespaces>, discovery: Discovery) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let truth = folder.path().join("truth");
        std::fs::create_dir(&truth).unwrap();
        Truth::at(&truth).begin(KEYS.end).unwrap();
        let (nodes, members) = (Vec::new(), Vec::new());
        Self { nodes, network, discovery, members, folder }
    }

    /// A cluster of `count` linked nodes in a network of their own, each with all copies.
    pub(crate) async fn in_network(network: Namespaces, count: usize, more: &[&str]) -> Self {
        let addresses: Vec<_> = (0..count).map(|node| network.address(node)).collect();
        let mut cluster = Self::new(Some(network), Discovery::Fixed(addresses.clone()));
        for address in addresses {
            cluster.start(address, more).await;
        }
        cluster.warm().await;
        cluster
    }

    /// Starts another node, whose name is its number.
    pub(crate) async fn start(&mut self, listen: SocketAddr, more: &[&str]) {
        let node = self.start_as(self.nodes.len(), listen, more).await;
        self.nodes.push(node);
    }

    /// Ends a node's life, in order or not, and begins another at its address.
    pub(crate) async fn restart(&mut self, number: usize, in_order: bool, more: &[&str]) {
        let node = &mut self.nodes[number];
        let address = node.address();
        match in_order {
            true => node.order(Command::Stop).await.unwrap(),
            false => node.kill().await.unwrap(),
        }
        self.nodes[number] = self.start_as(number, address, more).await;
    }

    async fn start_as(&self, number: usize, listen: SocketAddr, more: &[&str]) -> Process {
        let name = format!("n{number}");
        let mut arguments = vec!["--listen".to_owned(), listen.to_string()];
        arguments.extend(["--truth".to_owned(), text(&self.folder.path().join("truth"))]);
        arguments.extend(match &self.discovery {
            Discovery::Members => ["--members".to_owned(), text(&self.members_path())],
            Discovery::Fixed(list) => {
                let list: Vec<_> = list.iter().map(SocketAddr::to_string).collect();
                ["--peers".to_owned(), list.join(",")]
            }
        });
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let start = Start {
            name: &name,
            program: Path::new(env!("CARGO_BIN_EXE_node")),
            arguments,
            namespace: self.network.as_ref().map(|network| network.of(number)),
            folder: self.folder.path(),
        };
        Process::start(start).await.unwrap()
    }

    pub(crate) fn network(&self) -> &Namespaces {
        self.network.as_ref().unwrap()
    }

    /// Two nodes at once.
    pub(crate) fn two(&mut self, one: usize, other: usize) -> [&mut Process; 2] {
        self.nodes.get_disjoint_mut([one, other]).unwrap()
    }

    /// Waits until all are in step, and has each hold all copies. What a strict cache loads before
    /// its node's first proof is not kept.
    pub(crate) async fn warm(&mut self) {
        self.linked().await;
        self.in_sync(0, self.nodes.len() - 1).await;
        for node in &mut self.nodes {
            node.read(KEYS).await.unwrap();
        }
    }

    /// Waits until flushes travel between all nodes.
    pub(crate) async fn linked(&mut self) {
        let others = self.nodes.len() - 1;
        for node in &mut self.nodes {
            node.order(Command::Link { others }).await.unwrap();
        }
    }

    /// Waits until the nodes from `first` on are in step, and linked with so many others.
    pub(crate) async fn in_sync(&mut self, first: usize, others: usize) {
        let is_so = |_: &str, standing: &Standing| {
            let linked = standing.peers.iter().filter(|peer| peer.linked).count();
            standing.in_sync && linked == others
        };
        self.stand(first, is_so).await;
    }

    /// Waits until it stands so with each of the nodes from `first` on.
    pub(crate) async fn stand(&mut self, first: usize, is_so: impl Fn(&str, &Standing) -> bool) {
        for node in &mut self.nodes[first..] {
            let mut standing = node.standing().await.unwrap();
            let look = async {
                while !is_so(node.name(), &standing) {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    standing = node.standing().await.unwrap();
                }
            };
            let looked = timeout(PATIENCE, look).await;
            looked.unwrap_or_else(|_| panic!("{} stands so: {standing:#?}", node.name()));
        }
    }

    /// Has all nodes read these keys all the time.
    pub(crate) async fn read_all_the_time(&mut self, keys: Range<u64>) {
        for node in &mut self.nodes {
            let keys = keys.clone();
            node.order(Command::StartReader { keys, pause: PAUSE }).await.unwrap();
        }
    }

    /// What all nodes have served so far.
    pub(crate) async fn claims(&mut self) -> Claims {
        let mut claims = Claims::default();
        for node in &mut self.nodes {
            let history = node.history().await.unwrap();
            claims.add(node.name(), history);
        }
        claims
    }

    /// What each node has loaded so far.
    pub(crate) async fn loads(&mut self) -> Vec<Loads> {
        let mut loads = Vec::new();
        for node in &mut self.nodes {
            loads.push(node.loads().await.unwrap());
        }
        loads
    }

    /// Puts a node on the members file.
    pub(crate) fn list(&mut self, address: SocketAddr) {
        self.members.push(address);
        self.write_members();
    }

    /// Takes a node off the members file.
    pub(crate) fn unlist(&mut self, address: SocketAddr) {
        self.members.retain(|&member| member != address);
        self.write_members();
    }

    fn write_members(&self) {
        let members = BTreeMap::from([("members", &self.members)]);
        let beside = self.folder.path().join("members.new");
        std::fs::write(&beside, serde_json::to_string(&members).unwrap()).unwrap();
        std::fs::rename(beside, self.members_path()).unwrap();
    }

    fn members_path(&self) -> PathBuf {
        self.folder.path().join("members.json")
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
