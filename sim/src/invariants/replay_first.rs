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
    if head.0 <= surely_held as u64 && world.liar.is_none() {
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
    // In odd worlds a node may be linked with some and never come to hear others; and a list that drops
    // a silent place has what is loaded distrusted, however much that is.
    if world.odd.is_any() || world.lists_were_wrong {
        return;
    }
    let Some(member) = &world.slots[slot] else { return };
    let age = member.clock.now().since(Time::ZERO);
    let linked: Vec<_> = member.roster().filter(|peer| peer.is_linked).collect();
    let was_in_step = !linked.is_empty() && linked.iter().all(|peer| peer.in_step < age);
    if was_in_step && member.checked > Time::ZERO && member.checked < Time::NEVER {
        let what = format!("{} was in step before, and is behind", name_of(slot));
        world.violate("I5 replay-first", what);
    }
}

pub(crate) fn only_the_dead_are_missed(world: &mut World, slot: usize, node: &str) {
    let some_may_be_missed = tails_are_short(world)
        || world.history.has_anybody_ended()
        || world.lists_were_wrong
        || !world.doubted.is_empty()
        || world.liar.is_some();
    if !some_may_be_missed {
        let what = format!("{} takes flushes of {node} for missed, and nobody died", name_of(slot));
        world.violate("I5 replay-first", what);
    }
}

/// What is taken for missed was told to somebody else, and not here, since copies were distrusted
/// last. A life that is settled is forgotten at no cost.
pub(crate) fn something_was_missed(world: &mut World, slot: usize) {
    // Nor do numbers tell that something is known already: as of one that had handed it over.
    if tails_are_short(world) || world.history.has_heir_ended() {
        return;
    }
    let Some(member) = &world.slots[slot] else { return };
    // One that nobody answers for long cannot know what it misses, and gives up who is gone.
    if !member.core.in_sync(member.clock.now()) {
        return;
    }
    // What was announced before this node ran cannot be told from what was announced later, by numbers
    // alone: whoever died before it was ever linked with the node counts whole.
    let since = member.covered_before;
    let is_missed = world.history.announced().iter().any(|it| {
        let counts = it.at > since || it.at < member.started;
        if !counts {
            return false;
        }
        let mut appliers = world.history.appliers(it.change);
        world.may_be_thought_dead(it.change.life)
            && it.change.life != member.life
            && !appliers.any(|life| life == member.life)
    });
    if !is_missed && !world.lists_were_wrong && world.liar.is_none() {
        let what = format!("{} takes flushes for missed, and has applied them all", name_of(slot));
        world.violate("I5 replay-first", what);
    }
}

/// Whether some of what a lost life told may be held by nobody: the numbers of a log count what its
/// node hands over, too.
fn tails_are_short(world: &World) -> bool {
    world.cluster.log.entries < 10_000 || world.cluster.limits.tail.entries < 512
}
