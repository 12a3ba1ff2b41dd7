//! Peers that say more than anybody honest would: what is kept of it is bounded, and so is what it
//! costs. No figure here is a time: what is counted is what the cost comes from.

use super::*;

#[test]
fn a_tail_that_begins_in_the_middle_leaves_no_life_behind() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    // Whoever has just joined replays a log in which the end of a life's log stands.
    for seq in 1..=3 {
        bench.hear(conn, &flush_of(seq, Some(at(9, seq + 4))));
    }
    assert_eq!(bench.node.lives_known(), 1);
}
