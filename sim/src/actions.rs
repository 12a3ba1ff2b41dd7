//! Owns what the run does to the cluster: the application's calls, and the faults.

use std::collections::BTreeSet;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::Guarantee;
use flushcast_core::flush::LogLimits;
use flushcast_core::node::Input;
use flushcast_core::wire::Scope;

use crate::member::{Clock, Cluster, DATA, Freshness, Member, address_of, name_of};
use crate::network::delay;
use crate::tap::Change;
use crate::what::{KEYS, What};
use crate::world::{Event, World, note};

/// How long faults go on.
const FAULTS_FOR: Duration = Duration::from_secs(20);
/// How long a flush is awaited.
pub(crate) const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    Start {
        slot: usize,
    },
    Change {
        slot: usize,
    },
    Read {
        slot: usize,
    },
    /// A write that leaves its value where it was made.
    Put {
        slot: usize,
    },
    /// A reader, or a writer, goes away.
    Leave {
        slot: usize,
    },
    Evict {
        slot: usize,
    },
    Kill {
        slot: usize,
    },
    /// A crash in the middle of a broadcast.
    ChangeAndKill {
        slot: usize,
    },
    Shutdown {
        slot: usize,
    },
    /// `SIGSTOP`, for a while.
    Pause {
        slot: usize,
    },
    Break,
    Cut,
    Discover {
        slot: usize,
    },
    /// A process ends after its goodbye.
    Exit {
        slot: usize,
        life: u64,
    },
    /// The end of the faults.
    Heal,
}

/// What a seed has in store.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    log: LogLimits,
    guarantee: Guarantee,
    freshness: Freshness,
    pub(crate) window: usize,
    /// Application calls over the fault phase.
    calls: usize,
    faults: usize,
}

impl Plan {
    pub(crate) fn draw(rng: &mut fastrand::Rng) -> Self {
        let entries = *rng.choice(&[4, 16, 10_000]).unwrap_or(&4);
        Self {
            nodes: rng.usize(2..=5),
            guarantee: match rng.u8(..10) {
                0..2 => Guarantee::Eventual,
                2..6 => Guarantee::Bounded(Duration::from_millis(rng.u64(1_000..5_000))),
                _ => Guarantee::Strict,
            },
            freshness: Freshness::draw(rng),
            window: *rng.choice(&[100, 4096]).unwrap_or(&100),
            log: LogLimits { entries, bytes: 1 << 20 },
            calls: rng.usize(20..200),
            faults: rng.usize(0..15),
        }
    }

    pub(crate) fn cluster(&self) -> Cluster {
        let Self { nodes, log, guarantee, freshness, .. } = *self;
        Cluster { nodes, log, guarantee, freshness }
    }

    pub(crate) fn schedule(&self, world: &mut World) {
        for slot in 0..self.nodes {
            // Some join while others are at work already.
            let latest = if world.rng.bool() { 1 } else { 5_000 };
            let start = Duration::from_millis(world.rng.u64(0..latest));
            world.after(start, Event::Act(Action::Start { slot }));
        }
        let moment = |rng: &mut fastrand::Rng| FAULTS_FOR.mul_f64(rng.f64());
        for _ in 0..self.calls {
            let slot = world.rng.usize(..self.nodes);
            let action = match world.rng.u8(..100) {
                0..30 => Action::Change { slot },
                30..40 => Action::Put { slot },
                40..85 => Action::Read { slot },
                85..95 => Action::Leave { slot },
                _ => Action::Evict { slot },
            };
            let when = moment(&mut world.rng);
            // Calls come in bursts, as users do.
            for _ in 0..world.rng.usize(1..4) {
                world.after(when, Event::Act(action));
            }
        }
        for _ in 0..self.faults {
            let slot = world.rng.usize(..self.nodes);
            let action = match world.rng.u8(..100) {
                0..30 => Action::Break,
                30..50 => Action::Cut,
                50..62 => Action::Pause { slot },
                62..72 => Action::Kill { slot },
                72..84 => Action::ChangeAndKill { slot },
                84..90 => Action::Shutdown { slot },
                // A strict promise is about a list that does not change.
                _ if self.guarantee == Guarantee::Strict => Action::Cut,
                _ => Action::Discover { slot },
            };
            let when = moment(&mut world.rng);
            world.after(when, Event::Act(action));
        }
        world.after(FAULTS_FOR, Event::Act(Action::Heal));
    }
}

