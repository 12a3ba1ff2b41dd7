//! What each role needs, as `docs/reference/postgres.md` says it, and what no stranger gets.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod server;

use std::time::Duration;

use flushcast_core::shared_log::Confirmed;
use flushcast_postgres::{Watch, clean, flush_keys, triggers};
use server::node::Node;
use server::{Database, Reader};
use tokio_postgres::{Client, NoTls};

const PAGE: &str = include_str!("../../../docs/reference/postgres.md");

/// The page's SQL that begins with this comment, for roles of this test alone: those of a server are all
/// databases'.
fn sql(begins: &str, suffix: &str) -> String {
    let blocks = PAGE.split("```sql\n").skip(1).map(|it| it.split("```").next().unwrap());
    let block = blocks.into_iter().find(|it| it.starts_with(begins)).unwrap();
    ["flushcast_app", "flushcast_node", "flushcast_cleaner"]
        .iter()
        .fold(block.to_owned(), |sql, role| sql.replace(role, &format!("{role}{suffix}")))
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client
}

async fn with_roles() -> (Database, String) {
    let database = Database::new().await;
    let suffix = format!("_{:016x}", fastrand::u64(..));
    let owner = database.client().await;
    owner.batch_execute(&sql("-- Roles", &suffix)).await.unwrap();
    (database, suffix)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_can_do_its_part_and_no_more() {
    let (database, suffix) = with_roles().await;
    let node = Node::at(&database.url_of(&format!("flushcast_node{suffix}")), "a", true);
    node.holds(1).await;
    node.holds(2).await;
    let mut app = connect(&database.url_of(&format!("flushcast_app{suffix}"))).await;
    let transaction = app.transaction().await.unwrap();
    flush_keys(&transaction, "titles", &[1_u64]).await.unwrap();
    transaction.batch_execute("SELECT flushcast.flush('titles', '2')").await.unwrap();
    transaction.commit().await.unwrap();
    node.drops(1).await;
    node.drops(2).await;
    assert!(matches!(node.flush(3).await, Confirmed::ByAll | Confirmed::ByTime));
    let cleaner = connect(&database.url_of(&format!("flushcast_cleaner{suffix}"))).await;
    assert!(clean(&cleaner, Duration::ZERO).await.unwrap() > 0);
    for sql in [
        // Would be read with each poll, or as another's.
        "INSERT INTO flushcast.flushes (xid, cache, kind) VALUES ('9', 'titles', 'all')",
        "INSERT INTO flushcast.flushes (author, number, cache, kind) \
         VALUES (gen_random_uuid(), 1, 'titles', 'all')",
        "SELECT FROM flushcast.flushes",
        "DELETE FROM flushcast.flushes",
        "SELECT flushcast.begin_anew()",
        "DELETE FROM flushcast.members",
    ] {
        let refused = app.batch_execute(sql).await.unwrap_err();
        let code = refused.code().map(tokio_postgres::error::SqlState::code);
        assert_eq!(code, Some("42501"), "{sql}: {refused:?}");
    }
}

/// A right that is missing is told, and found once it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_comes_late_is_found() {
    let database = Database::new().await;
    let owner = database.client().await;
    let role = format!("late_{:016x}", fastrand::u64(..));
    owner.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await.unwrap();
    let node = Node::at(&database.url_of(&role), "a", true);
    let seq = node.log.announce("titles", &[flushcast_core::wire::Scope::All]);
    let soon = node.now() + Duration::from_millis(300);
    let told = node.log.await_applied(seq, soon, server::node::LEASE).await;
    assert!(matches!(told, Some(Confirmed::Not(_))));
    let sql = sql("-- Roles", &format!("_{role}"));
    owner.batch_execute(&sql).await.unwrap();
    owner.batch_execute(&format!("GRANT flushcast_node_{role} TO {role}")).await.unwrap();
    node.holds(1).await;
    assert!(matches!(node.flush(1).await, Confirmed::ByAll | Confirmed::ByTime));
}

/// A trigger's function runs as who has made it. On a stranger's table it would run what the stranger's types do.
#[tokio::test]
async fn no_stranger_puts_a_triggers_function_on_a_table_of_theirs() {
    let database = Database::new().await;
    let owner = database.client().await;
    let stranger = format!("stranger_{:016x}", fastrand::u64(..));
    let watch = Watch { table: "titles", cache: "titles", key: &["id"] };
    owner
        .batch_execute(&format!(
            "CREATE TABLE titles (id int); {} CREATE ROLE {stranger} LOGIN; \
             GRANT USAGE ON SCHEMA flushcast TO {stranger}; CREATE SCHEMA AUTHORIZATION {stranger}; \
             GRANT INSERT ON titles TO {stranger}",
            triggers(&watch).unwrap()
        ))
        .await
        .unwrap();
    let mut reader = Reader::at_the_end(&database).await;
    let name = "SELECT proname::text FROM pg_proc WHERE proname LIKE 'insert %'";
    let name: String = owner.query_one(name, &[]).await.unwrap().get(0);
    let client = connect(&database.url_of(&stranger)).await;
    client.batch_execute("INSERT INTO titles VALUES (7)").await.unwrap();
    assert_eq!(reader.read().await, ["7"], "who may change the table needs no other right");
    let evil = format!(
        "CREATE TABLE mine (id int); CREATE TRIGGER mine AFTER INSERT ON mine \
         REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION flushcast.\"{name}\"()"
    );
    let refused = client.batch_execute(&evil).await.unwrap_err();
    assert_eq!(refused.code().map(tokio_postgres::error::SqlState::code), Some("42501"));
}
