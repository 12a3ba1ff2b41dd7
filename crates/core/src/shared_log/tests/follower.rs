use std::sync::Arc;

use crate::Time;
use crate::cache::Caches;
use crate::shared_log::{Answer, Answered, Entry, Epoch, Follower, Heard, Membership, Reached};
use crate::wire::{Incarnation, Position, Seq};

const ONE: Epoch = Epoch(1);

fn at(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

fn entry(number: u64, author: u8, seq: u64) -> Entry {
    let by = Position { life: Incarnation([author; 16]), seq: Seq(seq) };
    Entry { number: Seq(number), by }
}

fn holds(head: u64) -> Answer {
    Answer { epoch: ONE, head: Seq(head), holds: true, is_registered: true }
}

/// Asks at one time, and is answered at another.
fn ask(follower: &mut Follower, asked: u64, answer: &Answer) -> Answered {
    let question = follower.ask(at(asked)).unwrap();
    follower.answer(at(asked + 50), question.asked, answer)
}

fn apply(follower: &mut Follower, epoch: Epoch, entry: Entry) -> bool {
    match follower.hear(epoch, entry) {
        Heard::Apply(reached) => {
            follower.applied(reached);
            true
        }
        Heard::Nothing => false,
    }
}

/// One that follows from behind entry 10.
fn following(membership: Membership) -> Follower {
    let own = Incarnation([9; 16]);
    let mut follower = Follower::new(Arc::new(Caches::default()), own, membership);
    assert_eq!(ask(&mut follower, 1000, &holds(10)), Answered::Reset);
    follower
}

#[test]
fn a_proof_counts_from_when_it_was_asked_for_and_once_its_head_is_applied() {
    let mut follower = following(Membership::Open);
    assert_eq!(follower.proven(), at(1000));
    assert_eq!(ask(&mut follower, 2000, &holds(12)), Answered::Counts);
    assert!(apply(&mut follower, ONE, entry(11, 1, 1)));
    assert_eq!(follower.proven(), at(1000), "12 is not applied");
    let Heard::Apply(reached) = follower.hear(ONE, entry(12, 1, 2)) else { panic!() };
    assert_eq!(follower.proven(), at(1000), "it is heard, and not applied");
    follower.applied(reached);
    assert_eq!(follower.proven(), at(2000));
}

#[test]
fn one_question_is_under_way_and_one_that_was_given_up_is_answered_in_vain() {
    let mut follower = following(Membership::Open);
    let first = follower.ask(at(2000)).unwrap();
    assert_eq!(follower.ask(at(2100)), None);
    follower.give_up();
    let second = follower.ask(at(2800)).unwrap();
    assert_eq!(follower.answer(at(2900), first.asked, &holds(10)), Answered::Ignored);
    assert_eq!(follower.answer(at(2900), second.asked, &holds(10)), Answered::Counts);
}

#[test]
fn an_answer_that_names_what_is_never_read_is_given_up() {
    let mut follower = following(Membership::Open);
    assert_eq!(follower.give_up_at(), None);
    assert_eq!(ask(&mut follower, 2000, &holds(11)), Answered::Counts);
    assert_eq!(follower.give_up_at(), Some(at(2700)));
    let Heard::Apply(reached) = follower.hear(ONE, entry(11, 1, 1)) else { panic!() };
    assert_eq!(follower.give_up_at(), None, "it is read, and may take long to apply");
    follower.applied(reached);
    assert_eq!(follower.proven(), at(2000));
}

#[test]
fn what_shows_that_the_log_is_another_one_or_lacks_something_begins_it_anew() {
    let other = Answer { epoch: Epoch(2), ..holds(20) };
    let lacking = Answer { holds: false, ..holds(20) };
    for answer in [other, lacking, holds(9)] {
        let mut follower = following(Membership::Open);
        assert_eq!(ask(&mut follower, 2000, &answer), Answered::Reset, "{answer:?}");
        assert_eq!(follower.heard(), Some(answer.head));
        assert_eq!(follower.proven(), at(2000));
    }
}

#[test]
fn what_is_heard_while_a_question_is_under_way_is_no_reason_to_begin_anew() {
    let mut follower = following(Membership::Open);
    let question = follower.ask(at(2000)).unwrap();
    assert!(apply(&mut follower, ONE, entry(11, 1, 1)));
    assert_eq!(follower.answer(at(2050), question.asked, &holds(10)), Answered::Counts);
}

#[test]
fn a_gap_of_the_log_or_of_an_author_ends_what_is_heard_and_proven_until_it_begins_anew() {
    for skipping in [entry(13, 1, 2), entry(12, 1, 3)] {
        let mut follower = following(Membership::Open);
        assert!(apply(&mut follower, ONE, entry(11, 1, 1)));
        assert!(!apply(&mut follower, ONE, skipping), "{skipping:?}");
        assert!(!apply(&mut follower, ONE, entry(12, 1, 2)), "it may be too late");
        assert_eq!(ask(&mut follower, 2000, &holds(20)), Answered::Reset);
        assert!(apply(&mut follower, ONE, entry(21, 1, 9)));
    }
}

#[test]
fn what_an_author_appends_again_is_no_gap() {
    let mut follower = following(Membership::Open);
    for (number, seq) in [(11, 1), (12, 2), (13, 1), (14, 2), (15, 3)] {
        assert!(apply(&mut follower, ONE, entry(number, 1, seq)));
    }
}

#[test]
fn what_another_epoch_says_counts_for_nothing() {
    let mut follower = following(Membership::Open);
    assert!(!apply(&mut follower, Epoch(2), entry(11, 1, 1)));
    assert_eq!(follower.heard(), Some(Seq(10)));
}

#[test]
fn what_was_heard_before_it_began_anew_is_not_applied_behind_that() {
    let mut follower = following(Membership::Open);
    let Heard::Apply(reached) = follower.hear(ONE, entry(11, 1, 1)) else { panic!() };
    let early: Reached = reached;
    assert_eq!(ask(&mut follower, 2000, &Answer { epoch: Epoch(2), ..holds(3) }), Answered::Reset);
    follower.applied(early);
    assert_eq!(follower.applied_upto(), Some((Epoch(2), Seq(3))));
}

#[test]
fn who_is_not_registered_or_was_for_too_long_proves_nothing() {
    let mut follower = following(Membership::Registered);
    assert_eq!(follower.proven(), Time::ZERO, "nothing was acknowledged yet");
    follower.refreshed(at(1500));
    assert_eq!(ask(&mut follower, 2000, &holds(10)), Answered::Counts);
    let gone = Answer { is_registered: false, ..holds(10) };
    assert_eq!(ask(&mut follower, 3000, &gone), Answered::NotRegistered);
    assert_eq!(follower.proven(), at(2000));
    assert_eq!(ask(&mut follower, 13_501, &holds(10)), Answered::NotRegistered);
    follower.refreshed(at(13_600));
    assert_eq!(ask(&mut follower, 14_000, &holds(10)), Answered::Counts);
    assert_eq!(follower.proven(), at(14_000));
}

#[test]
fn authors_that_are_kept_are_bounded() {
    let mut follower = following(Membership::Open);
    for number in 11..10_000_u64 {
        let life = Incarnation(u128::from(number).to_be_bytes());
        let entry = Entry { number: Seq(number), by: Position { life, seq: Seq(1) } };
        assert!(apply(&mut follower, ONE, entry));
    }
    assert!(follower.authors() <= 4096);
}
