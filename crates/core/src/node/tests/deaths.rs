//! A life is over: what it told to some is handed over to the others, and nobody counts on its death
//! before that (N9).

use super::*;

/// An entry of a log that says that a life is over, and how far it was heard.
fn over(seq: u64, of: Position) -> Frame<'static> {
    Frame::Over { seq: Seq(seq), of, quiet_ms: 0 }
}

fn missed(report: &Report) -> bool {
    matches!(report, Report::Missed { .. })
}

#[test]
fn a_refusal_is_a_proof_once_all_others_have_answered_behind_it() {
    let mut bench = Bench::among(&[2, 3]);
    bench.hold();
    bench.mute(3);
    let died = bench.now;
    bench.kill(2);
    bench.run(2 * SECOND);
    assert!(bench.proof() <= died, "3 may have heard more of it");
    bench.tell(3, Told::default());
    bench.run(SECOND);
    assert!(bench.is_fresh() && bench.holds());
}

#[test]
fn a_lost_life_is_not_over_while_flushes_that_were_heard_of_it_wait() {
    let mut bench = Bench::among(&[2, 3]);
    let conn = bench.conn_to(2);
    bench.applies = false;
    bench.hear(conn, &flush(1));
    let died = bench.now;
    bench.kill(2);
    bench.run(2 * SECOND);
    assert!(bench.proof() <= died);
    bench.apply();
    bench.run(SECOND);
    assert!(bench.is_fresh());
}

#[test]
fn a_place_that_does_not_answer_is_not_taken_for_dead() {
    let mut bench = Bench::among(&[2, 3]);
    let lost = bench.now;
    bench.there.remove(&address(2));
    bench.lose(2);
    bench.run(10 * SECOND);
    assert!(bench.proof() <= lost && !bench.node.in_sync(bench.now));
    assert_eq!(bench.node.cut_off(bench.now)[0].node, "n2");
}

#[test]
fn what_a_witness_hands_over_is_applied_before_its_answer_counts() {
    let mut bench = Bench::among(&[2, 3]);
    bench.hold();
    let witness = bench.conn_to(3);
    bench.tell(3, Told { lost: vec![heard(2, 1, 1)], ..Told::default() });
    let died = bench.now;
    bench.kill(2);
    bench.run(SECOND);
    assert!(bench.wants().contains(&(witness, at(2, 0))));
    assert!(bench.proof() <= died && bench.holds());
    bench.hear(witness, &flush_of(1, Some(at(2, 1))));
    assert!(!bench.holds());
    bench.told.get_mut(&witness).unwrap().head = 1;
    bench.run(SECOND);
    assert!(bench.is_fresh());
    assert!(!bench.reports(missed));
}

#[test]
fn what_is_handed_over_counts_only_once_it_is_applied() {
    let mut bench = Bench::among(&[2, 3]);
    let witness = bench.conn_to(3);
    bench.tell(3, Told { lost: vec![heard(2, 1, 1)], ..Told::default() });
    let died = bench.now;
    bench.kill(2);
    bench.run(SECOND);
    bench.applies = false;
    bench.hear(witness, &flush_of(1, Some(at(2, 1))));
    bench.run(SECOND);
    assert!(bench.proof() <= died);
    bench.apply();
    bench.run(SECOND);
    assert!(bench.is_fresh());
}

#[test]
fn a_reset_covers_what_its_life_had_handed_over_of_others() {
    let mut bench = Bench::among(&[3, 4]);
    let relay = bench.conn_to(3);
    for witness in [3, 4] {
        bench.tell(witness, Told { lost: vec![heard(9, 1, 1)], ..Told::default() });
    }
    bench.applies = false;
    bench.hear(relay, &flush_of(1, Some(at(9, 1))));
    let heard = bench.now;
    bench.run(SECOND);
    assert!(bench.proof() <= heard);
    bench.hear(relay, &Frame::Reset { head: Seq(2) });
    bench.run(SECOND);
    assert!(bench.is_fresh(), "nothing of it is left to be applied");
}

