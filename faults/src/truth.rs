//! Owns the source of truth of all nodes: a folder with one file for each key, which holds its
//! version. Always replaced as a whole: whoever loads sees the old version or the new one.

use std::path::{Path, PathBuf};
use std::{fs, io, process};

/// The folder. Clones are the same truth.
#[derive(Debug, Clone)]
pub struct Truth {
    folder: PathBuf,
}

impl Truth {
    /// The truth that is kept in `folder`.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Makes version 1 of the keys from 0 up to `keys`.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(&self, keys: u64) -> io::Result<()> {
        (0..keys).try_for_each(|key| self.put(key, 1))
    }

    /// The version of a key.
    ///
    /// # Errors
    /// The system's, and if the file holds no version.
    pub fn version(&self, key: u64) -> io::Result<u64> {
        let text = fs::read_to_string(self.path(key))?;
        text.parse().map_err(|_| io::Error::other(format!("key {key} has no version: {text:?}")))
    }

    /// Raises the version of a key by one; gives back the new one. A key is changed by one node at
    /// a time: two that do it at once may both make the same version.
    ///
    /// # Errors
    /// The system's.
    pub fn change(&self, key: u64) -> io::Result<u64> {
        let version = self.version(key)? + 1;
        self.put(key, version)?;
        Ok(version)
    }

    fn put(&self, key: u64, version: u64) -> io::Result<()> {
        let beside = self.folder.join(format!("{key}.new-{}", process::id()));
        fs::write(&beside, version.to_string())?;
        fs::rename(beside, self.path(key))
    }

    fn path(&self, key: u64) -> PathBuf {
        self.folder.join(key.to_string())
    }
}
