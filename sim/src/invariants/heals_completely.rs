//! I6: once the faults are over, all nodes are linked, every log is applied to its head, and no
//! copy is older than the truth: all that a put of a living node has changed is announced.
//!
//! What a life had announced to nobody who still lives when it was killed is not covered here:
//! nobody can know.

use super::proof_is_true::{FRESH, stale_proof};
use crate::member::{Known, name_of};
use crate::what::{Id, KEYS};
use crate::world::World;

pub(super) fn check(world: &mut World) {
    if let Some(version) = world.history.untold() {
        let what = format!("version {version} was put by a node that lives, and nobody was told");
        return world.violate("I6 heals-completely", what);
    }
    for slot in 0..world.slots.len() {
        if world.retired.contains_key(&slot) {
            continue;
        }
        let found = stale_copy(world, slot)
            .or_else(|| missing_link(world, slot))
            .or_else(|| stale_proof(world, slot));
        if let Some(what) = found {
            return world.violate("I6 heals-completely", what);
        }
    }
}

fn stale_copy(world: &World, slot: usize) -> Option<String> {
    let member = world.slots[slot].as_ref()?;
    (0..KEYS).find_map(|key| {
        let held = member.data.get(&Id(key), member.clock.now())?;
        let newer = world
            .history
            .announced()
            .iter()
            .filter(|it| it.change.said.what.names(key) && it.change.version > held);
        let mut known = newer.filter(|it| {
            !world.lists_were_wrong
                && !world.was_lied_to(it.at)
                && world.places.are_to_be_linked(slot, it.slot)
                && world.is_known(it.change, member)
        });
        let missed = known.next()?.change.text();
        Some(format!("{} holds {held} of key {key}, older than {missed}", name_of(slot)))
    })
}

fn missing_link(world: &World, slot: usize) -> Option<String> {
    let Some(member) = &world.slots[slot] else {
        return Some(format!("{} does not run", name_of(slot)));
    };
    let peers: Vec<_> = member.roster().collect();
    let is_other = |other: usize| other != slot && !world.retired.contains_key(&other);
    let others = world.slots.iter().enumerate().filter(|(other, _)| is_other(*other));
    let mut others = others.filter(|(other, _)| world.places.are_to_be_linked(slot, *other));
    others.find_map(|(other, origin)| {
        let (name, origin) = (name_of(slot), origin.as_ref()?);
        let is_it = |it: &&Known| {
            it.life == Some(origin.life) || world.places.holder_of(&it.addresses) == Some(other)
        };
        let ways: Vec<_> = peers.iter().filter(is_it).collect();
        if ways.is_empty() {
            return Some(format!("{name} does not know {}", name_of(other)));
        }
        let head = origin.core.head();
        // What came to the log a moment ago, as that a life is forgotten, is under way.
        let in_step = |it: &&Known| it.is_linked && (it.applied == head || it.in_step <= FRESH);
        (!ways.iter().any(in_step))
            .then(|| format!("{name} is not in step with head {head} of {ways:?}"))
    })
}
