//! Goodbyes: those of others, and this node's own.

use super::*;

fn bye(head: u64) -> Frame<'static> {
    Frame::Bye { head: Seq(head) }
}

impl Bench {
    /// A life says goodbye behind that number, and is gone; its machine goes off.
    fn leave(&mut self, number: u16, head: u64) {
        let conn = self.conn_to(number);
        self.there.remove(&address(number));
        self.hear(conn, &bye(head));
        self.told.remove(&conn);
        self.feed(Input::Closed { conn, why: "ended".into() });
    }

    fn has_left(&self, number: u16) -> bool {
        let peers = self.node.peers(self.now);
        peers.iter().any(|peer| peer.incarnation == Some(life(number)) && peer.left)
    }
}

#[test]
fn who_has_left_is_waited_for_by_nobody() {
    let mut bench = Bench::among(&[2, 3]);
    bench.hold();
    bench.leave(2, 0);
    assert!(bench.has_left(2));
    assert!(bench.reports(|it| matches!(it, Report::Left { .. })));
    bench.run(10 * SECOND);
    assert!(bench.is_fresh() && bench.holds());
    let (seq, conn) = (bench.announce(), bench.conn_to(3));
    bench.await_for(seq, SECOND, false);
    bench.hear(conn, &Frame::Ack { applied: seq });
    let outcome = bench.take_outcome().unwrap();
    assert!(outcome.is_complete() && outcome.applied_by() == ["n3"]);
}

#[test]
fn a_goodbye_counts_only_once_all_of_the_log_is_applied() {
    let mut bench = Bench::among(&[2, 3]);
    let conn = bench.conn_to(2);
    bench.applies = false;
    bench.hear(conn, &flush(1));
    bench.leave(2, 1);
    assert!(!bench.has_left(2));
    let left = bench.now;
    bench.run(2 * SECOND);
    assert!(bench.proof() <= left);
    bench.apply();
    assert!(bench.has_left(2));
    bench.run(SECOND);
    assert!(bench.is_fresh());
}

#[test]
fn a_goodbye_behind_what_never_came_is_none() {
    let mut bench = Bench::among(&[2, 3]);
    bench.leave(2, 4);
    let left = bench.now;
    bench.run(10 * SECOND);
    assert!(!bench.has_left(2) && bench.proof() <= left);
}

#[test]
fn a_goodbye_counts_once_it_is_said_over_the_last_connection() {
    let mut bench = Bench::among(&[2]);
    let (first, second) = (bench.conn_to(2), bench.dialled_by(2));
    bench.hear(first, &bye(1));
    assert!(bench.is_over(first) && !bench.has_left(2) && !bench.is_over(second));
    bench.hear(second, &flush(1));
    bench.hear(second, &bye(1));
    assert!(bench.has_left(2));
    assert!(bench.reports(|it| matches!(it, Report::Left { .. })));
}

/// It has not read this node's go there, so that it says no goodbye over that one.
#[test]
fn a_goodbye_waits_for_no_connection_that_whoever_leaves_does_not_count() {
    let mut bench = Bench::new();
    bench.list(&[address(2)]);
    let [(dialled, _)] = bench.take_dials()[..] else { panic!("it is not dialled once") };
    bench.feed(Input::Connected { conn: dialled, local: None });
    let accepted = bench.dialled_by(2);
    bench.hear(dialled, &welcome(2, vec![address(2)], vec![]));
    bench.hear(accepted, &bye(0));
    bench.feed(Input::Closed { conn: dialled, why: "closed by the other end".into() });
    assert!(bench.has_left(2));
    assert!(!bench.reports(|it| matches!(it, Report::Lost { .. })));
}

#[test]
fn a_goodbye_in_the_name_of_one_that_lives_moves_nothing() {
    let lies = [0, 1, u64::MAX / 2].into_iter();
    for (head, peer) in lies.flat_map(|head| [(head, 2), (head, 8)]) {
        let mut bench = Bench::among(&[peer]);
        bench.hold();
        let conn = bench.conn_to(peer);
        let posing = bench.dialled_by(peer);
        bench.hear(posing, &bye(head));
        bench.told.remove(&posing);
        bench.feed(Input::Closed { conn: posing, why: "ended".into() });
        let seq = bench.announce();
        bench.await_for(seq, SECOND, false);
        assert_eq!(bench.take_outcome(), None, "it is waited for");
        bench.hear(conn, &Frame::Ack { applied: seq });
        assert_eq!(bench.take_outcome().unwrap().applied_by(), [format!("n{peer}")]);
        bench.run(2 * SECOND);
        assert!(bench.is_fresh() && bench.holds() && !bench.has_left(peer));
        bench.hear(conn, &flush(1));
        assert!(!bench.holds(), "its flushes arrive");
    }
}

#[test]
fn who_is_linked_again_has_not_left_whatever_was_said_in_its_name() {
    let mut bench = Bench::among(&[8]);
    let conn = bench.conn_to(8);
    bench.feed(Input::Closed { conn, why: "reset".into() });
    bench.told.remove(&conn);
    let posing = bench.dialled_by(8);
    bench.hear(posing, &bye(0));
    bench.told.remove(&posing);
    bench.feed(Input::Closed { conn: posing, why: "ended".into() });
    assert!(bench.has_left(8));
    let back = bench.dialled_by(8);
    bench.hold();
    bench.hear(back, &flush(1));
    assert!(!bench.holds() && !bench.is_closed(back) && !bench.has_left(8));
}

