//! I9: with a bound, no read gets a value older than a flush that was issued longer before it than
//! that, whatever fails: if the flush's origin lives, or somebody who lives and is listed has applied
//! it, and the origin's address was on the reader's roster.

use flushcast_core::Time;
use flushcast_core::cache::Guarantee;
use flushcast_core::load::LoadError;

use crate::history::Announced;
use crate::member::name_of;
use crate::reads::Read;
use crate::world::World;

pub(crate) fn no_read_is_older_than_the_bound(
    world: &mut World,
    slot: usize,
    read: &Read,
    loaded: &Result<u64, LoadError<&'static str>>,
) {
    let (Guarantee::Bounded(bound), Ok(value)) = (world.cluster.guarantee, loaded) else { return };
    let Some(member) = &world.slots[slot] else { return };
    let broken = world.history.announced().iter().find(|flush| {
        let change = flush.change;
        let concerns = change.said.what.names(read.key)
            && change.version > *value
            && !(change.said.expires && read.load.is_expired.get());
        let is_over = |from: Time| from + bound < read.floors.started;
        let is_due = || world.concerns(member, flush).is_some_and(is_over);
        // Since nothing drives the node, it has heard nothing at all, and so knows nothing: what it
        // holds is served no longer than the bound, whoever has joined or told.
        let stalled = member.stalled_at <= flush.at && read.floors.started <= member.paused_until;
        concerns && (stalled && is_over(flush.at) || is_due() && world.is_known(change, member))
    });
    if let Some(Announced { at, change, .. }) = broken {
        let what = format!(
            "{} read version {value} of key {} at {:?}, though {} was flushed at {at:?}, more than \
             {bound:?} before",
            name_of(slot),
            read.key,
            read.floors.started,
            change.text(),
        );
        world.violate("I9 within-bound", what);
    }
}
