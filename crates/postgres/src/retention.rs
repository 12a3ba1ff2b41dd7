//! Owns how long rows stay.

use std::time::Duration;

use tokio_postgres::{Client, Error};

/// Nothing is deleted of a transaction that somebody may not have read: not of one that still runs, nor of any
/// behind it. One cleaner at a time. The mark is raised to what is gone, and no further: were it raised to what
/// could be, all who have not polled since would take that for a loss. A mark that no transaction has reached
/// came with a dump of another server, and says nothing here.
const CLEAN: &str = "\
    WITH upto AS MATERIALIZED (\
        SELECT least(pg_snapshot_xmin(pg_current_snapshot()), \
            (SELECT xid FROM flushcast.flushes \
                WHERE at >= clock_timestamp() - make_interval(secs => $1) ORDER BY xid LIMIT 1)) AS xid \
        WHERE pg_try_advisory_xact_lock(hashtext('flushcast.clean'))), \
    gone AS (DELETE FROM flushcast.flushes USING upto WHERE flushes.xid < upto.xid RETURNING flushes.xid), \
    raised AS (\
        UPDATE flushcast.log SET cleaned = CASE \
            WHEN cleaned < pg_snapshot_xmax(pg_current_snapshot()) THEN greatest(cleaned, last.xid) \
            ELSE last.xid END \
        FROM (SELECT xid FROM gone ORDER BY xid DESC LIMIT 1) AS last) \
    SELECT count(*) FROM gone";

/// Deletes what was written longer ago than this, and notes up to where in the same transaction: whoever has not
/// read that far is told that the log does not reach back. Any number of nodes may call it. Gives how
/// many rows are gone.
///
/// A transaction that runs for longer than this keeps the rows from behind it; what it has written itself may be
/// deleted soon after its commit, and costs those who have not polled since all their copies.
///
/// # Errors
/// PostgreSQL's; then nothing is deleted.
pub async fn clean(client: &Client, older_than: Duration) -> Result<u64, Error> {
    let gone: i64 = client.query_one(CLEAN, &[&older_than.as_secs_f64()]).await?.try_get(0)?;
    Ok(gone.unsigned_abs())
}
