//! Owns finding which subjects of a question somebody may be one of. There may be as many as there
//! are nodes, where all start at once, and each node is held against all of them.
//! It must never leave out one that may be meant: a death would count too early.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Lives;
use crate::wire::{About, Incarnation};

/// The subjects of one question, by where they listened and by the lives that are named.
#[derive(Debug, Default)]
pub(crate) struct Subjects<'a> {
    at: BTreeMap<SocketAddr, Vec<&'a About>>,
    naming: BTreeMap<Incarnation, Vec<&'a About>>,
}

impl<'a> Subjects<'a> {
    pub(crate) fn of(asked: &'a [About]) -> Self {
        let mut subjects = Self::default();
        for about in asked {
            subjects.at.entry(about.address).or_default().push(about);
            for named in &about.lives {
                subjects.naming.entry(named.incarnation).or_default().push(about);
            }
        }
        subjects
    }

    /// Those that `life`, met at `address`, may be one of: they are about that address or another
    /// one where it was, or name it. Some come twice.
    pub(crate) fn concerning(
        &self,
        address: SocketAddr,
        life: Incarnation,
        lives: &Lives,
    ) -> impl Iterator<Item = &'a About> {
        let addresses = std::iter::once(address).chain(lives.addresses(life));
        let at = addresses.filter_map(|address| self.at.get(&address));
        at.chain(self.naming.get(&life)).flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::repair::lives::tests::{address, life};
    use crate::wire::{Position, Seq};

    fn about() -> impl Strategy<Value = About> {
        let named = prop::collection::vec(0..4_u8, 0..3);
        (0..4_u8, prop::option::of(0..4_u8), named).prop_map(|(at, alive, named)| {
            let position = |byte| Position { incarnation: life(byte), seq: Seq::START };
            About {
                address: address(at),
                alive: alive.map(life),
                lives: named.into_iter().map(position).collect(),
            }
        })
    }

    proptest! {
        /// Whoever asks may name an address or a life more than once.
        #[test]
        fn those_are_found_that_a_look_at_each_finds(
            asked in prop::collection::vec(about(), 0..6),
            places in prop::collection::vec((0..4_u8, 0..4_u8), 0..6),
            who in 0..4_u8,
            at in 0..4_u8,
        ) {
            let (who, at) = (life(who), address(at));
            let place = |(who, at)| (life(who), address(at));
            let places: Vec<_> = places.into_iter().map(place).collect();
            let mut lives = Lives::default();
            places.iter().for_each(|&(who, at)| lives.note(who, at));
            let subjects = Subjects::of(&asked);
            for about in &asked {
                let is_there = about.address == at || places.contains(&(who, about.address));
                let is_named = about.lives.iter().any(|named| named.incarnation == who);
                let mut found = subjects.concerning(at, who, &lives);
                let is_found = found.any(|it| std::ptr::eq(it, about));
                prop_assert_eq!(is_found, is_there || is_named);
            }
        }
    }
}
