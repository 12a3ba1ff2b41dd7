//! Owns one connection to the database, and what is said over it. Whoever drops it ends the connection, with
//! what was under way.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use flushcast_core::shared_log::Epoch;
use flushcast_core::wire::Incarnation;
use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls};

use crate::kept::Kept;
use crate::life::{epoch_text, life_text, read_life};
use crate::poll::poll_at_most;
use crate::{PollError, Polled, Snapshot};

/// Each is refused where the log is another one by now: what it says would be taken for a word on that.
const APPEND: &str = "\
    INSERT INTO flushcast.flushes (author, number, cache, kind, expires, scope) \
    SELECT $1::text::uuid, number, cache, kind, expires, scope \
    FROM unnest($3::bigint[], $4::text[], $5::text[], $6::boolean[], $7::text[]) \
        AS it (number, cache, kind, expires, scope) \
    WHERE flushcast.epoch() = $2::text::uuid \
    RETURNING xid::text";
const REFRESH: &str = "\
    INSERT INTO flushcast.members AS row (life, name, epoch, applied) \
    SELECT $1::text::uuid, $2, $3::text::uuid, $4::text::pg_snapshot \
    WHERE flushcast.epoch() = $3::text::uuid \
    ON CONFLICT (life) DO UPDATE SET epoch = excluded.epoch, applied = excluded.applied, \
        version = row.version + 1, seen = clock_timestamp()";
const REGISTRY: &str = "\
    SELECT flushcast.epoch()::text, life::text, name, members.epoch::text, applied::text, version \
    FROM flushcast.log LEFT JOIN flushcast.members ON true";
const REMOVE: &str = "\
    DELETE FROM flushcast.members USING unnest($1::text[], $2::bigint[]) AS it (life, version) \
    WHERE members.life = it.life::uuid AND members.version = it.version";

/// How long it may take to have a statement cancelled: for as long, there is one connection more.
const CANCEL_WITHIN: Duration = Duration::from_secs(3);

/// The channel that wakes those who follow.
const WAKE: &str = "NOTIFY flushcast";
const LISTEN: &str = "LISTEN flushcast";

pub(crate) struct Engine {
    client: Client,
    connection: JoinHandle<()>,
}

/// A row of the registry.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) life: Incarnation,
    pub(crate) name: String,
    pub(crate) epoch: u128,
    pub(crate) applied: Snapshot,
    pub(crate) version: i64,
}

impl Engine {
    /// Connects; `wake` is called with each notification, if it `listens`.
    pub(crate) async fn connect(
        config: &Config,
        listens: bool,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Self, Error> {
        let (client, connection) = config.connect(NoTls).await?;
        let connection = tokio::spawn(async move {
            let mut connection = pin!(connection);
            // Its end, and why, is told by the call that is under way, or the next one.
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if matches!(message, AsyncMessage::Notification(_)) {
                    wake();
                }
            }
        });
        let engine = Self { client, connection };
        if listens {
            engine.client.batch_execute(LISTEN).await?;
        }
        Ok(engine)
    }

    pub(crate) async fn poll(
        &self,
        position: Option<&Snapshot>,
        life: Incarnation,
        rows: usize,
    ) -> Result<Polled, PollError> {
        poll_at_most(&self.client, position, life, rows).await
    }

    /// Appends these, and gives the transaction that holds them; nothing if the log is another one by now.
    pub(crate) async fn append(
        &self,
        life: Incarnation,
        epoch: Epoch,
        flushes: &[Kept],
    ) -> Result<Option<u64>, PollError> {
        let (life, epoch) = (life_text(life), epoch_text(epoch.id));
        let numbers: Vec<i64> = flushes.iter().map(|it| it.seq.0.cast_signed()).collect();
        let caches: Vec<&str> = flushes.iter().map(|it| it.cache.as_str()).collect();
        let kinds: Vec<&str> = flushes.iter().map(|it| it.kind.as_str()).collect();
        let expire: Vec<bool> = flushes.iter().map(|it| it.expires).collect();
        let texts: Vec<&str> = flushes.iter().map(|it| it.text.as_str()).collect();
        let parameters: [(&(dyn ToSql + Sync), Type); 7] = [
            (&life, Type::TEXT),
            (&epoch, Type::TEXT),
            (&numbers, Type::INT8_ARRAY),
            (&caches, Type::TEXT_ARRAY),
            (&kinds, Type::TEXT_ARRAY),
            (&expire, Type::BOOL_ARRAY),
            (&texts, Type::TEXT_ARRAY),
        ];
        let rows = self.client.query_typed(APPEND, &parameters).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let xid: &str = first.try_get(0)?;
        Ok(Some(xid.parse().map_err(|_| PollError::BadRow(xid.to_owned()))?))
    }

    /// Wakes all who listen. Behind the commit, and by itself: within a transaction it makes commits wait for
    /// each other.
    pub(crate) async fn wake(&self) -> Result<(), Error> {
        self.client.batch_execute(WAKE).await
    }

    /// Puts down how far this node is; whether that was taken, which it is not in another epoch.
    pub(crate) async fn refresh(
        &self,
        life: Incarnation,
        name: &str,
        epoch: Epoch,
        applied: &Snapshot,
    ) -> Result<bool, Error> {
        let (life, epoch, applied) = (life_text(life), epoch_text(epoch.id), applied.to_string());
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&life, Type::TEXT),
            (&name, Type::TEXT),
            (&epoch, Type::TEXT),
            (&applied, Type::TEXT),
        ];
        Ok(self.client.execute_typed(REFRESH, &parameters).await? == 1)
    }

    /// Everybody who is registered, and in which epoch that was read.
    pub(crate) async fn registry(&self) -> Result<(u128, Vec<Member>), PollError> {
        let rows = self.client.query_typed(REGISTRY, &[]).await?;
        let first = rows.first().ok_or(PollError::NoLog)?;
        let id = |text: &str| read_life(text).map(crate::life::number_of);
        let epoch = id(first.try_get(0)?)?;
        let mut members = Vec::new();
        for row in &rows {
            let Some(life) = row.try_get::<_, Option<&str>>(1)? else { continue };
            members.push(Member {
                life: read_life(life)?,
                name: row.try_get(2)?,
                epoch: id(row.try_get(3)?)?,
                applied: row.try_get::<_, &str>(4)?.parse()?,
                version: row.try_get(5)?,
            });
        }
        Ok((epoch, members))
    }

    /// Removes rows that have not moved, if they have not by now.
    pub(crate) async fn remove(&self, rows: &[(Incarnation, i64)]) -> Result<(), Error> {
        let (lives, versions): (Vec<_>, Vec<_>) =
            rows.iter().map(|&(life, version)| (life_text(life), version)).unzip();
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&lives, Type::TEXT_ARRAY), (&versions, Type::INT8_ARRAY)];
        self.client.execute_typed(REMOVE, &parameters).await.map(drop)
    }

    /// Has the server stop what it works at. It does not look for whether anybody is left to hear the answer:
    /// statements that wait for a lock would pile up, each with a connection.
    pub(crate) fn cancel(self) {
        let cancel = self.client.cancel_token();
        tokio::spawn(async move {
            // Without it the statement ends by itself.
            let _ = tokio::time::timeout(CANCEL_WITHIN, cancel.cancel_query(NoTls)).await;
        });
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