impl World {
    pub(crate) fn act(&mut self, action: Action) {
        let healed = self.now > Time::ZERO + FAULTS_FOR;
        match action {
            Action::Start { slot } => self.start(slot),
            Action::Heal => self.heal(),
            Action::Exit { slot, life } => {
                if self.living(slot, life).is_some() {
                    self.kill(slot);
                }
            }
            _ if healed => {}
            Action::Change { slot } => self.change(slot),
            Action::Read { slot } => self.read(slot),
            Action::Put { slot } => self.put(slot),
            Action::Leave { slot } => self.reader_leaves(slot),
            Action::Evict { slot } => {
                let key = self.rng.u64(..KEYS as u64);
                if let Some(member) = self.awake(slot) {
                    member.data.evict(&key);
                }
            }
            Action::Kill { slot } => self.kill(slot),
            Action::ChangeAndKill { slot } => {
                for _ in 0..self.rng.usize(1..4) {
                    self.change(slot);
                }
                let soon = Duration::from_micros(self.rng.u64(..3_000));
                self.after(soon, Event::Act(Action::Kill { slot }));
            }
            Action::Shutdown { slot } => {
                if let Some(member) = self.awake(slot) {
                    member.leaving = true;
                    let life = member.life;
                    self.history.end(life, self.now);
                    note!(self, "{} leaves", name_of(slot));
                    self.feed(slot, Input::Leave);
                    // Its process ends a moment later, and is started anew sometime.
                    self.after(Duration::from_secs(1), Event::Act(Action::Exit { slot, life }));
                }
            }
            Action::Pause { slot } => {
                let until = self.now + Duration::from_millis(self.rng.u64(1..8_000));
                if let Some(member) = self.awake(slot) {
                    member.paused_until = until;
                    note!(self, "{} is stopped until {until:?}", name_of(slot));
                }
            }
            Action::Break => self.break_one(),
            Action::Cut => {
                let (from, to) = (self.some_slot(), self.some_slot());
                let until = self.now + Duration::from_millis(self.rng.u64(1..8_000));
                let both = self.rng.bool();
                note!(self, "cut from n{from} to n{to}, back too: {both}");
                self.network.cut(from, to, until);
                if both {
                    self.network.cut(to, from, until);
                }
            }
            Action::Discover { slot } => {
                let nodes = self.slots.len();
                let listed: BTreeSet<_> = (0..nodes).map(|_| self.some_slot()).collect();
                self.lists_were_wrong = true;
                self.discover(slot, &listed);
            }
        }
    }

    fn some_slot(&mut self) -> usize {
        self.rng.usize(..self.slots.len())
    }

    /// The member in `slot` if it runs and is not stopped.
    pub(crate) fn awake(&mut self, slot: usize) -> Option<&mut Member> {
        let now = self.now;
        self.slots[slot].as_mut().filter(|member| member.paused_until <= now)
    }

    fn start(&mut self, slot: usize) {
        if self.slots[slot].is_some() {
            return;
        }
        self.lives += 1;
        note!(self, "{} starts, life {}", name_of(slot), self.lives);
        self.vanished.remove(&slot);
        let clock = Clock::start(&self.clock, &mut self.rng);
        let mut member = Member::start(slot, self.lives, &self.cluster, clock, &mut self.rng);
        // Its caches are empty: whatever it loads is as new as the truth is now.
        member.floors = self.truth.floors();
        self.slots[slot] = Some(member);
        let all = (0..self.slots.len()).collect();
        self.discover(slot, &all);
    }

    fn discover(&mut self, slot: usize, listed: &BTreeSet<usize>) {
        if self.awake(slot).is_none() {
            return;
        }
        note!(self, "{} is told of {listed:?}", name_of(slot));
        if let Some(member) = &mut self.slots[slot] {
            let mut before = std::mem::take(&mut member.told);
            let since = |&at| (at, before.remove(&at).unwrap_or(self.now));
            member.told = listed.iter().map(since).collect();
        }
        let listed = listed.iter().map(|&slot| address_of(slot).into()).collect();
        self.feed(slot, Input::Members { source: "list".into(), listed, complete: true });
    }

