//! What a node with a strict cache asks for before it serves a copy, and what a strict flush waits
//! for.

use super::*;

fn list_of(peers: &[u16]) -> Vec<SocketAddr> {
    peers.iter().chain(&[OWN]).copied().map(address).collect()
}

impl Bench {
    /// A node with a strict cache, whose fixed list is itself and those peers, and theirs too.
    fn strict(peers: &[u16], trust_refusals: Option<bool>) -> Self {
        let fixed = list_of(peers);
        let mut bench = Self::with(Guarantee::Strict, |config| {
            config.fixed = Some(fixed.clone());
            config.trust_refusals = trust_refusals;
        });
        for &peer in peers.iter().chain(&[OWN]) {
            bench
                .there
                .insert(address(peer), There::Node(peer, vec![address(peer)], fixed.clone()));
        }
        bench.list(&fixed);
        bench
    }

    /// The same, in step with all of them.
    pub(super) fn strict_among(peers: &[u16], trust_refusals: Option<bool>) -> Self {
        let mut bench = Self::strict(peers, trust_refusals);
        bench.run(2 * SECOND);
        assert!(bench.node.in_sync(bench.now), "{:?}", bench.node.cut_off(bench.now));
        bench.outputs.clear();
        bench
    }

    /// Another life is at a peer's place from now on.
    fn replace(&mut self, peer: u16, with: u16, fixed: Vec<SocketAddr>) {
        self.there.insert(address(peer), There::Node(with, vec![address(peer)], fixed));
    }
}

#[test]
fn nothing_is_served_before_the_first_proof_nor_what_was_loaded_before_it() {
    let mut bench = Bench::strict(&[2], None);
    bench.hold();
    assert!(!bench.holds());
    bench.run(2 * SECOND);
    assert!(!bench.holds(), "a flush that names it may have been confirmed before");
    bench.hold();
    assert!(bench.holds());
}

#[test]
fn a_node_that_was_never_met_where_its_list_has_it_proves_nothing() {
    let mut bench = Bench::strict(&[2], None);
    bench.there.insert(address(OWN), There::Refuses);
    bench.run(10 * SECOND);
    assert!(!bench.node.in_sync(bench.now), "another one may be there in its place");
    assert_eq!(bench.node.cut_off(bench.now)[0].address, address(OWN));
}

#[test]
fn what_is_held_is_not_served_without_a_proof_and_is_once_there_is_one_again() {
    let mut bench = Bench::strict_among(&[2], None);
    bench.hold();
    bench.mute(2);
    bench.run(3 * SECOND);
    assert!(!bench.holds());
    bench.tell(2, Told::default());
    bench.run(SECOND);
    assert!(bench.holds(), "by the next proof it has missed nothing");
}

#[test]
fn a_refusal_proves_nothing_to_strict_caches_unless_the_operator_says_so() {
    for (trust_refusals, is_trusted) in [(None, false), (Some(false), false), (Some(true), true)] {
        let mut bench = Bench::strict_among(&[2, 3], trust_refusals);
        bench.kill(2);
        bench.run(10 * SECOND);
        assert_eq!(bench.node.in_sync(bench.now), is_trusted, "{trust_refusals:?}");
        bench.hold();
        assert_eq!(bench.holds(), is_trusted, "{trust_refusals:?}");
    }
    let mut bench = Bench::among(&[2, 3]);
    bench.kill(2);
    bench.run(10 * SECOND);
    assert!(bench.is_fresh(), "bounded caches trust them, if nothing is said");
}

#[test]
fn a_strict_flush_waits_for_the_lease_of_a_life_that_was_lost() {
    let mut bench = Bench::strict_among(&[2, 3], None);
    let (lost, other) = (bench.conn_to(2), bench.conn_to(3));
    bench.run(10 * SECOND);
    bench.hear(lost, &Frame::Renew(renew(1)));
    let granted = bench.now;
    bench.run(500 * MS);
    // Its port refuses, and it serves on for as long as that grant lasts.
    bench.kill(2);
    let seq = bench.announce();
    bench.hear(other, &Frame::Ack { applied: seq });
    bench.await_for(seq, 10 * SECOND, true);
    let wait = Guarantee::strict_wait();
    bench.run((granted + wait).since(bench.now) - 10 * MS);
    assert!(bench.take_outcome().is_none());
    bench.run(20 * MS);
    let outcome = bench.take_outcome().unwrap();
    assert!(outcome.is_complete() && outcome.fenced == ["n2"], "{outcome:?}");
}