#[test]
fn of_all_who_hold_a_tail_one_is_asked_for_it_and_the_next_if_that_one_is_lost() {
    let mut bench = Bench::among(&[2, 3, 4, 6]);
    for witness in [3, 4, 6] {
        bench.tell(witness, Told { lost: vec![heard(2, 1, 3)], ..Told::default() });
    }
    let (first, second) = (bench.conn_to(3), bench.conn_to(4));
    bench.kill(2);
    bench.run(SECOND);
    assert!(!bench.wants().is_empty());
    assert!(bench.wants().iter().all(|want| *want == (first, at(2, 0))));
    bench.asked.clear();
    bench.kill(3);
    bench.run(SECOND);
    assert!(bench.wants().iter().all(|want| *want == (second, at(2, 0))));
    assert!(!bench.wants().is_empty());
}

#[test]
fn a_tail_is_put_in_this_nodes_own_log_once_and_the_answer_names_its_head() {
    let mut bench = Bench::among(&[2, 3, 4]);
    let (dead, asker, other) = (bench.conn_to(2), bench.conn_to(3), bench.conn_to(4));
    (1..=3).for_each(|seq| bench.hear(dead, &flush(seq)));
    bench.there.remove(&address(2));
    bench.lose(2);
    bench.take_sent(asker);
    let want = Renew { lives: vec![life(2)], want: vec![at(2, 1)], ..renew(7) };
    bench.hear(asker, &Frame::Renew(want.clone()));
    let lost = vec![heard(2, 1, 3)];
    let grant = Grant { nonce: 7, head: Seq(2), lost, linked: Vec::new() };
    let tail = [flush_of(1, Some(at(2, 2))), flush_of(2, Some(at(2, 3)))];
    let sent = bench.take_sent(asker);
    assert_eq!(sent, [&[Frame::Grant(grant.clone())], &tail[..]].concat());
    bench.hear(asker, &Frame::Renew(want));
    bench.expect_sent(asker, &[Frame::Grant(grant)]);
    // Everybody reads the whole log.
    let sent = bench.take_sent(other);
    assert!(sent.ends_with(&tail), "{sent:?}");
}

#[test]
fn a_tail_is_put_in_this_nodes_own_log_again_for_an_asker_that_has_applied_all_of_it() {
    let mut bench = Bench::among(&[2, 3]);
    let (dead, asker) = (bench.conn_to(2), bench.conn_to(3));
    bench.hear(dead, &flush(1));
    bench.there.remove(&address(2));
    bench.lose(2);
    for seq in [1, 2] {
        bench.hear(asker, &Frame::Renew(Renew { want: vec![at(2, 0)], ..renew(seq) }));
        assert!(bench.take_sent(asker).contains(&flush_of(seq, Some(at(2, 1)))));
        bench.hear(asker, &Frame::Ack { applied: Seq(seq) });
        bench.run(wire::RENEW_EVERY);
    }
}

#[test]
fn what_nobody_holds_costs_the_copies() {
    let mut bench = Bench::among(&[2, 3]);
    bench.hold();
    bench.tell(3, Told { lost: vec![heard(2, 8, 9)], ..Told::default() });
    bench.kill(2);
    bench.run(2 * SECOND);
    assert!(!bench.holds());
    assert!(bench.reports(missed));
    assert!(bench.is_fresh(), "and it is settled by that");
}

#[test]
fn what_nobody_holds_is_waited_for_while_the_place_of_its_life_is_silent() {
    let mut bench = Bench::among(&[2, 3]);
    bench.hold();
    bench.tell(3, Told { lost: vec![heard(2, 8, 9)], ..Told::default() });
    bench.there.remove(&address(2));
    bench.lose(2);
    bench.run(50 * SECOND);
    assert!(bench.holds(), "it may come back, and tell all of it");
    assert_eq!(bench.node.cut_off(bench.now).len(), 1, "the witness is in touch");
    bench.run(20 * SECOND);
    assert!(!bench.holds() && bench.reports(missed));
}

/// Its place was found empty before, and says nothing since; whoever knew more has forgotten it.
#[test]
fn a_life_is_not_settled_while_what_it_told_others_is_wanted() {
    let mut bench = Bench::among(&[2, 3]);
    let conn = bench.conn_to(3);
    bench.hold();
    bench.mute(3);
    bench.kill(2);
    bench.run(300 * MS);
    bench.there.remove(&address(2));
    bench.tell(3, Told { lost: vec![heard(2, 8, 9)], ..Told::default() });
    bench.run(SECOND);
    let proof = bench.proof();
    bench.hear(conn, &over(1, at(2, 9)));
    bench.tell(3, Told { head: 1, ..Told::default() });
    bench.run(SECOND);
    assert!(bench.holds() && bench.proof() <= proof, "it may tell it itself");
    bench.run(70 * SECOND);
    assert!(!bench.holds() && bench.reports(missed));
}

