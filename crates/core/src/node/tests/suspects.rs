//! Whoever acknowledges nothing holds one flush up, and not all that come behind it.

use super::*;

const WAIT: Duration = Duration::from_secs(5);

impl Bench {
    /// A life that is linked makes one more connection, as evidence of who is at some place.
    pub(super) fn second_conn(&mut self, number: u16) -> ConnId {
        let conn = self.accept(&hello(number, vec![address(number)]));
        self.hear(conn, &Frame::Go { resume: Seq::START, is_evidence: true });
        conn
    }
}

/// Announces, and has all of these acknowledge; what that came to at once, if it did.
fn flush_acked_by(bench: &mut Bench, acking: &[u16], strict: bool) -> Option<Outcome> {
    let seq = bench.announce();
    bench.await_for(seq, WAIT, strict);
    for &number in acking {
        let conn = bench.conn_to(number);
        bench.hear(conn, &Frame::Ack { applied: seq });
    }
    bench.take_outcome()
}

fn reasons(outcome: &Outcome) -> Vec<&Reason> {
    outcome.unconfirmed.iter().map(|it| &it.reason).collect()
}

/// A node that has waited for 2 in vain, while 3 acknowledged.
fn waited_in_vain() -> Bench {
    let mut bench = Bench::among(&[2, 3]);
    assert_eq!(flush_acked_by(&mut bench, &[3], false), None);
    bench.run(WAIT);
    let outcome = bench.take_outcome().unwrap();
    assert_eq!((reasons(&outcome), outcome.applied_by()), (vec![&Reason::Silent], vec!["n3"]));
    bench
}

#[test]
fn who_was_waited_for_in_vain_is_named_at_once_by_every_later_flush() {
    let mut bench = waited_in_vain();
    bench.run(SECOND);
    for _ in 0..3 {
        let outcome = flush_acked_by(&mut bench, &[3], false).expect("it waits again");
        assert_eq!(outcome.applied_by(), ["n3"]);
        assert!(matches!(reasons(&outcome)[..], [Reason::Suspected { since }] if *since >= WAIT));
    }
}

#[test]
fn what_waits_beside_the_first_one_does_not_wait_for_its_own_time() {
    let mut bench = Bench::among(&[2]);
    let first = bench.announce();
    bench.await_for(first, WAIT, false);
    bench.run(4 * SECOND);
    assert_eq!(flush_acked_by(&mut bench, &[], false), None);
    bench.run(SECOND);
    let settled = |it: &&Output| matches!(it, Output::Settled { .. });
    assert_eq!(bench.outputs.iter().filter(settled).count(), 2);
}

#[test]
fn who_acknowledges_what_it_had_missed_is_waited_for_again() {
    let mut bench = waited_in_vain();
    let (missed, conn) = (bench.node.head(), bench.conn_to(2));
    assert!(flush_acked_by(&mut bench, &[3], false).is_some());
    bench.hear(conn, &Frame::Ack { applied: missed });
    assert_eq!(flush_acked_by(&mut bench, &[3], false), None);
    let head = bench.node.head();
    bench.hear(conn, &Frame::Ack { applied: head });
    assert_eq!(bench.take_outcome().unwrap().applied_by(), ["n2", "n3"]);
}

#[test]
fn a_link_that_breaks_behind_the_wait_makes_no_second_one() {
    let mut bench = waited_in_vain();
    bench.there.remove(&address(2));
    bench.lose(2);
    bench.run(SECOND);
    let outcome = flush_acked_by(&mut bench, &[3], false).expect("it waits for the place");
    assert_eq!(outcome.unconfirmed[0].node, "n2");
    // Its next life is no suspect.
    bench.dialled_at(12, address(2));
    bench.run(SECOND);
    assert_eq!(flush_acked_by(&mut bench, &[3], false), None);
}

#[test]
fn a_listed_place_where_nobody_is_met_is_waited_for_once() {
    let mut bench = Bench::among(&[2]);
    bench.list(&[address(2), address(9)]);
    assert_eq!(flush_acked_by(&mut bench, &[2], false), None);
    bench.run(WAIT);
    assert_eq!(reasons(&bench.take_outcome().unwrap()), [&Reason::Connecting]);
    assert!(flush_acked_by(&mut bench, &[2], false).is_some());
}

