//! What is kept of others is bounded, and a limit that is reached is never silent.

use super::*;

#[test]
fn listed_places_that_are_left_out_are_told_and_the_node_is_not_in_sync() {
    let mut bench = Bench::with(Guarantee::Eventual, |config| config.limits.peers = 2);
    for number in [2, 3, 4] {
        bench.there.insert(address(number), There::node(number));
    }
    bench.list(&[address(2), address(3), address(4)]);
    bench.run(2 * SECOND);
    assert!(bench.reports(|it| matches!(it, Report::RosterFull { left_out: 1, room: 2 })));
    assert!(!bench.node.in_sync(bench.now));
    bench.list(&[address(2), address(3)]);
    bench.run(2 * SECOND);
    assert!(bench.node.in_sync(bench.now) && bench.is_fresh());
}

#[test]
fn what_there_was_no_room_for_is_listed_once_there_is() {
    let mut bench = Bench::with(Guarantee::Eventual, |config| config.limits.peers = 2);
    for number in [2, 3, 4] {
        bench.there.insert(address(number), There::node(number));
    }
    let mut list = |source: &str, numbers: &[u16]| {
        let listed = numbers.iter().map(|&number| Listed::from(address(number))).collect();
        bench.feed(Input::Members { source: source.into(), listed, complete: true });
        bench.run(2 * SECOND);
        (bench.node.in_sync(bench.now), bench.reports(|it| matches!(it, Report::RosterFull { .. })))
    };
    assert_eq!(list("list", &[2, 3]), (true, false));
    assert_eq!(list("another", &[4]), (false, true));
    assert_eq!(list("list", &[3]), (true, false), "the other one need not tell it again");
    bench.conn_to(4);
}

#[test]
fn a_place_that_is_none_is_told_and_left_out_of_the_list() {
    let mut bench = Bench::new();
    bench.feed(Input::Tick);
    bench.list(&["0.0.0.0:7400".parse().unwrap(), "10.0.0.2:0".parse().unwrap()]);
    let told = bench.take_reports();
    assert!(matches!(told[..], [Report::NoPlace { .. }, Report::NoPlace { .. }]), "{told:?}");
    bench.run(10 * SECOND);
    assert!(bench.take_dials().is_empty());
}

/// A node that has room for three lives that are not linked, and has lost as many, that are listed
/// nowhere, and whose machines went off.
fn with_strangers_lost() -> Bench {
    let mut bench =
        Bench::with(Guarantee::Eventual, |config| config.limits.lives_over = 3).linked_with(&[2]);
    bench.hold();
    for number in [11, 12, 13] {
        bench.dialled_by(number);
        bench.run(SECOND);
        bench.lose(number);
    }
    bench.run(SECOND);
    assert!(bench.holds());
    bench
}

#[test]
fn who_comes_and_goes_unlisted_finds_no_room_before_a_copy_is_distrusted_for_it() {
    let mut bench = with_strangers_lost();
    for number in 14..100 {
        let conn = bench.accept(&hello(number, vec![]));
        assert!(bench.take_sent(conn).contains(&Frame::Reject(wire::Reject::Full)));
        bench.feed(Input::Closed { conn, why: "ended".into() });
    }
    bench.run(SECOND);
    assert!(bench.holds() && bench.node.lives_known() == 4);
    let back = bench.dialled_by(11);
    assert!(!bench.is_over(back), "one of those that were lost");
    let listed = bench.accept(&hello(4, vec![address(2)]));
    assert!(matches!(bench.take_sent(listed)[..], [Frame::Welcome(_)]), "one that is listed");
    bench.run(130 * SECOND);
    let conn = bench.accept(&hello(14, vec![]));
    assert!(matches!(bench.take_sent(conn)[..], [Frame::Welcome(_)]), "once some are settled");
}

#[test]
fn beyond_the_limit_lives_that_are_not_settled_are_given_up_with_all_copies() {
    let mut bench = with_strangers_lost();
    bench.node.config.limits.lives_over = 2;
    bench.run(SECOND);
    assert!(!bench.holds());
    assert!(bench.reports(|it| matches!(it, Report::Missed { .. })));
    assert!(bench.node.lives_known() <= 5);
}

