//! I4: a node holds no more than its limits, however slow its followers are.

use crate::member::name_of;
use crate::world::World;

pub(crate) fn memory_is_bounded(world: &mut World, slot: usize) {
    let limit = world.cluster.log.bytes;
    let Some(member) = &world.slots[slot] else { return };
    let held = member.core.log_bytes();
    // Entries are at most this long here, so that the limit in entries is one in bytes too.
    let most = limit.min(world.cluster.log.entries.max(1) * 96);
    if held > most {
        let what = format!("{} holds {held} bytes of flushes, {most} are allowed", name_of(slot));
        world.violate("I4 memory-bounded", what);
    }
}
