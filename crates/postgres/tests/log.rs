//! The log on a real server: what commits is read once, whenever it commits and whatever ends meanwhile.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod server;

use std::collections::BTreeSet;
use std::time::Duration;

use flushcast_core::wire::Scope;
use flushcast_postgres::{
    FlushError, PollError, Row, ScopeKind, Snapshot, clean, flush, flush_all, flush_keys,
    flush_scopes, flush_tag, install, poll,
};
use server::{Database, NOBODY, Reader, keys};

#[tokio::test]
async fn what_commits_is_read_once_and_what_rolls_back_is_not() {
    let database = Database::new().await;
    let mut app = database.client().await;
    let mut reader = Reader::at_the_end(&database).await;
    for (number, commits) in [(1_u64, true), (2, false), (3, true)] {
        let transaction = app.transaction().await.unwrap();
        flush(&transaction, "titles", &number).await.unwrap();
        assert_eq!(reader.read().await, [""; 0], "nothing before the commit");
        if commits {
            transaction.commit().await.unwrap();
            assert_eq!(reader.read().await, [number.to_string()]);
        } else {
            transaction.rollback().await.unwrap();
        }
        assert_eq!(reader.read().await, [""; 0]);
    }
}

#[tokio::test]
async fn each_scope_reads_back_as_it_was_written() {
    let database = Database::new().await;
    let mut app = database.client().await;
    let mut reader = Reader::at_the_end(&database).await;
    let transaction = app.transaction().await.unwrap();
    let written = [
        Scope::Key("ünï'\\%/"),
        Scope::Key(""),
        Scope::Tag("eu"),
        Scope::Prefix("eu/"),
        Scope::All,
        Scope::ExpireKey("7"),
        Scope::ExpireTag("eu"),
        Scope::ExpirePrefix("7"),
        Scope::ExpireAll,
    ];
    flush_scopes(&transaction, "titles", &written).await.unwrap();
    flush_scopes(&transaction, "titles", &[]).await.unwrap();
    transaction.commit().await.unwrap();
    let rows = reader.poll().await.rows;
    assert!(rows.iter().all(|row| row.cache == "titles"));
    assert_eq!(rows.iter().map(Row::scope).collect::<Vec<_>>(), written);
}

#[tokio::test]
async fn what_is_over_the_limits_is_refused_and_the_transaction_goes_on() {
    let database = Database::new().await;
    let mut app = database.client().await;
    let mut reader = Reader::at_the_end(&database).await;
    let transaction = app.transaction().await.unwrap();
    let long = "x".repeat(1025);
    let refused = flush(&transaction, "titles", &long).await;
    assert!(matches!(refused, Err(FlushError::TooLong { bytes: 1025 })), "{refused:?}");
    let refused = flush_tag(&transaction, "titles", &long[..257]).await;
    assert!(matches!(refused, Err(FlushError::TooLong { bytes: 257 })), "{refused:?}");
    let refused = flush(&transaction, "titles", &"a\0b".to_owned()).await;
    assert!(matches!(refused, Err(FlushError::HasZero)), "{refused:?}");
    for name in ["", &long[..129]] {
        let refused = flush_all(&transaction, name).await;
        assert!(matches!(refused, Err(FlushError::BadName { .. })), "{refused:?}");
    }
    flush(&transaction, &long[..128], &long[..1024].to_owned()).await.unwrap();
    flush_tag(&transaction, "titles", &long[..256]).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(reader.read().await.len(), 2);
}

/// In this database, and in another one of the same server.
#[tokio::test]
async fn a_long_transaction_holds_nobody_elses_flush_up_and_is_read_when_it_commits() {
    let (database, elsewhere) = (Database::new().await, Database::new().await);
    let (mut long, mut other, mut app) =
        (database.client().await, elsewhere.client().await, database.client().await);
    let mut reader = Reader::at_the_end(&database).await;
    let long = long.transaction().await.unwrap();
    flush(&long, "titles", &0_u64).await.unwrap();
    let other = other.transaction().await.unwrap();
    flush(&other, "titles", &99_u64).await.unwrap();
    for number in 1..50_u64 {
        let transaction = app.transaction().await.unwrap();
        flush(&transaction, "titles", &number).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(reader.read().await, [number.to_string()]);
    }
    long.commit().await.unwrap();
    assert_eq!(reader.read().await, ["0"], "its number is below those that were read before");
    other.commit().await.unwrap();
    assert_eq!(reader.read().await, [""; 0]);
}