#[test]
fn beyond_the_limit_lives_that_are_settled_cost_nothing() {
    let mut bench =
        Bench::with(Guarantee::Eventual, |config| config.limits.lives_over = 3).linked_with(&[2]);
    bench.hold();
    for number in 11..40 {
        bench.there.insert(address(number), There::Refuses);
        bench.dialled_by(number);
        bench.run(SECOND);
        bench.lose(number);
        bench.run(SECOND);
    }
    assert!(bench.holds() && bench.is_fresh());
    assert!(bench.node.lives_known() <= 5);
}

/// A node with room for four lives that are not linked, one of which is not done with.
fn with_one_that_is_not_done(left: impl FnOnce(&mut Bench)) -> Bench {
    let mut bench = Bench::with(Guarantee::Eventual, |config| config.limits.lives_over = 4)
        .linked_with(&[2, 3]);
    bench.hold();
    left(&mut bench);
    bench.run(SECOND);
    bench
}

impl Bench {
    /// So many lives come and are found dead.
    fn pass(&mut self, numbers: std::ops::Range<u16>) {
        for number in numbers {
            self.there.insert(address(number), There::Refuses);
            self.dialled_by(number);
            self.run(SECOND);
            self.lose(number);
            self.run(SECOND);
        }
    }
}

#[test]
fn beyond_the_limit_what_waits_to_be_applied_is_forgotten_last_and_with_all_copies() {
    let mut bench = with_one_that_is_not_done(|bench| {
        bench.applies = false;
        bench.there.insert(address(10), There::Refuses);
        let conn = bench.dialled_by(10);
        // Of its own, and of one that it tells of.
        bench.hear(conn, &flush_of(1, Some(at(9, 1))));
        bench.lose(10);
    });
    bench.pass(11..20);
    assert!(bench.node.lives.get(life(10)).is_some(), "others were forgotten");
    let busy = bench.node.lives.get(life(9)).map(crate::peers::Life::is_busy);
    assert_eq!(busy, Some(true));
    assert!(bench.holds());
    bench.node.config.limits.lives_over = 0;
    bench.run(SECOND);
    assert!(!bench.holds() && bench.reports(|it| matches!(it, Report::Missed { .. })));
    assert_eq!(bench.node.lives_known(), 2);
}

#[test]
fn beyond_the_limit_what_is_wanted_costs_the_copies() {
    let mut bench = with_one_that_is_not_done(|bench| {
        bench.tell(2, Told { lost: vec![heard(10, 1, 2)], ..Told::default() });
        let conn = bench.conn_to(3);
        bench.hear(conn, &flush_of(1, Some(at(10, 1))));
        bench.run(SECOND);
    });
    assert!(bench.node.recovery.is_wanted(life(10)) && bench.node.lives.get(life(10)).is_some());
    bench.pass(11..13);
    assert!(bench.node.recovery.is_wanted(life(10)));
    bench.hold();
    bench.node.config.limits.lives_over = 0;
    bench.run(SECOND);
    assert!(!bench.holds() && bench.reports(|it| matches!(it, Report::Missed { .. })));
}

#[test]
fn one_that_is_listed_nowhere_and_broke_the_protocol_is_waited_for_by_nobody() {
    let mut bench = Bench::among(&[2]);
    bench.hold();
    let conn = bench.dialled_by(11);
    bench.run(SECOND);
    bench.told.remove(&conn);
    bench.hear(conn, &Frame::Ack { applied: Seq(9) });
    assert!(bench.is_closed(conn));
    bench.run(SECOND);
    assert!(bench.is_fresh() && bench.holds());
    let seq = bench.announce();
    bench.await_for(seq, SECOND, false);
    let two = bench.conn_to(2);
    bench.hear(two, &Frame::Ack { applied: seq });
    assert_eq!(bench.take_outcome().unwrap().applied_by(), ["n2"]);
    bench.run(10 * SECOND);
    assert_eq!(bench.node.lives_known(), 1);
}

#[test]
fn one_that_is_listed_nowhere_and_gone_is_waited_for_no_longer_than_its_patience() {
    let mut bench = Bench::among(&[2]);
    bench.hold();
    bench.dialled_by(11);
    bench.run(SECOND);
    bench.lose(11);
    bench.run(30 * SECOND);
    assert!(!bench.node.in_sync(bench.now));
    bench.run(40 * SECOND);
    assert!(bench.is_fresh() && bench.holds());
    bench.run(10 * SECOND);
    assert_eq!(bench.node.lives_known(), 1);
    assert_eq!(bench.node.peers(bench.now).len(), 1);
}

