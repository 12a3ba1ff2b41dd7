//! I8: a node's proof of sync is true: what was announced before the proven moment, by anybody on
//! its roster, is applied, if its author lives, or somebody who lives and is listed has applied it.
//! And once all is healed, every proof is fresh.

use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::wire::RENEW_EVERY;

use crate::history::Announced;
use crate::member::{Known, name_of};
use crate::network::LONGEST_DELAY;
use crate::world::World;

/// Readings of clocks are converted.
const ROUNDING: Duration = Duration::from_nanos(100);

pub(crate) fn every_proof_is_true(world: &mut World, slot: usize) {
    let Some(member) = &mut world.slots[slot] else { return };
    let proof = member.proof.get();
    let before = std::mem::replace(&mut member.checked, proof);
    if proof == before {
        return;
    }
    world.note_age_of_proof(slot, before);
    if proof == Time::NEVER {
        return;
    }
    super::conflict_named::no_proof_grows_in_a_conflict(world, slot, proof);
    let Some(member) = &world.slots[slot] else { return };
    let proven = member.clock.when(proof);
    let missed = world.history.announced().iter().find(|flush| {
        let Announced { at, change, .. } = **flush;
        // What was announced before this node ran cannot be missing in its empty caches, nor what
        // was announced before it distrusted them all.
        let counts = at > member.started.max(member.covered_at);
        let since = world.concerns(member, flush);
        let is_due = since.is_some_and(|since| since + ROUNDING < proven);
        let mut appliers = world.history.appliers(change);
        counts
            && is_due
            && !appliers.any(|life| life == member.life)
            && world.is_known(change, member)
    });
    if let Some(Announced { at, change, .. }) = missed {
        let what = format!(
            "{} claims to be in step as of {proven:?}, but {} of {at:?} is not applied",
            name_of(slot),
            change.text(),
        );
        world.violate("I8 proof-is-true", what);
    }
}

/// How old a proof is at most where nothing goes wrong: question and answer each travel in two pieces
/// at the most, and the next question is asked a renewal later.
pub(super) const FRESH: Duration = RENEW_EVERY.saturating_add(LONGEST_DELAY.saturating_mul(4));

/// Only asked for once all is healed.
pub(super) fn stale_proof(world: &World, slot: usize) -> Option<String> {
    let member = world.slots[slot].as_ref().filter(|it| world.has_seen_all_off(it))?;
    let now = member.clock.now();
    let has_left = |it: &Known| {
        world.places.holder_of(&it.addresses).is_some_and(|at| world.retired.contains_key(&at))
    };
    // That a place is empty is asked about once it was seen: one round more.
    let is_late = |it: &Known| it.in_step > if it.life.is_none() { 2 * FRESH } else { FRESH };
    if let Some(late) = member.roster().find(|it| is_late(it) && !has_left(it)) {
        return Some(format!("{} is out of step with {late:?}", name_of(slot)));
    }
    let cut_off = member.core.cut_off(now);
    let late = cut_off.iter().find(|it| it.since > 2 * FRESH)?;
    Some(format!("{} is cut off from {late:?}", name_of(slot)))
}
