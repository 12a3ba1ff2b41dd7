//! The source of truth: the settings in a store that all instances share.
//!
//! Knows nothing of caches or HTTP, and never waits without a limit. A save is a compare-and-set:
//! it names the version it was made from, and fails where that is not the newest any more.

mod blob;
mod database;
mod place;

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use blob::Blob;
pub use blob::OpenBlobError;
use database::Database;
pub use database::OpenError;
pub use place::{Place, PlaceError};

/// What a new store starts with, as version 1.
const FIRST_SETTINGS: [(&str, &str); 5] = [
    ("Site title", "Northwind Outfitters"),
    ("Welcome message", "Free shipping on orders over 50 €"),
    ("Products per page", "24"),
    ("Support e-mail", "help@northwind.example"),
    ("Maintenance mode", "off"),
];

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// What it is called, unique among the settings.
    pub name: String,
    /// What it is set to.
    pub value: String,
}

impl Setting {
    /// A setting of this name and value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Setting {
        Setting { name: name.into(), value: value.into() }
    }
}

/// All settings as they were at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Counts the saves, from 1.
    pub version: u64,
    /// When this version was saved: UTC, RFC 3339, with milliseconds.
    pub date: String,
    /// The settings, in the order in which they were saved.
    pub settings: Vec<Setting>,
}

/// What a save brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The new version.
    pub version: u64,
    /// When it was saved: UTC, RFC 3339, with milliseconds.
    pub date: String,
}

/// Why the settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What SQLite reports.
    #[error("the settings cannot be read from the database: {0}")]
    Database(#[from] rusqlite::Error),
    /// What the object store reports.
    #[error("the settings cannot be read from the blob: {0}")]
    Blob(#[from] object_store::Error),
    /// The blob holds something else.
    #[error("the blob holds no settings: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Why a save was not made, as far as that is known.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Somebody else saved since the version that this save was made from.
    #[error(
        "version {expected} is not the newest: the settings are at version {newest}; get them \
         again, then save"
    )]
    Conflict {
        /// The version that the save was made from.
        expected: u64,
        /// The newest version.
        newest: u64,
    },
    /// What SQLite reports; the transaction was rolled back.
    #[error("the settings cannot be saved in the database: {0}")]
    Database(#[from] rusqlite::Error),
    /// The settings could not be read, to change them.
    #[error(transparent)]
    Read(ReadError),
    /// The object store failed in the middle: whether the save was made is not known.
    #[error("it is not known whether the settings were saved, look at them again: {0}")]
    Unknown(object_store::Error),
}

/// The settings that all instances share: in an SQLite database, or in a blob of an object store.
#[derive(Debug, Clone)]
pub struct Store(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Database(Arc<Database>),
    Blob(Arc<Blob>),
}

impl Store {
    /// The database in this file, created with a few first settings where there is none.
    ///
    /// # Errors
    /// The file cannot be written, or holds something else.
    pub fn database(path: &Path) -> Result<Store, OpenError> {
        Ok(Store(Kind::Database(Arc::new(Database::open(path)?))))
    }

    /// The blob at this place, created with a few first settings where there is none.
    ///
    /// # Errors
    /// The store cannot be reached or refuses, or the blob holds something else.
    pub async fn blob(place: &Place) -> Result<Store, OpenBlobError> {
        Ok(Store(Kind::Blob(Arc::new(Blob::open(place).await?))))
    }

    /// Reads the newest settings, all of one version.
    ///
    /// # Errors
    /// What the store reports.
    pub async fn load(&self) -> Result<Snapshot, ReadError> {
        match &self.0 {
            Kind::Database(database) => {
                let database = Arc::clone(database);
                blocking(move || database.load()).await
            }
            Kind::Blob(blob) => blob.load().await,
        }
    }

    /// Replaces all settings, if `expected` is still the newest version.
    ///
    /// # Errors
    /// Somebody else saved in between, or what the store reports.
    pub async fn save(&self, expected: u64, settings: Vec<Setting>) -> Result<Saved, SaveError> {
        match &self.0 {
            Kind::Database(database) => {
                let database = Arc::clone(database);
                blocking(move || database.save(expected, &settings)).await
            }
            Kind::Blob(blob) => blob.save(expected, settings).await,
        }
    }
}

/// Runs work that waits for the disk where it holds up nobody. It goes on to its end even when
/// nobody waits for it any more.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The time as this site writes it: UTC, RFC 3339, with milliseconds.
pub(crate) fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

fn first_settings() -> Vec<Setting> {
    FIRST_SETTINGS.map(|(name, value)| Setting::new(name, value)).into()
}
