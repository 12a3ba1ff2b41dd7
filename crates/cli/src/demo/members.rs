//! The members file: the address of every node, in JSON, watched by all of them.
//!
//! Always replaced as a whole: whoever reads it sees all of the old one or all of the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::failure::Failure;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    members: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum MembersError {
    #[error("{path} is not a members file: {source}")]
    Malformed { path: PathBuf, source: serde_json::Error },
    #[error("the members file {path} cannot be read: {source}")]
    NotReadable { path: PathBuf, source: io::Error },
    #[error("the members file {path} cannot be written: {source}")]
    NotWritable { path: PathBuf, source: io::Error },
}

impl From<MembersError> for Failure {
    fn from(error: MembersError) -> Failure {
        let hint = match error {
            MembersError::Malformed { .. } | MembersError::NotReadable { .. } => {
                "move that file away, or pass another folder to --data"
            }
            MembersError::NotWritable { .. } => {
                "pass --data with a folder that this user may write"
            }
        };
        Failure::new(&error, hint)
    }
}

/// Makes a members file that names nobody. One that an earlier demo left is replaced; a file that
/// is something else is left alone, and is an error.
pub(super) fn clear(path: &Path) -> Result<(), MembersError> {
    match fs::read(path) {
        Ok(text) => {
            let _: Members = serde_json::from_slice(&text)
                .map_err(|source| MembersError::Malformed { path: path.to_owned(), source })?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => {
            return Err(MembersError::NotReadable { path: path.to_owned(), source });
        }
    }
    write(path, &[])
}

/// Replaces the members file.
pub(super) fn write(path: &Path, members: &[SocketAddr]) -> Result<(), MembersError> {
    replace(path, members)
        .map_err(|source| MembersError::NotWritable { path: path.to_owned(), source })
}

fn replace(path: &Path, members: &[SocketAddr]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let members = Members { members: members.iter().map(SocketAddr::to_string).collect() };
    let mut file = NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, &members)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The new name has to survive a crash too.
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_names_the_members_and_leaves_nothing_else_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("members.json");
        clear(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"members\":[]}\n");
        write(&path, &["127.0.0.1:40001".parse().unwrap()]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"members\":[\"127.0.0.1:40001\"]}\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_names_no_members_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("members.json");
        for text in ["", "[]", "{\"members\":\"all\"}", "{\"members\":[],\"paid\":true}"] {
            fs::write(&path, text).unwrap();
            let error = clear(&path).unwrap_err();
            assert!(matches!(error, MembersError::Malformed { .. }), "{text}: {error}");
            assert!(error.to_string().contains("members.json"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
