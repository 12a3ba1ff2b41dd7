//! I5: copies are distrusted only where replay is impossible: a log that still holds its first
//! flush never answers with a reset.

use flushcast_core::wire::Seq;

use crate::member::name_of;
use crate::world::World;

pub(crate) fn replay_comes_first(world: &mut World, slot: usize, head: Seq) {
    // The log drops a sixteenth of its limit at once.
    let surely_held = world.log.entries - world.log.entries / 16;
    if head.0 <= surely_held as u64 {
        let what = format!("{} was reset at {head}, all of which is held", name_of(slot));
        world.violate("I5 replay-first", what);
    }
}
