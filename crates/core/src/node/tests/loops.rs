//! A node that starts and crashes again and again costs the others nothing.

use super::*;

/// Nor would any number of dials settle anything.
#[test]
fn a_place_whose_refusals_prove_nothing_is_dialled_no_more_often_than_any_other() {
    let mut bench = Bench::with(Guarantee::Eventual, |config| config.trust_refusals = Some(false))
        .linked_with(&[2, 3]);
    bench.kill(2);
    bench.run(5 * SECOND);
    let before = bench.node.next_conn();
    bench.run(5 * SECOND);
    let dials = bench.node.next_conn().0 - before.0;
    assert!(dials < 40, "{dials} dials in 5 s");
}

/// What is open of the place has to be settled before the next one comes.
#[test]
fn a_crash_loop_beside_empty_places_cuts_nobody_off() {
    let mut bench = Bench::among(&[3]);
    let places = [20, 21, 22, 23, 2].map(address);
    bench.there.extend(places.map(|place| (place, There::Refuses)));
    bench.list(&[&places[..], &[address(3)]].concat());
    bench.run(5 * SECOND);
    let mut worst = Duration::ZERO;
    for number in 1000..1100 {
        bench.dialled_at(number, address(2));
        bench.run(100 * MS);
        bench.lose(number);
        bench.run(50 * MS);
        worst = worst.max(bench.now.since(bench.proof()));
    }
    assert!(worst < SECOND, "{worst:?}");
}

#[test]
fn a_crash_loop_of_a_thousand_lives_costs_no_copy_and_is_forgotten() {
    let mut bench = Bench::among(&[3]);
    bench.hold();
    let mut known = 0;
    bench.there.insert(address(2), There::Refuses);
    bench.list(&[address(2), address(3)]);
    for number in 1000..2000 {
        let conn = bench.dialled_at(number, address(2));
        let scopes = vec![Scope::Key("other")];
        let told = Flush { seq: Seq(1), cache: "c", scopes, inherited: None };
        bench.hear(conn, &Frame::Flush(told));
        bench.run(100 * MS);
        bench.lose(number);
        bench.run(100 * MS);
        known = known.max(bench.node.lives_known());
        assert!(bench.holds(), "life {number}");
    }
    assert!(known < 100, "{known} lives are known");
    bench.run(10 * SECOND);
    assert!(bench.is_fresh() && bench.node.lives_known() < 3);
}
