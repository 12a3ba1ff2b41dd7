//! Settling between survivors: what a node that died told to some is handed over to the others,
//! and nobody counts on its death before that.

use super::*;
use crate::cache::Guarantee;

const MS: Duration = Duration::from_millis(1);

fn at(byte: u8, seq: u64) -> Position {
    Position { incarnation: life(byte), seq: Seq(seq) }
}

impl Bench {
    /// Follows life 2 at 10.0.0.2 and life 3 at 10.0.0.3; both are settled, and in step.
    fn with_two_peers() -> (Self, ConnId, ConnId) {
        let mut bench = Self::new();
        bench.wait(1 * MS);
        let renewed = bench.now;
        bench.members(vec![address(2), address(3)]);
        let dials = bench.outputs.iter().filter_map(|output| match output {
            Output::Dial { conn, .. } => Some(*conn),
            _ => None,
        });
        let conns: Vec<_> = dials.collect();
        for (&conn, byte) in conns.iter().zip([2, 3]) {
            bench.feed(Input::Connected { conn });
            bench.hear(conn, &welcome(life(byte), 1, 0));
        }
        bench.wait(20 * MS);
        for &conn in &conns {
            let nonce = bench.nonce_asked_of(conn).unwrap();
            bench.hear(conn, &testify(nonce, 0, vec![]));
            bench.hear(conn, &Frame::Grant { nonce: renewed.as_nanos(), head: Seq(0) });
        }
        bench.outputs.clear();
        (bench, conns[0], conns[1])
    }

    /// The link to 10.0.0.2 is lost, and dialling it is refused. Gives back when it was dialled.
    fn lose_and_refuse(&mut self, conn: ConnId) -> Time {
        self.feed(Input::Closed { conn, why: "reset".into() });
        self.wait(100 * MS);
        let (dial, dialled) = (self.dialled(), self.now);
        self.wait(1 * MS);
        self.feed(Input::DialFailed { conn: dial, refused: true, why: "refused".into() });
        dialled
    }

    fn proven(&self, last: u8) -> Time {
        self.node.roster.get(address(last)).unwrap().proven
    }
}

#[test]
fn a_refusal_is_a_proof_of_its_dial_once_the_others_have_answered() {
    let (mut bench, dead, witness) = Bench::with_two_peers();
    let before = bench.proven(2);
    let dialled = bench.lose_and_refuse(dead);
    bench.wait(20 * MS);
    let nonce = bench.nonce_asked_of(witness).unwrap();
    assert_eq!(bench.proven(2), before, "nobody has answered yet");
    bench.hear(witness, &testify(nonce, 0, vec![]));
    assert_eq!(bench.proven(2), dialled);
}

#[test]
fn a_refusal_is_no_proof_where_refusals_are_not_trusted() {
    let (mut bench, dead, witness) = Bench::with_two_peers();
    bench.node.config.trust_refusals = false;
    let before = bench.proven(2);
    bench.lose_and_refuse(dead);
    bench.wait(20 * MS);
    assert_eq!(bench.nonce_asked_of(witness), None);
    assert_eq!(bench.proven(2), before);
}

#[test]
fn an_address_that_answers_a_later_dial_is_not_taken_for_dead() {
    let (mut bench, dead, witness) = Bench::with_two_peers();
    bench.hold(1);
    let before = bench.proven(2);
    bench.lose_and_refuse(dead);
    bench.wait(20 * MS);
    let nonce = bench.nonce_asked_of(witness).unwrap();
    // Somebody new is there by now, whom the witness has followed and this node has not.
    bench.wait(1000 * MS);
    let dial = bench.dialled();
    bench.feed(Input::Connected { conn: dial });
    bench.hear(witness, &testify(nonce, 0, vec![at(4, 1)]));
    bench.feed(Input::Closed { conn: dial, why: "said nothing".into() });
    bench.wait(20 * MS);
    assert!(bench.holds(), "what the new one has flushed so far will be replayed");
    assert_eq!(bench.proven(2), before, "nor is it known who died");
}

#[test]
fn who_is_still_in_touch_with_the_dead_is_asked_again() {
    let (mut bench, dead, witness) = Bench::with_two_peers();
    let before = bench.proven(2);
    bench.lose_and_refuse(dead);
    bench.wait(20 * MS);
    let nonce = bench.nonce_asked_of(witness).unwrap();
    let Frame::Testify(said) = testify(nonce, 0, vec![]) else { unreachable!() };
    bench.hear(witness, &Frame::Testify(Testify { in_touch: true, ..said }));
    assert_eq!(bench.proven(2), before);
    bench.wait(500 * MS);
    assert_eq!(bench.nonce_asked_of(witness), Some(nonce));
}