#[tokio::test]
async fn savepoints_and_two_phase_commits_are_read_with_their_transaction() {
    let database = Database::new().await;
    let mut app = database.client().await;
    let mut reader = Reader::at_the_end(&database).await;
    let mut transaction = app.transaction().await.unwrap();
    let kept = transaction.savepoint("kept").await.unwrap();
    flush(&kept, "titles", &1_u64).await.unwrap();
    kept.commit().await.unwrap();
    let undone = transaction.savepoint("undone").await.unwrap();
    flush(&undone, "titles", &2_u64).await.unwrap();
    undone.rollback().await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(reader.read().await, ["1"]);

    let transaction = app.transaction().await.unwrap();
    flush(&transaction, "titles", &3_u64).await.unwrap();
    transaction.batch_execute("PREPARE TRANSACTION 'two'").await.unwrap();
    // What it says is a warning: there is none any more.
    transaction.commit().await.unwrap();
    assert_eq!(reader.read().await, [""; 0]);
    app.batch_execute("COMMIT PREPARED 'two'").await.unwrap();
    assert_eq!(reader.read().await, ["3"]);
}

#[tokio::test]
async fn a_log_that_was_cleaned_behind_a_reader_says_so_and_to_nobody_else() {
    let database = Database::alone().await;
    let mut app = database.client().await;
    let (mut reads, mut lags) =
        (Reader::at_the_end(&database).await, Reader::at_the_end(&database).await);
    for number in 0..3_u64 {
        let transaction = app.transaction().await.unwrap();
        flush(&transaction, "titles", &number).await.unwrap();
        transaction.commit().await.unwrap();
    }
    assert_eq!(clean(&app, Duration::from_secs(3600)).await.unwrap(), 0, "they are young");
    assert_eq!(reads.read().await, ["0", "1", "2"]);
    // What others do meanwhile is no flush.
    app.batch_execute("CREATE TABLE other (id int)").await.unwrap();
    assert_eq!(clean(&app, Duration::ZERO).await.unwrap(), 3);
    assert!(reads.poll().await.is_whole, "it has read them");
    let polled = lags.poll().await;
    assert!(!polled.is_whole && polled.rows.is_empty());
    assert!(lags.poll().await.is_whole, "it goes on from there");
    app.batch_execute("DROP TABLE other").await.unwrap();
    assert_eq!(clean(&app, Duration::ZERO).await.unwrap(), 0);
    assert!(reads.poll().await.is_whole && lags.poll().await.is_whole, "nothing is gone");
}

#[tokio::test]
async fn nothing_is_cleaned_of_a_transaction_that_still_runs_nor_behind_it() {
    let database = Database::new().await;
    let (mut long, mut app) = (database.client().await, database.client().await);
    let mut reader = Reader::at_the_end(&database).await;
    let long = long.transaction().await.unwrap();
    flush(&long, "titles", &0_u64).await.unwrap();
    let transaction = app.transaction().await.unwrap();
    flush(&transaction, "titles", &1_u64).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(clean(&app, Duration::ZERO).await.unwrap(), 0);
    assert_eq!(reader.read().await, ["1"]);
    long.commit().await.unwrap();
    assert_eq!(reader.read().await, ["0"]);
    assert_eq!(clean(&app, Duration::ZERO).await.unwrap(), 2);
}

#[tokio::test]
async fn another_run_of_the_server_and_a_log_begun_anew_are_other_epochs() {
    let database = Database::alone().await;
    let before = Reader::at_the_end(&database).await.poll().await;
    let again = Reader::at_the_end(&database).await.poll().await;
    assert_eq!(before.epoch, again.epoch);
    let client = database.client().await;
    client.batch_execute("SELECT flushcast.begin_anew()").await.unwrap();
    let anew = Reader::at_the_end(&database).await.poll().await;
    assert_ne!(before.epoch, anew.epoch);
    database.kill_and_start().await;
    let restarted = Reader::at_the_end(&database).await.poll().await;
    assert_ne!(anew.epoch, restarted.epoch);
}

