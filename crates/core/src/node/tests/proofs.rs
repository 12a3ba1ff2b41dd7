//! Up to when a node is proven to be in step with all others (N7), and what it says of that.

use super::*;

#[test]
fn an_answer_proves_the_time_of_its_question() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.mute(2);
    bench.run(SECOND);
    let asked = bench.take_question(conn);
    let before = bench.proof();
    bench.now = bench.now + 300 * MS;
    bench.told.insert(conn, Told::default());
    bench.grant(conn, asked.clone());
    assert!(bench.proof() > before);
    assert_eq!(bench.proof().as_nanos(), asked.nonce);
}

#[test]
fn an_answer_counts_once_its_head_is_applied() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.tell(2, Told { head: 1, ..Told::default() });
    let before = bench.now;
    bench.run(SECOND);
    assert!(bench.proof() <= before);
    bench.hear(conn, &flush(1));
    assert!(bench.proof() > before);
}

#[test]
fn the_last_flush_before_an_hour_of_silence_is_never_missed_silently() {
    let mut bench = Bench::among(&[2]);
    // It is lost on the way, and the connection looks as it did.
    bench.tell(2, Told { head: 1, ..Told::default() });
    let lost = bench.now;
    bench.run(3600 * SECOND);
    assert!(bench.proof() <= lost && !bench.node.in_sync(bench.now));
    assert_eq!(bench.node.cut_off(bench.now)[0].address, address(2));
}

#[test]
fn an_answer_that_nobody_asked_for_ends_the_connection() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.grant(conn, renew(u64::MAX));
    assert!(bench.is_closed(conn));
}

#[test]
fn an_old_answer_that_comes_again_proves_nothing_and_is_no_offence() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.run(SECOND);
    let (_, first) = bench.asked[0].clone();
    let before = bench.proof();
    bench.grant(conn, first);
    assert!(!bench.is_closed(conn) && bench.proof() == before);
}

#[test]
fn one_that_is_silent_is_named_and_its_connection_ended() {
    let mut bench = Bench::among(&[2, 3]);
    let conn = bench.conn_to(2);
    bench.there.remove(&address(2));
    bench.mute(2);
    bench.run(wire::SILENT_AFTER + SECOND);
    assert!(bench.is_closed(conn));
    let cut_off: Vec<_> = bench.node.cut_off(bench.now).into_iter().map(|it| it.node).collect();
    assert_eq!(cut_off, ["n2"]);
}

#[test]
fn one_whose_flushes_are_being_applied_is_not_taken_for_silent() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.applies = false;
    bench.hear(conn, &flush(1));
    let Work::Apply(batch) = bench.node.take_work(conn) else { panic!("nothing to apply") };
    // What it says is not read meanwhile.
    bench.mute(2);
    bench.run(2 * wire::SILENT_AFTER);
    assert!(!bench.is_closed(conn));
    bench.finish(&batch);
    bench.run(wire::SILENT_AFTER - SECOND);
    assert!(!bench.is_closed(conn), "its silence begins here");
    bench.run(2 * SECOND);
    assert!(bench.is_closed(conn));
}

#[test]
fn a_node_that_is_alone_is_in_step_for_as_long_as_anything_drives_it() {
    let bound = 2 * SECOND;
    let mut bench = Bench::with(Guarantee::Bounded(bound), |_| {});
    bench.feed(Input::Tick);
    bench.hold();
    bench.run(60 * SECOND);
    assert!(bench.node.in_sync(bench.now) && bench.holds());
    // Its runtime is blocked: somebody may have joined since, whom it has not heard.
    bench.now = bench.now + bound + MS;
    assert!(!bench.node.in_sync(bench.now) && !bench.holds());
    bench.feed(Input::Tick);
    assert!(bench.node.in_sync(bench.now) && bench.holds());
}

