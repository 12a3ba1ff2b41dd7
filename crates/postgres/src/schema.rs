//! Owns the tables' definition.

use tokio_postgres::{Client, Error};

/// The SQL that [`install`] runs, for those who run migrations of their own. Safe to run again.
pub const SCHEMA: &str = include_str!("schema.sql");

/// Makes the schema `flushcast` with its tables and functions, where they are not there.
///
/// # Errors
/// PostgreSQL's: the user may not create schemas, or the server is older than 13.
pub async fn install(client: &mut Client) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    // Two at once would both find that there is none.
    transaction
        .batch_execute("SELECT pg_advisory_xact_lock(hashtext('flushcast.install'))")
        .await?;
    transaction.batch_execute(SCHEMA).await?;
    transaction.commit().await
}