    /// As an application does: change the source, then flush, then await it or not.
    fn change(&mut self, slot: usize) {
        let what = What::draw(&mut self.rng);
        let awaits = self.rng.bool();
        if self.awake(slot).is_none_or(|member| member.leaving) {
            return;
        }
        let version = self.truth.change(what);
        if let Some(member) = &self.slots[slot] {
            what.flush(&member.data);
        }
        self.announce(slot, what, version, awaits);
    }

    /// Tells all others of a change that was flushed here.
    pub(crate) fn announce(&mut self, slot: usize, what: What, version: u64, awaits: bool) {
        let strict = self.cluster.is_strict();
        let Some(member) = &mut self.slots[slot] else { return };
        let life = member.life;
        member.changes += 1;
        let change = Change { life, number: member.changes, what, version };
        member.floors.raise(what, version);
        let text = what.text();
        let scope = what.scope(&text);
        let seq = member.core.announce(DATA, vec![scope, Scope::Key(&change.mark())]);
        if let (Ok(seq), true) = (&seq, awaits) {
            let now = member.clock.now();
            let deadline = now + CONFIRM_WITHIN;
            let ticket = member.core.await_applied(now, *seq, now, deadline, strict);
            member.awaited.push((ticket, change, member.clock.when(deadline)));
        }
        self.counts.changes += 1;
        if seq.is_ok() {
            self.history.announce(self.now, slot, change);
        }
        note!(self, "{} changes {}, awaits: {awaits}, {seq:?}", name_of(slot), change.text());
        self.carry_out(slot);
    }

    pub(crate) fn kill(&mut self, slot: usize) {
        let Some(member) = self.slots[slot].take() else { return };
        self.counts.kills += 1;
        self.history.end(member.life, self.now);
        note!(self, "{} is killed", name_of(slot));
        // Mostly the kernel resets what was open; a host that vanishes resets nothing.
        let vanished = self.rng.u8(..) < 64;
        if vanished {
            self.vanished.insert(slot);
        }
        for id in self.network.of(slot, member.life) {
            let pause = if vanished { Duration::from_secs(10) } else { delay(&mut self.rng) };
            let Some(link) = self.network.links.get_mut(&id) else { continue };
            let side = usize::from(link.ends[0].slot != slot);
            link.open[side] = false;
            link.flying[side].clear();
            let told = (self.now + pause).max(link.last_arrival[1 - side]);
            self.at(told, Event::Breaks { link: id, side: 1 - side });
        }
        // Some are back before anybody has looked, some take longer than any bound.
        let longest = *self.rng.choice(&[20, 10_000]).unwrap_or(&20);
        let down = Duration::from_millis(self.rng.u64(1..longest));
        self.after(down, Event::Act(Action::Start { slot }));
    }

    fn break_one(&mut self) {
        let ids: Vec<_> = self.network.links.keys().copied().collect();
        let Some(&id) = self.rng.choice(&ids) else { return };
        self.counts.breaks += 1;
        note!(self, "{id:?} breaks");
        // What was on its way is lost; one end may learn it much later than the other.
        let (soon, late) = (delay(&mut self.rng), Duration::from_millis(self.rng.u64(1..6_000)));
        let (first, nobody_is_told) = (self.rng.usize(..2), self.rng.u8(..) < 64);
        if nobody_is_told && let Some(link) = self.network.links.get_mut(&id) {
            link.broken = true;
        } else if let Some(link) = self.network.links.get_mut(&id) {
            link.broken = true;
            self.after(soon, Event::Breaks { link: id, side: first });
            self.after(late, Event::Breaks { link: id, side: 1 - first });
        }
    }

    fn heal(&mut self) {
        note!(self, "faults end");
        self.network.heal();
        let all = (0..self.slots.len()).collect();
        for slot in 0..self.slots.len() {
            if let Some(member) = &mut self.slots[slot] {
                member.paused_until = Time::ZERO;
            }
            self.start(slot);
            self.discover(slot, &all);
        }
    }
}