#[test]
fn what_a_life_told_that_was_never_met_is_wanted_too() {
    let mut bench = Bench::among(&[3]);
    let witness = bench.conn_to(3);
    bench.hold();
    bench.tell(3, Told { lost: vec![heard(9, 1, 1)], ..Told::default() });
    bench.run(SECOND);
    assert!(bench.wants().contains(&(witness, at(9, 0))));
    bench.hear(witness, &flush_of(1, Some(at(9, 1))));
    assert!(!bench.holds());
    bench.run(SECOND);
    assert!(bench.is_fresh());
}

/// A tail for it would go to all others too.
#[test]
fn a_node_that_was_never_in_step_asks_for_no_tails_and_distrusts() {
    let mut bench = Bench::with(Guarantee::Eventual, |_| {});
    bench.now = Time::ZERO;
    bench.there.insert(address(3), There::node(3));
    bench.told_first.lost = vec![heard(2, 1, 7)];
    bench.hold();
    bench.list(&[address(3)]);
    bench.run(SECOND);
    assert!(!bench.holds() && bench.wants().is_empty());
    assert!(bench.reports(|it| matches!(it, Report::Behind { .. })));
    assert!(bench.is_fresh());
}

#[test]
fn a_forgotten_life_costs_the_copies_where_less_of_it_was_heard() {
    let mut bench = Bench::among(&[3]);
    let conn = bench.conn_to(3);
    bench.hold();
    bench.hear(conn, &over(1, at(7, 3)));
    assert!(!bench.holds());
    assert!(bench.reports(missed));
    assert!(bench.take_sent(conn).contains(&Frame::Ack { applied: Seq(1) }));
    bench.hold();
    bench.hear(conn, &over(2, at(7, 3)));
    assert!(bench.holds(), "once is enough");
    bench.hear(conn, &flush(3));
    assert!(!bench.holds(), "it took a number");
}

/// Who has just started reads what is said of those who were there before it.
#[test]
fn a_forgotten_life_costs_nothing_where_all_copies_are_younger_than_its_last_flush() {
    let mut bench = Bench::among(&[3]);
    let conn = bench.conn_to(3);
    let age = |bench: &Bench| u64::try_from(bench.now.since(Time::ZERO).as_millis()).unwrap();
    let quiet = |seq, of, quiet_ms| Frame::Over { seq: Seq(seq), of, quiet_ms };
    bench.hold();
    let old = age(&bench) + 100;
    bench.hear(conn, &quiet(1, at(7, 3), old));
    assert!(bench.holds() && !bench.reports(missed), "this node was not there");
    assert!(bench.node.lives.get(life(7)).is_none(), "nor is it known of now");
    let young = age(&bench) - 100;
    bench.hear(conn, &quiet(2, at(8, 3), young));
    assert!(!bench.holds() && bench.reports(missed));
    bench.hold();
    bench.run(SECOND);
    bench.hear(conn, &quiet(3, at(9, 3), 1_100));
    assert!(bench.holds() && !bench.reports(missed), "all copies were loaded anew since");
    bench.hear(conn, &quiet(4, at(10, 3), 900));
    assert!(!bench.holds());
    // The longest that a frame can say.
    bench.hear(conn, &quiet(5, at(11, 3), u64::MAX));
}

#[test]
fn what_somebody_has_forgotten_is_had_from_who_still_holds_it() {
    let mut bench = Bench::among(&[3, 4]);
    let (forgetful, witness) = (bench.conn_to(3), bench.conn_to(4));
    bench.hold();
    bench.tell(4, Told { lost: vec![heard(9, 1, 2)], ..Told::default() });
    bench.run(SECOND);
    bench.hear(forgetful, &over(1, at(9, 1)));
    assert!(bench.holds(), "it is on its way");
    bench.hear(witness, &over(1, at(9, 2)));
    bench.tell(4, Told { head: 1, ..Told::default() });
    bench.run(SECOND);
    assert!(!bench.holds() && bench.reports(missed), "nobody holds it any more");
}

