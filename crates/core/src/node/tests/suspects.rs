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
