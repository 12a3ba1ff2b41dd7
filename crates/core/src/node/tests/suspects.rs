//! Whoever acknowledges nothing holds one flush up, and not all that come behind it.

use super::*;

const WAIT: Duration = Duration::from_secs(5);

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
