//! One promise a file, each with its id.

mod ack_after_apply;
mod applied_in_order;
mod conflict_named;
mod heals_completely;
mod memory_bounded;
mod no_older_read;
mod none_after_ok;
mod proof_is_true;
mod replay_first;
mod within_bound;

pub(crate) use ack_after_apply::ack_after_apply;
pub(crate) use applied_in_order::applied_in_order;
pub(crate) use memory_bounded::memory_is_bounded;
pub(crate) use no_older_read::no_read_is_older_than_what_was_applied;
pub(crate) use none_after_ok::no_read_is_older_than_what_was_confirmed;
pub(crate) use proof_is_true::every_proof_is_true;
pub(crate) use replay_first::{
    every_distrust_has_a_cause, only_the_dead_are_missed, only_the_new_are_behind,
    replay_comes_first, something_was_missed,
};
pub(crate) use within_bound::no_read_is_older_than_the_bound;

use crate::world::World;

/// What must hold once the faults are over and there was time to heal.
pub(crate) fn at_the_end(world: &mut World) {
    heals_completely::check(world);
    ack_after_apply::nobody_waits_for_ever(world);
}
