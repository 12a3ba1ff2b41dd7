//! What is heard of a log: in order, without a gap, applied before it is acknowledged (N1 to N4).

use super::*;

#[test]
fn a_flush_is_acknowledged_only_once_it_is_applied() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.hold();
    bench.applies = false;
    bench.hear(conn, &flush(1));
    bench.expect_sent(conn, &[]);
    let Work::Apply(batch) = bench.node.take_work(conn) else { panic!("nothing to apply") };
    bench.expect_sent(conn, &[]);
    bench.finish(&batch);
    assert!(!bench.holds());
    bench.expect_sent(conn, &[Frame::Ack { applied: Seq(1) }]);
    bench.expect_sent(conn, &[]);
}

#[test]
fn while_flushes_of_a_life_are_applied_nobody_else_is_given_more_of_it() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.applies = false;
    bench.hear(conn, &flush(1));
    let Work::Apply(first) = bench.node.take_work(conn) else { panic!("nothing to apply") };
    bench.hear(conn, &flush(2));
    assert!(matches!(bench.node.take_work(conn), Work::Busy));
    bench.finish(&first);
    bench.expect_sent(conn, &[Frame::Ack { applied: Seq(1) }]);
    let Work::Apply(second) = bench.node.take_work(conn) else { panic!("nothing to apply") };
    assert_eq!(second.upto, Seq(2));
}

#[test]
fn what_is_heard_and_not_applied_proves_nothing() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.applies = false;
    bench.hear(conn, &flush(1));
    bench.told.get_mut(&conn).unwrap().head = 1;
    let before = bench.now;
    bench.run(SECOND);
    assert!(bench.proof() <= before);
    bench.apply();
    assert!(bench.proof() > before);
}

#[test]
fn a_gap_closes_the_connection_and_applies_nothing() {
    for wrong in [3, 9, u64::MAX] {
        let mut bench = Bench::among(&[2]);
        let conn = bench.conn_to(2);
        bench.hear(conn, &flush(1));
        bench.hold();
        bench.hear(conn, &flush(wrong));
        assert!(bench.holds(), "number {wrong}");
        assert!(bench.is_closed(conn), "number {wrong}");
    }
}

#[test]
fn a_number_that_was_heard_already_is_passed_over() {
    for old in [0, 1] {
        let mut bench = Bench::among(&[2]);
        let conn = bench.conn_to(2);
        bench.hear(conn, &flush(1));
        bench.hold();
        bench.hear(conn, &flush(old));
        assert!(bench.holds() && !bench.is_closed(conn), "number {old}");
        bench.hear(conn, &flush(2));
        assert!(!bench.holds());
    }
}

#[test]
fn what_two_connections_bring_is_applied_once_and_in_order() {
    let mut bench = Bench::among(&[2]);
    let first = bench.conn_to(2);
    let second = bench.dialled_by(2);
    bench.hear(first, &flush(1));
    bench.hear(second, &flush(1));
    bench.hear(second, &flush(2));
    bench.hold();
    bench.hear(first, &flush(2));
    assert!(bench.holds());
    assert_eq!(bench.node.peers(bench.now)[0].applied, Seq(2));
}

#[test]
fn a_new_life_begins_at_its_own_first_flush() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.hear(conn, &flush(1));
    bench.hold();
    bench.there.insert(address(2), There::Node(4, vec![address(2)], vec![]));
    bench.lose(2);
    bench.run(SECOND);
    let conn = bench.conn_to(4);
    let go = Frame::Go { resume: Seq::START, is_evidence: false };
    assert!(bench.take_sent(conn).contains(&go));
    assert!(bench.holds(), "nobody is left who could have been told more");
    bench.hear(conn, &flush(1));
    assert!(!bench.holds(), "its first flush is not that of the former life");
}

#[test]
fn the_same_life_is_followed_on_from_where_it_was_left() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    (1..=3).for_each(|seq| bench.hear(conn, &flush(seq)));
    bench.lose(2);
    bench.run(SECOND);
    let conn = bench.conn_to(2);
    let go = Frame::Go { resume: Seq(3), is_evidence: false };
    assert!(bench.take_sent(conn).contains(&go));
}

#[test]
fn a_peer_that_stopped_reading_costs_nothing_and_is_told_by_a_reset() {
    let log = LogLimits { entries: 16, bytes: 1024 };
    let mut bench = Bench::with(Guarantee::Eventual, |config| config.log = log).linked_with(&[2]);
    let conn = bench.conn_to(2);
    bench.announce();
    assert_eq!(bench.take_sent(conn).len(), 1);
    // It reads no more: nobody asks for what there is to send.
    for _ in 0..1000 {
        bench.announce();
    }
    assert!(bench.node.log_bytes() <= log.bytes);
    let held = bench.node.conns.get(&conn).map(|conn| conn.control.len());
    assert_eq!(held, Some(0));
    bench.expect_sent(conn, &[Frame::Reset { head: Seq(1001) }]);
    bench.announce();
    bench.expect_sent(conn, &[flush(1002)]);
}

#[test]
fn a_reset_distrusts_what_is_held_and_goes_on_at_the_head() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.hold();
    bench.hear(conn, &Frame::Reset { head: Seq(90) });
    assert!(!bench.holds());
    assert!(bench.reports(|it| matches!(it, Report::Reset { head: Seq(90), .. })));
    bench.expect_sent(conn, &[Frame::Ack { applied: Seq(90) }]);
    bench.hold();
    bench.hear(conn, &flush(91));
    assert!(!bench.holds());
}

