//! Owns what this node's own flushes name, for when they are appended, or appended again.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use flushcast_core::wire::{EVERY_CACHE, Scope, Seq};

use crate::ScopeKind;

/// Most scopes that are kept. Of a flush from before nothing is known but that it was: it is appended as
/// one of everything.
const MOST: usize = 262_144;
/// So many scopes are enough for one append.
const AT_ONCE: usize = 4096;

/// One scope of a flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) seq: Seq,
    pub(crate) cache: String,
    pub(crate) kind: ScopeKind,
    pub(crate) expires: bool,
    pub(crate) text: String,
}

/// In the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct KeptFlushes {
    flushes: VecDeque<Kept>,
    /// The last that is not whole any more.
    gone: Seq,
}

impl KeptFlushes {
    pub(crate) fn add(&mut self, seq: Seq, cache: &str, scopes: &[Scope<'_>]) {
        self.flushes.extend(scopes.iter().map(|&scope| {
            let (kind, expires) = ScopeKind::of(scope);
            let (cache, text) = (cache.to_owned(), scope.text().to_owned());
            Kept { seq, cache, kind, expires, text }
        }));
        while self.flushes.len() > MOST {
            self.gone = self.flushes.pop_front().map_or(self.gone, |it| it.seq);
        }
    }

    /// What is to be appended of these numbers in one call, and up to which of them that is.
    pub(crate) fn first_of(&self, numbers: &RangeInclusive<Seq>) -> (Seq, Vec<Kept>) {
        let (&first, &last) = (numbers.start(), numbers.end());
        if first <= self.gone {
            // Numbers are skipped by it, which whoever follows takes for the loss that it is.
            let seq = self.gone.min(last);
            let (cache, text) = (EVERY_CACHE.to_owned(), String::new());
            return (seq, vec![Kept { seq, cache, kind: ScopeKind::All, expires: false, text }]);
        }
        let from = self.flushes.partition_point(|it| it.seq < first);
        let mut found = Vec::<Kept>::new();
        for kept in self.flushes.range(from..).take_while(|it| it.seq <= last) {
            let ends = found.last().filter(|it| found.len() >= AT_ONCE && it.seq != kept.seq);
            if let Some(ends) = ends {
                return (ends.seq, found);
            }
            found.push(kept.clone());
        }
        (last, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(found: &(Seq, Vec<Kept>)) -> (u64, Vec<u64>) {
        (found.0.0, found.1.iter().map(|it| it.seq.0).collect())
    }

    #[test]
    fn an_append_is_of_whole_flushes_and_of_so_many_scopes() {
        let mut kept = KeptFlushes::default();
        let many: Vec<Scope<'_>> = (0..AT_ONCE - 1).map(|_| Scope::Key("k")).collect();
        kept.add(Seq(1), "c", &[Scope::Key("a")]);
        kept.add(Seq(2), "c", &many);
        kept.add(Seq(3), "c", &[Scope::Key("b"), Scope::Tag("t")]);
        assert_eq!(numbers(&kept.first_of(&(Seq(3)..=Seq(3)))), (3, vec![3, 3]));
        let (upto, found) = kept.first_of(&(Seq(1)..=Seq(3)));
        assert_eq!((upto, found.len()), (Seq(2), AT_ONCE));
        assert_eq!(numbers(&kept.first_of(&(Seq(1)..=Seq(1)))), (1, vec![1]));
    }

    #[test]
    fn what_went_for_room_is_a_flush_of_everything() {
        let mut kept = KeptFlushes::default();
        let two = [Scope::Key("a"), Scope::Key("b")];
        for seq in 1..=MOST as u64 / 2 + 1 {
            kept.add(Seq(seq), "c", &two);
        }
        let found = kept.first_of(&(Seq(1)..=Seq(9)));
        assert_eq!(numbers(&found), (1, vec![1]));
        assert_eq!((found.1[0].cache.as_str(), found.1[0].kind), (EVERY_CACHE, ScopeKind::All));
        assert_eq!(numbers(&kept.first_of(&(Seq(2)..=Seq(3)))), (3, vec![2, 2, 3, 3]));
    }
}
