//! Owns positions in the log: which transactions a poll has seen.

use std::fmt;
use std::str::FromStr;

/// The largest number that PostgreSQL takes in a snapshot.
const LAST: u64 = i64::MAX as u64;

/// The transactions that a statement sees: all below `xmax` but those in `running`, as PostgreSQL's
/// `pg_snapshot`. Two of them are not ordered by number: only the server says what it saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    xmin: u64,
    xmax: u64,
    running: Vec<u64>,
}

/// A text is no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no snapshot of PostgreSQL, which is xmin:xmax: and the transactions that run, 10:20:10,14"
)]
pub struct SnapshotError(String);

impl Snapshot {
    /// One behind which nothing is.
    pub(crate) fn everything() -> Self {
        Self { xmin: LAST, xmax: LAST, running: Vec::new() }
    }

    /// Whether what this transaction has written is seen, if it has committed.
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmax && self.running.binary_search(&xid).is_err()
    }

    /// The first transaction that had not begun.
    pub(crate) fn xmax(&self) -> u64 {
        self.xmax
    }

    /// The first transaction that it may not see.
    pub fn xmin(&self) -> u64 {
        self.xmin
    }
}

impl FromStr for Snapshot {
    type Err = SnapshotError;

    fn from_str(text: &str) -> Result<Self, SnapshotError> {
        let read = || {
            let mut parts = text.splitn(3, ':');
            let (xmin, xmax) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let listed = parts.next()?.split(',').filter(|it| !it.is_empty());
            let running: Vec<u64> = listed.map(str::parse).collect::<Result<_, _>>().ok()?;
            let is_whole = xmin <= xmax
                && running.is_sorted_by(|one, next| one < next)
                && running.iter().all(|it| (xmin..xmax).contains(it));
            is_whole.then_some(Self { xmin, xmax, running })
        };
        read().ok_or_else(|| SnapshotError(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:", self.xmin, self.xmax)?;
        for (at, xid) in self.running.iter().enumerate() {
            write!(out, "{}{xid}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    #[test]
    fn one_reads_back_as_it_was_written_and_sees_what_ran_no_more() {
        for text in ["10:20:10,14", "7:7:", "1:18446744073709551615:1"] {
            assert_eq!(text.parse::<Snapshot>().unwrap().to_string(), text);
        }
        let snapshot: Snapshot = "10:20:10,14".parse().unwrap();
        let seen: Vec<u64> = (8..22).filter(|&xid| snapshot.sees(xid)).collect();
        assert_eq!(seen, [8, 9, 11, 12, 13, 15, 16, 17, 18, 19]);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "1", "1:2", "2:1:", "1:9:5,3", "1:9:9", "1:9:x", "-1:9:", "1:9:3,3"] {
            assert!(text.parse::<Snapshot>().is_err(), "{text}");
        }
    }
}