#[test]
fn a_reset_that_another_connection_has_overtaken_moves_nothing() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.hear(conn, &Frame::Reset { head: Seq(90) });
    bench.hear(conn, &flush(91));
    bench.hold();
    bench.hear(conn, &Frame::Reset { head: Seq(50) });
    assert!(bench.holds());
    let books = &bench.node.lives.get(life(2)).unwrap().books;
    assert_eq!((books.own_word(), books.applied()), (Seq(91), Seq(91)));
}

#[test]
fn what_was_being_applied_when_a_reset_came_moves_nothing_back() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.applies = false;
    bench.hear(conn, &flush(1));
    let Work::Apply(batch) = bench.node.take_work(conn) else { panic!("nothing to apply") };
    bench.hear(conn, &flush(2));
    bench.hear(conn, &Frame::Reset { head: Seq(90) });
    bench.finish(&batch);
    bench.apply();
    assert_eq!(bench.node.peers(bench.now)[0].applied, Seq(90));
    bench.applies = true;
    bench.hold();
    bench.hear(conn, &flush(91));
    assert!(!bench.holds());
}

#[test]
fn what_was_being_applied_when_its_life_was_lost_counts_and_is_acknowledged_once_it_is_back() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.applies = false;
    bench.hear(conn, &flush(1));
    let Work::Apply(batch) = bench.node.take_work(conn) else { panic!("nothing to apply") };
    bench.lose(2);
    bench.finish(&batch);
    assert_eq!(bench.node.peers(bench.now)[0].applied, Seq(1));
    bench.run(SECOND);
    let conn = bench.conn_to(2);
    assert!(bench.take_sent(conn).contains(&Frame::Ack { applied: Seq(1) }));
}

#[test]
fn a_number_that_the_log_never_reached_counts_for_nothing() {
    let mut bench = Bench::new();
    let conn = bench.accept(&hello(2, vec![address(2)]));
    bench.take_sent(conn);
    bench.hear(conn, &Frame::Go { resume: Seq(50), is_evidence: false });
    bench.take_sent(conn);
    bench.announce();
    bench.expect_sent(conn, &[flush(1)]);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_ends_the_connection() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.announce();
    bench.hear(conn, &Frame::Ack { applied: Seq(2) });
    assert!(bench.is_closed(conn));
    assert_eq!(bench.node.peers(bench.now)[0].acknowledged, Seq(0));
}

#[test]
fn a_flush_that_does_not_fit_takes_no_number() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    let long = "k".repeat(wire::MAX_FRAME_BYTES);
    assert!(bench.node.announce("c", vec![Scope::Key(&long)]).is_err());
    bench.announce();
    bench.expect_sent(conn, &[flush(1)]);
}

#[test]
fn a_link_that_breaks_and_works_again_is_told_of_with_what_was_replayed() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    (1..=2).for_each(|seq| bench.hear(conn, &flush(seq)));
    bench.told_first.head = 5;
    bench.lose(2);
    bench.run(200 * MS);
    assert!(!bench.reports(|it| matches!(it, Report::Healed { .. })));
    let conn = bench.conn_to(2);
    (3..=5).for_each(|seq| bench.hear(conn, &flush(seq)));
    bench.run(SECOND);
    let is_healed = |it: &Report| matches!(it, Report::Healed { replayed: 3, reset: false, .. });
    assert!(bench.reports(is_healed));
}

#[test]
fn a_number_that_no_log_has_ends_the_connection_and_moves_nothing() {
    let beyond = Seq(u64::MAX / 2 + 1);
    let of = Position { life: life(9), seq: beyond };
    for frame in [
        Frame::Reset { head: beyond },
        Frame::Bye { head: Seq(u64::MAX) },
        Frame::Over { seq: Seq(1), of, quiet_ms: 0 },
        flush_of(1, Some(of)),
    ] {
        let mut bench = Bench::among(&[2]);
        let conn = bench.conn_to(2);
        bench.hold();
        bench.hear(conn, &frame);
        assert!(bench.is_closed(conn) && bench.holds(), "{frame:?}");
    }
}

#[test]
fn no_flush_and_no_over_comes_behind_the_largest_number_of_a_log() {
    let (last, beyond) = (Seq(u64::MAX / 2), Seq(u64::MAX / 2 + 1));
    for frame in [flush(beyond.0), Frame::Over { seq: beyond, of: at(9, 0), quiet_ms: 0 }] {
        let mut bench = Bench::among(&[2]);
        let conn = bench.conn_to(2);
        bench.hear(conn, &Frame::Reset { head: last });
        bench.hold();
        bench.hear(conn, &frame);
        assert!(bench.is_closed(conn) && bench.holds(), "{frame:?}");
        assert_eq!(bench.node.peers(bench.now)[0].applied, last);
    }
}

#[test]
fn what_a_grant_says_of_a_number_that_no_log_has_is_passed_over() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.hold();
    bench.tell(2, Told { lost: vec![heard(9, 1, u64::MAX / 2 + 1)], ..Told::default() });
    bench.run(2 * SECOND);
    assert!(bench.is_fresh() && bench.holds());
    assert!(bench.wants().is_empty() && !bench.is_closed(conn));
}
