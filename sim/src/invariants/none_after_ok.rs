//! I10: strictly, once an awaited flush came back `Ok`, no read that starts later on any node gets
//! an older value; as one that has expired, none older than a flush.

use flushcast_core::ack::Outcome;
use flushcast_core::load::LoadError;

use crate::member::{Member, name_of};
use crate::reads::Read;
use crate::tap::Change;
use crate::world::World;

/// Notes what is promised from here on.
pub(super) fn promise(world: &mut World, slot: usize, change: Change, outcome: &Outcome) {
    if world.cluster.is_strict() && outcome.is_complete() {
        super::conflict_named::no_strict_flush_is_ok_in_a_conflict(world, slot, change);
        // While a member lies, or once one has said to be at the author's place, only those who heard
        // the author itself all the while have to know.
        let heard = |it: &Member| it.life == change.life || it.linked.contains_key(&change.life);
        let is_usurped = world.usurped.contains_key(&change.life);
        if (world.liar.is_some() || is_usurped) && !world.slots.iter().flatten().all(heard) {
            return;
        }
        world.counts.confirmed += 1;
        world.counts.fenced += u64::from(!outcome.fenced.is_empty());
        world.history.confirmed.raise(change.said, change.version);
    }
}

pub(crate) fn no_read_is_older_than_what_was_confirmed(
    world: &mut World,
    slot: usize,
    read: &Read,
    loaded: &Result<u64, LoadError<&'static str>>,
) {
    let confirmed = read.floors.confirmed.least(read.load.is_expired.get());
    if let Ok(value) = *loaded
        && value < confirmed
    {
        let what = format!(
            "{} read version {value} of key {} at {:?}, though the flush of {confirmed} was confirmed \
             before",
            name_of(slot),
            read.key,
            read.floors.started,
        );
        world.violate("I10 none-after-ok", what);
    }
}