/// Each number either was acknowledged, and is read, or not: then it may be read, and once at most.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_has_committed_is_missed_when_the_server_is_killed() {
    let database = Database::alone().await;
    let mut reader = Reader::at_the_end(&database).await;
    let (mut read, mut committed) = (Vec::new(), BTreeSet::new());
    for round in 0..3_u64 {
        let mut app = database.client().await;
        let writes = tokio::spawn(async move {
            let mut committed = Vec::new();
            for number in round * 1_000_000.. {
                let Ok(transaction) = app.transaction().await else { break };
                if flush(&transaction, "titles", &number).await.is_err()
                    || transaction.commit().await.is_err()
                {
                    break;
                }
                committed.push(number.to_string());
            }
            committed
        });
        for _ in 0..50 {
            read.extend(reader.read().await);
        }
        database.kill_and_start().await;
        committed.extend(writes.await.unwrap());
        reader.connect_again(&database).await;
        read.extend(reader.read().await);
    }
    let once: BTreeSet<String> = read.iter().cloned().collect();
    assert_eq!(once.len(), read.len(), "none twice");
    assert!(committed.len() > 30 && committed.is_subset(&once));
}

#[tokio::test]
async fn two_who_install_at_once_and_again_do_no_harm() {
    let database = Database::new().await;
    let mut app = database.client().await;
    let transaction = app.transaction().await.unwrap();
    flush(&transaction, "titles", &1_u64).await.unwrap();
    transaction.commit().await.unwrap();
    let epoch = Reader::at_the_end(&database).await.poll().await.epoch;
    let (mut one, mut two) = (database.client().await, database.client().await);
    let (one, two) = tokio::join!(install(&mut one), install(&mut two));
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    assert_eq!(Reader::at_the_end(&database).await.poll().await.epoch, epoch);
}

#[tokio::test]
async fn a_database_without_the_schema_and_a_row_that_is_none_are_told() {
    let database = Database::empty().await;
    let client = database.client().await;
    let told = poll(&client, None, NOBODY).await.unwrap_err();
    assert!(told.to_string().contains("is the schema installed"), "{told}");
    let database = Database::new().await;
    let client = database.client().await;
    let mut reader = Reader::at_the_end(&database).await;
    let bad = "INSERT INTO flushcast.flushes (cache, kind) VALUES ('titles', 'some')";
    assert!(client.batch_execute(bad).await.is_err(), "the table refuses it");
    client
        .batch_execute("ALTER TABLE flushcast.flushes DROP CONSTRAINT flushes_kind_check")
        .await
        .unwrap();
    client.batch_execute(bad).await.unwrap();
    assert!(matches!(reader.try_poll().await, Err(PollError::BadRow(kind)) if kind == "some"));
    client.batch_execute("DELETE FROM flushcast.log").await.unwrap();
    assert!(matches!(poll(&client, None, NOBODY).await, Err(PollError::NoLog)));
}

#[tokio::test]
async fn who_is_behind_by_more_than_a_poll_gives_is_told_to_drop_everything() {
    let database = Database::new().await;
    let client = database.client().await;
    let mut reader = Reader::at_the_end(&database).await;
    let fill = "INSERT INTO flushcast.flushes (cache, kind, scope) \
        SELECT 'titles', 'key', n::text FROM generate_series(1, 20001) AS n";
    client.batch_execute(fill).await.unwrap();
    let polled = reader.poll().await;
    assert!(!polled.is_whole && polled.rows.is_empty());
    client.batch_execute(&fill.replace("20001", "20000")).await.unwrap();
    let polled = reader.poll().await;
    assert!(polled.is_whole && polled.rows.len() == 20_000);
}

/// What [`Snapshot`] reads of a snapshot is what the server means by it.
#[tokio::test]
async fn a_snapshot_sees_what_the_server_says_it_does() {
    let database = Database::new().await;
    let client = database.client().await;
    let sql = "SELECT n FROM generate_series(8, 24) AS n \
        WHERE pg_visible_in_snapshot(n::text::xid8, '10:20:10,14'::pg_snapshot) ORDER BY n";
    let seen: Vec<u64> = client
        .query(sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| u64::try_from(row.get::<_, i32>(0)).unwrap())
        .collect();
    let snapshot: Snapshot = "10:20:10,14".parse().unwrap();
    assert_eq!(seen, (8..=24).filter(|&xid| snapshot.sees(xid)).collect::<Vec<_>>());
}

