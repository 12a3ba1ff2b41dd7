//! I11: while two lives claim one place, nobody who lists it and is linked with both proves anything
//! beyond that, and no strict flush is `Ok`.

use flushcast_core::Time;

use crate::kinds::Kind;
use crate::member::{Member, name_of};
use crate::tap::Change;
use crate::world::World;

pub(super) fn no_proof_grows_in_a_conflict(world: &mut World, slot: usize, proof: Time) {
    let Some(member) = &world.slots[slot] else { return };
    let proven = member.clock.when(proof);
    if let Some((since, who)) = conflict(world, member)
        && proven > since
    {
        let what = format!(
            "{} claims to be in step as of {proven:?}, though {who} since {since:?}",
            name_of(slot)
        );
        world.violate("I11 conflict-named", what);
    }
}

pub(super) fn no_strict_flush_is_ok_in_a_conflict(world: &mut World, slot: usize, change: Change) {
    if world.odd.has(Kind::Twins) {
        // One that was lost in this moment is no party to it any more.
        world.note_roster(slot);
    }
    let announced = world.history.announced().iter().find(|it| it.change == change);
    let at = announced.map_or(Time::NEVER, |it| it.at);
    let Some(member) = &world.slots[slot] else { return };
    if let Some((since, who)) = conflict(world, member)
        && since < at
    {
        let what = format!("{} is told Ok of {}, though {who}", name_of(slot), change.text());
        world.violate("I11 conflict-named", what);
    }
}

/// Two lives with one place among those that a node lists and is linked with, and since when.
fn conflict(world: &World, member: &Member) -> Option<(Time, String)> {
    // Since when a place is listed is not known where lists leave some out.
    if world.lists_were_wrong {
        return None;
    }
    let linked = |other: &Member| {
        let itself = (other.life == member.life).then_some(member.started);
        itself.or_else(|| member.linked.get(&other.life).copied())
    };
    let conflicts = (0..world.slots.len()).filter_map(|slot| {
        let of = world.places.twin_of(slot)?;
        let (one, other) = (world.slots[slot].as_ref()?, world.slots[of].as_ref()?);
        let since = linked(one)?.max(linked(other)?).max(*member.told.get(&of)?);
        // A copy that is not yet started says nothing.
        let is_copied = one.claims == other.claims && !one.claims.is_empty();
        // Nor does one that says goodbye stand for anything.
        let is_copied = is_copied && !one.leaving && !other.leaving;
        let mut listed = member.names.iter().flat_map(|name| &name.addresses);
        let is_listed = listed.any(|address| one.claims.contains(address));
        (is_copied && is_listed)
            .then(|| (since, format!("{} and {} claim one place", name_of(slot), name_of(of))))
    });
    conflicts.min_by_key(|(since, _)| *since)
}
