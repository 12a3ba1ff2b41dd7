//! Owns how the log is read: what has committed since a snapshot, with the snapshot that saw it.

use std::time::Duration;

use flushcast_core::shared_log::{Epoch, Membership, Overlap, Rules};
use flushcast_core::wire::{Incarnation, Position, Scope, Seq};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row as Found};

use crate::life::{life_text, number_of, read_life};
use crate::scope::ScopeKind;
use crate::{Snapshot, SnapshotError};

/// Most rows that a poll gives. Who is further behind is told so: to drop every copy is cheaper.
/// An answer that takes longer than [`ANSWER_WITHIN`](flushcast_core::shared_log::ANSWER_WITHIN) would prove
/// nothing.
pub const MAX_ROWS: usize = 20_000;

/// The parameters are written where the columns are compared: joined from elsewhere, the planner reads the
/// whole table in place of its index. The first row is the head. What is numbered as no transaction yet came
/// with a dump of another server, the mark of what is cleaned as well: it would be read with each poll.
const POLL: &str = "\
    SELECT NULL::xid8::text, NULL::bigint, NULL::uuid::text, NULL::bigint, \
        pg_current_snapshot()::text, \
        coalesce(flushcast.epoch()::text, ''), \
        CASE WHEN cleaned < pg_snapshot_xmax(pg_current_snapshot()) THEN cleaned::text ELSE '0' END, \
        EXISTS (SELECT FROM flushcast.members \
            WHERE life = $3::text::uuid AND members.epoch = flushcast.epoch()), \
        extract(epoch FROM overlap)::float8 \
    FROM flushcast.log \
    UNION ALL (\
        SELECT xid::text, id, author::text, number, cache, kind, scope, expires, NULL::float8 \
        FROM flushcast.flushes WHERE xid >= pg_snapshot_xmax($1::text::pg_snapshot) \
            AND xid < pg_snapshot_xmax(pg_current_snapshot()) \
        UNION ALL \
        SELECT xid::text, id, author::text, number, cache, kind, scope, expires, NULL::float8 \
        FROM flushcast.flushes \
        WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip($1::text::pg_snapshot))) \
        LIMIT $2)";

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The transaction that wrote it, and its number among all rows.
    pub at: (u64, i64),
    /// Whose flush it is, and its number there; nobody's, of an app's transaction or a trigger.
    pub by: Option<Position>,
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
        self.kind.scope(&self.text, self.expires)
    }
}

/// What a poll gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled {
    /// What has committed between the two snapshots, in the order of its transactions' numbers, so that one
    /// that has waited for another is behind it. Nothing if `is_whole` is false.
    pub rows: Vec<Row>,
    /// Where the next poll goes on.
    pub position: Snapshot,
    /// Which log this is, on which run of which server, with its rules.
    pub epoch: Epoch,
    /// Whether all rows from behind the position are here. False if some are deleted, there are more than
    /// [`MAX_ROWS`], or the position is one that this log has not reached: then every copy from before is to
    /// be dropped.
    pub is_whole: bool,
    /// Whether the one who asks has a row among the members, in this epoch.
    pub is_member: bool,
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

/// Reads what has committed since `position`, and where that ends, in one statement, for the run `life` of a
/// node. Without a position there are no rows, and one begins from here.
///
/// The answer proves that nothing was missed as of when it was asked, on the one primary that takes writes: a
/// server that was replaced, and does not know, may answer too.
///
/// Cancel by dropping: nothing is lost, as the position is the caller's.
///
/// # Errors
/// There is no answer that counts.
pub async fn poll(
    client: &Client,
    position: Option<&Snapshot>,
    life: Incarnation,
) -> Result<Polled, PollError> {
    poll_at_most(client, position, life, MAX_ROWS).await
}

/// With no more rows than these: more are none.
pub(crate) async fn poll_at_most(
    client: &Client,
    position: Option<&Snapshot>,
    life: Incarnation,
    rows: usize,
) -> Result<Polled, PollError> {
    let none = Snapshot::everything();
    let since = position.unwrap_or(&none).to_string();
    let most = i64::try_from(rows + 1).unwrap_or(i64::MAX);
    let life = life_text(life);
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&since, Type::TEXT), (&most, Type::INT8), (&life, Type::TEXT)];
    let found = client.query_typed(POLL, &parameters).await?;
    let mut found = found.iter();
    let head = found.next().ok_or(PollError::NoLog)?;
    let epoch = text(head, 5)?;
    if epoch.is_empty() {
        return Err(PollError::Standby);
    }
    let id = number_of(read_life(epoch)?);
    let now: Snapshot = text(head, 4)?.parse()?;
    let cleaned = number(text(head, 6)?)?;
    let reaches_back = |from: &Snapshot| from.xmin() > cleaned && from.xmax() <= now.xmax();
    let is_whole = position.is_none_or(reaches_back) && found.len() <= rows;
    let mut rows: Vec<Row> =
        if is_whole { found.map(row).collect::<Result<_, _>>()? } else { Vec::new() };
    rows.sort_by_key(|row| row.at);
    let overlap = match head.try_get::<_, Option<f64>>(8)? {
        None => Overlap::Unknown,
        Some(seconds) => match Duration::try_from_secs_f64(seconds) {
            Ok(Duration::ZERO) => Overlap::Never,
            Ok(length) => Overlap::AtMost(length),
            Err(_) => Overlap::Unknown,
        },
    };
    let rules = Rules { membership: Membership::Registered, overlap };
    let epoch = Epoch { id, rules };
    Ok(Polled { rows, position: now, epoch, is_whole, is_member: head.try_get(7)? })
}

fn text(row: &Found, at: usize) -> Result<&str, PollError> {
    Ok(row.try_get(at)?)
}

fn number(text: &str) -> Result<u64, PollError> {
    text.parse().map_err(|_| PollError::BadRow(text.to_owned()))
}

fn row(found: &Found) -> Result<Row, PollError> {
    let kind = text(found, 5)?;
    let kind = ScopeKind::read(kind).ok_or_else(|| PollError::BadRow(kind.to_owned()))?;
    let by = match (found.try_get::<_, Option<&str>>(2)?, found.try_get::<_, Option<i64>>(3)?) {
        (Some(author), Some(number)) => {
            Some(Position { life: read_life(author)?, seq: Seq(number.unsigned_abs()) })
        }
        _ => None,
    };
    let (cache, scope) = (text(found, 4)?.to_owned(), text(found, 6)?.to_owned());
    let at = (number(text(found, 0)?)?, found.try_get(1)?);
    Ok(Row { at, by, cache, kind, text: scope, expires: found.try_get(7)? })
}
