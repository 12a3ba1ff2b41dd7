//! Owns the source for a fabric that writes down who exists: one small file, watched.
//! It must never wait for what is no file, nor read more of a file than a list can be.

use std::fs::Metadata;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::names::Names;
use super::system::Os;
use super::{Discovery, Members};
use crate::regular_file::{self, check_kind};

/// How often the file is looked at: one `stat`, and a read if it has changed.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Pause after a file that could not be used.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long one look may take before it is said that it hangs.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
/// Looks after which the file is read even if it seems unchanged, for file systems with coarse
/// time stamps.
const READ_ANYWAY_AFTER: u32 = 25;
/// No more of the file is read; a members file is shorter.
const MAX_BYTES: u64 = 1024 * 1024;
/// What to do where there is no members file.
const HINT: &str = "write {\"members\": [\"host:port\", …]} to a file beside it and rename it";

/// A members file, such as `{"members": ["10.0.0.7:7400", "10.0.0.8:7400"]}`.
///
/// Replace it by writing another file in the same folder and renaming it. A file that is missing
/// or cannot be read as such leaves the last good list in use, and shows in
/// [`Node::discovery`](crate::Node::discovery); so does what is no file, such as a folder or a pipe,
/// and a file of 1 MiB or more. Host names are treated as in [`Fixed`](super::Fixed).
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
type Mark = (Option<SystemTime>, u64, u64, u64);

/// What looking at the file came to, up to now.
#[derive(Debug, Default)]
struct Seen {
    /// The last good list.
    texts: Option<Arc<[String]>>,
    /// What is wrong with the file now.
    problem: Option<String>,
}

impl File {
    /// A source that watches the file at `path`, which may appear later.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Keeps `seen` up to date, for ever.
    async fn look_for_ever(&self, seen: watch::Sender<Seen>) {
        let path = self.path.display();
        let mut mark = None;
        let mut unread = 0;
        loop {
            let known = mark.filter(|_| unread < READ_ANYWAY_AFTER);
            match self.look(known, &seen).await {
                Ok(None) => {
                    unread += 1;
                    // It hung, and does not any more.
                    seen.send_if_modified(|seen| seen.problem.take().is_some());
                }
                Ok(Some((at, texts))) => {
                    (mark, unread) = (Some(at), 0);
                    seen.send_replace(Seen { texts: Some(texts.into()), problem: None });
                }
                Err(why) => {
                    mark = None;
                    show(&seen, format!("members file {path}: {why}; waiting for it"));
                }
            }
            sleep(if mark.is_some() { LOOK_EVERY } else { AFTER_FAILURE }).await;
        }
    }

    /// Looks once, on a thread that may wait for a disk. One look at a time: each that hangs holds
    /// a thread.
    async fn look(&self, known: Option<Mark>, seen: &watch::Sender<Seen>) -> LookResult {
        let path = self.path.clone();
        let mut looking = spawn_blocking(move || look(&path, known));
        loop {
            match timeout(LOOK_WITHIN, &mut looking).await {
                Ok(looked) => return looked.unwrap_or_else(|ended| Err(ended.to_string())),
                Err(_) => {
                    let path = self.path.display();
                    show(
                        seen,
                        format!(
                            "members file {path}: reading it takes over {LOOK_WITHIN:?}: see that the \
                         file system it is on answers"
                        ),
                    );
                }
            }
        }
    }
}

/// Says what is wrong, beside the last good list.
fn show(seen: &watch::Sender<Seen>, problem: String) {
    seen.send_if_modified(|seen| seen.problem.replace(problem) != seen.problem);
}

/// The new contents with their mark, or nothing if they are not new, or what is wrong.
type LookResult = Result<Option<(Mark, Vec<String>)>, String>;

