//! All nodes of a cluster are restarted, one shortly after the other, while they read and flush:
//! nobody who lives loses a copy, or is out of sync for long.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod cluster;

use std::ops::Range;
use std::time::Duration;

use cluster::{Cluster, Discovery, KEYS, loopback};
use flushcast_faults::clock::Moment;
use flushcast_faults::process::Process;
use flushcast_faults::words::{Command, Guarded};
use tokio::time::{Instant, sleep_until};

/// How many nodes there are, if not [`NODES`].
const NODES_BY: &str = "FLUSHCAST_ROLLING_NODES";
const NODES: u8 = 20;
/// From one restart to the next.
const EACH: Duration = Duration::from_millis(150);
/// The longest time for which a node may be out of sync.
const MOST: Duration = Duration::from_millis(1500);
/// Changed and flushed all the time, two by a node at each restart; the others never are.
const CHANGED: Range<u64> = 0..50;
const CHANGES: u64 = 2;
/// How long readers rest after each round.
const PAUSE: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_rolling_restart_costs_nobody_a_copy_and_keeps_nobody_out_of_sync() {
    let count = std::env::var(NODES_BY).map_or(NODES, |count| count.parse().unwrap());
    let mut cluster = Cluster::new(None, Discovery::Members);
    for address in loopback(count) {
        cluster.start(address, &[]).await;
        cluster.list(address);
    }
    cluster.warm().await;
    for node in &mut cluster.nodes {
        read_all_the_time(node).await;
    }

    let (begin, mut wrong) = (Moment::now(), Vec::new());
    let mut next = Instant::now();
    for number in 0..usize::from(count) {
        sleep_until(next).await;
        next = Instant::now() + EACH;
        wrong.extend(look(&mut cluster.nodes[number], begin, true).await);
        // In turn as an orchestrator would, and as a machine that fails.
        cluster.restart(number, number % 2 == 0, &[]).await;
        let node = &mut cluster.nodes[number];
        node.read(KEYS).await.unwrap();
        read_all_the_time(node).await;
        let writer = (number + usize::from(count) / 2) % usize::from(count);
        let change = Command::Burst { keys: CHANGED, changes: CHANGES, pause: Duration::ZERO };
        cluster.nodes[writer].order(change).await.unwrap();
    }
    cluster.in_sync(0, usize::from(count) - 1).await;
    for node in &mut cluster.nodes {
        wrong.extend(look(node, begin, false).await);
    }
    assert!(
        wrong.is_empty(),
        "{} of {} lives:\n{}",
        wrong.len(),
        2 * usize::from(count),
        wrong.join("\n")
    );

    let mut truth = None;
    for node in &mut cluster.nodes {
        let versions = node.read(KEYS).await.unwrap().remove(&Guarded::Bounded);
        assert_eq!(truth.get_or_insert_with(|| versions.clone()), &versions, "{}", node.name());
    }
}

async fn read_all_the_time(node: &mut Process) {
    node.order(Command::StartReader { keys: KEYS, pause: PAUSE }).await.unwrap();
}

/// What is wrong with a node's life since the restarts began, if anything is. One that had all
/// copies before it `was_warm`: what nobody has flushed was loaded once.
async fn look(node: &mut Process, begin: Moment, was_warm: bool) -> Option<String> {
    let happened = node.happened().await.unwrap();
    let name = node.name().to_owned();
    assert_eq!(happened.uncounted, 0, "{name}: {happened:?}");
    let out = happened.out_of_sync.iter().filter(|out| out.since > begin);
    let longest = out.map(|out| out.lasted).max().unwrap_or_default();
    let loads = node.loads().await.unwrap();
    let again = loads[&Guarded::Eventual]
        .iter()
        .filter(|&(key, versions)| !CHANGED.contains(key) && versions.values().sum::<u64>() > 1);
    let again = if was_warm { again.count() } else { 0 };
    let is_wrong = happened.distrusted > 0 || longest > MOST || again > 0;
    let which = if was_warm { "first" } else { "second" };
    is_wrong.then(|| {
        format!(
            "{name}, {which} life: distrusted its copies {} times, loaded {again} again that nobody \
             flushed, out of sync for up to {longest:?}",
            happened.distrusted
        )
    })
}
