//! Owns the comparison of what was served with what was promised.

use std::collections::BTreeMap;
use std::time::Duration;

use flushcast_faults::clock::Moment;
use flushcast_faults::history::History;
use flushcast_faults::words::{BOUND, Change, Flushed, Guarded, Loads};

/// How coarse the library's clock may be. It takes that off the bound itself.
const GRANULARITY: Duration = Duration::from_millis(10);

/// What each node has served.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    histories: BTreeMap<String, History>,
}

impl Claims {
    /// What a node has served, in this life or another one.
    pub(crate) fn add(&mut self, node: &str, history: History) {
        self.histories.entry(node.to_owned()).or_default().merge(&history);
    }

    /// Every node has kept what each of its caches promises about this change.
    pub(crate) fn assert_kept(&self, change: &Change) {
        self.assert_bounded(change);
        self.assert_strict(change);
    }

    /// No read that started more than the bound after the flush returned an older version. The
    /// flush counts from when it was announced at the latest, so that a writer which the machine
    /// delays in the middle of it is no false alarm.
    pub(crate) fn assert_bounded(&self, change: &Change) {
        let until = change.flushes[&Guarded::Bounded].announced + BOUND + GRANULARITY;
        self.assert_none_older(Guarded::Bounded, change, until);
    }

    /// The flush came back `Ok`, and no read that started after that returned an older version.
    pub(crate) fn assert_strict(&self, change: &Change) {
        let flushed = &change.flushes[&Guarded::Strict];
        let outcome = flushed.came_to.as_ref();
        assert!(outcome.is_ok_and(|it| it.unconfirmed.is_empty()), "{flushed:?}");
        self.assert_none_older(Guarded::Strict, change, flushed.settled);
    }

    /// All nodes were read when the promises about this change were due.
    pub(crate) fn assert_read_since(&self, change: &Change) {
        for (cache, flushed) in &change.flushes {
            let due = flushed.settled.max(flushed.announced + BOUND + GRANULARITY);
            for (node, history) in &self.histories {
                let last = history.last(*cache, change.key);
                assert!(last.is_some_and(|last| last > due), "{node}: {cache:?} was not read");
            }
        }
    }

    /// For how long after the flush a node served what was older, with nothing to keep it from it.
    pub(crate) fn served_old_for(&self, node: &str, change: &Change) -> Duration {
        self.served_old_in(Guarded::Eventual, node, change)
    }

    /// For how long after the flush a node served what was older from one of its caches.
    pub(crate) fn served_old_in(&self, cache: Guarded, node: &str, change: &Change) -> Duration {
        let Flushed { announced, .. } = change.flushes[&cache];
        let last = self.last_older(node, cache, change);
        last.map_or(Duration::ZERO, |last| last.since(announced))
    }

    fn assert_none_older(&self, cache: Guarded, change: &Change, until: Moment) {
        for node in self.histories.keys() {
            let late = self.last_older(node, cache, change).map(|last| last.since(until));
            let late = late.filter(|late| !late.is_zero());
            assert!(late.is_none(), "{node} {cache:?}: old {late:?} after it was due: {change:#?}");
        }
    }

    fn last_older(&self, node: &str, cache: Guarded, change: &Change) -> Option<Moment> {
        self.histories[node].last_older(cache, change.key, change.version)
    }
}

/// The caches and keys that were loaded between two looks, but for keys that `may` be.
pub(crate) fn copies_lost(
    before: &Loads,
    after: &Loads,
    may: impl Fn(Guarded, u64) -> bool,
) -> Vec<(Guarded, u64)> {
    let of = |loads: &Loads, cache, key| -> u64 {
        let versions = loads.get(&cache).and_then(|keys| keys.get(&key));
        versions.map_or(0, |versions| versions.values().sum())
    };
    let all = after.iter().flat_map(|(&cache, keys)| keys.keys().map(move |&key| (cache, key)));
    let kept = all.filter(|&(cache, key)| !may(cache, key));
    kept.filter(|&(cache, key)| of(after, cache, key) > of(before, cache, key)).collect()
}
