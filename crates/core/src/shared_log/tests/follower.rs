use std::sync::Arc;

use super::{ONE, RULES, TWO, at};
use crate::Time;
use crate::cache::{Caches, Guarantee};
use crate::shared_log::authors::Authors;
use crate::shared_log::{
    Answer, Answered, Entry, Epoch, Follower, Heard, Membership, Overlap, Reached, Row, Rules,
};
use crate::wire::{Incarnation, Position, Seq};

const OPEN: Epoch = Epoch { id: 1, rules: Rules { membership: Membership::Open, ..RULES } };
const OTHER: Epoch = Epoch { id: 2, ..OPEN };

fn entry(number: u64, author: u8, seq: u64) -> Entry {
    let by = Position { life: Incarnation([author; 16]), seq: Seq(seq) };
    Entry { number: Seq(number), by: Some(by) }
}

fn holds(head: u64) -> Answer {
    Answer { epoch: OPEN, head: Seq(head), holds: true, row: Row::Missing }
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
fn following() -> Follower {
    let mut follower = Follower::new(Arc::new(Caches::default()));
    assert_eq!(ask(&mut follower, 1000, &holds(10)), Answered::Reset);
    follower
}

fn heard(follower: &Follower) -> Seq {
    follower.place().unwrap().number
}

#[test]
fn a_proof_counts_from_when_it_was_asked_for_and_once_its_head_is_applied() {
    let mut follower = following();
    assert_eq!(follower.proven(), at(1000));
    assert_eq!(ask(&mut follower, 2000, &holds(12)), Answered::Counts);
    assert!(apply(&mut follower, OPEN, entry(11, 1, 1)));
    assert_eq!(follower.proven(), at(1000), "12 is not applied");
    let Heard::Apply(reached) = follower.hear(OPEN, entry(12, 1, 2)) else { panic!() };
    assert_eq!(follower.proven(), at(1000), "it is heard, and not applied");
    follower.applied(reached);
    assert_eq!(follower.proven(), at(2000));
}

#[test]
fn one_question_is_under_way_and_one_that_was_given_up_is_answered_in_vain() {
    let mut follower = following();
    let first = follower.ask(at(2000)).unwrap();
    assert_eq!(follower.ask(at(2100)), None);
    follower.give_up();
    let second = follower.ask(at(2800)).unwrap();
    assert_eq!(follower.answer(at(2900), first.asked, &holds(10)), Answered::Ignored);
    assert_eq!(follower.answer(at(2900), second.asked, &holds(10)), Answered::Counts);
}

#[test]
fn an_answer_that_names_what_is_never_read_is_given_up() {
    let mut follower = following();
    assert_eq!(follower.give_up_at(), None);
    assert_eq!(ask(&mut follower, 2000, &holds(11)), Answered::Counts);
    assert_eq!(follower.give_up_at(), Some(at(2700)));
    let Heard::Apply(reached) = follower.hear(OPEN, entry(11, 1, 1)) else { panic!() };
    assert_eq!(follower.give_up_at(), None, "it is read, and may take long to apply");
    follower.applied(reached);
    assert_eq!(follower.proven(), at(2000));
}

#[test]
fn what_shows_that_the_log_is_another_one_or_lacks_something_begins_it_anew() {
    let other = Answer { epoch: OTHER, ..holds(20) };
    let lacking = Answer { holds: false, ..holds(20) };
    for answer in [other, lacking, holds(9)] {
        let mut follower = following();
        assert_eq!(ask(&mut follower, 2000, &answer), Answered::Reset, "{answer:?}");
        assert_eq!(heard(&follower), answer.head);
        assert_eq!(follower.proven(), at(2000));
    }
}

#[test]
fn what_is_heard_while_a_question_is_under_way_is_no_reason_to_begin_anew() {
    let mut follower = following();
    let question = follower.ask(at(2000)).unwrap();
    assert!(apply(&mut follower, OPEN, entry(11, 1, 1)));
    assert_eq!(follower.answer(at(2050), question.asked, &holds(10)), Answered::Counts);
}

#[test]
fn a_gap_of_the_log_or_of_an_author_ends_what_is_heard_and_proven_until_it_begins_anew() {
    for skipping in [entry(13, 1, 2), entry(12, 1, 3)] {
        let mut follower = following();
        assert!(apply(&mut follower, OPEN, entry(11, 1, 1)));
        assert!(!apply(&mut follower, OPEN, skipping), "{skipping:?}");
        assert!(!apply(&mut follower, OPEN, entry(12, 1, 2)), "it may be too late");
        assert_eq!(ask(&mut follower, 2000, &holds(20)), Answered::Reset);
        assert!(apply(&mut follower, OPEN, entry(21, 1, 9)));
    }
}

#[test]
fn what_an_author_appends_again_is_no_gap() {
    let mut follower = following();
    for (number, seq) in [(11, 1), (12, 2), (13, 1), (14, 2), (15, 3)] {
        assert!(apply(&mut follower, OPEN, entry(number, 1, seq)));
    }
}

#[test]
fn what_another_epoch_says_counts_for_nothing() {
    let mut follower = following();
    assert!(!apply(&mut follower, OTHER, entry(11, 1, 1)));
    assert_eq!(heard(&follower), Seq(10));
}

#[test]
fn what_was_heard_before_it_began_anew_is_not_applied_behind_that() {
    let mut follower = following();
    let Heard::Apply(reached) = follower.hear(OPEN, entry(11, 1, 1)) else { panic!() };
    let early: Reached = reached;
    assert_eq!(ask(&mut follower, 2000, &Answer { epoch: OTHER, ..holds(3) }), Answered::Reset);
    follower.applied(early);
    assert_eq!(follower.applied_upto(), Some((OTHER, Seq(3))));
}

/// One that has to register, and has at 1.5 s.
fn registered() -> (Follower, Answer) {
    let mut follower = Follower::new(Arc::new(Caches::default()));
    let present = Answer { epoch: ONE, row: Row::Present, ..holds(10) };
    assert_eq!(ask(&mut follower, 1000, &present), Answered::Reset);
    assert_eq!(follower.proven(), Time::ZERO, "no refresh was acknowledged yet");
    follower.refreshed(TWO, at(1400));
    assert_eq!(ask(&mut follower, 1450, &present), Answered::NotRegistered, "it is another log's");
    follower.refreshed(ONE, at(1500));
    assert_eq!(ask(&mut follower, 2000, &present), Answered::Counts);
    (follower, present)
}

#[test]
fn who_is_not_registered_or_was_for_too_long_proves_nothing() {
    let (mut follower, present) = registered();
    let gone = Answer { row: Row::Missing, ..present };
    assert_eq!(ask(&mut follower, 3000, &gone), Answered::NotRegistered);
    assert_eq!(follower.proven(), at(2000));
    assert_eq!(ask(&mut follower, 9_501, &present), Answered::NotRegistered);
    follower.refreshed(ONE, at(9_600));
    assert_eq!(ask(&mut follower, 10_000, &present), Answered::Counts);
    assert_eq!(follower.proven(), at(10_000));
}

#[test]
fn a_refresh_that_is_acknowledged_behind_a_question_is_too_late_for_it() {
    let (mut follower, present) = registered();
    let question = follower.ask(at(20_000)).unwrap();
    follower.refreshed(ONE, at(20_100));
    let answered = follower.answer(at(20_200), question.asked, &present);
    assert_eq!(answered, Answered::NotRegistered, "its row may be a new one");
    assert_eq!(ask(&mut follower, 20_300, &present), Answered::Counts);
}

#[test]
fn a_question_that_refreshes_its_row_needs_no_other_refresh() {
    let mut follower = Follower::new(Arc::new(Caches::default()));
    let refreshed = Answer { epoch: ONE, row: Row::Refreshed, ..holds(10) };
    assert_eq!(ask(&mut follower, 1000, &refreshed), Answered::Reset);
    assert_eq!(follower.proven(), at(1000));
}

#[test]
fn a_question_names_the_last_entry_if_it_was_read_and_is_somebodys() {
    let mut follower = following();
    let anchor = |follower: &Follower| follower.place().unwrap().anchor;
    assert_eq!(anchor(&follower), None, "behind a reset");
    assert!(apply(&mut follower, OPEN, entry(11, 1, 1)));
    assert_eq!(anchor(&follower), entry(11, 1, 1).by);
    assert!(apply(&mut follower, OPEN, Entry { number: Seq(12), by: None }));
    assert_eq!(anchor(&follower), None);
    assert_eq!(heard(&follower), Seq(12));
}

#[test]
fn nothing_is_asked_while_too_much_waits_to_be_applied() {
    let mut follower = following();
    let mut asked = 0;
    while let Some(question) = follower.ask(at(2000 + asked)) {
        follower.answer(at(2001 + asked), question.asked, &holds(11));
        asked += 1;
    }
    assert_eq!(asked, 32);
    assert!(apply(&mut follower, OPEN, entry(11, 1, 1)));
    assert!(follower.ask(at(3000)).is_some());
}

#[test]
fn where_nobody_knows_how_long_leaders_overlap_no_answer_proves_anything_to_a_cache() {
    for (overlap, proven) in [(Overlap::Unknown, Time::ZERO), (Overlap::Never, at(1000))] {
        let caches = Arc::new(Caches::default());
        let mut follower = Follower::new(Arc::clone(&caches));
        let epoch = Epoch { id: 1, rules: Rules { overlap, ..OPEN.rules } };
        ask(&mut follower, 1000, &Answer { epoch, ..holds(10) });
        assert_eq!(caches.proof(Guarantee::Strict).get(), proven);
        assert_eq!(caches.proof(Guarantee::default()).get(), proven);
    }
}

#[test]
fn authors_that_are_kept_are_bounded_and_those_heard_lately_are_known() {
    let mut authors = Authors::default();
    let hear = |authors: &mut Authors, number: u64, seq| {
        let life = Incarnation(u128::from(number).to_be_bytes());
        authors.hear(Position { life, seq: Seq(seq) })
    };
    for number in 0..10_000 {
        assert!(hear(&mut authors, number, 1));
        assert!(hear(&mut authors, 0, number + 2), "it is heard all the while");
    }
    assert!(authors.len() <= 4096);
    assert!(!hear(&mut authors, 9_999, 3) && !hear(&mut authors, 8_500, 3));
    assert!(hear(&mut authors, 1, 3), "it is forgotten");
}
