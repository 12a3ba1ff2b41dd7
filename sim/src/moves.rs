//! Owns how places pass on while the world runs: addresses that float, names that lead elsewhere,
//! hosts that vanish, refusals in another's name, configurations that are copied.
//! What it leads to for somebody's knowledge is the matter of [`crate::conditions`].

use std::time::Duration;

use flushcast_core::Time;

use crate::kinds::Kind;
use crate::member::name_of;
use crate::network::delay;
use crate::places::{Stranger, float_address};
use crate::plan::Action;
use crate::world::{Event, World, note};

/// Longest time until a list has a new address.
const LISTS_LATE: Duration = Duration::from_secs(8);
/// Longest time for which dials to a living node are refused in its name.
const REFUSES_FOR: Duration = Duration::from_secs(8);
/// Longest time for which a host refuses before it answers nothing.
const REFUSES_BEFORE: Duration = Duration::from_secs(4);

impl World {
    /// A process starts on a machine: what answered in its place is gone, and it may have got
    /// another address.
    pub(crate) fn comes_up(&mut self, slot: usize) {
        let is_moved = self.places.comes_up(slot, &mut self.rng);
        if self.odd.has(Kind::Strangers) {
            self.places_changed();
        }
        if !is_moved {
            return;
        }
        self.counts.passed_on += 1;
        note!(self, "{} is at {} now", name_of(slot), self.places.source(slot));
        self.places_changed();
        for other in (0..self.slots.len()).filter(|&other| other != slot) {
            let late = LISTS_LATE.mul_f64(self.rng.f64());
            self.after(late, Event::Act(Action::Relist { slot: other }));
        }
    }

    /// A machine whose process has died: for a while it refuses, then perhaps something else
    /// happens at its address.
    pub(crate) fn is_left(&mut self, slot: usize) {
        if self.odd.has(Kind::Vanishes) && self.rng.bool() {
            let later = REFUSES_BEFORE.mul_f64(self.rng.f64());
            self.after(later, Event::Act(Action::Vanish { slot }));
        }
        if self.odd.has(Kind::Strangers) && self.rng.bool() {
            let all =
                [Stranger::Garbage, Stranger::Silent, Stranger::Closes, Stranger::OtherCluster];
            let stranger = *self.rng.choice(&all).unwrap_or(&Stranger::Garbage);
            note!(self, "{stranger:?} answers in the place of {}", name_of(slot));
            self.places.take_over(slot, stranger);
            self.places_changed();
        }
    }

    pub(crate) fn float(&mut self, to: usize) {
        let Some(before) = self.places.float_to(to) else { return };
        self.counts.passed_on += 1;
        note!(self, "the floating address passes from {} to {}", name_of(before), name_of(to));
        if let Some(member) = &self.slots[before] {
            self.doubted.insert(member.life);
        }
        let over = self.network.links.iter().filter(|(_, link)| link.through == float_address());
        let over: Vec<_> = over.map(|(&id, _)| id).collect();
        for id in over {
            // What runs over it breaks, or hangs until somebody gives up.
            let hangs = self.rng.bool();
            let pause = delay(&mut self.rng);
            if let Some(link) = self.network.links.get_mut(&id) {
                link.broken = true;
            }
            if !hangs {
                self.after(pause, Event::Breaks { link: id, side: 0 });
                self.after(pause, Event::Breaks { link: id, side: 1 });
            }
        }
        self.places_changed();
    }

    pub(crate) fn vanish(&mut self, slot: usize) {
        if self.slots[slot].is_none() && self.vanished.insert(slot) {
            note!(self, "the host of {} vanishes", name_of(slot));
        }
    }

    pub(crate) fn refuse(&mut self, slot: usize) {
        let until = (self.now + REFUSES_FOR.mul_f64(self.rng.f64())).min(self.faults_end);
        note!(self, "dials to {} are refused in its name until {until:?}", name_of(slot));
        self.places.refuse_for(slot, until);
        if self.cluster.rests_on_refusals() {
            self.lied_until = self.lied_until.max(until);
            self.doubted.extend(self.slots.iter().flatten().map(|member| member.life));
        }
        // What refuses may have been in the way of what runs already.
        if self.rng.bool() {
            let through =
                |id: &_| self.network.links.get(id).is_some_and(|it| it.ends[1].slot == slot);
            let links: Vec<_> = self.network.links.keys().copied().filter(through).collect();
            for id in links {
                self.break_soon(id);
            }
        }
    }

    /// Restarts a node with the configuration of another one, or with its own again.
    pub(crate) fn copy_configuration(&mut self, slot: usize, of: Option<usize>) {
        match of {
            Some(other) => {
                self.counts.twins += 1;
                note!(self, "{} gets the configuration of {}", name_of(slot), name_of(other));
            }
            None => note!(self, "{} gets its own configuration back", name_of(slot)),
        }
        let now = self.now;
        self.usurped.values_mut().for_each(|until| *until = now.min(*until));
        self.places.copy_configuration(slot, of);
        if let Some(member) = of.and_then(|other| self.slots[other].as_ref()) {
            // Another one is at its place: who is not linked with it may take it for dead.
            self.doubted.insert(member.life);
            self.usurped.insert(member.life, Time::NEVER);
        }
        if self.slots[slot].is_some() {
            let down = Duration::from_millis(self.rng.u64(1..500));
            self.kill_for(slot, false, down);
        }
    }

    /// Ends what went wrong with places.
    pub(crate) fn heal_places(&mut self) {
        if let Some(home) = self.places.float_home() {
            self.float(home);
        }
        for slot in 0..self.slots.len() {
            if self.places.twin_of(slot).is_some() {
                self.copy_configuration(slot, None);
            }
        }
        self.places.heal();
        self.lied_until = self.lied_until.min(self.now);
    }

    /// Everybody's knowledge is judged by where addresses lead now.
    pub(crate) fn places_changed(&mut self) {
        for slot in 0..self.slots.len() {
            self.note_told(slot);
            self.note_roster(slot);
        }
    }

    /// Until when a wall or a proxy can have told a node something false.
    pub(crate) fn was_lied_to(&self, at: Time) -> bool {
        at <= self.lied_until
    }
}
