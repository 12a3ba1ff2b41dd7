//! I5: copies are distrusted only where replay is impossible: by a reset, and a log that still holds
//! its first flush never answers with one; or by what a dead node told, that nobody can hand over,
//! or nobody is asked to, because the node was never in step and has loaded little.
//! So a node that joins costs nobody else a copy.

use flushcast_core::Time;
use flushcast_core::wire::Seq;

use crate::member::name_of;
use crate::world::World;

pub(crate) fn replay_comes_first(world: &mut World, slot: usize, head: Seq) {
    // The log drops a sixteenth of its limit at once.
    let surely_held = world.cluster.log.entries - world.cluster.log.entries / 16;
    if head.0 <= surely_held as u64 {
        let what = format!("{} was reset at {head}, all of which is held", name_of(slot));
        world.violate("I5 replay-first", what);
    }
}

pub(crate) fn every_distrust_has_a_cause(world: &mut World, slot: usize) {
    let Some(member) = &world.slots[slot] else { return };
    if member.distrusts != 0 {
        let what = format!("{} distrusts its copies and reports no cause", name_of(slot));
        world.violate("I5 replay-first", what);
    }
}

pub(crate) fn only_the_new_are_behind(world: &mut World, slot: usize) {
    let Some(member) = &world.slots[slot] else { return };
    if member.checked > Time::ZERO && member.checked < Time::NEVER {
        let what = format!("{} was in step before, and is behind", name_of(slot));
        world.violate("I5 replay-first", what);
    }
}

pub(crate) fn only_the_dead_are_missed(world: &mut World, slot: usize, node: &str) {
    let some_may_be_missed = world.history.has_anybody_ended()
        || world.lists_were_wrong
        || !world.doubted.is_empty()
        || world.liar.is_some();
    if !some_may_be_missed {
        let what = format!("{} takes flushes of {node} for missed, and nobody died", name_of(slot));
        world.violate("I5 replay-first", what);
    }
}
