//! Owns the source for a fabric that writes down who exists: one small file, watched.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::{Discovery, Members, address};

/// How often the file is looked at: one `stat`, and a read if it has changed.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Pause after a file that could not be used in full.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Looks after which the file is read even if it seems unchanged, for file systems with coarse
/// time stamps.
const READ_ANYWAY_AFTER: u32 = 25;
/// Longest members file.
const MAX_BYTES: u64 = 1024 * 1024;

/// A members file, such as `{"members": ["10.0.0.7:7400", "10.0.0.8:7400"]}`.
///
/// Replace it by writing another file in the same folder and renaming it. A file that is missing
/// or cannot be read as such leaves the last good list in use, and shows in
/// [`Node::discovery`](crate::Node::discovery).
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    members: Vec<String>,
}

/// What tells that a file was replaced or written to.
type Mark = (Option<SystemTime>, u64, u64);

impl File {
    /// A source that watches the file at `path`, which may appear later.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    async fn mark(&self) -> io::Result<Mark> {
        let about = tokio::fs::metadata(&self.path).await?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&about);
        #[cfg(not(unix))]
        let inode = 0;
        Ok((about.modified().ok(), about.len(), inode))
    }

    async fn read(&self, length: u64) -> Result<Vec<String>, String> {
        let hint = "write {\"members\": [\"host:port\", …]} to a file beside it and rename it";
        let path = self.path.display();
        if length > MAX_BYTES {
            return Err(format!("members file {path} is over {MAX_BYTES} bytes: {hint}"));
        }
        let text = tokio::fs::read(&self.path).await;
        let text = text.map_err(|error| format!("members file {path}: {error}"))?;
        let contents: Contents = serde_json::from_slice(&text)
            .map_err(|error| format!("members file {path} is malformed ({error}): {hint}"))?;
        Ok(contents.members)
    }

    /// Reads and tells the list; gives back whether it could, in full.
    async fn tell(&self, length: u64, members: &Members) -> bool {
        let texts = match self.read(length).await {
            Ok(texts) => texts,
            Err(why) => {
                members.failed(format!("{why}; the last good list stays in use"));
                return false;
            }
        };
        let (addresses, wrong) = address::resolve(&texts).await;
        let complete = wrong.is_none();
        let missing = wrong.map(|why| format!("members file {}: {why}", self.path.display()));
        members.set_partly(addresses, missing);
        complete
    }
}

impl Discovery for File {
    fn name(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn watch(self: Box<Self>, members: Members) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let mut told: Option<Mark> = None;
            let mut unread = 0;
            loop {
                let mut pause = LOOK_EVERY;
                match self.mark().await {
                    Err(error) => {
                        told = None;
                        let path = self.path.display();
                        members.failed(format!("members file {path}: {error}; waiting for it"));
                    }
                    Ok(mark) => {
                        unread += 1;
                        if told != Some(mark) || unread >= READ_ANYWAY_AFTER {
                            unread = 0;
                            told = self.tell(mark.1, &members).await.then_some(mark);
                            if told.is_none() {
                                pause = AFTER_FAILURE;
                            }
                        }
                    }
                }
                tokio::time::sleep(pause).await;
            }
        })
    }
}