#[test]
fn a_wait_that_was_short_makes_nobody_suspect() {
    let mut bench = Bench::among(&[2]);
    let seq = bench.announce();
    bench.await_for(seq, 10 * MS, false);
    bench.run(20 * MS);
    assert_eq!(reasons(&bench.take_outcome().unwrap()), [&Reason::Silent]);
    assert_eq!(flush_acked_by(&mut bench, &[], false), None);
}

#[test]
fn nobody_is_suspected_for_what_a_node_that_was_stopped_has_not_heard() {
    let mut bench = Bench::among(&[2]);
    assert_eq!(flush_acked_by(&mut bench, &[], false), None);
    bench.now = bench.now + 60 * SECOND;
    bench.feed(Input::Tick);
    assert_eq!(reasons(&bench.take_outcome().unwrap()), [&Reason::Silent]);
    assert_eq!(flush_acked_by(&mut bench, &[], false), None);
}

#[test]
fn nobody_is_suspected_for_what_waits_behind_a_pause() {
    let mut bench = Bench::among(&[2]);
    assert_eq!(flush_acked_by(&mut bench, &[], false), None);
    // Its time is nearly over when the process goes on.
    bench.now = bench.now + (WAIT - 20 * MS);
    bench.feed(Input::Tick);
    bench.run(30 * MS);
    assert_eq!(reasons(&bench.take_outcome().unwrap()), [&Reason::Silent]);
    assert_eq!(flush_acked_by(&mut bench, &[], false), None);
}

#[test]
fn nobody_is_suspected_while_its_own_flushes_keep_it_from_being_read() {
    let mut bench = Bench::among(&[2]);
    bench.applies = false;
    let conn = bench.conn_to(2);
    bench.mute(2);
    bench.hear(conn, &flush(1));
    let Work::Apply(batch) = bench.node.take_work(conn) else { panic!() };
    assert_eq!(flush_acked_by(&mut bench, &[], false), None);
    bench.run(WAIT);
    assert_eq!(reasons(&bench.take_outcome().unwrap()), [&Reason::Silent]);
    assert_eq!(flush_acked_by(&mut bench, &[], false), None, "it may have acknowledged long ago");
    bench.run(WAIT - 20 * MS);
    bench.finish(&batch);
    bench.run(20 * MS);
    assert_eq!(reasons(&bench.take_outcome().unwrap()), [&Reason::Silent]);
    assert_eq!(flush_acked_by(&mut bench, &[], false), None, "nothing was read from it until now");
}

/// As one does that floods this node.
#[test]
fn one_that_always_has_something_to_be_applied_is_suspected_all_the_same() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    assert_eq!(flush_acked_by(&mut bench, &[], false), None);
    for number in 1..=10 {
        bench.run(WAIT / 10 - MS);
        bench.applies = false;
        bench.hear(conn, &flush(number));
        let Work::Apply(batch) = bench.node.take_work(conn) else { panic!() };
        bench.run(MS);
        bench.finish(&batch);
    }
    assert_eq!(reasons(&bench.take_outcome().unwrap()), [&Reason::Silent]);
    assert!(flush_acked_by(&mut bench, &[], false).is_some());
}

#[test]
fn a_place_that_has_moved_is_waited_for_anew() {
    let mut bench = Bench::among(&[3]);
    let at = |number: u16| Listed { name: "two".into(), addresses: vec![address(number)] };
    bench.list_named(&[address(3).into(), at(2)]);
    assert_eq!(flush_acked_by(&mut bench, &[3], false), None);
    bench.run(WAIT);
    assert_eq!(reasons(&bench.take_outcome().unwrap()), [&Reason::Connecting]);
    let outcome = flush_acked_by(&mut bench, &[3], false).expect("it waits again");
    assert!(matches!(reasons(&outcome)[..], [Reason::Suspected { .. }]), "{outcome}");
    bench.list_named(&[address(3).into(), at(12)]);
    assert_eq!(flush_acked_by(&mut bench, &[3], false), None);
}

#[test]
fn a_strict_flush_waits_once_for_a_place_where_two_are() {
    let mut bench = Bench::strict_among(&[2, 3], None);
    bench.dialled_at(9, address(3));
    for is_first in [true, false] {
        let outcome = match flush_acked_by(&mut bench, &[2, 3, 9], true) {
            None => {
                bench.run(WAIT);
                assert!(is_first, "it waits again");
                bench.take_outcome().unwrap()
            }
            Some(outcome) => outcome,
        };
        assert_eq!(reasons(&outcome), [&Reason::Conflict]);
    }
    // One of them goes, and comes again.
    bench.lose(9);
    bench.run(SECOND);
    bench.dialled_at(9, address(3));
    assert_eq!(flush_acked_by(&mut bench, &[2, 3, 9], true), None);
}

