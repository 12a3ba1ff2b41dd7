//! Peers that say more than anybody honest would: what is kept of it is bounded, and so is what it
//! costs. No figure here is a time: what is counted is what the cost comes from.

use super::*;

/// A life that is no peer's, of which there may be any number.
fn many(number: u32) -> Incarnation {
    Incarnation((u128::from(number) << 64 | 77).to_be_bytes())
}

fn many_at(number: u32, seq: u64) -> Position {
    Position { life: many(number), seq: Seq(seq) }
}

fn bytes_of(frames: impl IntoIterator<Item = Frame<'static>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        wire::encode(&frame, &mut bytes).unwrap();
    }
    bytes
}

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

#[test]
fn beyond_the_limit_of_lives_they_are_forgotten_at_once_and_for_one_distrust() {
    let mut bench = Bench::among(&[2, 3]);
    let conn = bench.conn_to(2);
    bench.hold();
    let told = (1..=2000).map(|number| flush_of(number.into(), Some(many_at(number, 1))));
    bench.hear_bytes(conn, &bytes_of(told));
    assert!(bench.node.lives_known() <= 2 + Limits::default().lives_over);
    let missed = bench.take_reports();
    let missed = missed.iter().filter(|it| matches!(it, Report::Missed { .. })).count();
    assert_eq!((missed, bench.holds()), (1, false), "what waited to be applied was given up");
}
