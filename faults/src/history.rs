//! Owns what reads have returned, as much of it as tells until when something old was served.
//! It must never hold more than one entry for each version of a key, however many reads there are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::words::Guarded;

/// The reads that returned one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When the first of them started.
    pub first: Moment,
    /// When the last of them started.
    pub last: Moment,
    /// How many there were.
    pub reads: u64,
}

/// What the reads of one node returned: for each cache and key, by version. A read is stamped when
/// it starts, before the cache is asked, so that a slow machine makes none look younger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History(BTreeMap<Guarded, BTreeMap<u64, BTreeMap<u64, Seen>>>);

impl History {
    /// Notes a read that started at `start`.
    pub fn note(&mut self, cache: Guarded, key: u64, version: u64, start: Moment) {
        let versions = self.0.entry(cache).or_default().entry(key).or_default();
        let seen = versions.entry(version).or_insert(Seen { first: start, last: start, reads: 0 });
        seen.first = seen.first.min(start);
        seen.last = seen.last.max(start);
        seen.reads += 1;
    }

    /// Takes in what another reader has noted.
    pub fn merge(&mut self, other: &History) {
        for (cache, key, version, theirs) in other.iter() {
            let versions = self.0.entry(cache).or_default().entry(key).or_default();
            let ours = versions.entry(version).or_insert(Seen { reads: 0, ..theirs });
            ours.first = ours.first.min(theirs.first);
            ours.last = ours.last.max(theirs.last);
            ours.reads += theirs.reads;
        }
    }

    /// When the last of the reads started that returned something older than `version`.
    pub fn last_older(&self, cache: Guarded, key: u64, version: u64) -> Option<Moment> {
        self.versions(cache, key)?.range(..version).map(|(_, seen)| seen.last).max()
    }

    /// When the last of the reads of a key started.
    pub fn last(&self, cache: Guarded, key: u64) -> Option<Moment> {
        self.versions(cache, key)?.values().map(|seen| seen.last).max()
    }

    fn versions(&self, cache: Guarded, key: u64) -> Option<&BTreeMap<u64, Seen>> {
        self.0.get(&cache)?.get(&key)
    }

    fn iter(&self) -> impl Iterator<Item = (Guarded, u64, u64, Seen)> + '_ {
        let keys = self.0.iter().flat_map(|(&cache, keys)| keys.iter().map(move |it| (cache, it)));
        keys.flat_map(|(cache, (&key, versions))| {
            versions.iter().map(move |(&version, &seen)| (cache, key, version, seen))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_older_read_is_found_in_whatever_order_reads_are_noted() {
        let at = |second| Moment::now() + Duration::from_secs(second);
        let (early, late, new) = (at(10), at(20), at(30));
        let (mut one, mut other) = (History::default(), History::default());
        one.note(Guarded::Bounded, 7, 1, late);
        one.note(Guarded::Bounded, 7, 3, new);
        other.note(Guarded::Bounded, 7, 2, early);
        other.note(Guarded::Strict, 7, 1, new);
        one.merge(&other);
        assert_eq!(one.last_older(Guarded::Bounded, 7, 3), Some(late));
        assert_eq!(one.last_older(Guarded::Bounded, 7, 1), None);
        assert_eq!(one.last(Guarded::Bounded, 7), Some(new));
        assert_eq!(one.last(Guarded::Strict, 8), None);
    }
}