#[test]
fn a_strict_flush_waits_once_for_one_that_no_list_has_and_a_lease_for_one_that_is_listed() {
    let mut bench = Bench::strict_among(&[2], None);
    bench.dialled_by(9);
    assert_eq!(flush_acked_by(&mut bench, &[2], true), None);
    bench.run(WAIT);
    assert_eq!(reasons(&bench.take_outcome().unwrap()), [&Reason::Silent]);
    let outcome = flush_acked_by(&mut bench, &[2], true).expect("it waits again");
    assert!(matches!(reasons(&outcome)[..], [Reason::Suspected { .. }]), "{outcome}");
    // Who is listed may serve for as long as its lease lasts: that has to be waited for each time.
    for _ in 0..2 {
        let conn = bench.conn_to(2);
        bench.hear(conn, &Frame::Renew(renew(1)));
        assert_eq!(flush_acked_by(&mut bench, &[], true), None);
        bench.run(Guarantee::strict_wait());
        assert_eq!(bench.take_outcome().unwrap().fenced, ["n2"]);
    }
}

/// Over one connection it answers, and its flushes and acknowledgements come over the other.
#[test]
fn one_is_not_heard_over_the_connection_whose_flushes_are_applied_whatever_another_one_brings() {
    let mut bench = Bench::among(&[2]);
    let (conn, other) = (bench.conn_to(2), bench.second_conn(2));
    bench.applies = false;
    bench.hear(conn, &flush(1));
    let Work::Apply(_) = bench.node.take_work(conn) else { panic!() };
    assert_eq!(flush_acked_by(&mut bench, &[], false), None);
    for nonce in 1..=10 {
        bench.run(WAIT / 10);
        bench.hear(other, &Frame::Renew(renew(nonce)));
    }
    assert_eq!(reasons(&bench.take_outcome().unwrap()), [&Reason::Silent]);
    assert_eq!(flush_acked_by(&mut bench, &[], false), None, "its word waits in the first one");
}

#[test]
fn a_place_that_was_listed_a_moment_ago_was_not_waited_for_to_the_end() {
    let mut bench = Bench::among(&[2]);
    assert_eq!(flush_acked_by(&mut bench, &[], false), None);
    bench.run(WAIT - 10 * MS);
    bench.list(&[address(2), address(9)]);
    bench.run(10 * MS);
    bench.take_outcome().unwrap();
    assert_eq!(flush_acked_by(&mut bench, &[2], false), None, "nobody had time to look there");
}

#[test]
fn a_place_that_moves_while_it_is_waited_for_is_waited_for_anew() {
    let mut bench = Bench::among(&[3]);
    let at = |number: u16| Listed { name: "two".into(), addresses: vec![address(number)] };
    bench.list_named(&[address(3).into(), at(2)]);
    assert_eq!(flush_acked_by(&mut bench, &[3], false), None);
    bench.run(WAIT - 10 * MS);
    bench.list_named(&[address(3).into(), at(12)]);
    bench.run(10 * MS);
    bench.take_outcome().unwrap();
    assert_eq!(flush_acked_by(&mut bench, &[3], false), None);
}

#[test]
fn a_conflict_that_began_a_moment_ago_was_not_waited_for_to_the_end() {
    let mut bench = Bench::strict_among(&[2, 3], None);
    bench.dialled_by(9);
    assert_eq!(flush_acked_by(&mut bench, &[2, 3], true), None);
    bench.run(WAIT - 10 * MS);
    bench.dialled_at(8, address(3));
    bench.run(10 * MS);
    bench.take_outcome().unwrap();
    assert_eq!(flush_acked_by(&mut bench, &[2, 3, 8], true), None, "one of the two may go soon");
}