/// It answered at the listed place without claiming it, and the connection that showed so ends first.
#[test]
fn a_strict_flush_waits_for_the_lease_of_a_life_that_was_met_at_a_place_and_left_it_unseen() {
    let mut bench = Bench::strict(&[2], None);
    let fixed = list_of(&[2]);
    bench.there.insert(address(2), There::Node(2, vec![address(22)], fixed.clone()));
    bench.run(2 * SECOND);
    let evidence = bench.conn_to(2);
    let Frame::Hello(hello) = hello(2, vec![address(22)]) else { unreachable!() };
    let other = bench.accept(&Frame::Hello(Hello { fixed, ..hello }));
    bench.hear(other, &Frame::Go { resume: Seq::START, is_evidence: true });
    bench.told.insert(other, Told::default());
    bench.run(10 * SECOND);
    bench.hear(other, &Frame::Renew(renew(1)));
    let granted = bench.now;
    bench.there.insert(address(2), There::Refuses);
    bench.there.insert(address(22), There::Refuses);
    for conn in [evidence, other] {
        bench.told.remove(&conn);
        bench.feed(Input::Closed { conn, why: "reset".into() });
    }
    bench.run(500 * MS);
    let seq = bench.announce();
    bench.await_for(seq, 10 * SECOND, true);
    bench.run((granted + Guarantee::strict_wait()).since(bench.now) - 10 * MS);
    assert_eq!(bench.take_outcome(), None, "it serves on for as long as that grant lasts");
}

#[test]
fn a_strict_flush_waits_for_the_lease_of_a_life_that_stopped_acknowledging() {
    let mut bench = Bench::strict_among(&[2, 3], None);
    let (silent, other) = (bench.conn_to(2), bench.conn_to(3));
    bench.run(10 * SECOND);
    bench.hear(silent, &Frame::Renew(renew(1)));
    let granted = bench.now;
    bench.run(100 * MS);
    let seq = bench.announce();
    bench.hear(other, &Frame::Ack { applied: seq });
    bench.await_for(seq, 10 * SECOND, true);
    bench.run((granted + Guarantee::strict_wait()).since(bench.now) - 10 * MS);
    assert!(bench.take_outcome().is_none());
    bench.run(20 * MS);
    assert_eq!(bench.take_outcome().unwrap().fenced, ["n2"]);
}

/// A stopped process that is continued asks before it acknowledges.
#[test]
fn one_whose_lease_is_renewed_while_others_are_waited_for_is_waited_for_too() {
    let mut bench = Bench::strict_among(&[2, 3], None);
    let (stopped, other) = (bench.conn_to(2), bench.conn_to(3));
    bench.run(10 * SECOND);
    bench.hear(other, &Frame::Renew(renew(1)));
    let seq = bench.announce();
    bench.await_for(seq, 10 * SECOND, true);
    bench.hear(stopped, &Frame::Renew(renew(1)));
    bench.hear(other, &Frame::Ack { applied: seq });
    assert!(bench.take_outcome().is_none(), "told as silent at once");
    bench.hear(stopped, &Frame::Ack { applied: seq });
    assert_eq!(bench.take_outcome().unwrap().applied_by(), ["n2", "n3"]);
}

#[test]
fn a_strict_flush_waits_for_what_was_there_before_this_node_began() {
    let mut bench = Bench::strict(&[2], None);
    bench.there.remove(&address(2));
    bench.there.insert(address(2), There::Refuses);
    for (dial, to) in bench.take_dials() {
        bench.answer_dial(dial, to);
    }
    let seq = bench.announce();
    bench.await_for(seq, 10 * SECOND, true);
    let wait = Guarantee::strict_wait();
    bench.run((Time::ZERO + wait).since(bench.now) - 10 * MS);
    assert!(bench.take_outcome().is_none(), "a former life of this node may have given it a grant");
    bench.run(20 * MS);
    let outcome = bench.take_outcome().unwrap();
    assert!(outcome.is_complete() && outcome.fenced.len() == 1, "{outcome:?}");
}

