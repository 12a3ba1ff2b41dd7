//! Owns how a process sees its own memory.

use std::io;

/// Exact, unlike `/proc/self/statm`, which may be off by some pages for each processor.
const PATH: &str = "/proc/self/smaps_rollup";

/// Resident memory of this process that is its own, in bytes: heap and stacks, without the pages
/// of the program's file, which come and go with what code happens to run.
///
/// # Errors
/// Where the system has no `/proc/self/smaps_rollup`, or one of another layout.
pub fn resident() -> io::Result<usize> {
    let text = std::fs::read_to_string(PATH)?;
    anonymous(&text).ok_or_else(|| io::Error::other(format!("{PATH} has another layout")))
}

fn anonymous(rollup: &str) -> Option<usize> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"))?;
    let kib: usize = line.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_pages_do_not_count() {
        let rollup = "5-7 ---p 0 00:00 0  [rollup]\nRss:      1664 kB\nAnonymous:     112 kB\n";
        assert_eq!(anonymous(rollup), Some(112 * 1024));
        assert_eq!(anonymous("Rss:      1664 kB\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_written_to_is_seen() {
        const BYTES: usize = 64 * 1024 * 1024;
        let before = resident().unwrap();
        let block = vec![1_u8; BYTES];
        let with = resident().unwrap();
        assert!(with > before + BYTES / 2, "{before} to {with}");
        drop(block);
    }
}
