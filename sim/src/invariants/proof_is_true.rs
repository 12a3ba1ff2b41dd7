//! I8: a proof of being in step is true: what a living peer had announced by the proven moment is
//! applied. And once all is healed, every proof is fresh.

use flushcast_core::Time;
use flushcast_core::wire::RENEW_EVERY;

use crate::member::{life_of, name_of};
use crate::network::LONGEST_DELAY;
use crate::world::World;

pub(crate) fn every_proof_is_true(world: &mut World, slot: usize) {
    let Some(member) = &world.slots[slot] else { return };
    if world.lists_were_wrong {
        // Who was off the roster need not be followed: a proof speaks of the time on it.
        return;
    }
    let mut broken = None;
    for peer in member.core.peers(world.now) {
        let Some(life) = peer.incarnation.map(life_of) else { continue };
        let proven = world.now.since(Time::ZERO) - peer.in_step;
        let announced = world.announced.get(&life).map_or(&[][..], Vec::as_slice);
        let due = announced.partition_point(|(at, _)| at.since(Time::ZERO) < proven);
        let due = announced[..due].last();
        let applied = match member.last_of.get(&life) {
            Some(Some(last)) => *last,
            // A distrust covers what was missed before it.
            Some(None) => u64::MAX,
            None if life <= member.covered => u64::MAX,
            None => 0,
        };
        // What was announced before this node ran cannot be missing in its empty caches.
        if let Some((at, number)) = due.filter(|(at, _)| *at > member.started)
            && *number > applied
        {
            broken = Some(format!(
                "{} claims to be in step with life {life} as of {proven:?}, but {number} of {at:?} \
                 is not applied, only {applied}",
                name_of(slot)
            ));
        }
    }
    if let Some(what) = broken {
        world.violate("I8 proof-is-true", what);
    }
}

/// Only asked for once all is healed.
pub(super) fn stale_proof(world: &World, slot: usize) -> Option<String> {
    let peers = world.slots[slot].as_ref()?.core.peers(world.now);
    // Question and answer each travel in two pieces at the most, and the next question is asked a
    // renewal later.
    let fresh = RENEW_EVERY + 4 * LONGEST_DELAY;
    let late = peers.iter().find(|peer| peer.in_step > fresh)?;
    Some(format!("{} is out of step with {late:?}", name_of(slot)))
}