#[test]
fn what_a_witness_hands_over_is_applied_before_its_answer_counts() {
    let (mut bench, dead, witness) = Bench::with_two_peers();
    bench.hold(1);
    let dialled = bench.lose_and_refuse(dead);
    bench.wait(20 * MS);
    let nonce = bench.nonce_asked_of(witness).unwrap();
    bench.hear(witness, &testify(nonce, 1, vec![at(2, 1)]));
    assert!(bench.proven(2) < dialled, "the witness's log is not applied up to there");
    let Frame::Flush(handed) = flush(1) else { unreachable!() };
    bench.hear(witness, &Frame::Flush(Flush { inherited: Some(at(2, 1)), ..handed }));
    assert!(!bench.holds());
    assert_eq!(bench.proven(2), dialled);
    assert_eq!(bench.node.lives.applied(life(2)), Seq(1));
    assert!(!bench.reported(|report| matches!(report, Report::Missed { .. })));
}

#[test]
fn what_nobody_can_hand_over_costs_the_copies() {
    let (mut bench, dead, witness) = Bench::with_two_peers();
    bench.hold(1);
    bench.lose_and_refuse(dead);
    bench.wait(20 * MS);
    let nonce = bench.nonce_asked_of(witness).unwrap();
    bench.hear(witness, &testify(nonce, 0, vec![at(2, 9000)]));
    assert!(!bench.holds());
    assert!(bench.reported(|report| matches!(report, Report::Missed { .. })));
    assert_eq!(bench.node.lives.applied(life(2)), Seq(9000), "it is not asked for again");
}

#[test]
fn a_tail_is_handed_over_in_this_nodes_own_log_in_front_of_the_answer() {
    let (mut bench, dead, _) = Bench::with_two_peers();
    (1..=3).for_each(|seq| bench.hear(dead, &flush(seq)));
    bench.feed(Input::Closed { conn: dead, why: "reset".into() });
    let asker = bench.followed(life(3), None);
    bench.said(asker);
    let about = vec![About { address: address(2), alive: None, lives: vec![at(2, 1)] }];
    bench.hear(asker, &Frame::Inquire(Inquire { nonce: 77, tails: true, about }));
    let said = bench.said(asker);
    let [answer, second, third] = &said[..] else { panic!("{said:?}") };
    assert!(answer.contains("nonce: 77") && answer.contains("head: Seq(2)"), "{answer}");
    for (handed, seq) in [(second, 2), (third, 3)] {
        let of = format!("inherited: Some(Position {{ incarnation: 02020202, seq: Seq({seq}) }})");
        assert!(handed.contains(&of), "{handed}");
    }
}

/// A node whose copies were never proven loses little by loading them anew; a tail for it would go
/// to all others too.
#[test]
fn a_node_that_was_never_in_step_asks_for_no_tails_and_distrusts() {
    let mut bench = Bench::new();
    bench.hold(1);
    let witness = bench.follow(life(2));
    bench.wait(20 * MS);
    let said = bench.said(witness).concat();
    assert!(said.contains("tails: false"), "{said}");
    let nonce = 1;
    bench.hear(witness, &testify(nonce, 0, vec![at(3, 7)]));
    assert!(!bench.holds());
    assert!(bench.reported(|report| matches!(report, Report::Behind { .. })));
}

#[test]
fn who_wants_no_tail_is_told_only_how_far_it_went() {
    let (mut bench, dead, _) = Bench::with_two_peers();
    (1..=3).for_each(|seq| bench.hear(dead, &flush(seq)));
    bench.feed(Input::Closed { conn: dead, why: "reset".into() });
    let asker = bench.followed(life(3), None);
    bench.said(asker);
    let about = vec![About { address: address(2), alive: None, lives: vec![] }];
    bench.hear(asker, &Frame::Inquire(Inquire { nonce: 77, tails: false, about }));
    let said = bench.said(asker).concat();
    assert!(said.contains("Position { incarnation: 02020202, seq: Seq(3) }"), "{said}");
    assert!(said.contains("head: Seq(0)"), "nothing was put in the log: {said}");
}

