//! An app is rolled out ten times while it is used, each node stopped in order and started again one
//! after the other: encrypted links, strict caches, a fixed list. Nobody reads anything old, no flush
//! is left unconfirmed, and no reader hears of it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod cluster;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster::claims::Claims;
use cluster::{Cluster, Discovery, PAUSE, loopback};
use flushcast_faults::process::Process;
use flushcast_faults::words::{Change, Command};

const NODES: u8 = 3;
const ROLLOUTS: usize = 10;
/// What is read all the time and changed in turn.
const HOT: Range<u64> = 0..10;
/// The node that is restarted last of all, and makes the changes before.
const WRITER: usize = NODES as usize - 1;

#[tokio::test]
async fn ten_rollouts_under_load_cost_nobody_a_true_answer() {
    roll_out(&[]).await;
}

/// Whoever is down then is waited for, where it has not said goodbye to all.
#[tokio::test]
async fn nor_where_refusals_are_not_trusted() {
    roll_out(&["--distrust-refusals"]).await;
}

async fn roll_out(more: &[&str]) {
    let addresses = loopback(NODES);
    let mut cluster = Cluster::new(None, Discovery::Fixed(addresses.clone()));
    for address in addresses {
        cluster.start(address, more).await;
    }
    cluster.warm().await;
    cluster.read_all_the_time(HOT).await;
    let (mut claims, mut changes) = (Claims::default(), Vec::new());
    for _ in 0..ROLLOUTS {
        let writer = cluster.nodes.pop().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let writing = tokio::spawn(change_until(writer, Arc::clone(&is_over)));
        for number in 0..WRITER {
            restart(&mut cluster, number, more, &mut claims).await;
        }
        is_over.store(true, Ordering::Relaxed);
        let (writer, made) = writing.await.unwrap();
        assert!(made.len() > 1);
        changes.extend(made);
        cluster.nodes.push(writer);
        cluster.in_sync(0, WRITER).await;
        restart(&mut cluster, WRITER, more, &mut claims).await;
        cluster.in_sync(0, WRITER).await;
    }
    for node in &mut cluster.nodes {
        let served = node.history().await.unwrap();
        claims.add(node.name(), served);
    }
    for change in &changes {
        claims.assert_kept(change);
        for (cache, flushed) in &change.flushes {
            let outcome = flushed.came_to.as_ref();
            assert!(outcome.is_ok_and(|it| it.unconfirmed.is_empty()), "{cache:?}: {change:#?}");
        }
    }
}

/// Changes key after key, and awaits each flush.
async fn change_until(mut writer: Process, is_over: Arc<AtomicBool>) -> (Process, Vec<Change>) {
    let mut changes = Vec::new();
    for key in HOT.cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        changes.push(writer.change(key).await.unwrap());
    }
    (writer, changes)
}

/// What it has served until then is kept; that it can be told shows that no reader had an error.
async fn restart(cluster: &mut Cluster, number: usize, more: &[&str], claims: &mut Claims) {
    let node = &mut cluster.nodes[number];
    let served = node.history().await.unwrap();
    claims.add(node.name(), served);
    cluster.restart(number, true, more).await;
    let node = &mut cluster.nodes[number];
    node.order(Command::StartReader { keys: HOT, pause: PAUSE }).await.unwrap();
    // As an orchestrator does, which waits until it is ready.
    node.order(Command::Link { others: WRITER }).await.unwrap();
}
