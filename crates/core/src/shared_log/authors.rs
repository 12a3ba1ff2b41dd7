//! Owns the last number heard of each author of a log.
//! It must never take more memory than two generations do.

use std::collections::BTreeMap;
use std::mem;

use crate::wire::{Incarnation, Position, Seq};

/// Authors of a generation: those of the last two are known, and what the engine loses of an author that was
/// heard before them is not seen by its numbers.
const GENERATION: usize = 2048;

#[derive(Debug, Default)]
pub(super) struct Authors {
    young: BTreeMap<Incarnation, Seq>,
    old: BTreeMap<Incarnation, Seq>,
}

impl Authors {
    /// Notes a number, unless it skips one. Whoever appends again repeats numbers, and skips none.
    pub(super) fn hear(&mut self, by: Position) -> bool {
        let known = self.young.get(&by.life).or_else(|| self.old.get(&by.life));
        let last = known.copied();
        if last.is_some_and(|last| by.seq > last.next()) {
            return false;
        }
        if self.young.len() == GENERATION && !self.young.contains_key(&by.life) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(by.life, by.seq.max(last.unwrap_or_default()));
        true
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