/// It goes on sending, so that its connection is not taken for a dead one.
#[test]
fn one_that_is_listed_nowhere_and_answers_nothing_is_followed_no_longer_than_its_patience() {
    let mut bench = Bench::among(&[2]);
    bench.hold();
    let conn = bench.dialled_by(11);
    bench.mute(11);
    for number in 1..=24 {
        bench.run(3 * SECOND);
        bench.hear(conn, &flush_of(number, None));
        if number == 10 {
            assert!(!bench.node.in_sync(bench.now) && !bench.is_closed(conn));
        }
    }
    assert!(bench.is_closed(conn) && bench.is_fresh());
    let told = bench.take_reports();
    let is_named =
        |it: &Report| matches!(it, Report::Offence { why, .. } if why.contains("answered nothing"));
    assert!(told.iter().any(is_named), "{told:?}");
}

/// What was applied up to then is all that it has said: everybody else is asked, and no copy is lost.
#[test]
fn that_costs_no_copies_neither_the_first_time_nor_when_it_does_so_again() {
    let mut bench = Bench::among(&[2]);
    let mut said = 0;
    for time in 1..=2 {
        let conn = bench.dialled_by(11);
        bench.mute(11);
        loop {
            if !bench.holds() {
                bench.hold();
            }
            bench.run(3 * SECOND);
            assert!(bench.holds(), "time {time}");
            if bench.is_closed(conn) {
                break;
            }
            said += 1;
            bench.hear(conn, &flush_of(said, None));
        }
        assert!((15 * time..25 * time).contains(&said), "{said} at time {time}");
        bench.run(SECOND);
    }
}

#[test]
fn one_that_could_not_be_heard_is_not_taken_for_one_that_answers_nothing() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.dialled_by(11);
    // The process was stopped; what was answered waits in the socket.
    bench.now = bench.now + 100 * SECOND;
    bench.feed(Input::Tick);
    bench.run(SECOND);
    assert!(!bench.is_closed(conn));
    // Its flushes take long, and nothing is read from it meanwhile.
    bench.applies = false;
    bench.hear(conn, &flush(1));
    let Work::Apply(batch) = bench.node.take_work(conn) else { panic!() };
    bench.mute(11);
    bench.run(100 * SECOND);
    assert!(!bench.is_closed(conn));
    bench.finish(&batch);
    bench.told.insert(conn, Told::default());
    bench.run(100 * SECOND);
    assert!(!bench.is_closed(conn) && bench.is_fresh());
}

#[test]
fn what_waits_behind_a_flush_that_took_long_has_its_time_to_be_read() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.dialled_by(11);
    bench.applies = false;
    bench.hear(conn, &flush(1));
    let Work::Apply(batch) = bench.node.take_work(conn) else { panic!() };
    bench.mute(11);
    bench.run(100 * SECOND);
    bench.finish(&batch);
    bench.run(SECOND);
    assert!(!bench.is_closed(conn), "nothing was read from it until now");
    bench.run(61 * SECOND);
    assert!(bench.is_closed(conn));
}

/// It goes on telling, and never as far as it has named.
#[test]
fn one_that_is_listed_nowhere_and_never_tells_what_it_names_is_followed_no_longer_than_its_patience()
 {
    let mut bench = Bench::among(&[2]);
    bench.hold();
    let conn = bench.dialled_by(11);
    for number in 1..=24 {
        bench.tell(11, Told { head: number + 1, ..Told::default() });
        bench.run(3 * SECOND);
        if number < 12 {
            // It is late, and tells what it has named before.
            bench.hear(conn, &flush_of(number, None));
            bench.hear(conn, &flush_of(number + 1, None));
        }
        assert!(!bench.is_closed(conn));
    }
    bench.run(30 * SECOND);
    assert!(bench.is_closed(conn) && bench.is_fresh());
    let told = bench.take_reports();
    let is_named =
        |it: &Report| matches!(it, Report::Offence { why, .. } if why.contains("has not told"));
    assert!(told.iter().any(is_named), "{told:?}");
}

#[test]
fn one_that_was_put_out_and_is_back_costs_no_copy_when_it_goes_again() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.dialled_by(11);
    bench.mute(11);
    for number in 1..=21 {
        bench.run(3 * SECOND);
        bench.hear(conn, &flush(number));
    }
    assert!(bench.is_closed(conn));
    bench.dialled_by(11);
    bench.run(SECOND);
    bench.hold();
    // As a machine does that goes off.
    bench.mute(11);
    bench.run(3 * SECOND);
    bench.lose(11);
    bench.run(70 * SECOND);
    assert!(bench.is_fresh() && bench.holds(), "{:?}", bench.take_reports());
}

