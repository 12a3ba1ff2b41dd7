//! Owns how the log is read: what has committed since a snapshot, with the snapshot that saw it.

use flushcast_core::wire::Scope;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row as Found};

use crate::{Snapshot, SnapshotError};

/// Most rows that a poll gives. Who is further behind is told so: to drop every copy is cheaper.
pub const MAX_ROWS: usize = 100_000;

/// The parameters are written where the columns are compared: joined from elsewhere, the planner reads the
/// whole table in place of its index. The first row is the head.
const POLL: &str = "\
    SELECT pg_current_snapshot()::text, epoch::text, cleaned::text, pg_is_in_recovery(), \
        CASE WHEN pg_is_in_recovery() THEN '' ELSE concat_ws('/', \
            (SELECT system_identifier FROM pg_control_system()), \
            left(pg_walfile_name(pg_current_wal_lsn()), 8), \
            extract(epoch FROM pg_postmaster_start_time())) END \
    FROM flushcast.log \
    UNION ALL (\
        SELECT cache, kind, scope, expires, NULL FROM flushcast.flushes \
        WHERE xid >= pg_snapshot_xmax($1::text::pg_snapshot) \
        UNION ALL \
        SELECT cache, kind, scope, expires, NULL FROM flushcast.flushes \
        WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip($1::text::pg_snapshot))) \
        LIMIT $2)";

/// What a row says is out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeKind {
    /// One key.
    Key,
    /// What has a tag.
    Tag,
    /// What begins so.
    Prefix,
    /// Everything.
    All,
}

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The cache; every cache if it is empty.
    pub cache: String,
    /// What of it.
    pub kind: ScopeKind,
    /// The key, tag or prefix.
    pub text: String,
    /// Out of date, but better than nothing.
    pub expires: bool,
}

impl Row {
    /// The same as in a frame.
    pub fn scope(&self) -> Scope<'_> {
        let text = self.text.as_str();
        match (self.kind, self.expires) {
            (ScopeKind::Key, false) => Scope::Key(text),
            (ScopeKind::Tag, false) => Scope::Tag(text),
            (ScopeKind::Prefix, false) => Scope::Prefix(text),
            (ScopeKind::All, false) => Scope::All,
            (ScopeKind::Key, true) => Scope::ExpireKey(text),
            (ScopeKind::Tag, true) => Scope::ExpireTag(text),
            (ScopeKind::Prefix, true) => Scope::ExpirePrefix(text),
            (ScopeKind::All, true) => Scope::ExpireAll,
        }
    }
}

/// What a poll gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled {
    /// What has committed between the two snapshots; nothing if `is_whole` is false. In no order: flushes
    /// need none.
    pub rows: Vec<Row>,
    /// Where the next poll goes on.
    pub position: Snapshot,
    /// Which log this is, on which run of which server. Of another one nothing counts.
    pub epoch: String,
    /// Whether all rows from behind the position are here. False if some are deleted, or there are more
    /// than [`MAX_ROWS`]: then every copy from before is to be dropped.
    pub is_whole: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// The schema is there, and its one row of the log is not.
    #[error("flushcast.log has no row: install the schema again")]
    NoLog,
    /// It follows another server, and so would say what is old.
    #[error("this server is a standby: connect to the primary (target_session_attrs=read-write)")]
    Standby,
    /// A row is no flush. The table's checks allow none; somebody has dropped them.
    #[error("flushcast.flushes has a row of the kind {0:?}: put the checks of the schema back")]
    BadRow(String),
    /// What is no snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// PostgreSQL's.
    #[error("the log cannot be read; is the schema installed, and may this user read it?")]
    Database(#[from] tokio_postgres::Error),
}

/// Reads what has committed since `position`, and where that ends, in one statement. Without a position
/// there are no rows, and one begins from here.
///
/// The answer proves that nothing was missed as of when it was asked, on the one primary that takes writes: a
/// server that was replaced, and does not know, may answer too.
///
/// Cancel by dropping: nothing is lost, as the position is the caller's.
///
/// # Errors
/// There is no answer that counts.
pub async fn poll(client: &Client, position: Option<&Snapshot>) -> Result<Polled, PollError> {
    let none = Snapshot::everything();
    let since = position.unwrap_or(&none).to_string();
    let most = i64::try_from(MAX_ROWS + 1).unwrap_or(i64::MAX);
    let parameters: [&(dyn ToSql + Sync); 2] = [&since, &most];
    let found = client.query(POLL, &parameters).await?;
    let mut found = found.iter();
    let head = found.next().ok_or(PollError::NoLog)?;
    if head.try_get::<_, bool>(3)? {
        return Err(PollError::Standby);
    }
    let cleaned = text(head, 2)?;
    let cleaned: u64 = cleaned.parse().map_err(|_| PollError::BadRow(cleaned.to_owned()))?;
    let reaches_back = position.is_none_or(|position| position.xmin() > cleaned);
    let is_whole = reaches_back && found.len() <= MAX_ROWS;
    let rows = if is_whole { found.map(row).collect::<Result<_, _>>()? } else { Vec::new() };
    let epoch = format!("{}/{}", text(head, 1)?, text(head, 4)?);
    Ok(Polled { rows, position: text(head, 0)?.parse()?, epoch, is_whole })
}

fn text(row: &Found, at: usize) -> Result<&str, PollError> {
    Ok(row.try_get(at)?)
}

fn row(found: &Found) -> Result<Row, PollError> {
    let kind = match text(found, 1)? {
        "key" => ScopeKind::Key,
        "tag" => ScopeKind::Tag,
        "prefix" => ScopeKind::Prefix,
        "all" => ScopeKind::All,
        other => return Err(PollError::BadRow(other.to_owned())),
    };
    let (cache, text) = (text(found, 0)?.to_owned(), text(found, 2)?.to_owned());
    Ok(Row { cache, kind, text, expires: found.try_get(3)? })
}
