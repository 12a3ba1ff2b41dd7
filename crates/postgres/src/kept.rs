//! Owns what this node's own flushes name, for when they are appended, or appended again.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use flushcast_core::wire::{EVERY_CACHE, MAX_KEY_BYTES, MAX_NAME_BYTES, MAX_TAG_BYTES, Scope, Seq};

use crate::ScopeKind;

/// Most scopes that are kept. A flush that is no longer kept is appended as a flush of everything.
const MOST: usize = 262_144;
/// And most bytes of them.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// Most scopes of one append. A flush of more becomes a flush of its whole cache.
pub(crate) const AT_ONCE: usize = 4096;

/// One scope of a flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) seq: Seq,
    pub(crate) cache: String,
    pub(crate) kind: ScopeKind,
    pub(crate) expires: bool,
    pub(crate) text: String,
}

impl Kept {
    /// As the table takes it, or wider: what it refuses would stop all that is appended behind it.
    fn new(seq: Seq, cache: &str, scope: Scope<'_>) -> Self {
        let (kind, expires) = ScopeKind::of(scope);
        let is_name = cache.len() <= MAX_NAME_BYTES && !cache.contains('\0');
        let cache = if is_name { cache } else { EVERY_CACHE };
        let longest = if kind == ScopeKind::Tag { MAX_TAG_BYTES } else { MAX_KEY_BYTES };
        let is_text = scope.text().len() <= longest && !scope.text().contains('\0');
        let (kind, text) =
            if is_name && is_text { (kind, scope.text()) } else { (ScopeKind::All, "") };
        Self { seq, cache: cache.to_owned(), kind, expires, text: text.to_owned() }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.cache.len() + self.text.len()
    }
}

/// In the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct KeptFlushes {
    flushes: VecDeque<Kept>,
    bytes: usize,
    /// The last flush of which a scope is no longer kept.
    gone: Seq,
}

impl KeptFlushes {
    pub(crate) fn add(&mut self, seq: Seq, cache: &str, scopes: &[Scope<'_>]) {
        let scopes = match scopes.len() {
            // A number without a row would be taken for a loss. The empty tag names hardly any copy, while a
            // key that a cache cannot read costs it all copies.
            0 => &[Scope::Tag("")],
            1..=AT_ONCE => scopes,
            _ => &[Scope::All],
        };
        for &scope in scopes {
            let kept = Kept::new(seq, cache, scope);
            self.bytes += kept.bytes();
            self.flushes.push_back(kept);
        }
        while (self.flushes.len() > MOST || self.bytes > MOST_BYTES)
            && let Some(kept) = self.flushes.pop_front()
        {
            self.bytes -= kept.bytes();
            self.gone = kept.seq;
        }
    }

    /// What is to be appended of these numbers in one call, and up to which of them that is: whole flushes,
    /// until there are so many scopes.
    pub(crate) fn first_of(
        &self,
        numbers: &RangeInclusive<Seq>,
        scopes: usize,
    ) -> (Seq, Vec<Kept>) {
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
            let ends = found.last().filter(|it| found.len() >= scopes && it.seq != kept.seq);
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
        assert_eq!(numbers(&kept.first_of(&(Seq(3)..=Seq(3)), AT_ONCE)), (3, vec![3, 3]));
        let (upto, found) = kept.first_of(&(Seq(1)..=Seq(3)), AT_ONCE);
        assert_eq!((upto, found.len()), (Seq(2), AT_ONCE));
        assert_eq!(numbers(&kept.first_of(&(Seq(1)..=Seq(1)), AT_ONCE)), (1, vec![1]));
    }

    #[test]
    fn what_went_for_room_is_a_flush_of_everything() {
        let mut kept = KeptFlushes::default();
        let two = [Scope::Key("a"), Scope::Key("b")];
        for seq in 1..=MOST as u64 / 2 + 1 {
            kept.add(Seq(seq), "c", &two);
        }
        let found = kept.first_of(&(Seq(1)..=Seq(9)), AT_ONCE);
        assert_eq!(numbers(&found), (1, vec![1]));
        assert_eq!((found.1[0].cache.as_str(), found.1[0].kind), (EVERY_CACHE, ScopeKind::All));
        assert_eq!(numbers(&kept.first_of(&(Seq(2)..=Seq(3)), AT_ONCE)), (3, vec![2, 2, 3, 3]));
    }
}