#[test]
fn a_forgotten_life_costs_nothing_where_as_much_of_it_was_heard() {
    let mut bench = Bench::among(&[2, 3]);
    let (dead, conn) = (bench.conn_to(2), bench.conn_to(3));
    (1..=3).for_each(|seq| bench.hear(dead, &flush(seq)));
    bench.hold();
    bench.kill(2);
    bench.hear(conn, &over(1, at(2, 3)));
    assert!(bench.holds());
    // Long after it was forgotten here, too.
    bench.run(20 * SECOND);
    assert!(bench.node.lives.get(life(2)).is_none());
    bench.hear(conn, &over(2, at(2, 3)));
    bench.hear(conn, &over(3, at(2, 2)));
    assert!(bench.holds() && !bench.reports(missed));
}

#[test]
fn a_life_that_is_forgotten_is_told_of_with_how_far_it_was_heard() {
    let mut bench = Bench::among(&[2, 3]);
    let (dead, conn) = (bench.conn_to(2), bench.conn_to(3));
    (1..=3).for_each(|seq| bench.hear(dead, &flush(seq)));
    bench.run(SECOND);
    bench.kill(2);
    bench.run(20 * SECOND);
    let told = bench.take_sent(conn).into_iter().find(|it| matches!(it, Frame::Over { .. }));
    let Some(Frame::Over { seq, of, quiet_ms }) = told else { panic!("nothing was told of it") };
    assert_eq!((seq, of), (Seq(1), at(2, 3)));
    assert!((6_000..21_000).contains(&quiet_ms), "{quiet_ms} ms since its last flush");
}

#[test]
fn a_life_is_not_forgotten_before_what_was_heard_of_it_is_applied() {
    for is_taken in [false, true] {
        let mut bench = Bench::among(&[2, 3]);
        let (dead, conn) = (bench.conn_to(2), bench.conn_to(3));
        bench.applies = false;
        bench.hear(dead, &flush(1));
        let work = is_taken.then(|| bench.node.take_work(dead));
        bench.kill(2);
        // It is given up: that it is over does not wait for that flush.
        bench.hear(conn, &over(1, at(2, 9)));
        bench.run(20 * SECOND);
        assert!(bench.node.lives.get(life(2)).is_some(), "{work:?}");
        match work {
            Some(Work::Apply(batch)) => bench.finish(&batch),
            _ => bench.apply(),
        }
        bench.run(10 * SECOND);
        assert!(bench.node.lives.get(life(2)).is_none());
    }
}

#[test]
fn what_is_said_of_a_linked_life_or_of_this_one_moves_nothing() {
    for of in [2, OWN] {
        let mut bench = Bench::among(&[2, 3]);
        let (linked, liar) = (bench.conn_to(2), bench.conn_to(3));
        let told = Told { lost: vec![heard(of, 1, 50)], head: 2, linked: Vec::new() };
        bench.hear(liar, &flush_of(1, Some(at(of, 1))));
        bench.hold();
        bench.hear(liar, &over(2, at(of, 9)));
        bench.tell(3, told);
        bench.run(2 * SECOND);
        assert!(bench.holds() && bench.is_fresh(), "{of}");
        assert!(bench.wants().is_empty(), "{of}");
        bench.hear(linked, &flush(1));
        assert!(!bench.holds(), "its own first flush is the next one");
        assert_eq!(bench.node.head(), Seq::START, "nor is anything put in this node's log");
    }
}

#[test]
fn a_question_of_the_moment_in_which_a_life_is_lost_was_put_without_it() {
    let mut bench = Bench::among(&[2, 3]);
    let conn = bench.conn_to(3);
    bench.mute(3);
    bench.now = bench.now + wire::RENEW_EVERY;
    bench.feed(Input::Tick);
    let question = bench.take_question(conn);
    assert_eq!(question.nonce, bench.now.as_nanos());
    bench.kill(2);
    bench.now = bench.now + DELAY;
    bench.grant(conn, question);
    bench.run(wire::RENEW_EVERY);
    assert!(bench.node.lives.get(life(2)).unwrap().is_lost(), "nobody was asked about it");
}

/// It may have handed over what it knew to those who were asked before.
#[test]
fn whoever_is_lost_before_it_was_asked_has_all_the_others_asked_anew() {
    let mut bench = Bench::among(&[2, 3, 4]);
    let witness = bench.conn_to(4);
    bench.mute(3);
    bench.kill(2);
    bench.run(300 * MS);
    bench.kill(3);
    bench.tell(4, Told { lost: vec![heard(2, 1, 1)], ..Told::default() });
    bench.run(SECOND);
    assert!(bench.node.lives.get(life(2)).unwrap().is_lost());
    bench.hear(witness, &flush_of(1, Some(at(2, 1))));
    bench.run(SECOND);
    assert!(!bench.node.lives.get(life(2)).unwrap().is_lost());
}