#[test]
fn nothing_is_taken_from_who_has_left() {
    let mut bench = Bench::among(&[8]);
    let conn = bench.conn_to(8);
    bench.hear(conn, &flush(1));
    bench.hear(conn, &bye(1));
    assert!(bench.has_left(8) && bench.is_over(conn));
    bench.hear(conn, &flush(2));
    assert_eq!(bench.node.lives.applied(life(8)), Seq(1));
}

#[test]
fn who_has_left_is_in_no_question_and_nobody_elses_word_of_it_counts() {
    let mut bench = Bench::among(&[2, 3]);
    bench.hold();
    bench.leave(2, 0);
    bench.asked.clear();
    bench.tell(3, Told { lost: vec![heard(2, 1, 99)], ..Told::default() });
    bench.run(2 * SECOND);
    let asks = |renew: &Renew| renew.lives.contains(&life(2)) || renew.places.contains(&address(2));
    assert!(!bench.asked.iter().any(|(_, renew)| asks(renew)));
    assert!(bench.wants().is_empty() && bench.holds() && bench.is_fresh());
}

#[test]
fn a_restart_counts_though_others_have_left_and_their_machine_is_off() {
    let mut bench = Bench::among(&[2, 3, 4]);
    bench.hold();
    bench.leave(3, 0);
    bench.leave(4, 0);
    bench.there.insert(address(2), There::Node(9, vec![address(2)], vec![]));
    bench.lose(2);
    bench.run(2 * SECOND);
    assert!(bench.is_fresh() && bench.holds());
}

#[test]
fn one_that_comes_back_where_somebody_left_counts_without_distrust() {
    let mut bench = Bench::among(&[2]);
    bench.hold();
    bench.leave(2, 0);
    bench.run(SECOND);
    bench.there.insert(address(2), There::Node(4, vec![address(2)], vec![]));
    bench.dialled_by(9);
    let conn = bench.accept(&hello(4, vec![address(2)]));
    bench.hear(conn, &Frame::Go { resume: Seq::START, is_evidence: false });
    bench.told.insert(conn, Told::default());
    bench.run(2 * SECOND);
    assert!(bench.is_fresh() && bench.holds() && !bench.has_left(4));
}

#[test]
fn one_that_has_left_and_is_listed_no_more_is_forgotten_at_no_cost() {
    let mut bench = Bench::among(&[2, 3]);
    bench.hold();
    bench.leave(2, 0);
    bench.list(&[address(3)]);
    bench.run(20 * SECOND);
    assert!(bench.is_fresh() && bench.holds());
    assert_eq!(bench.node.peers(bench.now).len(), 1);
}

#[test]
fn a_node_that_leaves_sends_the_rest_of_its_log_and_then_goodbye() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.hold();
    bench.announce();
    bench.feed(Input::Leave);
    bench.expect_sent(conn, &[flush(1), bye(1)]);
    assert!(bench.is_over(conn));
    let refused = bench.node.announce("c", vec![Scope::All]);
    assert_eq!(refused, Err(AnnounceError::Left));
    assert!(!bench.holds(), "nobody will tell it of flushes any more");
}

#[test]
fn over_all_but_one_connection_to_a_life_goodbye_names_the_same_head() {
    let mut bench = Bench::among(&[2]);
    let (first, second) = (bench.conn_to(2), bench.dialled_by(2));
    bench.announce();
    bench.feed(Input::Leave);
    let mut said = [bench.take_sent(first), bench.take_sent(second)].concat();
    said.retain(|frame| !matches!(frame, Frame::Renew(_) | Frame::Welcome(_) | Frame::Go { .. }));
    assert_eq!(said.iter().filter(|&it| *it == bye(1)).count(), 2, "{said:?}");
}

#[test]
fn a_node_that_is_halted_says_no_goodbye_and_serves_nothing() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.hold();
    bench.announce();
    bench.feed(Input::Halt);
    bench.expect_sent(conn, &[]);
    assert!(!bench.holds());
    assert_eq!(bench.node.announce("c", vec![Scope::All]), Err(AnnounceError::Left));
}

#[test]
fn a_goodbye_says_nothing_of_another_one_that_was_at_the_place_as_well() {
    let mut bench = Bench::among(&[2, 3]);
    let gone = bench.conn_to(2);
    bench.dialled_at(4, address(2));
    bench.lose(4);
    bench.hear(gone, &Frame::Bye { head: Seq(0) });
    let place = bench.node.roster.at(address(2)).next().unwrap();
    assert!(!bench.node.roster.get(place).unwrap().is_vacant, "it is looked for");
}

/// It says so over each connection: first over the one that leads to its alias, or last.
#[test]
fn one_that_is_listed_twice_has_left_both_places() {
    for is_alias_first in [true, false] {
        let mut bench = Bench::among(&[3]);
        for at in [2, 12] {
            bench.there.insert(address(at), There::node(2));
        }
        bench.list(&[address(2), address(3), address(12)]);
        bench.second_conn(2);
        bench.run(2 * SECOND);
        let is_alias = |&(_, it): &(&ConnId, &Conn)| {
            it.remote == address(12) && it.linked().is_some_and(|it| it.is_evidence)
        };
        let alias = *bench.node.conns.iter().find(is_alias).unwrap().0;
        bench.there.retain(|&at, _| at == address(3));
        let mut conns = bench.node.lives.get(life(2)).unwrap().conns.clone();
        assert_eq!(conns.len(), 2);
        conns.retain(|&conn| conn != alias);
        conns.insert(if is_alias_first { 0 } else { conns.len() }, alias);
        for conn in conns {
            bench.told.remove(&conn);
            bench.hear(conn, &bye(0));
        }
        bench.run(10 * SECOND);
        assert!(bench.is_fresh(), "{is_alias_first}: {:?}", bench.node.cut_off(bench.now));
    }
}
