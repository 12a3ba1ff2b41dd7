//! Owns what the run does to the cluster: the application's calls, and the faults.

use std::collections::BTreeSet;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::wire::Scope;

use crate::kinds::Kind;
use crate::member::{Clock, DATA, Member, Place, members, name_of};
use crate::network::LinkId;
use crate::plan::Action;
use crate::tap::Change;
use crate::what::{Id, KEYS, Said};
use crate::world::{Event, World, note};

/// How long a flush is awaited.
pub(crate) const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

impl World {
    pub(crate) fn act(&mut self, action: Action) {
        let healed = self.now > self.faults_end;
        match action {
            Action::Start { slot } => self.start(slot),
            Action::Heal => self.heal(),
            Action::Exit { slot, life } => {
                if self.living(slot, life).is_some() {
                    self.kill(slot);
                }
            }
            Action::Relist { slot } => self.relist(slot),
            _ if healed => {}
            Action::Change { slot } => self.change(slot),
            Action::Read { slot } => self.read(slot),
            Action::Put { slot } => self.put(slot),
            Action::Leave { slot } => self.caller_leaves(slot),
            Action::Evict { slot } => {
                let key = Id(self.rng.usize(..KEYS));
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
                if let Some(life) = self.says_goodbye(slot) {
                    // Its process ends a moment later, and is started anew sometime.
                    self.after(Duration::from_secs(1), Event::Act(Action::Exit { slot, life }));
                }
            }
            Action::Pause { slot } => {
                let until = self.now + Duration::from_millis(self.rng.u64(1..8_000));
                if let Some(member) = self.awake(slot) {
                    (member.paused_until, member.frozen_until) = (until, until);
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
            Action::Float { to } => self.float(to),
            Action::Vanish { slot } => self.vanish(slot),
            Action::Refuse { slot } => self.refuse(slot),
            Action::Copy { slot, of } => self.copy_configuration(slot, of),
            Action::Flap { slot } => self.flap(slot),
            Action::Unlist { slot, other } => self.unlist(slot, other),
            Action::Retire { slot } => self.retire(slot),
            Action::Roll { slot, gently } => self.roll(slot, gently),
            Action::Loop { slot, left } => self.crash_loop(slot, left),
            Action::Sleep { slot } => self.sleep(slot),
            Action::Stall { slot } => self.stall(slot),
        }
    }

    fn some_slot(&mut self) -> usize {
        self.rng.usize(..self.slots.len())
    }

    /// The member in `slot` if it runs and is not stopped.
    pub(crate) fn awake(&mut self, slot: usize) -> Option<&mut Member> {
        let now = self.now;
        self.slots[slot].as_mut().filter(|member| member.frozen_until <= now)
    }

    /// The member in `slot` if it runs, and what drives its node as well.
    pub(crate) fn driven(&mut self, slot: usize) -> Option<&mut Member> {
        let now = self.now;
        self.slots[slot].as_mut().filter(|member| member.paused_until <= now)
    }

    fn start(&mut self, slot: usize) {
        if self.slots[slot].is_some() || self.retired.contains_key(&slot) {
            return;
        }
        self.lives += 1;
        note!(self, "{} starts, life {}", name_of(slot), self.lives);
        self.vanished.remove(&slot);
        self.comes_up(slot);
        let clock = Clock::start(&self.clock, &mut self.rng);
        let place = Place { claims: self.places.claims(slot), all: self.places.all_addresses() };
        let mut member =
            Member::start(slot, self.lives, &self.cluster, place, clock, &mut self.rng);
        // Its caches are empty: whatever it loads is as new as the truth is now.
        member.floors = self.truth.floors();
        self.slots[slot] = Some(member);
        let another_claims = (0..self.slots.len()).any(|it| self.places.twin_of(it) == Some(slot));
        if self.places.is_hidden(slot) || self.places.twin_of(slot).is_some() || another_claims {
            // Where it was met last, nobody or another one is found.
            self.doubted.insert(self.lives);
        }
        if self.places.twin_of(slot).is_some() {
            self.elsewhere.insert(self.lives);
        }
        if another_claims {
            self.usurped.insert(self.lives, Time::NEVER);
        }
        let is_alone = self.odd.has(Kind::Alone) && slot == 0 && self.now < self.faults_end;
        if !is_alone {
            return self.relist(slot);
        }
        // It is told of the others late.
        self.lists_were_wrong = true;
        self.discover(slot, &BTreeSet::from([slot]));
        let late = self.faults_end.since(self.now).mul_f64(self.rng.f64());
        self.after(late, Event::Act(Action::Relist { slot }));
    }

    /// A node is told of all others, as they are to be found now.
    fn relist(&mut self, slot: usize) {
        let all = (0..self.slots.len()).collect();
        self.discover(slot, &all);
    }

    /// Two that both live cannot reach each other, and a list drops one of them: as a readiness check does
    /// that fails for the same reason.
    fn flap(&mut self, slot: usize) {
        let other = (slot + self.rng.usize(1..self.slots.len())) % self.slots.len();
        let mut millis = |most| Duration::from_millis(self.rng.u64(1..most));
        let (cut_for, first) = (millis(15_000), millis(12_000));
        let times: Vec<_> = (0..3).map(|_| (millis(2_000), millis(2_000))).collect();
        note!(self, "cut between n{slot} and n{other} for {cut_for:?}");
        self.network.cut(slot, other, self.now + cut_for);
        self.network.cut(other, slot, self.now + cut_for);
        let mut at = first;
        for (off, on) in times {
            self.after(at, Event::Act(Action::Unlist { slot, other }));
            self.after(at + off, Event::Act(Action::Relist { slot }));
            at += off + on;
        }
    }

    fn unlist(&mut self, slot: usize, other: usize) {
        self.lists_were_wrong = true;
        let listed = (0..self.slots.len()).filter(|&at| at != other).collect();
        self.discover(slot, &listed);
    }

    fn discover(&mut self, slot: usize, listed: &BTreeSet<usize>) {
        if self.driven(slot).is_none() {
            return;
        }
        note!(self, "{} is told of {listed:?}", name_of(slot));
        let names = self.places.names_of(|other| listed.contains(&other));
        let input = members(&names);
        if let Some(member) = &mut self.slots[slot] {
            member.names = names;
        }
        self.note_told(slot);
        self.feed(slot, input);
    }

    /// As an application does: change the source, then flush, then await it or not.
    pub(crate) fn change(&mut self, slot: usize) {
        let said = Said::draw(&mut self.rng);
        let awaits = self.rng.bool();
        if self.awake(slot).is_none_or(|member| member.leaving) {
            return;
        }
        let version = self.truth.change(said.what);
        if let Some(member) = &self.slots[slot] {
            said.apply(&member.data, member.clock.now());
        }
        self.announce(slot, said, version, awaits);
    }

    /// Tells all others of a change that was flushed here.
    pub(crate) fn announce(&mut self, slot: usize, said: Said, version: u64, awaits: bool) {
        let strict = self.cluster.is_strict();
        let Some(member) = &mut self.slots[slot] else { return };
        let life = member.life;
        member.changes += 1;
        let change = Change { life, number: member.changes, said, version };
        member.floors.raise(said, version);
        let text = said.what.text();
        let scope = said.scope(&member.data, &text);
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
        if self.slots[slot].is_none() {
            return;
        }
        // Mostly the kernel resets what was open; a host that vanishes resets nothing.
        let vanishes = self.rng.u8(..) < 64;
        // Some are back before anybody has looked, some take longer than any bound.
        let longest = *self.rng.choice(&[20, 10_000]).unwrap_or(&20);
        let down = Duration::from_millis(self.rng.u64(1..longest));
        self.kill_for(slot, vanishes, down);
    }

    /// Ends a process, and starts the next one in its place after `down`.
    pub(crate) fn kill_for(&mut self, slot: usize, vanishes: bool, down: Duration) {
        let Some(member) = self.slots[slot].take() else { return };
        self.counts.kills += 1;
        self.history.end(member.life, self.now);
        if member.core.head().0 > member.changes {
            self.history.note_heir_ended();
        }
        note!(self, "{} is killed", name_of(slot));
        if vanishes || self.retired.contains_key(&slot) {
            self.vanished.insert(slot);
        }
        for id in self.network.of(slot, member.life) {
            let pause = if vanishes { Duration::from_secs(10) } else { self.delay() };
            let Some(link) = self.network.links.get_mut(&id) else { continue };
            let side = usize::from(link.ends[0].slot != slot);
            link.open[side] = false;
            link.flying[side].clear();
            let told = (self.now + pause).max(link.last_arrival[1 - side]);
            self.at(told, Event::Breaks { link: id, side: 1 - side });
        }
        self.after(down, Event::Act(Action::Start { slot }));
        self.is_left(slot);
    }

    fn break_one(&mut self) {
        let ids: Vec<_> = self.network.links.keys().copied().collect();
        let Some(&id) = self.rng.choice(&ids) else { return };
        self.counts.breaks += 1;
        note!(self, "{id:?} breaks");
        self.break_soon(id);
    }

    pub(crate) fn break_soon(&mut self, id: LinkId) {
        // What was on its way is lost; one end may learn it much later than the other.
        let (soon, late) = (self.delay(), Duration::from_millis(self.rng.u64(1..6_000)));
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
        self.heal_places();
        for slot in 0..self.slots.len() {
            if let Some(member) = &mut self.slots[slot] {
                (member.paused_until, member.frozen_until) = (Time::ZERO, Time::ZERO);
            }
            self.start(slot);
            self.relist(slot);
        }
    }
}