#[tokio::test]
async fn many_keys_are_one_statement_and_other_languages_have_functions() {
    let database = Database::new().await;
    let mut app = database.client().await;
    let mut reader = Reader::at_the_end(&database).await;
    let transaction = app.transaction().await.unwrap();
    let pairs = [("eu".to_owned(), 7_u64), ("a/b".to_owned(), 8)];
    flush_keys(&transaction, "orders", &pairs).await.unwrap();
    transaction.commit().await.unwrap();
    app.batch_execute(
        "SELECT flushcast.flush('orders', flushcast.key('a/b', '50%')); \
         SELECT flushcast.flush_tag('orders', 'eu'); SELECT flushcast.flush_all('orders')",
    )
    .await
    .unwrap();
    let rows = reader.poll().await.rows;
    assert_eq!(keys(&rows), ["eu/7", "a%2Fb/8", "a%2Fb/50%25", "eu", ""]);
    assert_eq!(rows[4].kind, ScopeKind::All);
}

/// A dump of another server has its transactions' numbers in it.
#[tokio::test]
async fn rows_and_a_mark_of_another_server_are_not_read_with_each_poll() {
    let database = Database::new().await;
    let client = database.client().await;
    client
        .batch_execute(
            "INSERT INTO flushcast.flushes (xid, cache, kind) \
             SELECT '4000000000', 'titles', 'all' FROM generate_series(1, 30000); \
             UPDATE flushcast.log SET cleaned = '3000000000'",
        )
        .await
        .unwrap();
    let (mut reads, mut lags) =
        (Reader::at_the_end(&database).await, Reader::at_the_end(&database).await);
    let flush = "SELECT flushcast.flush('titles', '1')";
    client.batch_execute(flush).await.unwrap();
    assert_eq!(reads.read().await, ["1"]);
    assert_eq!(reads.read().await, [""; 0]);
    assert_eq!(clean(&client, Duration::ZERO).await.unwrap(), 1);
    assert!(reads.poll().await.is_whole);
    assert!(!lags.poll().await.is_whole, "the mark is of this server now");
}

#[tokio::test]
async fn a_copy_of_a_database_on_the_same_server_is_another_epoch() {
    let database = Database::new().await;
    let epoch = Reader::at_the_end(&database).await.poll().await.epoch;
    let copy = database.copy().await;
    let of_copy = Reader::at_the_end(&copy).await.poll().await.epoch;
    assert_ne!(epoch, of_copy);
}

/// By the server's own counts, with a position that transactions run through.
#[tokio::test]
async fn a_poll_of_a_large_table_reads_its_index_and_not_the_table() {
    let database = Database::new().await;
    let mut long = database.client().await;
    let long = long.transaction().await.unwrap();
    flush(&long, "titles", &0_u64).await.unwrap();
    let client = database.client().await;
    for _ in 0..100 {
        client
            .batch_execute(
                "INSERT INTO flushcast.flushes (cache, kind, scope) \
                 SELECT 'titles', 'key', n::text FROM generate_series(1, 1000) AS n",
            )
            .await
            .unwrap();
    }
    client.batch_execute("ANALYZE flushcast.flushes").await.unwrap();
    let counts = "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'flushes'";
    let read = |row: tokio_postgres::Row| (row.get::<_, i64>(0), row.get::<_, i64>(1));
    // What a connection has done is counted once it has ended.
    client.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    let before = read(client.query_one(counts, &[]).await.unwrap());
    let mut reader = Reader::at_the_end(&database).await;
    for _ in 0..20 {
        client.batch_execute("SELECT flushcast.flush('titles', '1')").await.unwrap();
        assert_eq!(reader.read().await, ["1"]);
    }
    drop(reader);
    let after = loop {
        let now = read(client.query_one(counts, &[]).await.unwrap());
        if now.1 >= before.1 + 20 {
            break now;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(after.0, before.0);
}