#[test]
fn a_strict_flush_is_confirmed_by_acknowledgements_at_once() {
    let mut bench = Bench::strict_among(&[2], None);
    let conn = bench.conn_to(2);
    bench.hear(conn, &Frame::Renew(renew(1)));
    let seq = bench.announce();
    bench.await_for(seq, 10 * SECOND, true);
    assert!(bench.take_outcome().is_none());
    bench.hear(conn, &Frame::Ack { applied: seq });
    assert_eq!(bench.take_outcome().unwrap().applied_by(), ["n2"]);
}

#[test]
fn the_lease_of_one_that_is_on_no_list_says_nothing_only_its_word_counts() {
    let mut bench = Bench::strict_among(&[2], None);
    let (listed, other) = (bench.conn_to(2), bench.dialled_by(9));
    bench.run(10 * SECOND);
    let seq = bench.announce();
    bench.hear(listed, &Frame::Ack { applied: seq });
    bench.await_for(seq, 8 * SECOND, true);
    bench.run(7 * SECOND);
    assert!(bench.take_outcome().is_none());
    bench.run(2 * SECOND);
    assert_eq!(bench.take_outcome().unwrap().unconfirmed[0].node, "n9");
    bench.hear(other, &Frame::Ack { applied: seq });
    let seq = bench.announce();
    bench.await_for(seq, 8 * SECOND, true);
    for conn in [listed, other] {
        bench.hear(conn, &Frame::Ack { applied: seq });
    }
    assert!(bench.take_outcome().unwrap().is_complete());
}

#[test]
fn a_new_life_behind_a_lapsed_lease_costs_all_that_was_held() {
    let mut bench = Bench::strict_among(&[2], None);
    bench.hold();
    // The former life may have confirmed a flush because this node's lease was over, and died.
    bench.there.remove(&address(2));
    bench.lose(2);
    bench.run(5 * SECOND);
    bench.replace(2, 4, list_of(&[2]));
    bench.feed(Input::Tick);
    let dial = bench.node.conns.keys().next_back().copied().unwrap();
    bench.refuse(dial);
    bench.run(2 * SECOND);
    assert!(bench.node.in_sync(bench.now) && !bench.holds());
    bench.hold();
    assert!(bench.holds());
}

#[test]
fn a_new_life_within_the_lease_costs_nothing() {
    let mut bench = Bench::strict_among(&[2], None);
    bench.hold();
    bench.replace(2, 4, list_of(&[2]));
    bench.lose(2);
    bench.run(SECOND);
    assert!(bench.node.in_sync(bench.now) && bench.holds());
}

#[test]
fn lists_that_differ_prove_nothing_and_are_both_told() {
    let mut bench = Bench::strict_among(&[2], None);
    bench.hold();
    bench.replace(2, 2, vec![address(2), address(3)]);
    bench.lose(2);
    bench.run(SECOND);
    assert!(!bench.holds() && !bench.node.in_sync(bench.now));
    let told = bench.node.lists_differ().unwrap();
    assert_eq!(told.ours, list_of(&[2]));
    assert_eq!(told.theirs, [address(2), address(3)]);
    assert!(bench.reports(|it| matches!(it, Report::ListsDiffer(_))));
}

#[test]
fn a_list_of_one_that_is_no_part_of_this_one_is_in_nobodys_way_until_it_is() {
    let mut bench = Bench::strict_among(&[2], None);
    bench.hold();
    bench.dialled_by(11);
    bench.run(2 * SECOND);
    assert!(bench.holds() && bench.node.in_sync(bench.now));
    assert_eq!(bench.node.lists_differ(), None);
    bench.dialled_at(11, address(2));
    assert!(bench.node.lists_differ().is_some());
    assert!(bench.reports(|it| matches!(it, Report::ListsDiffer(_))));
    bench.run(SECOND);
    assert!(!bench.holds() && !bench.node.in_sync(bench.now));
}