#[test]
fn a_place_that_moves_with_a_conflict_is_waited_for_anew() {
    let mut bench = Bench::among(&[2]);
    let at = |number: u16| Listed { name: "two".into(), addresses: vec![address(number)] };
    bench.list_named(&[address(2).into(), at(3)]);
    bench.dialled_at(3, address(3));
    bench.dialled_at(9, address(3));
    assert_eq!(flush_acked_by(&mut bench, &[2, 3, 9], true), None);
    bench.run(WAIT);
    assert!(bench.take_outcome().is_some());
    bench.dialled_at(13, address(13));
    bench.dialled_at(19, address(13));
    bench.list_named(&[address(2).into(), at(13)]);
    assert_eq!(flush_acked_by(&mut bench, &[2, 3, 9, 13, 19], true), None);
}

/// As discovery tells the same addresses in another order.
#[test]
fn who_is_linked_and_suspected_stays_so_whatever_is_listed() {
    let mut bench = Bench::among(&[3]);
    let at = |all: [u16; 2]| Listed { name: "two".into(), addresses: all.map(address).to_vec() };
    bench.there.insert(address(2), There::node(2));
    bench.list_named(&[address(3).into(), at([2, 12])]);
    bench.run(SECOND);
    assert_eq!(flush_acked_by(&mut bench, &[3], false), None);
    bench.run(WAIT);
    bench.take_outcome().unwrap();
    bench.list_named(&[address(3).into(), at([12, 2])]);
    assert!(flush_acked_by(&mut bench, &[3], false).is_some(), "it is the same life");
}

/// The old one is on its way out; nothing is known of the new one.
#[test]
fn who_was_at_the_addresses_that_a_place_had_says_nothing_of_those_that_it_has() {
    let mut bench = Bench::among(&[3]);
    let at = |number: u16| Listed { name: "two".into(), addresses: vec![address(number)] };
    bench.there.insert(address(2), There::node(2));
    bench.list_named(&[address(3).into(), at(2)]);
    bench.run(SECOND);
    bench.list_named(&[address(3).into(), at(12)]);
    let mut outcome = flush_acked_by(&mut bench, &[2, 3], false);
    if outcome.is_none() {
        bench.run(WAIT);
        outcome = bench.take_outcome();
    }
    let outcome = outcome.unwrap();
    assert!(!outcome.is_complete(), "who is at its new address was never reached: {outcome:?}");
}

/// It is linked from elsewhere, and its former place is silent.
#[test]
fn a_place_that_its_life_has_left_behind_holds_up_one_flush() {
    let mut bench = Bench::among(&[2, 3]);
    bench.there.remove(&address(2));
    bench.lose(2);
    bench.dialled_at(2, address(22));
    for is_first in [true, false, false] {
        let outcome = match flush_acked_by(&mut bench, &[2, 3], false) {
            Some(outcome) => outcome,
            None => {
                assert!(is_first, "it waits again");
                bench.run(WAIT);
                bench.take_outcome().unwrap()
            }
        };
        assert_eq!(outcome.applied_by(), ["n2", "n3"]);
        assert!(!outcome.is_complete(), "somebody else may be there now: {outcome}");
        // A dial of the place comes to nothing.
        let is_dial = |(_, it): &(&ConnId, &Conn)| it.linked().is_none();
        let dials = bench.node.conns.iter().filter(is_dial).map(|(&conn, _)| conn);
        for conn in dials.collect::<Vec<_>>() {
            let why = Reason::Unreachable("timed out".into());
            bench.feed(Input::DialFailed { conn, why });
        }
        bench.run(2 * SECOND);
    }
    assert_eq!(bench.node.suspects.since(Subject::Life(life(2))), None);
}

/// The second connection brings a flush, and is not read either until the first one's is applied.
#[test]
fn one_is_not_heard_while_a_flush_is_applied_though_its_next_one_came_a_moment_ago() {
    let mut bench = Bench::among(&[2]);
    let (conn, other) = (bench.conn_to(2), bench.second_conn(2));
    bench.applies = false;
    bench.mute(2);
    bench.hear(conn, &flush(1));
    let Work::Apply(batch) = bench.node.take_work(conn) else { panic!() };
    assert_eq!(flush_acked_by(&mut bench, &[], false), None);
    bench.run(WAIT - 500 * MS);
    bench.hear(other, &flush(2));
    assert!(matches!(bench.node.take_work(other), Work::Busy));
    bench.run(500 * MS);
    assert_eq!(reasons(&bench.take_outcome().unwrap()), [&Reason::Silent]);
    assert_eq!(flush_acked_by(&mut bench, &[], false), None, "its word may wait in the first one");
    bench.finish(&batch);
}
