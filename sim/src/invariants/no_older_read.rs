//! I1: a read that starts after a flush was applied at its node never gets a value from before
//! that flush, be it a copy, its own load, or a load that it joined; and as one that has expired, none
//! from before what was flushed, though one from before what was told to expire.

use flushcast_core::load::LoadError;

use crate::member::name_of;
use crate::reads::Read;
use crate::world::{World, note};

pub(crate) fn no_read_is_older_than_what_was_applied(
    world: &mut World,
    slot: usize,
    read: &Read,
    loaded: &Result<u64, LoadError<&'static str>>,
) {
    note!(world, "{} read {} of key {}: {loaded:?}", name_of(slot), read.id, read.key);
    let applied = read.floors.applied.least(read.load.is_expired.get());
    if let Ok(value) = *loaded
        && value < applied
    {
        let what = format!(
            "{} read version {value} of key {}, though {applied} was applied before the read started",
            name_of(slot),
            read.key,
        );
        world.violate("I1 no-older-read", what);
    }
}