#[test]
fn an_awaited_flush_ends_by_its_deadline_with_the_reason_for_each() {
    let mut bench = Bench::among(&[2, 3]);
    let conn = bench.conn_to(3);
    bench.there.remove(&address(2));
    bench.lose(2);
    let seq = bench.announce();
    bench.await_for(seq, SECOND, false);
    bench.hear(conn, &Frame::Ack { applied: seq });
    bench.run(900 * MS);
    assert!(bench.take_outcome().is_none());
    bench.run(200 * MS);
    let outcome = bench.take_outcome().unwrap();
    assert_eq!(outcome.applied_by(), ["n3"]);
    assert_eq!(outcome.unconfirmed[0].node, "n2");
}

/// A strict proof, and nothing of what a bounded one trusts.
#[test]
fn who_was_at_a_place_before_is_settled_strictly_only_by_answers_never_by_a_refusal() {
    let mut bench = Bench::strict_among(&[2, 3], None);
    let strict = |bench: &Bench| bench.caches.proof(Guarantee::Strict).get();
    bench.mute(2);
    bench.run(SECOND);
    let before = strict(&bench);
    // Who lives, and may have heard the former life, refuses: it was asked nothing since.
    bench.kill(3);
    bench.replace(2, 4, list_of(&[2, 3]));
    bench.lose(2);
    bench.run(2 * SECOND);
    assert!(bench.is_fresh(), "bounded caches go by the refusal");
    assert_eq!(strict(&bench), before);
    bench.there.insert(address(3), There::Node(3, vec![address(3)], list_of(&[2, 3])));
    bench.run(5 * SECOND);
    assert!(bench.node.in_sync(bench.now), "{:?}", bench.node.cut_off(bench.now));
}

#[test]
fn a_strict_flush_takes_no_word_for_it_that_nobody_else_is_where_this_node_says_to_be() {
    let mut bench = Bench::strict(&[], None);
    bench.there.insert(address(OWN), There::Refuses);
    let seq = bench.announce();
    bench.await_for(seq, SECOND, true);
    bench.run(SECOND + 10 * MS);
    assert_eq!(bench.take_outcome().unwrap().unconfirmed[0].address, address(OWN));
    // Whoever was there in its place had no grant of this life.
    let seq = bench.announce();
    bench.await_for(seq, 10 * SECOND, true);
    bench.run(Guarantee::strict_wait());
    assert_eq!(bench.take_outcome().unwrap().fenced.len(), 1);
    bench.there.insert(address(OWN), There::Node(OWN, vec![address(OWN)], list_of(&[])));
    bench.run(20 * SECOND);
    let seq = bench.announce();
    bench.await_for(seq, SECOND, true);
    let outcome = bench.take_outcome().unwrap();
    assert!(outcome.is_complete() && outcome.fenced.is_empty(), "{outcome:?}");
}

/// The life does not claim its place: only the connection that leads there stands for it.
#[test]
fn what_a_connection_has_proven_of_its_place_still_counts_after_its_end() {
    let mut bench = Bench::strict(&[2], None);
    let there = |number| There::Node(number, vec![], list_of(&[2]));
    bench.there.insert(address(2), there(2));
    bench.run(10 * SECOND);
    bench.hold();
    assert!(bench.holds());
    bench.there.remove(&address(2));
    let lost = bench.now;
    bench.lose(2);
    bench.run(5 * SECOND);
    let silent = bench.now.since(lost) + SECOND;
    assert!(bench.node.cut_off(bench.now)[0].since <= silent);
    assert!(bench.node.peers(bench.now)[0].in_step <= silent);
    // This node's lease is over: the former life may have confirmed a flush without it, and died.
    bench.there.insert(address(2), there(4));
    let dial = bench.node.conns.keys().next_back().copied().unwrap();
    bench.refuse(dial);
    bench.run(2 * SECOND);
    assert!(bench.node.in_sync(bench.now) && !bench.holds());
}