/// It may have handed over what it knew in between.
#[test]
fn whoever_is_seen_to_be_dead_has_all_the_others_asked_behind_that() {
    let mut bench = Bench::among(&[2, 3, 4]);
    let witness = bench.conn_to(4);
    bench.there.remove(&address(3));
    bench.lose(3);
    bench.kill(2);
    bench.run(SECOND);
    assert!(bench.node.lives.get(life(2)).unwrap().is_lost(), "nobody knows of 3");
    bench.tell(4, Told { lost: vec![heard(2, 1, 1)], ..Told::default() });
    bench.there.insert(address(3), There::Refuses);
    let dial =
        bench.node.conns.keys().rev().find(|&&id| bench.node.conns[&id].remote == address(3));
    bench.refuse(*dial.unwrap());
    bench.run(5 * SECOND);
    assert!(bench.node.lives.get(life(2)).unwrap().is_lost(), "4 had answered before that");
    bench.hear(witness, &flush_of(1, Some(at(2, 1))));
    bench.run(SECOND);
    assert!(!bench.node.lives.get(life(2)).unwrap().is_lost());
}

#[test]
fn a_new_life_at_a_place_counts_once_all_were_asked_about_those_before_it() {
    let mut bench = Bench::among(&[2, 3]);
    bench.hold();
    let died = bench.now;
    bench.mute(3);
    bench.there.insert(address(2), There::Node(4, vec![address(2)], vec![]));
    bench.lose(2);
    bench.run(2 * SECOND);
    bench.conn_to(4);
    assert!(bench.proof() <= died, "it says nothing of the former life");
    bench.tell(3, Told::default());
    bench.run(SECOND);
    assert!(bench.is_fresh() && bench.holds());
}

#[test]
fn a_lost_life_whose_place_is_taken_is_waited_for_like_one_that_no_list_has() {
    let mut bench = Bench::among(&[2, 3]);
    bench.hold();
    // It lives, where this node cannot look for it.
    let touch = Linked { life: life(2), place: None };
    bench.tell(3, Told { linked: vec![touch], ..Told::default() });
    bench.there.insert(address(2), There::Node(4, vec![address(2)], vec![]));
    let lost = bench.now;
    bench.lose(2);
    let limits = Limits::default();
    bench.run(limits.patience + limits.ask_within);
    assert!(bench.proof() <= lost && bench.holds());
    bench.run(2 * SECOND);
    assert!(bench.is_fresh() && !bench.holds() && bench.reports(missed));
}

#[test]
fn two_that_died_are_each_looked_for_behind_the_other() {
    let mut bench = Bench::among(&[2, 3, 4]);
    bench.hold();
    let died = bench.now;
    bench.there.remove(&address(3));
    bench.kill(2);
    bench.lose(3);
    bench.run(3 * SECOND);
    assert!(bench.proof() <= died, "3 may live, and have heard more of 2");
    bench.there.insert(address(3), There::Refuses);
    let dial = bench.node.conns.keys().next_back().copied().unwrap();
    bench.refuse(dial);
    bench.run(3 * SECOND);
    assert!(bench.is_fresh() && bench.holds());
}

/// They say to be at one address, which no list has.
#[test]
fn two_that_were_at_one_place_are_looked_for_behind_both_losses() {
    let mut bench = Bench::among(&[2]);
    for number in [11, 12] {
        bench.dialled_at(number, address(50));
        bench.run(SECOND);
    }
    bench.lose(11);
    bench.feed(Input::Tick);
    let dialled = bench.take_dials();
    assert_eq!(dialled.iter().map(|it| it.1).collect::<Vec<_>>(), [address(50)]);
    bench.now = bench.now + DELAY;
    bench.lose(12);
    bench.refuse(dialled[0].0);
    bench.run(5 * SECOND);
    for number in [11, 12] {
        assert!(bench.node.lives.get(life(number)).is_some_and(|it| it.is_lost()), "{number}");
    }
    bench.there.insert(address(50), There::Refuses);
    bench.run(90 * SECOND);
    assert!(bench.is_fresh() && bench.node.lives.get(life(12)).is_none());
}
