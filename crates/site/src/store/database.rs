//! The settings in an SQLite database that all instances of one machine share: the default.
//!
//! Its calls block, and never wait without a limit.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};

use super::{ReadError, SaveError, Saved, Setting, Snapshot, first_settings, now};

/// How long a transaction waits for one of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries, where SQLite does not wait.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// Marks the file as ours (SQLite's `application_id`): "fcst" as a number.
const APPLICATION_ID: i64 = 0x6663_7374;
/// The schema below (SQLite's `user_version`).
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE saved (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        version INTEGER NOT NULL,
        date TEXT NOT NULL
    ) STRICT;
    CREATE TABLE settings (
        position INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        value TEXT NOT NULL
    ) STRICT;
";
/// Why a database could not be opened; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file or its folder can be read at most.
    #[error("the settings database {path} cannot be written: {reason}")]
    NotWritable {
        /// The database file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file holds something else.
    #[error("{path} is not an SQLite database")]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is a database of another program, or of a version with another schema.
    #[error(
        "{path} is not a settings database of this version (application id {application_id}, \
         schema {schema}; expected {APPLICATION_ID} and {SCHEMA_VERSION})"
    )]
    OtherSchema {
        /// The database file.
        path: PathBuf,
        /// Its `application_id`.
        application_id: i64,
        /// Its `user_version`.
        schema: i64,
    },
    /// Anything else that SQLite reports.
    #[error("the settings database {path} cannot be opened: {source}")]
    Database {
        /// The database file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

/// One process's connection to the shared database. Its calls block: for the disk, and for other
/// processes that write, the latter for five seconds at most.
#[derive(Debug)]
pub(super) struct Database {
    connection: Mutex<Connection>,
}

impl Database {
    /// Opens the database, and creates it with a few first settings where there is none.
    ///
    /// # Errors
    /// The file cannot be written, or holds something else.
    pub(super) fn open(path: &Path) -> Result<Database, OpenError> {
        let explain = |source| explain_open(path, source);
        let mut connection = Connection::open(path).map_err(explain)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(explain)?;
        if connection.is_readonly("main").map_err(explain)? {
            let reason = "it can only be read".to_owned();
            return Err(OpenError::NotWritable { path: path.to_owned(), reason });
        }
        prepare(&mut connection, path)?;
        log_ahead(&connection).map_err(explain)?;
        Ok(Database { connection: Mutex::new(connection) })
    }

    /// Reads the newest settings, all of one version.
    ///
    /// # Errors
    /// What SQLite reports.
    pub(super) fn load(&self) -> Result<Snapshot, ReadError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let (version, date) = newest(&transaction)?;
        let settings = transaction
            .prepare_cached("SELECT name, value FROM settings ORDER BY position")?
            .query_map([], |row| Ok(Setting { name: row.get(0)?, value: row.get(1)? }))?
            .collect::<Result<_, _>>()?;
        Ok(Snapshot { version, date, settings })
    }

    /// Replaces all settings, if `expected` is still the newest version.
    ///
    /// # Errors
    /// Somebody else saved in between, or what SQLite reports; nothing was changed either way.
    pub(super) fn save(&self, expected: u64, settings: &[Setting]) -> Result<Saved, SaveError> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (newest, _) = newest(&transaction)?;
        if newest != expected {
            return Err(SaveError::Conflict { expected, newest });
        }
        let saved = Saved { version: newest + 1, date: now() };
        write(&transaction, &saved, settings)?;
        transaction.commit()?;
        Ok(saved)
    }

    /// A panic elsewhere leaves no half of a transaction behind: dropping one rolls it back.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks that the database is ours, or makes it so where it is empty.
fn prepare(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let explain = |source| explain_open(path, source);
    // Processes that start together come here one after the other: the first one creates.
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(explain)?;
    let number = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, i64>(0));
    let application_id = number("PRAGMA application_id").map_err(explain)?;
    let schema = number("PRAGMA user_version").map_err(explain)?;
    let tables = number("SELECT count(*) FROM sqlite_schema").map_err(explain)?;
    match (application_id, schema, tables) {
        (APPLICATION_ID, SCHEMA_VERSION, _) => return Ok(()),
        (0, 0, 0) => {}
        _ => {
            let path = path.to_owned();
            return Err(OpenError::OtherSchema { path, application_id, schema });
        }
    }
    let create = || {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        write(&transaction, &Saved { version: 1, date: now() }, &first_settings())
    };
    create().map_err(explain)?;
    transaction.commit().map_err(explain)
}

/// Has readers never wait for the one who writes, nor the other way round. The first time it needs
/// the database for itself, and SQLite does not wait for that, whatever its timeout is.
fn log_ahead(connection: &Connection) -> Result<(), rusqlite::Error> {
    let started = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "wal") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && started.elapsed() < BUSY_TIMEOUT =>
            {
                thread::sleep(BUSY_PAUSE);
            }
            done => return done,
        }
    }
}

/// The newest version and its date.
fn newest(connection: &Connection) -> Result<(u64, String), rusqlite::Error> {
    connection
        .prepare_cached("SELECT version, date FROM saved")?
        .query_row([], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)))
}

fn write(
    connection: &Connection,
    saved: &Saved,
    settings: &[Setting],
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO saved (only, version, date) VALUES (1, ?1, ?2)")?
        .execute(params![saved.version.cast_signed(), saved.date])?;
    connection.execute("DELETE FROM settings", [])?;
    let mut insert = connection
        .prepare_cached("INSERT INTO settings (position, name, value) VALUES (?1, ?2, ?3)")?;
    for (setting, position) in settings.iter().zip(1_u32..) {
        insert.execute(params![position, setting.name, setting.value])?;
    }
    Ok(())
}

fn explain_open(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            OpenError::NotWritable { path, reason: source.to_string() }
        }
        _ => OpenError::Database { path, source },
    }
}

#[cfg(test)]
mod tests;
