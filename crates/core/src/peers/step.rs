//! Owns what one origin has granted: up to when this node is in step with its log.
//! It must never take the time at which an answer came for the time at which it was true.
//!
//! The follower sends `Renew` at its own time `t`; the origin answers with the head of its log;
//! when the follower has applied up to that head, it had at `t` missed nothing. Only the rate of
//! clocks matters, never their setting, and the last flush before a quiet hour cannot be missed
//! silently. The idea is that of leases (Gray and Cheriton, 1989), turned around: the follower
//! holds the clock.

use std::collections::VecDeque;

use crate::Time;
use crate::planted::{Fault, planted};
use crate::wire::{MAX_RENEWALS, Seq};

#[derive(Debug, Default)]
pub(crate) struct Step {
    /// Everything that the origin announced up to here is applied.
    proven: Time,
    /// The latest of all questions.
    newest: Time,
    /// When each unanswered `Renew` was decided on, which is no later than it was sent.
    asked: VecDeque<Time>,
    /// Answers whose head is not applied yet.
    granted: VecDeque<(Time, Seq)>,
}

impl Step {
    pub(crate) fn proven(&self) -> Time {
        self.proven
    }

    pub(crate) fn ask(&mut self, now: Time) {
        // Beyond the limit the latest is replaced: the oldest is the next to be answered.
        if self.asked.len() == MAX_RENEWALS {
            self.asked.pop_back();
        }
        self.asked.push_back(now);
        self.newest = self.newest.max(now);
    }

    /// Takes an answer in, if it is still waited for; false if it cannot be one.
    pub(crate) fn grant(&mut self, now: Time, nonce: u64, head: Seq, applied: Seq) -> bool {
        let at = self.asked.iter().position(|asked| asked.as_nanos() == nonce);
        let Some(mut asked) = at.and_then(|at| self.asked.drain(..=at).next_back()) else {
            return nonce <= self.newest.as_nanos();
        };
        if planted(Fault::ProofFromReceiveTime) {
            asked = now;
        }
        if self.granted.len() == MAX_RENEWALS {
            self.granted.pop_back();
        }
        self.granted.push_back((asked, head));
        self.apply(applied);
        true
    }

    /// Notes that everything up to `applied` is applied.
    pub(crate) fn apply(&mut self, applied: Seq) {
        while let Some(&(asked, head)) = self.granted.front()
            && head <= applied
        {
            self.granted.pop_front();
            self.proven = self.proven.max(asked);
        }
    }

    /// Forgets what was under way on a connection that is over: its answers will not come, and
    /// those of another life must not be taken for them.
    pub(crate) fn break_off(&mut self) {
        self.asked.clear();
        self.granted.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    #[test]
    fn a_proof_counts_from_when_it_was_asked_for_and_once_its_head_is_applied() {
        let mut step = Step::default();
        step.ask(at(10));
        assert!(step.grant(at(0), 10, Seq(3), Seq(2)));
        assert_eq!(step.proven(), at(0), "flush 3 is not applied yet");
        step.apply(Seq(3));
        assert_eq!(step.proven(), at(10));
    }

    #[test]
    fn an_answer_that_nobody_asked_for_counts_for_nothing() {
        let mut step = Step::default();
        step.ask(at(10));
        assert!(!step.grant(at(0), 11, Seq(0), Seq(0)));
        assert!(step.grant(at(0), 10, Seq(0), Seq(0)));
        assert_eq!(step.proven(), at(10));
    }

    #[test]
    fn a_lag_of_many_renewals_delays_proofs_and_loses_none() {
        let mut step = Step::default();
        (1..=100).for_each(|nanos| step.ask(at(nanos)));
        assert!(step.grant(at(0), 1, Seq(5), Seq(0)), "the oldest is still waited for");
        assert!(step.grant(at(0), 50, Seq(5), Seq(0)), "one that was given up is no offence");
        step.apply(Seq(5));
        assert_eq!(step.proven(), at(1));
        (2..=100).for_each(|nanos| assert!(step.grant(at(0), nanos, Seq(6), Seq(5))));
        step.apply(Seq(6));
        assert!(step.proven() > at(30));
    }

    #[test]
    fn answers_of_a_broken_connection_are_not_waited_for_nor_taken() {
        let mut step = Step::default();
        step.ask(at(10));
        step.break_off();
        assert!(step.grant(at(0), 10, Seq(0), Seq(0)));
        assert_eq!(step.proven(), at(0));
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let mut step = Step::default();
        (0..1000).for_each(|nanos| step.ask(at(nanos)));
        assert_eq!(step.asked.len(), MAX_RENEWALS);
        assert!(step.grant(at(0), 999, Seq(0), Seq(0)));
        assert_eq!(step.proven(), at(999));
    }
}