fn look(path: &Path, known: Option<Mark>) -> LookResult {
    // Before it is opened: opening a device may have effects.
    let about = std::fs::metadata(path).map_err(cannot)?;
    check_kind(about.file_type()).map_err(cannot)?;
    if known == Some(mark_of(&about)) {
        return Ok(None);
    }
    let (mark, text) = read(path)?;
    Ok(Some((mark, texts_of(&text)?)))
}

pub(super) fn texts_of(text: &[u8]) -> Result<Vec<String>, String> {
    let contents: Contents = serde_json::from_slice(text)
        .map_err(|error| format!("it is malformed ({error}): {HINT}"))?;
    Ok(contents.members)
}

/// Reads what is there now, which may be something else than a moment ago.
fn read(path: &Path) -> Result<(Mark, Vec<u8>), String> {
    let file = regular_file::open(path).map_err(cannot)?;
    let about = file.metadata().map_err(cannot)?;
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).map_err(cannot)?;
    if text.len() as u64 == MAX_BYTES {
        return Err(format!("it has {MAX_BYTES} bytes or more, too many for a list: {HINT}"));
    }
    Ok((mark_of(&about), text))
}

fn cannot(error: std::io::Error) -> String {
    match error.kind() {
        // Another kind of file.
        ErrorKind::InvalidInput => format!("{error}: remove it, then {HINT}"),
        _ => format!("{error}: {HINT}"),
    }
}

fn mark_of(about: &Metadata) -> Mark {
    #[cfg(unix)]
    let (device, inode) = {
        use std::os::unix::fs::MetadataExt;
        (about.dev(), about.ino())
    };
    #[cfg(not(unix))]
    let (device, inode) = (0, 0);
    (about.modified().ok(), about.len(), device, inode)
}

/// Tells the last good list and what is wrong, as the file changes and as names are looked up.
async fn tell_for_ever(mut seen: watch::Receiver<Seen>, members: &Members) {
    let mut names = Names::new(Os);
    let mut listed: Option<Arc<[String]>> = None;
    let mut problem = None;
    let mut next = None::<Instant>;
    // Whether names were asked for that are not told.
    let mut asked = false;
    loop {
        let due = next.filter(|_| !asked).unwrap_or_else(Instant::now);
        tokio::select! {
            changed = seen.changed() => {
                if changed.is_err() {
                    return;
                }
                let seen = seen.borrow_and_update();
                problem.clone_from(&seen.problem);
                if seen.texts != listed {
                    listed.clone_from(&seen.texts);
                    names.set(listed.as_deref().unwrap_or_default());
                }
                names.ask();
                asked = true;
            }
            () = sleep_until(due), if next.is_some() && !asked => {
                names.ask();
                asked = true;
            }
            () = names.settled(), if asked => {
                asked = false;
                next = names.next();
                if listed.is_some() {
                    let mut list = names.list();
                    list.problems.splice(0..0, problem.clone());
                    members.tell(list);
                } else if let Some(problem) = &problem {
                    members.failed(problem.clone());
                }
            }
        }
    }
}

impl Discovery for File {
    fn name(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn watch(self: Box<Self>, members: Members) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let (tell, seen) = watch::channel(Seen::default());
            tokio::join!(self.look_for_ever(tell), tell_for_ever(seen, &members));
        })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// Put there after the path was asked.
    #[test]
    fn what_is_no_file_is_neither_waited_for_nor_read() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        for path in [&pipe, Path::new("/dev/zero"), folder.path()] {
            let why = read(path).unwrap_err();
            assert!(why.contains("not a file: remove it"), "{why}");
        }
    }

    #[test]
    fn no_more_than_a_list_can_be_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("members.json");
        for (bytes, fits) in [(MAX_BYTES - 1, true), (MAX_BYTES, false), (MAX_BYTES << 7, false)] {
            std::fs::File::create(&path).unwrap().set_len(bytes).unwrap();
            let read = read(&path);
            assert_eq!(read.is_ok(), fits, "{bytes}: {:?}", read.err());
        }
    }
}
