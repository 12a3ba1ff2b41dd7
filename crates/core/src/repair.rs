//! Owns who is asked for what third ones have told: flushes of lives that others have heard more of
//! than this node, and that it is not linked with.
//! It must never ask two witnesses for the same tail, nor one that holds less of it than was forgotten
//! elsewhere.

use std::collections::BTreeMap;

use crate::Time;
use crate::wire::{Heard, Incarnation, Seq};

/// What is wanted of which life.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    wanted: BTreeMap<Incarnation, Wanted>,
}

#[derive(Debug)]
struct Wanted {
    /// Since when it is: whoever has answered a question from after this has said what it knows.
    since: Time,
    /// What each witness says to have heard.
    reports: BTreeMap<Incarnation, Heard>,
    /// So much was heard by somebody who has forgotten it since, and will not name it again.
    over: Seq,
}

impl Wanted {
    fn new(since: Time) -> Self {
        Self { since, reports: BTreeMap::new(), over: Seq::START }
    }

    fn is_wanted(&self) -> bool {
        !self.reports.is_empty() || self.over > Seq::START
    }
}

/// What to do about a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pursuit {
    /// This witness is to hand over what comes behind what was heard.
    Ask { witness: Incarnation },
    /// Nobody of those who have answered holds it: wait for all to have answered since.
    Wait { since: Time },
    /// Nobody of those who have answered holds what somebody has forgotten, and whose answers will not
    /// name it.
    GiveUp { since: Time },
}

impl Recovery {
    pub(crate) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// A witness says of whom it has heard more than this node: in place of all that it said before.
    /// One that cannot be asked any more says nothing.
    pub(crate) fn report(&mut self, now: Time, witness: Incarnation, heard: &[Heard]) {
        for wanted in self.wanted.values_mut() {
            wanted.reports.remove(&witness);
        }
        for &heard in heard {
            let wanted = self.wanted.entry(heard.life);
            wanted.or_insert_with(|| Wanted::new(now)).reports.insert(witness, heard);
        }
        self.wanted.retain(|_, wanted| wanted.is_wanted());
    }

    /// Somebody had heard a life up to `upto`, and has forgotten it.
    pub(crate) fn note_over(&mut self, now: Time, life: Incarnation, upto: Seq) {
        let wanted = self.wanted.entry(life).or_insert_with(|| Wanted::new(now));
        wanted.over = wanted.over.max(upto);
    }

    /// So much of a life was heard by somebody who has forgotten it.
    pub(crate) fn over(&self, life: Incarnation) -> Seq {
        self.wanted.get(&life).map_or(Seq::START, |wanted| wanted.over)
    }

    pub(crate) fn is_wanted(&self, life: Incarnation) -> bool {
        self.wanted.contains_key(&life)
    }

    /// Nothing of this life is wanted any more.
    pub(crate) fn drop_life(&mut self, life: Incarnation) {
        self.wanted.remove(&life);
    }

    /// The lives that something is wanted of.
    pub(crate) fn lives(&self) -> Vec<Incarnation> {
        self.wanted.keys().copied().collect()
    }

    /// The most that anybody has heard of a life.
    pub(crate) fn most(&self, life: Incarnation) -> Seq {
        let Some(wanted) = self.wanted.get(&life) else { return Seq::START };
        wanted.reports.values().map(|it| it.upto).fold(wanted.over, Seq::max)
    }

    /// Whom to ask for what comes behind `heard`: of those who hold it the one that has heard most,
    /// and of these the smallest, so that the choice does not waver.
    pub(crate) fn pursue(&self, life: Incarnation, heard: Seq) -> Option<Pursuit> {
        let wanted = self.wanted.get(&life)?;
        // Who holds less than what is missing for good is of no use.
        let holds = |it: &(&Incarnation, &Heard)| {
            it.1.from <= heard.next() && it.1.upto > heard && it.1.upto >= wanted.over
        };
        let best = wanted.reports.iter().filter(holds).rev().max_by_key(|(_, it)| it.upto);
        Some(match best {
            Some((&witness, _)) => Pursuit::Ask { witness },
            // Its proof would not wait for that: who has forgotten a life leaves it out of its answers.
            None if wanted.over > heard => Pursuit::GiveUp { since: wanted.since },
            None => Pursuit::Wait { since: wanted.since },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> Incarnation {
        Incarnation([byte; 16])
    }

    fn heard(from: u64, upto: u64) -> Heard {
        Heard { life: id(9), from: Seq(from), upto: Seq(upto) }
    }

    #[test]
    fn one_is_asked_who_holds_it_and_has_heard_most() {
        let mut recovery = Recovery::default();
        recovery.report(Time::ZERO, id(3), &[heard(1, 7)]);
        recovery.report(Time::ZERO, id(2), &[heard(1, 7)]);
        recovery.report(Time::ZERO, id(1), &[heard(6, 9)]);
        let asked = recovery.pursue(id(9), Seq(4));
        assert_eq!(asked, Some(Pursuit::Ask { witness: id(2) }));
        let asked = recovery.pursue(id(9), Seq(5));
        assert_eq!(asked, Some(Pursuit::Ask { witness: id(1) }));
        recovery.report(Time::ZERO, id(1), &[]);
        recovery.report(Time::ZERO, id(2), &[]);
        let asked = recovery.pursue(id(9), Seq(5));
        assert_eq!(asked, Some(Pursuit::Ask { witness: id(3) }));
    }

    #[test]
    fn what_nobody_holds_is_waited_for_until_all_have_answered() {
        let mut recovery = Recovery::default();
        recovery.report(Time::from_nanos(5), id(1), &[heard(6, 9)]);
        recovery.report(Time::from_nanos(7), id(2), &[heard(10, 9)]);
        recovery.report(Time::from_nanos(8), id(1), &[heard(6, 9)]);
        let wait = Some(Pursuit::Wait { since: Time::from_nanos(5) });
        assert_eq!(recovery.pursue(id(9), Seq(2)), wait);
        assert_eq!(recovery.most(id(9)), Seq(9));
        recovery.drop_life(id(9));
        assert!(recovery.is_empty() && recovery.pursue(id(9), Seq(2)).is_none());
    }

    #[test]
    fn what_somebody_has_forgotten_is_had_from_who_holds_it_or_given_up_at_once() {
        let mut recovery = Recovery::default();
        recovery.report(Time::ZERO, id(1), &[heard(1, 7)]);
        recovery.note_over(Time::ZERO, id(9), Seq(7));
        let asked = recovery.pursue(id(9), Seq(4));
        assert_eq!(asked, Some(Pursuit::Ask { witness: id(1) }));
        let given_up = Some(Pursuit::GiveUp { since: Time::ZERO });
        recovery.report(Time::ZERO, id(1), &[]);
        assert_eq!(recovery.pursue(id(9), Seq(4)), given_up);
        recovery.report(Time::ZERO, id(2), &[heard(1, 7)]);
        recovery.report(Time::ZERO, id(2), &[]);
        assert_eq!(recovery.pursue(id(9), Seq(4)), given_up);
        recovery.report(Time::ZERO, id(2), &[heard(1, 6)]);
        assert_eq!(recovery.pursue(id(9), Seq(4)), given_up, "7 would be missing still");
    }
}