/// What the dead one answered may still be on its way: its `Welcome`, and flushes behind it.
#[test]
fn who_has_greeted_the_dead_and_waits_for_an_answer_is_still_in_touch() {
    let (mut bench, dead, _) = Bench::with_two_peers();
    bench.feed(Input::Closed { conn: dead, why: "reset".into() });
    let asker = bench.followed(life(3), None);
    let ask = |bench: &mut Bench| {
        bench.said(asker);
        let about = vec![About { address: address(2), alive: None, lives: vec![at(2, 0)] }];
        bench.hear(asker, &Frame::Inquire(Inquire { nonce: 77, tails: true, about }));
        bench.said(asker).concat().contains("in_touch: true")
    };
    assert!(!ask(&mut bench));
    bench.wait(100 * MS);
    let dial = bench.dialled();
    assert!(!ask(&mut bench), "nobody has been greeted yet, and nobody will answer");
    bench.feed(Input::Connected { conn: dial });
    assert!(ask(&mut bench));
    bench.feed(Input::Closed { conn: dial, why: "reset".into() });
    assert!(!ask(&mut bench));
}

#[test]
fn a_life_that_was_never_met_is_told_of_by_its_address() {
    let (mut bench, dead, _) = Bench::with_two_peers();
    bench.hear(dead, &flush(1));
    bench.feed(Input::Closed { conn: dead, why: "reset".into() });
    let asker = bench.followed(life(3), None);
    bench.said(asker);
    let about = vec![About { address: address(2), alive: None, lives: vec![] }];
    bench.hear(asker, &Frame::Inquire(Inquire { nonce: 1, tails: true, about }));
    let said = bench.said(asker);
    assert!(said[0].contains("Position { incarnation: 02020202, seq: Seq(1) }"), "{said:?}");
}

#[test]
fn what_a_new_life_grants_counts_once_its_predecessors_are_settled() {
    let (mut bench, dead, witness) = Bench::with_two_peers();
    bench.feed(Input::Closed { conn: dead, why: "reset".into() });
    bench.wait(100 * MS);
    let conn = bench.dialled();
    bench.feed(Input::Connected { conn });
    bench.hear(conn, &welcome(life(4), 1, 0));
    let asked = bench.now;
    bench.said(conn);
    bench.hear(conn, &Frame::Grant { nonce: asked.as_nanos(), head: Seq(0) });
    bench.wait(20 * MS);
    assert!(bench.proven(2) < asked, "a grant of the new life says nothing of the former");
    for conn in [conn, witness] {
        let nonce = bench.nonce_asked_of(conn).unwrap();
        bench.hear(conn, &testify(nonce, 0, vec![]));
    }
    assert_eq!(bench.proven(2), asked);
}

#[test]
fn two_that_died_are_looked_at_once_more_before_the_others_are_asked() {
    let (mut bench, first, second) = Bench::with_two_peers();
    bench.feed(Input::Closed { conn: first, why: "reset".into() });
    bench.feed(Input::Closed { conn: second, why: "reset".into() });
    let refuse = |bench: &mut Bench| {
        bench.wait(250 * MS);
        let dials = std::mem::take(&mut bench.outputs).into_iter().filter_map(|it| match it {
            Output::Dial { conn, .. } => Some(conn),
            _ => None,
        });
        let (dials, dialled): (Vec<_>, _) = (dials.collect(), bench.now);
        assert_eq!(dials.len(), 2);
        bench.wait(1 * MS);
        for conn in dials {
            bench.feed(Input::DialFailed { conn, refused: true, why: "refused".into() });
        }
        dialled
    };
    let looked_at = refuse(&mut bench);
    bench.wait(30 * MS);
    assert!(bench.proven(2) < looked_at, "one may have heard the other and died since");
    refuse(&mut bench);
    bench.wait(30 * MS);
    assert_eq!((bench.proven(2), bench.proven(3)), (looked_at, looked_at));
}

#[test]
fn the_last_flush_before_an_hour_of_silence_is_missed_for_one_renewal_at_most() {
    let mut bench = Bench::new();
    let conn = bench.follow(life(2));
    bench.wait(20 * MS);
    let nonce = bench.nonce_asked_of(conn).unwrap();
    bench.hear(conn, &testify(nonce, 0, vec![]));
    // The flush is lost on the wire, and the link looks as it did: the next grant names it.
    let hour = Duration::from_secs(3600);
    bench.now = bench.now + hour;
    bench.feed(Input::Tick);
    let asked = bench.now;
    assert!(bench.said(conn).iter().any(|frame| frame.starts_with("Renew")));
    bench.hear(conn, &Frame::Grant { nonce: asked.as_nanos(), head: Seq(1) });
    assert!(bench.proven(2) < asked, "flush 1 is not applied, and this node knows it");
    let bound = Guarantee::default().lease(Duration::ZERO).unwrap();
    bench.wait(bound);
    assert!(!bench.node.in_sync(bench.now));
    assert_eq!(bench.node.cut_off(bench.now)[0].address, address(2));
}
