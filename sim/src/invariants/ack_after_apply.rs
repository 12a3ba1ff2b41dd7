//! I3: who is named in an outcome as having applied a flush has applied it; and every flush that
//! is awaited comes to an outcome by its deadline.

use flushcast_core::ack::{Outcome, TicketId};

use crate::member::name_of;
use crate::world::{World, note};

pub(crate) fn ack_after_apply(world: &mut World, slot: usize, id: TicketId, outcome: &Outcome) {
    note!(world, "{} learns {outcome:?}", name_of(slot));
    let Some(member) = &mut world.slots[slot] else { return };
    let Some(at) = member.awaited.iter().position(|(ticket, ..)| *ticket == id) else { return };
    let (_, change, _) = member.awaited.swap_remove(at);
    let others: Vec<_> = world.slots.iter().flatten().collect();
    for name in &outcome.applied {
        let Some(other) = others.iter().find(|other| &other.core.config().name == name) else {
            continue;
        };
        let keys = (0..crate::tap::KEYS).filter(|&key| change.key.is_none_or(|it| it == key));
        if let Some(key) = keys.into_iter().find(|&key| other.floors.of(key) < change.version) {
            let what = format!("{name} is said to have applied {}, key {key}", change.text());
            return world.violate("I3 ack-after-apply", what);
        }
    }
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
