//! I3: who is named in an outcome as having applied a flush has applied it; who has not is named
//! as well; every flush that is awaited comes to an outcome by its deadline; and nobody is given up before
//! that who was not waited for in vain already.

use flushcast_core::ack::{Outcome, Reason, TicketId, Unconfirmed};

use crate::member::{Known, name_of};
use crate::tap::Change;
use crate::what::KEYS;
use crate::world::{World, note};

pub(crate) fn ack_after_apply(world: &mut World, slot: usize, id: TicketId, outcome: &Outcome) {
    note!(world, "{} learns {outcome:?}", name_of(slot));
    let Some(member) = &mut world.slots[slot] else { return };
    let Some(at) = member.awaited.iter().position(|(ticket, ..)| *ticket == id) else { return };
    let (_, change, deadline) = member.awaited.swap_remove(at);
    let is_early = world.now < deadline && !member.leaving;
    let (suspected, others): (Vec<_>, Vec<_>) =
        outcome.unconfirmed.iter().partition(|it| match it.reason {
            Reason::Suspected { .. } => true,
            // Who is there may change meanwhile: it is the place that was waited for.
            Reason::Conflict => member.in_vain.contains(&it.address.to_string()),
            _ => false,
        });
    let is_known =
        |it: &&Unconfirmed| it.reason == Reason::Conflict || member.in_vain.contains(&it.node);
    let is_hasty = !suspected.iter().all(is_known);
    if world.now >= deadline {
        let late = outcome.unconfirmed.iter().map(|it| &it.node).chain(&outcome.fenced);
        member.in_vain.extend(late.cloned());
        let contested = outcome.unconfirmed.iter().filter(|it| it.reason == Reason::Conflict);
        member.in_vain.extend(contested.map(|it| it.address.to_string()));
    }
    // Whoever is linked and silent may still answer.
    let may_answer = others.iter().any(|it| it.reason == Reason::Silent);
    let gives_up = may_answer || world.cluster.is_strict() && !others.is_empty();
    if is_hasty || is_early && gives_up {
        let what = format!("{} gives up before its time: {outcome:?}", name_of(slot));
        return world.violate("I3 ack-after-apply", what);
    }
    super::none_after_ok::promise(world, slot, change, outcome);
    let others: Vec<_> = world.slots.iter().flatten().collect();
    if let Some(what) = left_out(world, slot, change, outcome) {
        return world.violate("I3 ack-after-apply", what);
    }
    for name in outcome.applied_by() {
        let Some(other) = others.iter().find(|other| other.core.config().name == name) else {
            continue;
        };
        let keys = (0..KEYS).filter(|&key| change.said.what.names(key));
        if let Some(key) = keys.into_iter().find(|&key| other.floors.of(key).fresh < change.version)
        {
            let what = format!("{name} is said to have applied {}, key {key}", change.text());
            return world.violate("I3 ack-after-apply", what);
        }
    }
}

/// Somebody who follows and has not applied it, and is not named at all.
fn left_out(world: &World, slot: usize, change: Change, outcome: &Outcome) -> Option<String> {
    let mut others = world.slots.iter().enumerate().filter(|(at, _)| *at != slot);
    others.find_map(|(at, other)| {
        let other = other.as_ref().filter(|it| !it.leaving && !world.lists_were_wrong)?;
        // One that may have been given up does not know of it.
        if world.may_be_thought_dead(other.life) {
            return None;
        }
        // Nor does one that lists it nowhere, and that has lost it for longer than it waits for such.
        let waits = world.slots[slot]
            .as_ref()
            .is_some_and(|it| it.told.contains_key(&at) || it.linked.contains_key(&other.life));
        if !waits {
            return None;
        }
        let name = &other.core.config().name;
        let mut keys = (0..KEYS).filter(|&key| change.said.what.names(key));
        let behind = keys.any(|key| other.floors.of(key).fresh < change.version);
        let leads_here = |it: &Known| it.life == Some(change.life);
        let linked = || other.roster().any(|it| leads_here(&it) && it.is_linked);
        let is_there = |address| world.places.holder(address) == Some(at);
        let mut unconfirmed = outcome.unconfirmed.iter();
        let unconfirmed = unconfirmed.any(|it| it.node == *name || is_there(it.address));
        // One that was never met is named by its address.
        let is_it = |named: &str| named == name || world.places.calls(at, named);
        let fenced = outcome.fenced.iter().map(String::as_str);
        let named = outcome.applied_by().into_iter().chain(fenced).any(is_it);
        (behind && !unconfirmed && !named && linked())
            .then(|| format!("{name} follows, is behind {}, and is not named", change.text()))
    })
}

pub(super) fn nobody_waits_for_ever(world: &mut World) {
    let now = world.now;
    let overdue = world.slots.iter().flatten().find_map(|member| {
        let late = member.awaited.iter().find(|(_, _, deadline)| *deadline < now)?;
        Some(format!("{} still waits for {late:?}", member.core.config().name))
    });
    if let Some(what) = overdue {
        world.violate("I3 ack-after-apply", what);
    }
}
