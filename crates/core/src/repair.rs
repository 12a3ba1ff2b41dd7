//! Owns who is asked for what third ones have told: flushes of lives that others have heard more of
//! than this node, and that it is not linked with.
//! It must never ask two witnesses for the same tail, nor one that holds less of it than was forgotten
//! elsewhere.

use std::collections::BTreeMap;

use crate::Time;
use crate::wire::{Heard, Incarnation, MAX_NAMED, Seq};

/// Most lives that something is wanted of: as many as one question names. Beyond it no copy is trusted.
pub(crate) const MAX_WANTED: usize = MAX_NAMED;

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
    /// What a look at all reports came to; none where they have changed since in a way that counts.
    looked: Option<Look>,
}

/// What a look at all reports comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    /// For who has heard so much.
    heard: Seq,
    /// Of those who hold what comes behind that the one that has heard most, and of these the smallest,
    /// so that the choice does not waver.
    best: Option<(Incarnation, Seq)>,
    /// The most that anybody has heard.
    most: Seq,
}

impl Wanted {
    fn new(since: Time) -> Self {
        Self { since, reports: BTreeMap::new(), over: Seq::START, looked: None }
    }

    /// What a witness says in place of what it said before: the same as ever, mostly.
    fn report(&mut self, witness: Incarnation, heard: Option<Heard>) {
        let before = match heard {
            Some(heard) => self.reports.insert(witness, heard),
            None => self.reports.remove(&witness),
        };
        if before == heard {
            return;
        }
        let Some(looked) = &mut self.looked else { return };
        let was_best = looked.best.is_some_and(|(best, _)| best == witness);
        if was_best || before.is_some_and(|before| before.upto >= looked.most) {
            self.looked = None;
        } else if let Some(heard) = heard {
            looked.see(witness, heard);
        }
    }

    /// Looks at all reports, if that was not done for who has heard so much.
    fn look(&mut self, heard: Seq) -> Look {
        if let Some(looked) = self.looked.filter(|looked| looked.heard == heard) {
            return looked;
        }
        let mut look = Look { heard, best: None, most: Seq::START };
        for (&witness, &report) in &self.reports {
            look.see(witness, report);
        }
        self.looked = Some(look);
        look
    }

    fn is_wanted(&self) -> bool {
        !self.reports.is_empty() || self.over > Seq::START
    }
}

impl Look {
    fn see(&mut self, witness: Incarnation, report: Heard) {
        self.most = self.most.max(report.upto);
        let holds = report.from <= self.heard.next() && report.upto > self.heard;
        let is_better = self
            .best
            .is_none_or(|(best, upto)| report.upto > upto || report.upto == upto && witness < best);
        if holds && is_better {
            self.best = Some((witness, report.upto));
        }
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
    /// One that cannot be asked any more says nothing. Costs one look at all that is wanted. Gives back
    /// of whom nothing is wanted any more.
    pub(crate) fn report(
        &mut self,
        now: Time,
        witness: Incarnation,
        heard: &[Heard],
    ) -> Vec<Incarnation> {
        let told: BTreeMap<_, _> = heard.iter().map(|&heard| (heard.life, heard)).collect();
        for (life, wanted) in &mut self.wanted {
            wanted.report(witness, told.get(life).copied());
        }
        for (&life, &heard) in &told {
            let wanted = self.wanted.entry(life).or_insert_with(|| Wanted::new(now));
            wanted.report(witness, Some(heard));
        }
        let gone: Vec<_> = self.wanted.extract_if(.., |_, it| !it.is_wanted()).collect();
        gone.into_iter().map(|(life, _)| life).collect()
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

    /// More is wanted than there is room for.
    pub(crate) fn is_too_much(&self) -> bool {
        self.wanted.len() > MAX_WANTED
    }

    /// The most that anybody has heard of a life.
    pub(crate) fn most(&mut self, life: Incarnation) -> Seq {
        let Some(wanted) = self.wanted.get_mut(&life) else { return Seq::START };
        let heard = wanted.looked.map_or(Seq::START, |looked| looked.heard);
        wanted.look(heard).most.max(wanted.over)
    }

    /// Whom to ask for what comes behind `heard`. That is not looked for anew while nothing has changed
    /// that counts: it is asked for with each question and each answer.
    pub(crate) fn pursue(&mut self, life: Incarnation, heard: Seq) -> Option<Pursuit> {
        let wanted = self.wanted.get_mut(&life)?;
        // Who holds less than what is missing for good is of no use.
        let best = wanted.look(heard).best.filter(|(_, upto)| *upto >= wanted.over);
        Some(match best {
            Some((witness, _)) => Pursuit::Ask { witness },
            // Its proof would not wait for that: who has forgotten a life leaves it out of its answers.
            None if wanted.over > heard => Pursuit::GiveUp { since: wanted.since },
            None => Pursuit::Wait { since: wanted.since },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn the_choice_is_that_of_a_look_at_all(
            told in prop::collection::vec(
                (1..5_u8, prop::option::of((1..6_u64, 0..6_u64)), 0..6_u64), 1..40,
            ),
        ) {
            let (mut recovery, mut plain) = (Recovery::default(), BTreeMap::new());
            for (witness, report, at) in told {
                let report = report.map(|(from, upto)| heard(from, upto));
                recovery.report(Time::ZERO, id(witness), report.as_slice());
                match report {
                    Some(report) => plain.insert(id(witness), report),
                    None => plain.remove(&id(witness)),
                };
                let holds = |it: &(&Incarnation, &Heard)| it.1.from.0 <= at + 1 && it.1.upto.0 > at;
                let best = plain.iter().filter(holds).rev().max_by_key(|(_, it)| it.upto);
                let asked = match recovery.pursue(id(9), Seq(at)) {
                    Some(Pursuit::Ask { witness }) => Some(witness),
                    _ => None,
                };
                prop_assert_eq!(asked, best.map(|(&witness, _)| witness));
                let most = plain.values().map(|it| it.upto).max().unwrap_or_default();
                prop_assert_eq!(recovery.most(id(9)), most);
            }
        }
    }

    #[test]
    fn an_answer_that_says_the_same_has_nothing_looked_for_again() {
        let mut recovery = Recovery::default();
        for witness in 1..=3 {
            recovery.report(Time::ZERO, id(witness), &[heard(1, 7)]);
        }
        assert_eq!(recovery.pursue(id(9), Seq(4)), Some(Pursuit::Ask { witness: id(1) }));
        let looked = recovery.wanted[&id(9)].looked;
        assert!(looked.is_some());
        recovery.report(Time::ZERO, id(1), &[heard(1, 7)]);
        recovery.report(Time::ZERO, id(4), &[heard(1, 6)]);
        recovery.report(Time::ZERO, id(4), &[]);
        assert_eq!(recovery.wanted[&id(9)].looked, looked);
        recovery.report(Time::ZERO, id(1), &[]);
        assert_eq!(recovery.wanted[&id(9)].looked, None);
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
