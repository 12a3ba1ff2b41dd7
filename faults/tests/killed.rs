//! A node is killed while it flushes: it has told some of it to some, and the rest to nobody.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod cluster;

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use cluster::claims::copies_lost;
use cluster::{Cluster, KEYS, LOOK_AGAIN, PATIENCE, network};
use flushcast_faults::process::Process;
use flushcast_faults::words::{Command, Guarded, Standing};
use tokio::time::{sleep, timeout};

/// Who is killed.
const WRITER: &str = "n0";
/// Who hears less of it than the others.
const LAGGARD: usize = 4;

#[tokio::test]
async fn all_that_anybody_applied_is_applied_by_all() {
    let Some(network) = network(5) else { return };
    let mut cluster = Cluster::in_network(network, 5, &[]).await;
    cluster.read_all_the_time(0..50).await;
    let burst = Burst { keys: KEYS, changes: 10_000, pause: Duration::ZERO };
    burst.kill_in_the_middle(&mut cluster, [3_000, 6_000]).await;
    let applied = agree(&mut cluster).await;
    assert!(applied < burst.flushes(), "it was not killed in the middle: {applied}");
    burst.assert_none_older(&mut cluster, applied).await;
    // They go on without it.
    let change = cluster.nodes[1].change(5).await.unwrap();
    let strict = &change.flushes[&Guarded::Strict].came_to;
    assert!(strict.as_ref().is_ok_and(|it| it.applied == ["n2", "n3", "n4"]), "{strict:?}");
}

#[tokio::test]
async fn a_little_that_one_has_missed_is_handed_over_and_costs_no_copies() {
    let Some(network) = network(5) else { return };
    let mut cluster = Cluster::in_network(network, 5, &[]).await;
    // Few enough that the survivors hold all that the laggard misses.
    let burst = Burst { keys: 0..10, changes: 10_000, pause: Duration::from_millis(5) };
    let before = cluster.nodes[LAGGARD].loads().await.unwrap();
    burst.kill_in_the_middle(&mut cluster, [90, 120]).await;
    let applied = agree(&mut cluster).await;
    burst.assert_none_older(&mut cluster, applied).await;
    let after = cluster.nodes[LAGGARD].loads().await.unwrap();
    // A bounded cache may have been cut off until the others were asked.
    let may = |cache, key| cache != Guarded::Eventual || burst.keys.contains(&key);
    assert_eq!(copies_lost(&before, &after, may), [], "nobody has named them");
}

/// Changes that the writer makes, each flushed in all caches.
struct Burst {
    keys: Range<u64>,
    changes: u64,
    pause: Duration,
}

impl Burst {
    fn flushes(&self) -> u64 {
        self.changes * Guarded::ALL.len() as u64
    }

    /// Starts it, cuts the laggard off when somebody has applied as many flushes as the first of
    /// `when` says, kills the writer at the second.
    async fn kill_in_the_middle(&self, cluster: &mut Cluster, when: [u64; 2]) {
        let Burst { keys, changes, pause } = self;
        let command = Command::Burst { keys: keys.clone(), changes: *changes, pause: *pause };
        cluster.nodes[0].tell(&command).await.unwrap();
        let [cut, kill] = when;
        while applied(&mut cluster.nodes[1]).await < cut {
            sleep(Duration::ZERO).await;
        }
        cluster.network().cut(0, LAGGARD).unwrap();
        while applied(&mut cluster.nodes[1]).await < kill {
            sleep(Duration::ZERO).await;
        }
        cluster.nodes[0].kill().await.unwrap();

        let missed = async |cluster: &mut Cluster| {
            applied(&mut cluster.nodes[1]).await - applied(&mut cluster.nodes[LAGGARD]).await
        };
        assert!(missed(cluster).await > 0, "the laggard has missed nothing");
        // Only now: what the kernel still holds of the writer's would get through.
        let given_up = |_: &str, standing: &Standing| {
            standing.peers.iter().all(|peer| peer.name != WRITER || !peer.linked)
        };
        cluster.stand(LAGGARD, given_up).await;
        cluster.network().heal().unwrap();
    }

    /// No copy is older than a flush up to `applied` of the same key in the same cache.
    async fn assert_none_older(&self, cluster: &mut Cluster, applied: u64) {
        for node in &mut cluster.nodes[1..] {
            for (cache, versions) in node.read(KEYS).await.unwrap() {
                for (key, version) in versions {
                    let due = self.version(cache, key, applied);
                    assert!(version >= due, "{} {cache:?} {key}: {version} < {due}", node.name());
                }
            }
        }
    }

    /// The version of a key that the flushes up to `applied` have told of. The truth may be ahead:
    /// what was flushed and told to nobody, or not flushed yet, may be held by one and not another.
    fn version(&self, cache: Guarded, key: u64, applied: u64) -> u64 {
        let place = Guarded::ALL.iter().position(|&it| it == cache).unwrap() as u64;
        let in_cache = |flush: &u64| (flush - 1) % Guarded::ALL.len() as u64 == place;
        let changes = (1..=applied).filter(in_cache).map(|flush| (flush - 1) / 3);
        let count = self.keys.end - self.keys.start;
        1 + changes.filter(|change| self.keys.start + change % count == key).count() as u64
    }
}

/// Waits until the survivors are in step, and have applied the same of what the writer announced.
async fn agree(cluster: &mut Cluster) -> u64 {
    cluster.in_sync(1, 3).await;
    let mut all = BTreeSet::new();
    let look = async {
        while all.len() != 1 {
            sleep(LOOK_AGAIN).await;
            let mut seen = BTreeSet::new();
            for node in &mut cluster.nodes[1..] {
                seen.insert(applied(node).await);
            }
            all = seen;
        }
    };
    let looked = timeout(PATIENCE, look).await;
    looked.unwrap_or_else(|_| panic!("they have applied different parts: {all:?}"));
    all.pop_first().unwrap()
}

/// How many of the writer's flushes a node has applied.
async fn applied(node: &mut Process) -> u64 {
    let standing = node.standing().await.unwrap();
    standing.peers.iter().find(|peer| peer.name == WRITER).map_or(0, |peer| peer.applied)
}
