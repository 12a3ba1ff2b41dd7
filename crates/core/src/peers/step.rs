//! Owns what one connection has proven: up to when this node is in step with the life at its end.
//! It must never take the time at which an answer came for the time at which it was true.
//!
//! This node asks at its own time `t`; the other answers with the head of its log, and with what it
//! has heard of those that it is not linked with. When all of that is applied here, nothing that
//! the other knew at `t` is missing. Only the rate of clocks matters, never their setting, and the
//! last flush before a quiet hour cannot be missed silently. The idea is that of leases (Gray and
//! Cheriton, 1989), turned around: who asks holds the clock.

use std::collections::VecDeque;

use crate::Time;
use crate::planted::{Fault, planted};
use crate::wire::{MAX_RENEWALS, Position, Seq};

#[derive(Debug, Default)]
pub(crate) struct Step {
    proven: Time,
    /// The latest of all questions.
    newest: Time,
    /// When each unanswered question was decided on, which is no later than it was sent.
    asked: VecDeque<Time>,
    /// Answers that do not count yet.
    granted: VecDeque<Granted>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Granted {
    /// When it was asked for.
    pub(crate) asked: Time,
    /// It counts once the log that it came over is applied up to here.
    pub(crate) head: Seq,
    /// And these.
    pub(crate) lacking: Vec<Position>,
}

impl Step {
    /// Everything that the other end knew then is applied.
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

    /// When the question was asked that an answer is for: `None` if that was given up,
    /// [`Step::is_answerable`] says if it was asked at all.
    pub(crate) fn answered(&mut self, now: Time, nonce: u64) -> Option<Time> {
        let at = self.asked.iter().position(|asked| asked.as_nanos() == nonce)?;
        let asked = self.asked.drain(..=at).next_back()?;
        Some(if planted(Fault::ProofFromReceiveTime) { now } else { asked })
    }

    /// When the latest question was decided on.
    pub(crate) fn newest(&self) -> Time {
        self.newest
    }

    /// Whether there was such a question, sometime.
    pub(crate) fn is_answerable(&self, nonce: u64) -> bool {
        nonce <= self.newest.as_nanos()
    }

    pub(crate) fn grant(&mut self, granted: Granted) {
        if self.granted.len() == MAX_RENEWALS {
            self.granted.pop_back();
        }
        self.granted.push_back(granted);
    }

    /// Whether an answer waits for a log other than that of the other end.
    pub(crate) fn is_lacking(&self) -> bool {
        self.granted.iter().any(|it| !it.lacking.is_empty())
    }

    /// Counts the answers for which nothing is lacking any more: its log is applied up to
    /// `applied`, others as `is_applied` says. Tells whether that proves more than before.
    pub(crate) fn count(&mut self, applied: Seq, is_applied: impl Fn(Position) -> bool) -> bool {
        let before = self.proven;
        let counts = |it: &Granted| {
            it.head <= applied
                && (planted(Fault::AnswerBeforeTail) || it.lacking.iter().all(|&at| is_applied(at)))
        };
        // One that counts makes all before it needless.
        if let Some(last) = self.granted.iter().rposition(counts)
            && let Some(granted) = self.granted.drain(..=last).next_back()
        {
            self.proven = self.proven.max(granted.asked);
        }
        self.proven > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    fn answer(step: &mut Step, nonce: u64, head: u64) {
        if let Some(asked) = step.answered(at(0), nonce) {
            step.grant(Granted { asked, head: Seq(head), lacking: Vec::new() });
        }
    }

    fn count(step: &mut Step, applied: u64) -> Time {
        step.count(Seq(applied), |_| true);
        step.proven()
    }

    #[test]
    fn a_proof_counts_from_when_it_was_asked_for_and_once_its_head_is_applied() {
        let mut step = Step::default();
        step.ask(at(10));
        answer(&mut step, 10, 3);
        assert_eq!(count(&mut step, 2), at(0), "flush 3 is not applied yet");
        assert_eq!(count(&mut step, 3), at(10));
    }

    #[test]
    fn a_proof_waits_for_what_the_other_has_heard_of_third_ones() {
        let mut step = Step::default();
        step.ask(at(10));
        let lacking = vec![Position { life: crate::wire::Incarnation([1; 16]), seq: Seq(7) }];
        let asked = step.answered(at(0), 10).unwrap();
        step.grant(Granted { asked, head: Seq(0), lacking });
        assert!(step.is_lacking() && !step.count(Seq(0), |_| false));
        assert!(step.count(Seq(0), |it| it.seq <= Seq(7)) && !step.is_lacking());
    }

    #[test]
    fn an_answer_that_nobody_asked_for_counts_for_nothing() {
        let mut step = Step::default();
        step.ask(at(10));
        assert!(step.answered(at(0), 11).is_none() && !step.is_answerable(11));
        answer(&mut step, 10, 0);
        assert_eq!(count(&mut step, 0), at(10));
    }

    #[test]
    fn a_lag_of_many_renewals_delays_proofs_and_loses_none() {
        let mut step = Step::default();
        (1..=100).for_each(|nanos| step.ask(at(nanos)));
        answer(&mut step, 1, 5);
        answer(&mut step, 50, 5);
        assert!(step.is_answerable(50), "one that was given up is no offence");
        assert_eq!(count(&mut step, 5), at(1));
        (2..=100).for_each(|nanos| answer(&mut step, nanos, 6));
        assert!(count(&mut step, 6) > at(30));
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let mut step = Step::default();
        (0..1000).for_each(|nanos| step.ask(at(nanos)));
        assert_eq!(step.asked.len(), MAX_RENEWALS);
        answer(&mut step, 999, 0);
        assert_eq!(count(&mut step, 0), at(999));
    }
}
