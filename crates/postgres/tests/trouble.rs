//! What goes wrong around a node: it comes through, and nobody waits for ever.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod server;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::Caches;
use flushcast_core::shared_log::{Behind, Confirmed};
use flushcast_core::wire::{Incarnation, Scope};
use flushcast_postgres::{Log, Member, flush};
use server::Database;
use server::node::{LEASE, Node, PATIENCE, until};
use server::proxy::Proxy;

fn is_ok(confirmed: &Confirmed) -> bool {
    matches!(confirmed, Confirmed::ByAll | Confirmed::ByTime)
}

/// Each node that flushes notifies all others, however many they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn notifications_without_end_hold_up_neither_appends_nor_the_row() {
    let database = Database::alone().await;
    let ends = Arc::new(AtomicBool::new(false));
    let storm: Vec<_> = (0..2)
        .map(|_| (Arc::clone(&ends), database.url()))
        .map(|(ends, url)| {
            tokio::spawn(async move {
                let (client, connection) =
                    tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
                tokio::spawn(async move { drop(connection.await) });
                while !ends.load(Ordering::SeqCst) {
                    client.batch_execute("NOTIFY flushcast").await.unwrap();
                }
            })
        })
        .collect();
    // It makes each poll take longer than the rest between two.
    let client = database.client().await;
    client
        .batch_execute(
            "CREATE OR REPLACE FUNCTION flushcast.epoch() RETURNS uuid LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_sleep(0.01); RETURN (SELECT epoch FROM flushcast.log); END $$",
        )
        .await
        .unwrap();
    let node = Node::start(&database, "a");
    node.holds(1).await;
    assert!(is_ok(&node.flush(1).await));
    ends.store(true, Ordering::SeqCst);
    for task in storm {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_the_table_cannot_hold_is_one_of_more_and_stops_no_other() {
    let database = Database::new().await;
    let (node, other) = (Node::start(&database, "a"), Node::start(&database, "b"));
    let long = "x".repeat(2000);
    let many: Vec<String> = (0..20_000).map(|key| format!("{key}")).collect();
    let many: Vec<Scope<'_>> = many.iter().map(|key| Scope::Key(key)).collect();
    let cases: [(&str, &[Scope<'_>]); 6] = [
        ("titles", &[Scope::Key(&long)]),
        ("titles", &[Scope::Tag(&long[..257])]),
        ("titles", &[Scope::Key("a\0b")]),
        (&long[..129], &[Scope::Key("1")]),
        ("a\0b", &[Scope::Key("1")]),
        ("titles", &many),
    ];
    for (cache, scopes) in cases {
        other.holds(1).await;
        let seq = node.log.announce(cache, scopes);
        let deadline = node.now() + Duration::from_secs(10);
        let confirmed = node.log.await_applied(seq, deadline, LEASE).await.unwrap();
        assert!(is_ok(&confirmed), "{} bytes: {confirmed:?}", cache.len());
        assert_eq!(other.get(1), None);
    }
    other.holds(1).await;
    let seq = node.log.announce("titles", &[]);
    let deadline = node.now() + Duration::from_secs(10);
    assert!(is_ok(&node.log.await_applied(seq, deadline, LEASE).await.unwrap()));
    assert!(is_ok(&node.flush(2).await));
    until(|| other.get(1).is_some()).await;
}

/// 5,000 rows of 1 KB take 25 s on this link.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_too_far_behind_for_its_link_begins_anew() {
    let database = Database::new().await;
    let proxy = Proxy::to(database.port(), true).await;
    let node = Node::at(&database.url_at(proxy.port), "a", false);
    node.holds(1).await;
    let fill = "INSERT INTO flushcast.flushes (cache, kind, scope) \
        SELECT 'titles', 'key', repeat('x', 1000) || n FROM generate_series(1, 5000) AS n";
    database.client().await.batch_execute(fill).await.unwrap();
    node.drops(1).await;
    node.holds(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_late_does_no_harm_and_who_waits_is_told_in_time() {
    let database = Database::new().await;
    let proxy = Proxy::to(database.port(), false).await;
    let node = Node::at(&database.url_at(proxy.port), "cut", true);
    let other = Node::start(&database, "b");
    for node in [&node, &other] {
        for key in 0..5 {
            node.holds(key).await;
        }
    }
    proxy.silent(true);
    let ended = proxy.ended();
    node.cache.flush_key(&1);
    let seq = node.log.announce("titles", &[Scope::Key("1")]);
    // By then it waits for a connection.
    node.drops(2).await;
    let soon = node.now() + Duration::from_millis(100);
    let told = node.log.await_applied(seq, soon, LEASE).await.unwrap();
    assert!(matches!(told, Confirmed::Not(Behind::NotAppended)), "{told:?}");
    assert!(is_ok(&other.flush(3).await));
    assert_eq!(node.get(3), None);
    let deadline = node.now() + PATIENCE;
    let confirmed = node.log.await_applied(seq, deadline, LEASE);
    tokio::time::sleep(Duration::from_secs(3)).await;
    proxy.silent(false);
    assert!(is_ok(&confirmed.await.unwrap()));
    assert_eq!(other.get(1), None);
    until(|| proxy.ended() > ended).await;
    node.holds(2).await;
    assert!(is_ok(&node.flush(2).await));
}

/// While it connects to a server that says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_before_the_connection_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://postgres@{}/none", listener.local_addr().unwrap());
    let node = Node::at(&url, "a", true);
    let (mut silent, _) = listener.accept().await.unwrap();
    let seq = node.log.announce("titles", &[Scope::All]);
    let soon = node.now() + Duration::from_millis(50);
    let told = node.log.await_applied(seq, soon, LEASE);
    let given_up = async {
        let mut said = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut said).await.unwrap();
    };
    tokio::select! {
        told = told => assert_eq!(told, Some(Confirmed::Not(Behind::NotAppended))),
        () = given_up => panic!("it was told after that"),
    }
}

fn log_of(database: &Database, clock: impl Fn() -> Time + Send + Sync + 'static) -> Log {
    let life = Incarnation(fastrand::u128(..).to_be_bytes());
    let member = Member::new(life, "a").unwrap();
    Log::start(database.url().parse().unwrap(), member, Arc::new(Caches::default()), clock, true)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_log_whose_runtime_is_gone_or_whose_clock_has_panicked() {
    let database = Database::new().await;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let log = {
        let _inside = runtime.enter();
        log_of(&database, || Time::ZERO)
    };
    let seq = log.announce("titles", &[Scope::All]);
    let waiting = async { log.await_applied(seq, Time::NEVER, LEASE).await };
    runtime.shutdown_background();
    assert_eq!(tokio::time::timeout(PATIENCE, waiting).await.unwrap(), None);

    let panics = Arc::new(AtomicBool::new(false));
    let broken = Arc::clone(&panics);
    let log = log_of(&database, move || {
        assert!(!broken.load(Ordering::SeqCst), "the clock of this test has no time");
        Time::ZERO
    });
    let seq = log.announce("titles", &[Scope::All]);
    panics.store(true, Ordering::SeqCst);
    let waiting = log.await_applied(seq, Time::NEVER, LEASE);
    assert_eq!(tokio::time::timeout(PATIENCE, waiting).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_waiting_leaves_nothing_behind() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Node::at(
        &format!("postgres://postgres@{}/none", listener.local_addr().unwrap()),
        "a",
        true,
    );
    let seq = node.log.announce("titles", &[Scope::All]);
    for _ in 0..100 {
        let waiting = node.log.await_applied(seq, Time::NEVER, LEASE);
        tokio::time::timeout(Duration::ZERO, waiting).await.unwrap_err();
    }
    assert!(format!("{:?}", node.log).contains("waiting: 0"), "{:?}", node.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_wait_for_a_lock_do_not_pile_up() {
    let database = Database::alone().await;
    let node = Node::start(&database, "a");
    node.holds(1).await;
    let (mut locks, looks) = (database.client().await, database.client().await);
    let lock = locks.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE flushcast.flushes").await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 5 {
        let sql = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        let waiting = looks.query(sql, &[]).await.unwrap();
        seen.extend(waiting.iter().map(|row| row.get::<_, i32>(0)));
        assert!(waiting.len() <= 2, "{} wait at once", waiting.len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    lock.commit().await.unwrap();
    node.holds(1).await;
    assert!(is_ok(&node.flush(1).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_transactions_that_are_killed_at_any_moment_those_that_committed_flush() {
    const EACH: u64 = 50;
    let database = Database::alone().await;
    let nodes = [Node::start(&database, "a"), Node::listening(&database, "b", false)];
    let client = database.client().await;
    client.batch_execute("CREATE TABLE titles (id bigint)").await.unwrap();
    for round in 0..4 {
        let keys = round * EACH..(round + 1) * EACH;
        for node in &nodes {
            for key in keys.clone() {
                node.holds(key).await;
            }
        }
        let writers: Vec<_> = keys
            .clone()
            .map(|key| (key, database.url()))
            .map(|(key, url)| {
                tokio::spawn(async move {
                    let (mut app, connection) =
                        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
                    let connection = tokio::spawn(async move { drop(connection.await) });
                    let writes = async {
                        let transaction = app.transaction().await?;
                        transaction
                            .execute("INSERT INTO titles VALUES ($1)", &[&key.cast_signed()])
                            .await?;
                        let _ = flush(&transaction, "titles", &key).await;
                        transaction.commit().await
                    };
                    let life = Duration::from_micros(fastrand::u64(0..200_000));
                    let _ = tokio::time::timeout(life, writes).await;
                    connection.abort();
                })
            })
            .collect();
        let kills = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE query LIKE 'INSERT%' AND random() < 0.3";
        for _ in 0..10 {
            client.batch_execute(kills).await.unwrap();
        }
        for writer in writers {
            writer.await.unwrap();
        }
        // The last of them have ended once nobody else is in the database but the nodes.
        let others = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%INTO titles%' \
            OR query LIKE 'INSERT INTO flushcast.flushes (cache%' OR query = 'COMMIT'";
        while client.query_one(others, &[]).await.unwrap().get::<_, i64>(0) > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let committed: BTreeSet<u64> = client
            .query("SELECT id FROM titles", &[])
            .await
            .unwrap()
            .iter()
            .map(|row| row.get::<_, i64>(0).cast_unsigned())
            .collect();
        for node in &nodes {
            let all_ended = node.now();
            until(|| node.log.proven() > all_ended).await;
            for key in keys.clone() {
                match committed.contains(&key) {
                    true => assert_eq!(node.get(key), None, "{key} is missed"),
                    false => until(|| node.get(key).is_some()).await,
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_flushes_arrive_though_the_server_is_killed_amid_them() {
    const ALL: u64 = 10_000;
    let database = Database::alone().await;
    let (node, other) = (Node::start(&database, "a"), Node::start(&database, "b"));
    other.holds(0).await;
    let client = database.client().await;
    for key in 0..ALL {
        other.hold(key);
        node.log.announce("titles", &[Scope::Key(&key.to_string())]);
        if key == ALL / 2 {
            let written = "SELECT count(*) FROM flushcast.flushes";
            while client.query_one(written, &[]).await.unwrap().get::<_, i64>(0) < 100 {}
            database.kill();
        }
    }
    database.kill_and_start().await;
    other.hold(ALL);
    let confirmed = node.flush(ALL).await;
    assert!(is_ok(&confirmed), "{confirmed:?}");
    assert!((0..=ALL).all(|key| other.get(key).is_none()));
    let client = database.client().await;
    let sql = "SELECT count(DISTINCT number) FROM flushcast.flushes";
    let written = client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(written.cast_unsigned(), ALL + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_recovery_proves_nothing_and_is_another_log_once_promoted() {
    let database = Database::alone().await;
    let node = Node::start(&database, "a");
    node.holds(1).await;
    database.kill_and_stand_by().await;
    node.drops(1).await;
    let client = database.client().await;
    let told = flushcast_postgres::poll(&client, None, server::NOBODY).await.unwrap_err();
    assert!(told.to_string().contains("standby"), "{told}");
    // So it is for one that has a row.
    let life: String =
        client.query_one("SELECT life::text FROM flushcast.members", &[]).await.unwrap().get(0);
    let life = u128::from_str_radix(&life.replace('-', ""), 16).unwrap().to_be_bytes();
    let told = flushcast_postgres::poll(&client, None, Incarnation(life)).await.unwrap_err();
    assert!(told.to_string().contains("standby"), "{told}");
    assert_eq!(node.get(1), None);
    client.batch_execute("SELECT pg_promote()").await.unwrap();
    node.holds(1).await;
    assert!(is_ok(&node.flush(1).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_comes_late_is_found() {
    let database = Database::empty().await;
    let node = Node::start(&database, "a");
    let seq = node.log.announce("titles", &[Scope::All]);
    let soon = node.now() + Duration::from_millis(500);
    let told = node.log.await_applied(seq, soon, LEASE).await;
    assert_eq!(told, Some(Confirmed::Not(Behind::NotAppended)));
    flushcast_postgres::install(&mut database.client().await).await.unwrap();
    node.holds(1).await;
    assert!(is_ok(&node.flush(1).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_followed_by_the_rules_that_it_has() {
    let database = Database::new().await;
    let client = database.client().await;
    let node = Node::start(&database, "a");
    node.holds(1).await;
    client.batch_execute("UPDATE flushcast.log SET overlap = '1 s'").await.unwrap();
    node.drops(1).await;
    node.holds(1).await;
    assert_eq!(node.flush(1).await, Confirmed::ByTime);
    client.batch_execute("UPDATE flushcast.log SET overlap = NULL").await.unwrap();
    node.drops(2).await;
    let seq = node.log.announce("titles", &[Scope::All]);
    let soon = node.now() + Duration::from_secs(4);
    let told = node.log.await_applied(seq, soon, LEASE).await.unwrap();
    assert!(matches!(told, Confirmed::Not(_)), "{told:?}");
    node.hold(1);
    assert_eq!(node.get(1), None, "nothing is proven");
}

/// A deployment that crashed in a loop.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_dead_go_however_many_they_are() {
    let database = Database::new().await;
    let node = Node::start(&database, "a");
    let client = database.client().await;
    let fill = "INSERT INTO flushcast.members (life, name, epoch, applied) \
        SELECT gen_random_uuid(), 'dead', flushcast.epoch(), '3:3:' FROM generate_series(1, 1000)";
    client.batch_execute(fill).await.unwrap();
    let rows = "SELECT count(*) FROM flushcast.members";
    node.holds(1).await;
    while client.query_one(rows, &[]).await.unwrap().get::<_, i64>(0) > 1 {
        assert!(is_ok(&node.flush(2).await));
    }
    node.holds(1).await;
}