#[test]
fn a_machine_that_slept_trusts_no_connection_longer_for_it() {
    for wakes_with_a_tick in [true, false] {
        let mut bench = Bench::with(Guarantee::Bounded(2 * SECOND), |_| {}).linked_with(&[2]);
        bench.hold();
        let conn = bench.conn_to(2);
        // A question from before is under way, and so is its answer.
        bench.mute(2);
        bench.run(SECOND);
        let asked = bench.take_question(conn);
        let slept = bench.now;
        bench.now = bench.now + 3600 * SECOND;
        if wakes_with_a_tick {
            bench.feed(Input::Tick);
        }
        bench.told.insert(conn, Told::default());
        bench.grant(conn, asked);
        assert!(bench.proof() <= slept && !bench.node.in_sync(bench.now));
        assert!(!bench.holds(), "flushes of an hour may be missing");
        // The other end is alive: it is asked, and not taken for silent.
        bench.run(SECOND);
        assert!(!bench.is_closed(conn) && bench.is_fresh());
        assert!(bench.holds(), "nothing was missed");
    }
}

#[test]
fn a_dead_connection_is_found_out_as_soon_behind_an_hour_of_sleep_as_ever() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.there.remove(&address(2));
    bench.mute(2);
    bench.now = bench.now + 3600 * SECOND;
    bench.feed(Input::Tick);
    assert!(!bench.node.in_sync(bench.now));
    bench.run(wire::SILENT_AFTER + SECOND);
    assert!(bench.is_closed(conn) && !bench.node.in_sync(bench.now));
}

#[test]
fn as_long_as_it_calls_itself_in_sync_a_node_serves_what_it_holds() {
    let mut bench = Bench::with(Guarantee::Bounded(SECOND), |_| {}).linked_with(&[2]);
    bench.mute(2);
    bench.hold();
    bench.now = bench.proof() + Guarantee::Bounded(SECOND).lease(Duration::ZERO).unwrap();
    assert!(bench.holds() && bench.node.in_sync(bench.now));
    bench.now = bench.now + 10 * MS;
    assert!(!bench.holds() && !bench.node.in_sync(bench.now));
    assert_eq!(bench.node.cut_off(bench.now).len(), 1);
}

#[test]
fn a_proof_that_lapsed_before_the_next_came_is_told_of() {
    let mut bench = Bench::with(Guarantee::Bounded(SECOND), |_| {}).linked_with(&[2]);
    let conn = bench.conn_to(2);
    bench.mute(2);
    bench.run(600 * MS);
    let asked = bench.take_question(conn);
    bench.take_reports();
    // A busy machine: the answer is heard before the tick that is due.
    bench.now = bench.now + 450 * MS;
    assert!(!bench.node.in_sync(bench.now));
    bench.told.insert(conn, Told::default());
    bench.grant(conn, asked);
    assert!(bench.node.in_sync(bench.now));
    let reports = bench.take_reports();
    assert!(matches!(reports[..], [Report::CutOff { .. }, Report::InSync { .. }]), "{reports:?}");
}

#[test]
fn a_partial_list_takes_nobody_off_and_a_whole_one_does() {
    let mut bench = Bench::among(&[2]);
    let listed = vec![Listed::from(address(3))];
    bench.feed(Input::Members { source: "list".into(), listed, complete: false });
    assert_eq!(bench.node.peers(bench.now).len(), 2);
    bench.list(&[address(2)]);
    assert_eq!(bench.node.peers(bench.now).len(), 1);
}

#[test]
fn a_linked_life_that_is_listed_no_more_is_still_followed() {
    let mut bench = Bench::among(&[2, 3]);
    bench.list(&[address(3)]);
    bench.run(5 * SECOND);
    assert!(bench.is_fresh() && bench.node.peers(bench.now).len() == 2);
    let conn = bench.conn_to(2);
    bench.hold();
    bench.hear(conn, &flush(1));
    assert!(!bench.holds());
}

#[test]
fn one_that_was_just_lost_and_is_listed_no_more_is_over_once_all_were_asked() {
    let mut bench = Bench::among(&[2, 3]);
    bench.hold();
    bench.there.remove(&address(2));
    bench.lose(2);
    bench.list(&[address(3)]);
    bench.run(3 * SECOND);
    assert!(bench.is_fresh() && bench.holds());
}
