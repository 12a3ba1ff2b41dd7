//! Changes made by hand are flushed, and nothing else is.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod server;

use flushcast_postgres::{Watch, triggers};
use server::{Database, Reader};

async fn watched(key: &[&str]) -> (Database, tokio_postgres::Client, Reader) {
    let database = Database::new().await;
    let client = database.client().await;
    client.batch_execute(
        "CREATE SCHEMA shop; CREATE TABLE shop.\"Titles\" (id int PRIMARY KEY, region text, title text)",
    ).await.unwrap();
    let watch = Watch { table: "shop.Titles", cache: "it's \\ titles", key };
    let sql = triggers(&watch).unwrap();
    // Twice: they are replaced.
    client.batch_execute(&sql).await.unwrap();
    client.batch_execute(&sql).await.unwrap();
    let reader = Reader::at_the_end(&database).await;
    (database, client, reader)
}

async fn sorted(reader: &mut Reader) -> Vec<String> {
    let polled = reader.poll().await;
    assert!(polled.rows.iter().all(|row| row.cache == "it's \\ titles"));
    let mut keys: Vec<_> = polled.rows.into_iter().map(|row| row.text).collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn a_change_flushes_the_old_key_and_the_new_one() {
    let (_database, client, mut reader) = watched(&["id"]).await;
    let steps: [(&str, &[&str]); 6] = [
        ("INSERT INTO shop.\"Titles\" VALUES (1, 'eu', 'a'), (2, 'us', 'b')", &["1", "2"]),
        ("UPDATE shop.\"Titles\" SET title = 'c' WHERE id = 1", &["1"]),
        ("UPDATE shop.\"Titles\" SET id = 3 WHERE id = 2", &["2", "3"]),
        ("UPDATE shop.\"Titles\" SET id = 4 WHERE id = 99", &[]),
        ("DELETE FROM shop.\"Titles\" WHERE id = 1", &["1"]),
        ("BEGIN; UPDATE shop.\"Titles\" SET title = 'd'; ROLLBACK", &[]),
    ];
    for (sql, flushed) in steps {
        client.batch_execute(sql).await.unwrap();
        assert_eq!(sorted(&mut reader).await, flushed, "{sql}");
    }
}

#[tokio::test]
async fn more_than_32_keys_and_truncate_flush_everything() {
    let (_database, client, mut reader) = watched(&["id"]).await;
    let fill = "INSERT INTO shop.\"Titles\" SELECT n, 'eu', 'a' FROM generate_series(1, 32) AS n";
    client.batch_execute(fill).await.unwrap();
    assert_eq!(sorted(&mut reader).await.len(), 32);
    client.batch_execute(&fill.replace("(1, 32)", "(101, 133)")).await.unwrap();
    assert_eq!(sorted(&mut reader).await, [""]);
    // Each names two.
    client.batch_execute("UPDATE shop.\"Titles\" SET id = id + 1000 WHERE id <= 17").await.unwrap();
    assert_eq!(sorted(&mut reader).await, [""]);
    client.batch_execute("TRUNCATE shop.\"Titles\"").await.unwrap();
    assert_eq!(sorted(&mut reader).await, [""]);
}

#[tokio::test]
async fn a_key_of_several_columns_is_one_of_several_parts_and_without_one_all_is_flushed() {
    let (_database, client, mut reader) = watched(&["region", "id"]).await;
    client.batch_execute("INSERT INTO shop.\"Titles\" VALUES (1, 'a/b', 'x')").await.unwrap();
    assert_eq!(sorted(&mut reader).await, ["a%2Fb/1"]);
    client
        .batch_execute("INSERT INTO shop.\"Titles\" VALUES (2, 'eu', 'x'), (3, NULL, 'y')")
        .await
        .unwrap();
    assert_eq!(sorted(&mut reader).await, [""], "what has no key flushes everything");
    let (_database, client, mut reader) = watched(&[]).await;
    client.batch_execute("INSERT INTO shop.\"Titles\" VALUES (1, 'eu', 'x')").await.unwrap();
    assert_eq!(sorted(&mut reader).await, [""]);
    client.batch_execute("DELETE FROM shop.\"Titles\" WHERE id = 99").await.unwrap();
    assert_eq!(sorted(&mut reader).await, [""; 0], "a statement that changes nothing");
}

/// The app's own statement must not fail because of what it is watched for.
#[tokio::test]
async fn who_may_change_the_table_needs_no_right_to_the_log_and_a_key_may_be_too_long() {
    let (database, client, mut reader) = watched(&["title"]).await;
    let role = format!("writer_{:016x}", fastrand::u64(..));
    client
        .batch_execute(&format!(
            "CREATE ROLE {role}; GRANT USAGE ON SCHEMA shop TO {role}; \
             GRANT INSERT ON shop.\"Titles\" TO {role}; SET ROLE {role}; \
             INSERT INTO shop.\"Titles\" VALUES (1, 'eu', 'a'), (2, 'eu', 'b')"
        ))
        .await
        .unwrap();
    assert_eq!(sorted(&mut reader).await, ["a", "b"]);
    let long = "INSERT INTO shop.\"Titles\" VALUES (3, 'eu', repeat('x', 1025))";
    client.batch_execute(long).await.unwrap();
    assert_eq!(sorted(&mut reader).await, [""]);
    drop(database);
}

#[test]
fn a_name_that_would_end_the_text_it_stands_in_is_refused() {
    let long = "x".repeat(64);
    for name in ["", "a\"b", "a\0b", "$flushcast$", &long] {
        let key = [name];
        let bad = [
            Watch { table: name, cache: "c", key: &["id"] },
            Watch { table: "t", cache: "c", key: &key },
        ];
        for watch in bad {
            assert!(triggers(&watch).is_err(), "{watch:?}");
        }
    }
    for cache in ["", "a\0b", "$flushcast$"] {
        assert!(triggers(&Watch { table: "t", cache, key: &[] }).is_err(), "{cache:?}");
    }
    assert!(triggers(&Watch { table: "a.b.c", cache: "c", key: &[] }).is_err());
}
