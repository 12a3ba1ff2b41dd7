//! Owns what comes in numbers or takes long: rolling restarts, crash loops, machines that sleep,
//! and nodes that nothing drives.

use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::node::Input;

use crate::kinds::Kind;
use crate::member::{Member, name_of};
use crate::plan::Action;
use crate::world::{Event, World, note};

/// How long after its goodbye a process ends in a rolling restart.
const EXITS_AFTER: Duration = Duration::from_millis(100);
/// Longest time until the next process runs in its place.
const ROLLED_WITHIN: Duration = Duration::from_millis(400);
/// How long after the last restart the survivors of a calm roll are watched.
const WATCHED_FOR: Duration = Duration::from_secs(3);
/// How old a survivor's proof may get in it.
const YOUNG: Duration = Duration::from_millis(1_500);

impl World {
    pub(crate) fn roll(&mut self, slot: usize, gently: bool) {
        if self.odd.has(Kind::Calm) && self.rolled_at == Time::NEVER {
            self.rolled_at = self.now;
        }
        let down = ROLLED_WITHIN.mul_f64(self.rng.f64()).max(Duration::from_millis(1));
        if !gently {
            return self.kill_for(slot, false, down);
        }
        if let Some(life) = self.says_goodbye(slot) {
            self.after(EXITS_AFTER, Event::Act(Action::Exit { slot, life }));
            self.after(EXITS_AFTER + down, Event::Act(Action::Start { slot }));
        }
    }

    /// A node leaves. Gives back which life it was.
    pub(crate) fn says_goodbye(&mut self, slot: usize) -> Option<u64> {
        let member = self.driven(slot).filter(|member| !member.leaving)?;
        member.leaving = true;
        let life = member.life;
        self.history.end(life, self.now);
        note!(self, "{} leaves", name_of(slot));
        self.feed(slot, Input::Leave);
        Some(life)
    }

    /// A node leaves for good. Who is linked with it hears that.
    pub(crate) fn retire(&mut self, slot: usize) {
        let Some(life) = self.slots[slot].as_ref().map(|member| member.life) else { return };
        let members = self.slots.iter().flatten();
        let linked = members.filter(|it| it.linked.contains_key(&life)).map(|it| it.life).collect();
        if self.says_goodbye(slot).is_some() {
            self.retired.insert(slot, linked);
            self.after(Duration::from_secs(1), Event::Act(Action::Exit { slot, life }));
        }
    }

    /// Whether a node has heard the goodbye of all who left for good: who has not cannot tell them
    /// from those that it cannot reach.
    pub(crate) fn has_seen_all_off(&self, member: &Member) -> bool {
        self.retired.values().all(|heard| heard.contains(&member.life))
    }

    /// One life of a crash loop is over, and the next one is about to begin.
    pub(crate) fn crash_loop(&mut self, slot: usize, left: usize) {
        if self.rng.u8(..10) < 9 {
            self.change(slot);
        }
        // Some are over before anybody has met them.
        let over = Duration::from_millis(self.rng.u64(1..300));
        if left == 0 || self.now + over >= self.faults_end {
            return;
        }
        let down = Duration::from_millis(self.rng.u64(1..30));
        self.after(over, Event::Act(Action::Kill { slot }));
        self.after(over + down, Event::Act(Action::Start { slot }));
        let next = over + down + Duration::from_millis(self.rng.u64(10..80));
        self.after(next, Event::Act(Action::Loop { slot, left: left - 1 }));
    }

    /// A machine sleeps: what others had open to it ends there, and it learns nothing of that.
    pub(crate) fn sleep(&mut self, slot: usize) {
        let longest = self.faults_end.since(self.now);
        let until = self.now + longest.mul_f64(0.5 + 0.45 * self.rng.f64());
        let Some(member) = self.awake(slot) else { return };
        (member.paused_until, member.frozen_until) = (until, until);
        let life = member.life;
        note!(self, "the machine of {} sleeps until {until:?}", name_of(slot));
        for id in self.network.of(slot, life) {
            if let Some(link) = self.network.links.get_mut(&id) {
                link.broken = true;
            }
        }
    }

    /// Nothing drives a node, and the application's threads go on.
    pub(crate) fn stall(&mut self, slot: usize) {
        let now = self.now;
        let until = now + Duration::from_millis(self.rng.u64(1..20_000));
        if let Some(member) = self.driven(slot) {
            (member.stalled_at, member.paused_until) = (now, until);
            note!(self, "nothing drives {} until {until:?}", name_of(slot));
        }
    }

    /// Notes how old a survivor's proof has got in a calm rolling restart, as of its renewal.
    pub(crate) fn note_age_of_proof(&mut self, slot: usize, before: Time) {
        let (now, begin) = (self.now, self.rolled_at);
        let is_watched = |member: &&Member| {
            // Everybody was in step when it began, and is until its own turn.
            begin <= now && now < begin + WATCHED_FOR && member.started < begin && !member.leaving
        };
        let Some(member) = self.slots[slot].as_ref().filter(is_watched) else { return };
        let age = now.since(member.clock.when(before).max(member.started));
        let millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.counts.oldest_proof_ms = self.counts.oldest_proof_ms.max(millis);
        if age > YOUNG {
            let what = format!("{} had a proof {age:?} old while others restarted", name_of(slot));
            self.violate("I12 rolls-gently", what);
        }
    }
}
