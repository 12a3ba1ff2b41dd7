//! No arguments make the command panic, and what it refuses it explains.
#![no_main]

use std::ffi::OsString;

/// More make nothing likelier to be found.
const MOST: usize = 24;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // As a file of lines: a corpus can be read, and no argument can have a zero byte.
    let lines = bytes.split(|&byte| byte == b'\n' || byte == 0).take(MOST);
    let arguments = std::iter::once(OsString::from("flushcast")).chain(lines.map(argument));
    if let Err(told) = flushcast_cli::check(arguments) {
        assert!(told.trim().len() > 10, "it says {told:?}");
    }
});

#[cfg(unix)]
fn argument(bytes: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStringExt;
    OsString::from_vec(bytes.to_vec())
}

#[cfg(not(unix))]
fn argument(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}
