//! Nodes that follow the log on a real server: what is flushed is dropped everywhere, each `Ok` is true, and
//! what the server does in between changes neither.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod server;

use std::sync::Arc;
use std::time::Duration;

use flushcast_core::shared_log::{Behind, Confirmed};
use flushcast_core::wire::{Incarnation, Scope};
use flushcast_postgres::{Member, clean, flush};
use server::Database;
use server::node::{LEASE, Node, PATIENCE, until};

/// Three that serve a copy of each key below 10.
async fn three(database: &Database) -> [Node; 3] {
    let nodes = ["a", "b", "c"].map(|name| Node::start(database, name));
    for node in &nodes {
        for key in 0..10 {
            node.holds(key).await;
        }
    }
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_flushes_no_other_serves_once_it_is_confirmed() {
    let database = Database::new().await;
    let nodes = three(&database).await;
    for key in 0..10 {
        let confirmed = nodes[0].flush(key).await;
        assert!(matches!(confirmed, Confirmed::ByAll | Confirmed::ByTime), "{confirmed:?}");
        assert!(nodes.iter().all(|node| node.get(key).is_none()));
    }
    // They have been in it for longer than a lease.
    nodes[1].holds(0).await;
    assert_eq!(nodes[0].flush(0).await, Confirmed::ByAll);
    assert_eq!(nodes[1].get(0), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_flushes_on_every_node_with_its_commit_and_not_before() {
    let database = Database::new().await;
    let nodes = three(&database).await;
    let mut app = database.client().await;
    let rolled_back = app.transaction().await.unwrap();
    flush(&rolled_back, "titles", &1_u64).await.unwrap();
    rolled_back.rollback().await.unwrap();
    let transaction = app.transaction().await.unwrap();
    flush(&transaction, "titles", &2_u64).await.unwrap();
    assert_eq!(nodes[0].flush(3).await, nodes[0].flush(4).await, "others go on meanwhile");
    for node in &nodes {
        node.hold(2);
    }
    transaction.commit().await.unwrap();
    for node in &nodes {
        node.drops(2).await;
    }
    assert!(nodes.iter().all(|node| node.get(1) == Some(1)));
}

/// As through a pooler in transaction mode.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hears_no_notification_polls() {
    let database = Database::new().await;
    let (one, other) = (Node::start(&database, "a"), Node::listening(&database, "polls", false));
    other.holds(7).await;
    one.holds(7).await;
    let confirmed = one.flush(7).await;
    assert!(matches!(confirmed, Confirmed::ByAll | Confirmed::ByTime), "{confirmed:?}");
    assert_eq!(other.get(7), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_confirmed_without_the_server_and_nothing_is_served_once_a_lease_is_over() {
    let database = Database::alone().await;
    let nodes = three(&database).await;
    database.kill();
    nodes[1].drops(5).await;
    nodes[0].cache.flush_key(&6);
    let seq = nodes[0].log.announce("titles", &[Scope::Key("6")]);
    let soon = nodes[0].now() + Duration::from_millis(200);
    let told = nodes[0].log.await_applied(seq, soon, LEASE).await.unwrap();
    assert_eq!(told, Confirmed::Not(Behind::NotAppended));
    let later = nodes[0].now() + PATIENCE;
    let confirmed = nodes[0].log.await_applied(seq, later, LEASE);
    database.kill_and_start().await;
    let confirmed = confirmed.await.unwrap();
    assert!(matches!(confirmed, Confirmed::ByAll | Confirmed::ByTime), "{confirmed:?}");
    for node in &nodes {
        assert_eq!(node.get(6), None);
        node.holds(5).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_is_named_until_time_confirms_what_it_cannot() {
    let database = Database::new().await;
    let [one, other, gone] = three(&database).await;
    drop(gone);
    other.holds(1).await;
    one.cache.flush_key(&1);
    let seq = one.log.announce("titles", &[Scope::Key("1")]);
    let soon = one.now() + Duration::from_millis(1500);
    let told = one.log.await_applied(seq, soon, LEASE).await.unwrap();
    let named = Confirmed::Not(Behind::Nodes(vec!["c".to_owned()]));
    assert!(told == named || told == Confirmed::Not(Behind::NotKnown), "{told:?}");
    let later = one.now() + PATIENCE;
    assert_eq!(one.log.await_applied(seq, later, LEASE).await.unwrap(), Confirmed::ByTime);
    assert_eq!(other.get(1), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_begun_anew_resets_everybody_and_they_go_on_in_it() {
    let database = Database::new().await;
    let nodes = three(&database).await;
    let client = database.client().await;
    client.batch_execute("SELECT flushcast.begin_anew()").await.unwrap();
    for node in &nodes {
        node.drops(9).await;
    }
    nodes[1].holds(9).await;
    let confirmed = nodes[0].flush(9).await;
    assert!(matches!(confirmed, Confirmed::ByAll | Confirmed::ByTime), "{confirmed:?}");
    assert_eq!(nodes[1].get(9), None);
}

/// What nobody may have read is not cleaned away, and what all have read costs nobody a copy.
#[tokio::test(flavor = "multi_thread")]
async fn cleaning_costs_no_copy() {
    let database = Database::new().await;
    let nodes = three(&database).await;
    let client = database.client().await;
    for _ in 0..3 {
        nodes[0].flush(0).await;
        clean(&client, Duration::ZERO).await.unwrap();
        nodes[0].flush(1).await;
    }
    assert!(nodes.iter().all(|node| node.get(9) == Some(9)));
}

/// Each read is stamped by what was confirmed before it began.
#[tokio::test(flavor = "multi_thread")]
async fn no_read_behind_a_confirmed_flush_is_older_while_the_server_is_killed_again_and_again() {
    let database = Database::alone().await;
    let nodes: Arc<[Node; 3]> = Arc::new(three(&database).await);
    let confirmed = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (writes, reads) = {
        let (truth, writer, told) =
            (Arc::clone(&confirmed), Arc::clone(&nodes), Arc::clone(&confirmed));
        let source = Arc::new(std::sync::atomic::AtomicU64::new(1));
        let writes_to = Arc::clone(&source);
        let writes = tokio::spawn(async move {
            use std::sync::atomic::Ordering::SeqCst;
            for version in 2..60_u64 {
                writes_to.store(version, SeqCst);
                let confirmed = writer[0].flush(0).await;
                if matches!(confirmed, Confirmed::ByAll | Confirmed::ByTime) {
                    truth.store(version, SeqCst);
                }
            }
        });
        let readers = Arc::clone(&nodes);
        let reads = tokio::spawn(async move {
            use std::sync::atomic::Ordering::SeqCst;
            let (mut hits, mut loads) = (0_u64, 0_u64);
            loop {
                for node in &readers[1..] {
                    let floor = told.load(SeqCst);
                    match node.get(0) {
                        Some(version) => {
                            hits += 1;
                            assert!(version >= floor, "{version} is served behind {floor}");
                        }
                        None => {
                            loads += 1;
                            let load = || async { Ok::<_, String>(source.load(SeqCst)) };
                            let loaded = flushcast_core::load::get_or_load(
                                &node.cache,
                                &0,
                                || node.now(),
                                load,
                            );
                            assert!(loaded.await.unwrap() >= floor);
                        }
                    }
                }
                if told.load(SeqCst) >= 50 {
                    return (hits, loads);
                }
                tokio::task::yield_now().await;
            }
        });
        (writes, reads)
    };
    for round in 1..=3_u64 {
        until(|| confirmed.load(std::sync::atomic::Ordering::SeqCst) >= 10 * round).await;
        database.kill_and_start().await;
    }
    let (hits, loads) = tokio::time::timeout(PATIENCE, reads).await.unwrap().unwrap();
    writes.await.unwrap();
    assert!(hits > 100 && loads > 10, "{hits} {loads}");
}

#[test]
fn a_name_that_the_registry_would_refuse_is_refused_at_once() {
    let named = |name: &str| Member::new(Incarnation([1; 16]), name);
    let long = "x".repeat(128);
    assert!(named("a").is_ok() && named(&long).is_ok());
    for name in ["", "a\0b", &format!("{long}x")] {
        assert!(named(name).unwrap_err().to_string().contains("1 to 128 bytes"), "{name:?}");
    }
}
