//! Owns what the page shows of all instances at once: a row for each, which flush each has applied
//! last, how far out of date the copy is that each has just served, and the newest flushes of all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::Site;
use crate::api::CopyReport;
use crate::flushes::{FlushReport, FlushesReport};
use crate::instances::{self, Answer, Asked};

/// How many flushes are shown.
const SHOWN: usize = 8;

/// All instances at once.
#[derive(Debug, Serialize)]
pub struct Overview {
    /// In the order of their names.
    pub rows: Vec<Row>,
    /// The newest first.
    pub flushes: Vec<ShownFlush>,
}

/// What is known of one instance.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Row {
    /// Its own answer, and what the others tell of it.
    Answered {
        /// What it tells of its copy.
        #[serde(flatten)]
        copy: CopyReport,
        /// Its web address.
        address: String,
        /// The newest flush that it has applied, as far as somebody tells of one.
        last_flush: Option<LastFlush>,
        /// How long ago that was flushed which it has just served, in milliseconds.
        behind: i64,
    },
    /// It gave none.
    Silent {
        /// Its name, as far as it is known.
        instance: String,
        /// Its web address, or that of its node where it never told the other.
        address: String,
        /// Why.
        error: String,
    },
}

/// The newest flush that an instance has applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastFlush {
    /// Who announced it.
    pub from: String,
    /// The save that it told of.
    pub version: u64,
    /// How long it took until its origin knew, in milliseconds; nothing at the origin itself.
    pub after: Option<f64>,
    /// The same in words.
    pub text: String,
}

/// A flush, with who announced it.
#[derive(Debug, Serialize)]
pub struct ShownFlush {
    from: String,
    #[serde(flatten)]
    flush: FlushReport,
}

/// Asks all instances, and puts together what they tell of themselves and of each other. There is
/// one round of questions at a time, however many clients look.
pub(crate) async fn look(site: &Arc<Site>) -> Arc<Overview> {
    site.rounds.share(async || Overview::of(instances::ask_all(site).await)).await
}

/// One round at a time, shared by all callers that were waiting when it began.
#[derive(Debug)]
pub(crate) struct Rounds<T> {
    /// The last one, and when it began.
    last: Mutex<Option<(Instant, Arc<T>)>>,
}

impl<T> Default for Rounds<T> {
    fn default() -> Rounds<T> {
        Rounds { last: Mutex::new(None) }
    }
}

impl<T> Rounds<T> {
    /// The result of a round that began after this call.
    async fn share(&self, round: impl AsyncFnOnce() -> T) -> Arc<T> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        match &*last {
            Some((began, result)) if *began > asked => Arc::clone(result),
            _ => {
                let (began, result) = (Instant::now(), Arc::new(round().await));
                *last = Some((began, Arc::clone(&result)));
                result
            }
        }
    }
}

impl Overview {
    fn of(asked: Vec<Asked>) -> Overview {
        let mut flushes = Vec::new();
        let mut reached = BTreeMap::new();
        for Asked { answer, .. } in &asked {
            let Ok(Answer { copy, flushes: told, .. }) = answer else { continue };
            collect(&mut flushes, &copy.instance, told);
            note_last(&mut reached, &copy.instance, told);
        }
        let rows = asked.into_iter().map(|it| it.row(&flushes, &mut reached)).collect();
        flushes.sort_by_key(|shown| std::cmp::Reverse(shown.flush.version));
        flushes.truncate(SHOWN);
        Overview { rows, flushes }
    }
}

fn collect(flushes: &mut Vec<ShownFlush>, from: &str, told: &FlushesReport) {
    let told = told.newest.iter().cloned();
    flushes.extend(told.map(|flush| ShownFlush { from: from.to_owned(), flush }));
}

/// Who has applied which flush last, as its origin tells.
fn note_last(last: &mut BTreeMap<String, LastFlush>, from: &str, told: &FlushesReport) {
    let own = told.newest.back().map(|flush| (from, flush.version, None));
    let theirs = told.reached.iter().map(|(to, it)| (to.as_str(), it.version, Some(it.after)));
    for (to, version, after) in theirs.chain(own) {
        if last.get(to).is_none_or(|known| known.version < version) {
            last.insert(to.to_owned(), LastFlush::new(from, version, after));
        }
    }
}

