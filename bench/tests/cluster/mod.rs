//! A node in the test's own process, and three followers in processes of their own.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::path::Path;
use std::time::{Duration, Instant};

use flushcast::{Cache, LogLimits, Node, Outcome, Peer, Reason};
use flushcast_bench::memory;
use flushcast_bench::process::Follower;
use flushcast_bench::words::{CACHE, CLUSTER, Keys, Role};
use rustix::process::{Signal, kill_process};
use tokio::time::timeout;

/// Flushes of a burst.
pub(crate) const BURST: usize = 200_000;
pub(crate) const MIB: usize = 1024 * 1024;

/// Ends a test that hangs; nothing passes or fails by how long it took.
const PATIENCE: Duration = Duration::from_secs(60);
/// A flush that a stopped follower keeps unconfirmed is told after this.
const CONFIRM_WITHIN: Duration = Duration::from_secs(1);
/// Copies of the burst's keys in the publisher's own cache: few, so that the memory they give
/// back does not hide what the burst takes.
const COPIES_HERE: usize = 1_000;
/// Flushes between two looks at the publisher's memory.
const LOOK_EVERY: usize = 500;

pub(crate) struct Cluster {
    pub(crate) node: Node,
    cache: Cache<String, u64>,
    pub(crate) followers: Vec<Follower>,
    /// The publisher's resident memory before it flushed anything, in bytes.
    resident: usize,
}

/// The most memory that was seen during a burst.
#[derive(Debug, Default)]
pub(crate) struct Peak {
    /// How much the publisher's resident memory has grown since the start, in bytes.
    pub(crate) publisher: usize,
    /// What the flush log held, in bytes.
    pub(crate) log: usize,
}

impl Cluster {
    /// Starts all; when it returns, flushes travel between all of them.
    pub(crate) async fn start(limits: LogLimits) -> Cluster {
        let node = Node::builder(CLUSTER)
            .listen("127.0.0.1:0".parse().unwrap())
            .name("publisher")
            .flush_log(limits)
            .confirm_within(CONFIRM_WITHIN)
            .start()
            .await
            .unwrap();
        let cache = node.cache(CACHE).build().unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_flushcast-bench"));
        let (mut followers, mut known) = (Vec::new(), vec![node.local_address()]);
        for name in ["a", "b", "c"] {
            let follower = Follower::start(program, Role::Node, name, &known).await.unwrap();
            known.push(follower.address().unwrap());
            followers.push(follower);
        }
        let all = |peers: &[Peer]| peers.iter().filter(|peer| peer.is_linked()).count() == 3;
        let linked = timeout(PATIENCE, node.peers_until(all)).await;
        linked.unwrap_or_else(|_| panic!("not all linked: {:#?}", node.peers()));
        for follower in &mut followers {
            follower.link(3).await.unwrap();
        }
        Cluster { node, cache, followers, resident: memory::resident().unwrap() }
    }

    /// Has each follower hold a copy of each key.
    pub(crate) async fn load(&mut self, keys: &Keys) {
        for follower in &mut self.followers {
            let served = follower.load(keys).await.unwrap();
            assert_eq!(served, keys.count, "{}", follower.name());
        }
    }

    /// How many of the keys each follower serves a copy of.
    pub(crate) async fn served(&mut self, keys: &Keys) -> [usize; 3] {
        let mut served = [0; 3];
        for (served, follower) in served.iter_mut().zip(&mut self.followers) {
            *served = follower.count(keys).await.unwrap();
        }
        served
    }

    /// The resident memory of each follower, in bytes.
    pub(crate) async fn rss(&mut self) -> [usize; 3] {
        let mut rss = [0; 3];
        for (rss, follower) in rss.iter_mut().zip(&mut self.followers) {
            *rss = follower.rss().await.unwrap();
        }
        rss
    }

    /// Stops a follower's process, and waits until it stands still.
    pub(crate) async fn stop(&self, at: usize) {
        let pid = self.followers[at].pid().unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
        loop {
            let stat = std::fs::read_to_string(&path).unwrap();
            // The state stands behind the program's name, which is in brackets.
            if stat.rsplit_once(") ").unwrap().1.starts_with('T') {
                return;
            }
            assert!(Instant::now() < deadline, "not stopped: {stat}");
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn resume(&self, at: usize) {
        kill_process(self.followers[at].pid().unwrap(), Signal::CONT).unwrap();
    }

    /// Flushes the keys in a tight loop; gives back what the last one came to, and the most memory
    /// that was seen. A few of them have copies here too, which go at once.
    pub(crate) async fn burst(&self, keys: &Keys) -> (Outcome, Peak) {
        let here = Keys::new(keys.prefix.as_str(), COPIES_HERE);
        for key in here.iter() {
            let loaded = self.cache.get_or_load(&key, || async { Ok::<_, std::io::Error>(1) });
            loaded.await.unwrap();
        }
        let copies_here = || here.iter().filter(|key| self.cache.get(key).is_some()).count();
        assert_eq!(copies_here(), COPIES_HERE);

        let (mut peak, mut last) = (Peak::default(), None);
        let mut look = || {
            let grown = memory::resident().unwrap().saturating_sub(self.resident);
            peak.publisher = peak.publisher.max(grown);
            peak.log = peak.log.max(self.node.flush_log_bytes());
        };
        for (number, key) in keys.iter().enumerate() {
            last = Some(self.cache.flush(&key));
            if number % LOOK_EVERY == 0 {
                look();
            }
        }
        assert_eq!(copies_here(), 0, "the publisher serves old copies");
        let outcome = timeout(PATIENCE, last.unwrap()).await.unwrap().unwrap();
        look();
        (outcome, peak)
    }

    /// Waits until these followers have applied all that was flushed so far, and no others.
    pub(crate) async fn applied_by(&self, names: &[&str]) {
        let applied = async {
            // Awaiting one is bounded by `confirm_within`; a slow machine may need several.
            while self.cache.flush("marker").await.unwrap().applied_by() != names {}
        };
        let peers = || self.node.peers();
        timeout(PATIENCE, applied).await.unwrap_or_else(|_| panic!("{names:?}: {:#?}", peers()));
    }

    /// Flushes one key, and waits until all have applied it.
    pub(crate) async fn flush(&self, key: &str) {
        drop(self.cache.flush(key));
        self.applied_by(&["a", "b", "c"]).await;
    }

    /// The outcome names `c`, which is stopped, and claims nothing of it.
    pub(crate) fn assert_c_is_unconfirmed(&self, outcome: &Outcome) {
        assert!(!outcome.applied_by().contains(&"c"), "{outcome:?}");
        let unconfirmed = outcome.unconfirmed.iter().filter(|node| node.node == "c");
        let reasons: Vec<_> = unconfirmed.map(|node| &node.reason).collect();
        // A link that says nothing is given up some time; a slow machine may have come to that.
        let given_up = matches!(reasons[..], [Reason::Unreachable(_) | Reason::Connecting]);
        let silent = matches!(reasons[..], [Reason::Silent | Reason::Suspected { .. }]);
        assert!(silent || (given_up && !self.follows("c")), "{outcome:?}");
    }

    /// Waits until the publisher has given up its link with `c`, which is stopped.
    pub(crate) async fn c_is_given_up(&self) {
        let given_up = self.node.peers_until(|_| !self.follows("c"));
        timeout(PATIENCE, given_up).await.expect("the link of a stopped follower is still open");
    }

    fn follows(&self, name: &str) -> bool {
        let peers = self.node.peers();
        peers.iter().any(|peer| peer.follows && peer.name.as_deref() == Some(name))
    }
}
