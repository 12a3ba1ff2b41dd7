//! Owns what a node can be asked to know at all: conditions A and B of the guarantees, as an observer
//! who sees everything judges them.

use flushcast_core::Time;

use crate::history::Announced;
use crate::member::{Member, life_of, slot_of};
use crate::tap::Change;
use crate::world::World;

impl World {
    /// From when on a flush concerns a node: from when it was announced, if its origin's address was
    /// on the node's roster then; else from when it came there, if that life can still tell of it.
    pub(crate) fn concerns(&self, member: &Member, flush: &Announced) -> Option<Time> {
        let since = *member.listed.get(&flush.slot)?;
        (since <= flush.at || self.lives(flush.change.life)).then(|| since.max(flush.at))
    }

    /// Whether somebody can tell a node of a change: its author, if it lives; else whoever has
    /// applied it, lives, and was on the node's roster, and listed by its discovery, since before the
    /// author's end, as was everybody over whom it came there.
    pub(crate) fn is_known(&self, change: Change, to: &Member) -> bool {
        let end = self.history.end_of(change.life);
        let since = |at| Some(*to.told.get(&at)?.max(to.listed.get(&at)?));
        let was_listed = |at| since(at).is_some_and(|since| since <= end);
        let can_tell = |life| {
            let mut slots = self.slots.iter();
            life != to.life
                && self.lives(life)
                && slots
                    .position(|it| it.as_ref().is_some_and(|it| it.life == life))
                    .is_some_and(was_listed)
                && self.history.way(change, life).into_iter().all(was_listed)
        };
        self.lives(change.life) || self.history.appliers(change).any(can_tell)
    }

    /// Notes since when whom the node has to follow.
    pub(crate) fn note_roster(&mut self, slot: usize) {
        let now = self.now;
        let Some(member) = &mut self.slots[slot] else { return };
        let (history, strict) = (&self.history, self.cluster.is_strict());
        let mut listed = std::mem::take(&mut member.listed);
        let peers = member.core.peers(member.clock.now());
        let kept = peers.iter().filter(|peer| {
            // A goodbye behind the last flush takes a node off, until somebody is met there.
            let life = peer.incarnation.map(life_of);
            let covered = member.started.max(member.covered_at);
            let all = life.is_some_and(|life| history.all_applied(life, member.life, covered));
            strict || !peer.left || !all
        });
        member.listed = kept
            .map(|peer| slot_of(peer.address))
            .map(|at| (at, listed.remove(&at).unwrap_or(now)))
            .collect();
    }
}
