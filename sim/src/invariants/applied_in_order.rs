//! I2: the flushes of one life are applied exactly in order; a gap is covered by a distrust of all
//! copies, and a new life starts at its first.
//!
//! What is handed over of a lost life may be ahead of what a third node knows of it, or behind: the
//! flush is applied all the same, and only the next one in order counts as progress. An asker may
//! take a living author for dead, so that what is behind may come at any time.

use crate::member::name_of;
use crate::tap::Change;
use crate::world::World;

pub(crate) fn applied_in_order(world: &mut World, slot: usize, change: Change) {
    let thought_dead = world.may_be_thought_dead(change.life);
    let Some(member) = &mut world.slots[slot] else { return };
    // What is applied once more says nothing of what follows: others may have put it in their logs.
    let is_again = world.history.applied_at(change, member.life) < world.now;
    // Who has lost a life hands over what it heard of it, whether that life is dead or not.
    let handed_over = thought_dead || member.applied_from.is_some_and(|(_, by)| by != change.life);
    member.floors.raise(change.said, change.version);
    let known = member.last_of.get(&change.life).copied();
    // Never heard of: its log is followed from the start. Heard of, and distrusted since: a gap
    // is covered. What is seen again, after the link was forgotten or from somebody who thinks its
    // author dead, is applied again, harmlessly; nothing is skipped by it.
    let by_another = member.applied_from.is_some_and(|(_, by)| by != change.life);
    let is_covered = known.is_none() && change.life <= member.covered || known == Some(None);
    if is_covered && (by_another || is_again || member.taken_at <= member.covered_at) {
        // It was on its way to be applied when all was distrusted, and says nothing of what follows.
        return;
    }
    let is_next = match known {
        None => change.number == 1 || change.life <= member.covered,
        Some(None) => true,
        Some(Some(last)) => change.number <= last + 1,
    };
    if is_next {
        let last = known.flatten().unwrap_or_default().max(change.number);
        member.last_of.insert(change.life, Some(last));
    } else if !handed_over {
        let what = format!("{} applied {} after {known:?}", name_of(slot), change.text());
        world.violate("I2 applied-in-order", what);
    }
}
