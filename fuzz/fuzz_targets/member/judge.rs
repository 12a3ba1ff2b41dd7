//! Owns what has to hold whatever strangers say. A member that lies may make others drop copies; it must
//! not keep what an honest one announces from those that are linked with it, nor cost more than there is
//! room for.

use std::collections::BTreeMap;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::ack::TicketId;
use flushcast_core::cache::Guarantee;
use flushcast_core::wire::{MAX_CONTROL_BYTES, MAX_FRAME_BYTES, Scope, Seq};

use crate::words::{HONEST, OWN, life};
use crate::world::{LIMITS, SHORT_LOG, STRANGERS, Side, World};

/// What is announced by the two real nodes, and what is known of it.
#[derive(Default)]
pub(crate) struct Judge {
    /// Those that each has announced, in order, by number in its log. Numbered from 0 here.
    honest: Vec<Seq>,
    own: Vec<Seq>,
    /// How many of the honest node's are known to be applied.
    applied: Option<u64>,
    /// How many of each are known to be gone at the other node.
    gone: BTreeMap<&'static str, usize>,
    awaited: Vec<(TicketId, usize, Time)>,
}

fn key(prefix: &str, number: usize) -> String {
    format!("{prefix}{number}")
}

impl Judge {
    /// The honest node has changed something, of which the other holds a copy.
    pub(crate) fn honest_flush(&mut self, world: &mut World) {
        let key = key("h", self.honest.len());
        world.own.cache.insert(&key, 1, world.now).expect("it is stored");
        let announced = world.honest.node.announce("c", vec![Scope::Key(&key)]);
        self.honest.push(announced.expect("it never leaves"));
        world.drain(Side::Honest);
    }

    /// The other way round.
    pub(crate) fn own_flush(&mut self, world: &mut World, awaited: Option<bool>) {
        let number = self.own.len();
        let key = key("s", number);
        world.honest.cache.insert(&key, 1, world.now).expect("it is stored");
        let Ok(seq) = world.own.node.announce("c", vec![Scope::Key(&key)]) else {
            // It has left.
            world.honest.cache.flush_key(&key);
            return;
        };
        self.own.push(seq);
        if let Some(is_strict) = awaited {
            let (now, deadline) = (world.now, world.now + Duration::from_secs(3));
            let ticket = world.own.node.await_applied(now, seq, now, deadline, is_strict);
            self.awaited.push((ticket, number, deadline));
        }
        world.drain(Side::Own);
    }

    /// Judges what is to be seen behind a step.
    pub(crate) fn look(&mut self, world: &mut World) {
        check_limits(world);
        self.check_order(world);
        self.check_acknowledged(world);
        self.check_outcomes(world);
    }

    /// Flushes of the honest node are applied in order; what is left out is covered by a distrust.
    fn check_order(&mut self, world: &mut World) {
        for number in std::mem::take(&mut world.applied) {
            let next = self.applied.map_or(0, |last| last + 1);
            assert!(number >= next, "{number} is applied where {next} is the next");
            for skipped in next..number {
                let held = world.own.cache.get(&key("h", skipped as usize), world.now);
                assert_eq!(held, None, "{skipped} is left out and {number} is applied");
            }
            self.applied = Some(number);
        }
    }

    /// Whatever one of the two takes for applied at the other one is.
    fn check_acknowledged(&mut self, world: &World) {
        let acked = world.honest.node.acknowledged_by(life(OWN));
        let count = self.honest.iter().filter(|seq| **seq <= acked).count();
        self.check_gone(world, Side::Own, "h", count, "acknowledged");
        let acked = world.own.node.acknowledged_by(life(HONEST));
        let count = self.own.iter().filter(|seq| **seq <= acked).count();
        self.check_gone(world, Side::Honest, "s", count, "acknowledged");
    }

    fn check_gone(
        &mut self,
        world: &World,
        side: Side,
        prefix: &'static str,
        count: usize,
        why: &str,
    ) {
        let member = if side == Side::Own { &world.own } else { &world.honest };
        let gone = self.gone.entry(prefix).or_default();
        for number in *gone..count {
            let held = member.cache.get(&key(prefix, number), world.now);
            assert_eq!(held, None, "{prefix}{number} is {why}, and {side:?} serves it");
        }
        *gone = count.max(*gone);
    }

    /// Each awaited flush comes to an outcome in time, which names nobody that has not applied it.
    fn check_outcomes(&mut self, world: &mut World) {
        for (side, ticket, outcome) in std::mem::take(&mut world.settled) {
            assert_eq!(side, Side::Own, "the honest one awaits nothing");
            let Some(at) = self.awaited.iter().position(|it| it.0 == ticket) else {
                panic!("it comes to an outcome twice: {outcome}");
            };
            let (_, number, _) = self.awaited.swap_remove(at);
            if outcome.applied_by().contains(&"n3") {
                let held = world.honest.cache.get(&key("s", number), world.now);
                assert_eq!(held, None, "s{number} is {outcome}, and the honest one serves it");
            }
        }
    }

    /// Behind time that has passed: nobody waits longer than it wanted to.
    pub(crate) fn check_deadlines(&self, world: &World) {
        let is_late = |(_, _, deadline): &(TicketId, usize, Time)| *deadline < world.now;
        assert!(!self.awaited.iter().any(is_late), "an awaited flush came to nothing");
    }

    /// All that the honest node has announced has come, if they are linked.
    pub(crate) fn check_all_applied(&mut self, world: &World) {
        self.check_gone(world, Side::Own, "h", self.honest.len(), "carried");
        let held = world.own.node.held();
        assert_eq!(
            held.busy, 0,
            "something waits to be applied, and was never given out: {held:?}"
        );
    }
}

/// What a node holds is bounded by its limits, and by the connections that its shell has.
fn check_limits(world: &World) {
    let held = world.own.node.held();
    assert!(held.conns <= world.conns(), "{held:?}, and {} are open", world.conns());
    assert!(held.conns <= STRANGERS + 20 && held.linked <= STRANGERS + 1, "{held:?}");
    assert!(held.apart <= LIMITS.lives_over, "{held:?}");
    assert!(held.places <= LIMITS.peers, "{held:?}");
    assert!(held.control_bytes <= MAX_CONTROL_BYTES + MAX_FRAME_BYTES + 4, "{held:?}");
    assert!(held.unread_bytes <= 3 * MAX_FRAME_BYTES, "{held:?}");
    assert!(held.tail_bytes <= LIMITS.tail.bytes + MAX_FRAME_BYTES, "{held:?}");
    let log = world.own.node.log_bytes();
    assert!(log <= world.own.node.config().log.bytes + SHORT_LOG.bytes, "the log has {log} bytes");
}

/// Once strangers are gone, everything is well again.
pub(crate) fn check_healed(world: &World) {
    assert!(world.are_linked(), "they do not find each other again");
    let proof = world.own.caches.proof(Guarantee::default()).get();
    let age = world.now.since(proof);
    let cut_off = world.own.node.cut_off(world.now);
    assert!(age < Duration::from_secs(2), "the proof is {age:?} old: {cut_off:?}");
    let held = world.own.node.held();
    assert_eq!((held.linked, held.apart, held.wanted), (1, 0, 0), "{held:?}");
    assert!(held.places <= 1, "{held:?}");
}
