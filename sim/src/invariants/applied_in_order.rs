//! I2: the flushes of one life are applied exactly in order; a gap is covered by a distrust of all
//! copies, and a new life starts at its first.

use crate::member::name_of;
use crate::tap::Change;
use crate::world::World;

pub(crate) fn applied_in_order(world: &mut World, slot: usize, change: Change) {
    let Some(member) = &mut world.slots[slot] else { return };
    member.floors.raise(change.key, change.version);
    let known = member.last_of.insert(change.life, Some(change.number));
    // Never heard of: its log is followed from the start. Heard of, and distrusted since: a gap
    // is covered. What is seen again after the link was forgotten is applied again, harmlessly.
    let fits = match known {
        None => change.number == 1 || change.life <= member.covered,
        Some(None) => true,
        Some(Some(last)) => change.number == last + 1 || change.number == 1,
    };
    if !fits {
        let what = format!("{} applied {} after {known:?}", name_of(slot), change.text());
        world.violate("I2 applied-in-order", what);
    }
}
