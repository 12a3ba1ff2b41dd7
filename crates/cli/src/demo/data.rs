//! What the instances of a demo share: the data folder, with the members file, and the settings
//! database where no other store is named; and a secret, which is never written down.
//!
//! Only one demo at a time uses a folder. What somebody else left there is never overwritten.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use uuid::Uuid;

use crate::demo::members::{self, MembersError};
use crate::failure::Failure;
use crate::say;

const MEMBERS: &str = "members.json";
const LOCK: &str = "demo.lock";
/// How the names of temporary folders begin.
const TEMPORARY: &str = "flushcast-demo-";
/// A temporary folder that nobody has locked is let be for so long: a demo may just be making it.
const NEW: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(super) enum DataError {
    #[error("no temporary folder can be made: {0}")]
    Temporary(io::Error),
    #[error("the data folder {path} cannot be written: {source}")]
    NotWritable { path: PathBuf, source: io::Error },
    #[error("the data folder {path} is in use by another demo")]
    InUse { path: PathBuf },
    #[error(transparent)]
    Members(#[from] MembersError),
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Failure {
        const WRITABLE: &str = "pass --data with a folder that this user may write";
        let hint = match error {
            DataError::Members(error) => return error.into(),
            DataError::Temporary(_) | DataError::NotWritable { .. } => WRITABLE,
            DataError::InUse { .. } => "end that demo, or pass another folder to --data",
        };
        Failure::new(&error, hint)
    }
}

/// A data folder that is ready for the instances.
#[derive(Debug)]
pub(super) struct DataFolder {
    path: PathBuf,
    temporary: Option<TempDir>,
    secret: Hidden,
    /// Held while the demo runs; the system lets go of it when the demo ends, however it does.
    _lock: File,
}

/// What is never shown.
struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("..")
    }
}

impl DataFolder {
    /// The given folder, or a temporary one.
    pub(super) fn open(given: Option<&Path>) -> Result<DataFolder, DataError> {
        let (path, temporary) = match given {
            Some(path) => (path.to_owned(), None),
            None => {
                sweep();
                let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempdir();
                let temporary = temporary.map_err(DataError::Temporary)?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let not_writable = |source| DataError::NotWritable { path: path.clone(), source };
        fs::create_dir_all(&path).map_err(not_writable)?;
        let lock = File::create(path.join(LOCK)).map_err(not_writable)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => DataError::InUse { path: path.clone() },
            TryLockError::Error(source) => not_writable(source),
        })?;
        // Two of 122 random bits each.
        let secret = [Uuid::new_v4(), Uuid::new_v4()].map(|it| it.simple().to_string());
        let secret = Hidden(secret.concat());
        let folder = DataFolder { path, temporary, secret, _lock: lock };
        members::clear(&folder.members())?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The secret of the cluster, another one for each demo.
    pub(super) fn secret(&self) -> &str {
        &self.secret.0
    }

    pub(super) fn members(&self) -> PathBuf {
        self.path.join(MEMBERS)
    }

    /// Removes the folder if it is a temporary one.
    pub(super) fn close(self) {
        let removed = self.temporary.map(TempDir::close).transpose();
        if let Err(error) = removed {
            say::note(format_args!("{} could not be removed: {error}", self.path.display()));
        }
    }
}

/// Removes the temporary folders of demos that were killed and could not do so themselves. What cannot
/// be removed is somebody else's.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let is_abandoned = || {
            let lock = File::open(entry.path().join(LOCK)).ok()?;
            let age = lock.metadata().ok()?.modified().ok()?.elapsed().ok()?;
            (age > NEW && lock.try_lock().is_ok()).then_some(())
        };
        let is_ours = entry.file_name().to_string_lossy().starts_with(TEMPORARY);
        if is_ours && is_abandoned().is_some() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl fmt::Display for DataFolder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = if self.temporary.is_some() { ", removed at the end" } else { "" };
        write!(out, "{}{kept}", self.path.display())
    }
}