impl LastFlush {
    fn new(from: &str, version: u64, after: Option<f64>) -> LastFlush {
        let text = match after {
            Some(after) => format!("from {from} in {}", in_words(after)),
            None => "its own".to_owned(),
        };
        LastFlush { from: from.to_owned(), version, after, text }
    }
}

fn in_words(millis: f64) -> String {
    if millis < 10.0 { format!("{millis:.1}\u{a0}ms") } else { format!("{millis:.0}\u{a0}ms") }
}

impl Asked {
    fn row(self, flushes: &[ShownFlush], last: &mut BTreeMap<String, LastFlush>) -> Row {
        let Asked { instance, address, answer } = self;
        match answer {
            Err(error) => Row::Silent { instance, address, error },
            Ok(Answer { copy, read_at, .. }) => {
                let newer = flushes.iter().filter(|it| it.flush.version > copy.version);
                let flushed = newer.map(|it| it.flush.at).min();
                let behind = flushed.map_or(0, |at| read_at.saturating_sub(at).max(0));
                Row::Answered { last_flush: last.remove(&copy.instance), copy, address, behind }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::flushes::{Reached, Verdict};
    use crate::state::StateReport;

    fn answer(instance: &str, version: u64, read_at: i64, flushes: FlushesReport) -> Asked {
        let state = StateReport {
            in_sync: true,
            text: "in sync".to_owned(),
            cut_off: Vec::new(),
            healed: None,
        };
        let copy = CopyReport {
            instance: instance.to_owned(),
            date: String::new(),
            version,
            loaded_at: String::new(),
            loaded_by: String::new(),
            loads: 1,
            hits: 0,
            state,
        };
        let answer = Ok(Answer { copy, read_at, flushes });
        Asked { instance: instance.to_owned(), address: String::new(), answer }
    }

    fn flush(version: u64, at: i64) -> FlushReport {
        FlushReport { version, at, came_to: Some(Verdict::default()) }
    }

    fn row(row: &Row) -> (Option<&LastFlush>, i64) {
        match row {
            Row::Answered { last_flush, behind, .. } => (last_flush.as_ref(), *behind),
            Row::Silent { .. } => panic!("{row:?}"),
        }
    }

    #[test]
    fn a_copy_is_out_of_date_since_the_first_flush_that_it_has_missed() {
        let one = FlushesReport {
            newest: [flush(2, 100), flush(4, 300)].into(),
            reached: [("two".to_owned(), Reached { version: 2, after: 0.52 })].into(),
        };
        let two = FlushesReport {
            newest: [flush(3, 200)].into(),
            reached: [("one".to_owned(), Reached { version: 3, after: 12.4 })].into(),
        };
        let asked = vec![
            answer("one", 4, 1000, one),
            answer("two", 3, 1000, two),
            answer("three", 1, 1000, FlushesReport::default()),
        ];
        let overview = Overview::of(asked);
        let [one, two, three] = [0, 1, 2].map(|index| row(&overview.rows[index]));
        assert_eq!(one, (Some(&LastFlush::new("one", 4, None)), 0));
        assert_eq!(two, (Some(&LastFlush::new("two", 3, None)), 700));
        assert_eq!(three, (None, 900));
        let versions: Vec<_> = overview.flushes.iter().map(|it| it.flush.version).collect();
        assert_eq!(versions, [4, 3, 2]);
    }

    #[tokio::test]
    async fn callers_that_wait_during_a_round_share_the_next_one() {
        let (rounds, count) = (Rounds::default(), AtomicU64::new(0));
        let look = || {
            rounds.share(async || {
                // The others begin to wait meanwhile.
                tokio::task::yield_now().await;
                count.fetch_add(1, Ordering::Relaxed) + 1
            })
        };
        let told = tokio::join!(look(), look(), look(), look());
        assert_eq!([*told.0, *told.1, *told.2, *told.3], [1, 2, 2, 2]);
        assert_eq!(*look().await, 3, "a later caller is told nothing older");
    }

    #[test]
    fn the_last_flush_is_told_by_who_announced_it() {
        assert_eq!(LastFlush::new("one", 4, Some(0.52)).text, "from one in 0.5\u{a0}ms");
        assert_eq!(LastFlush::new("one", 4, Some(1204.0)).text, "from one in 1204\u{a0}ms");
    }
}