#[test]
fn one_that_is_listed_and_answers_nothing_is_followed_for_as_long_as_it_is_listed() {
    let mut bench = Bench::among(&[2, 3]);
    bench.mute(2);
    let conn = bench.conn_to(2);
    for number in 1..=24 {
        bench.run(3 * SECOND);
        bench.hear(conn, &flush_of(number, None));
    }
    assert!(!bench.is_closed(conn) && !bench.node.in_sync(bench.now));
    bench.hold();
    bench.there.remove(&address(2));
    bench.lose(2);
    bench.run(200 * SECOND);
    assert_eq!(bench.node.lives_known(), 2);
    let missed = bench.reports(|it| matches!(it, Report::Missed { .. }));
    assert!(!missed && !bench.node.in_sync(bench.now), "it was given up");
}

#[test]
fn more_connections_than_there_is_room_for_are_closed_at_once() {
    let mut bench = Bench::new();
    for _ in 0..wire::MAX_CONNECTIONS {
        let conn = bench.node.next_conn();
        bench.node.handle(bench.now, Input::Accepted { conn, from: address(3) });
    }
    let conn = bench.node.next_conn();
    bench.feed(Input::Accepted { conn, from: address(3) });
    assert!(bench.is_closed(conn));
}

#[test]
fn a_question_or_answer_that_names_too_many_ends_the_connection() {
    let many = wire::MAX_NAMED + 1;
    let question = Renew { lives: vec![life(9); many], ..renew(1) };
    let answer = Grant { nonce: 1, head: Seq(0), lost: vec![heard(9, 1, 1); many], linked: vec![] };
    for frame in [Frame::Renew(question), Frame::Grant(answer)] {
        let mut bench = Bench::among(&[2]);
        let conn = bench.conn_to(2);
        bench.hear(conn, &frame);
        assert!(bench.is_closed(conn));
    }
}

#[test]
fn renewals_leave_one_trace_of_an_idle_connection() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    for nonce in 0..100 {
        bench.hear(conn, &Frame::Renew(renew(nonce)));
        bench.take_sent(conn);
    }
    assert_eq!(bench.node.idle.len(), 1);
    bench.lose(2);
    assert!(bench.node.idle.is_empty());
}

#[test]
fn peers_that_come_and_go_for_ever_leave_nothing_behind() {
    let mut bench = Bench::among(&[2]);
    for number in 100..400 {
        bench.there.insert(address(number), There::Refuses);
        let conn = bench.dialled_by(number);
        bench.hear(conn, &flush(1));
        bench.run(100 * MS);
        bench.lose(number);
        bench.run(100 * MS);
    }
    bench.run(20 * SECOND);
    assert!(bench.is_fresh());
    assert_eq!((bench.node.lives_known(), bench.node.roster.len()), (1, 1));
    assert_eq!(bench.node.conns.len(), 1);
}

/// As one does whose other connection is kept as evidence.
#[test]
fn one_that_could_not_be_heard_is_followed_whatever_another_connection_of_it_brings() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.dialled_by(11);
    let other = bench.second_conn(11);
    bench.applies = false;
    bench.hear(conn, &flush(1));
    let Work::Apply(_) = bench.node.take_work(conn) else { panic!() };
    bench.told.remove(&conn);
    for nonce in 1..=200 {
        bench.run(500 * MS);
        bench.hear(other, &Frame::Renew(renew(nonce)));
    }
    assert!(!bench.is_closed(conn) && !bench.is_closed(other));
}

/// It makes its oldest answer good in time, and none of the others.
#[test]
fn one_that_is_listed_nowhere_and_tells_a_little_of_what_it_names_is_followed_no_longer() {
    let mut bench = Bench::among(&[2]);
    bench.run(SECOND);
    let conn = bench.dialled_by(11);
    let mut in_sync = 0;
    for number in 1..=10 {
        bench.tell(11, Told { head: number, ..Told::default() });
        bench.run(SECOND);
        bench.tell(11, Told { head: 1_000_000, ..Told::default() });
        for _ in 0..54 {
            bench.run(SECOND);
            in_sync += u32::from(bench.node.in_sync(bench.now) && bench.is_fresh());
        }
        if bench.is_closed(conn) {
            return;
        }
        bench.hear(conn, &flush(number));
    }
    panic!("it is followed for ten minutes; {in_sync} s of them in step");
}
