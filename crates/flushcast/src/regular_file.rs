//! Owns how a file is opened that somebody else keeps. It must never wait: a pipe or a device in its
//! place may never end.

use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::path::Path;

/// Opens it for reading.
///
/// # Errors
/// The system's, or that it is a folder, a pipe or a device.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        // Opening a pipe would wait for a writer.
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    }
    let file = options.open(path)?;
    check_kind(file.metadata()?.file_type())?;
    Ok(file)
}

/// Whether it is a file at all.
///
/// # Errors
/// What it is.
pub(crate) fn check_kind(kind: FileType) -> io::Result<()> {
    if kind.is_file() {
        return Ok(());
    }
    let kind = if kind.is_dir() { "a folder" } else { "a pipe or device" };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {kind}, not a file")))
}
