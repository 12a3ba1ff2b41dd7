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

fn many_heard(number: u32, from: u64, upto: u64) -> Heard {
    Heard { life: many(number), from: Seq(from), upto: Seq(upto) }
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

/// A node that has lost so many lives, number 1 of each log, and remembers them all; 0x7000 is one of
/// them, with the largest id. So many others are linked with it, each at sixteen addresses.
fn with_many_lost(lost: u32, linked: u16) -> Bench {
    let mut bench = Bench::with(Guarantee::Eventual, |config| config.limits.lives_over = 4096)
        .linked_with(&[2, 3]);
    let nine = bench.dialled_by(0x7000);
    bench.hear(nine, &flush(1));
    bench.lose(0x7000);
    for number in 0..linked {
        let claims = (0..16).map(|port| six(number * 16 + port)).collect();
        let conn = bench.accept(&hello(100 + number, claims));
        bench.hear(conn, &Frame::Go { resume: Seq::START, is_evidence: false });
    }
    let conn = bench.conn_to(2);
    let told = (1..=lost).map(|number| flush_of(number.into(), Some(many_at(number, 1))));
    bench.hear_bytes(conn, &bytes_of(told));
    bench
}

/// An address that is long when it is encoded.
fn six(number: u16) -> SocketAddr {
    format!("[fd00:1:2:3:4:5:6:{number:x}]:65000").parse().unwrap()
}

fn grant_to(bench: &mut Bench, number: u16, renew: Renew) -> Grant {
    let conn = bench.conn_to(number);
    bench.take_sent(conn);
    bench.hear(conn, &Frame::Renew(renew));
    let mut sent = bench.take_sent(conn).into_iter();
    let grant =
        sent.find_map(|frame| if let Frame::Grant(grant) = frame { Some(grant) } else { None });
    grant.expect("the question was not answered")
}

#[test]
fn an_answer_fits_in_a_frame_whatever_there_is_to_tell() {
    const LAST: u64 = u64::MAX / 2;
    let mut bench = with_many_lost(0, 64);
    let conn = bench.conn_to(2);
    for number in 0..1024 {
        let seq = u64::from(number) * 2 + 1;
        let over = Frame::Over { seq: Seq(seq), of: many_at(number, LAST - 1), quiet_ms: 0 };
        bench.now = bench.now + Duration::from_nanos(1);
        bench.hear(conn, &over);
        bench.hear(conn, &flush_of(seq + 1, Some(many_at(number, LAST))));
    }
    let grant = grant_to(&mut bench, 3, Renew { places: (0..1024).map(six).collect(), ..renew(9) });
    assert!(grant.lost.len() > 512 && grant.linked.len() > 512);
}

#[test]
fn lives_that_are_asked_about_are_named_first() {
    let mut bench = with_many_lost(1500, 0);
    let asked = life(0x7000);
    let grant = grant_to(&mut bench, 3, Renew { lives: vec![asked, asked], ..renew(9) });
    assert_eq!(grant.lost.iter().filter(|it| it.life == asked).count(), 1);
}

#[test]
fn an_answer_that_is_full_settles_nothing() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    bench.there.insert(address(9), There::node(9));
    bench.list(&[address(2), address(9)]);
    bench.run(2 * SECOND);
    bench.node.config.limits.lives_over = 4096;
    let told = (1..=1024).map(|number| flush_of(number.into(), Some(many_at(number, 1))));
    bench.hear_bytes(conn, &bytes_of(told));
    let lost: Vec<_> = (1..=1024).map(|number| many_heard(number, 1, 1)).collect();
    // What 9 has told it, before it died, it may have had no room for.
    bench.tell(2, Told { head: 1024, lost: lost.clone(), linked: vec![] });
    bench.kill(9);
    bench.run(4 * SECOND);
    assert!(!bench.is_fresh());
    bench.tell(2, Told { head: 1024, lost: lost[..100].to_vec(), linked: vec![] });
    bench.run(4 * SECOND);
    assert!(bench.is_fresh());
}

#[test]
fn an_answer_lacks_each_life_once() {
    let mut bench = Bench::among(&[2]);
    let twice =
        [many_heard(1, 1, 1), many_heard(1, 1, 3), many_heard(1, 1, 2), many_heard(2, 1, 1)];
    let lacking = bench.node.hear_of_lost(bench.now, life(2), &twice);
    assert_eq!(lacking, [many_at(1, 3), many_at(2, 1)]);
}

#[test]
fn whoever_asks_of_one_address_again_and_again_is_answered_once() {
    let mut bench = Bench::among(&[2, 3]);
    let grant = grant_to(&mut bench, 3, Renew { places: vec![address(2); 1024], ..renew(9) });
    assert_eq!(grant.linked, [Linked { life: life(2), place: Some(address(2)) }]);
}

#[test]
fn what_a_peer_says_to_be_in_touch_with_is_kept_only_where_it_is_known() {
    let mut bench = Bench::among(&[2]);
    let linked = (0..500).map(|number| Linked { life: many(number), place: None });
    // Its answers never count: so far its log is never applied.
    bench.tell(2, Told { head: 1 << 40, linked: linked.collect(), ..Told::default() });
    bench.run(2 * SECOND);
    assert_eq!(bench.node.lives.get(life(2)).unwrap().touching.len(), 0);
}

#[test]
fn a_question_has_a_tail_put_in_the_log_once_and_the_next_one_not_at_once() {
    let mut bench = Bench::among(&[2, 3]);
    let (lost, conn) = (bench.dialled_by(9), bench.conn_to(2));
    bench.hear_bytes(lost, &bytes_of((1..=100).map(flush)));
    bench.lose(9);
    let before = bench.node.head().0;
    let put = |bench: &mut Bench, after: &mut dyn Iterator<Item = u64>| {
        let want = after.map(|seq| at(9, seq)).collect();
        bench.hear(conn, &Frame::Renew(Renew { want, ..renew(9) }));
        bench.node.head().0 - before
    };
    assert_eq!(put(&mut bench, &mut (40..100).rev()), 60, "from the lowest on");
    assert_eq!(put(&mut bench, &mut (0..1)), 60, "another place of the same tail, a moment later");
    let applied = bench.node.head();
    bench.hear(conn, &Frame::Ack { applied });
    assert_eq!(put(&mut bench, &mut (40..41)), 60, "it was of no use, a moment later");
    bench.run(wire::RENEW_EVERY);
    assert_eq!(put(&mut bench, &mut (40..41)), 120, "of no use still");
    bench.run(wire::RENEW_EVERY);
    assert_eq!(put(&mut bench, &mut (0..1)), 220);
}

#[test]
fn more_wanted_lives_than_there_is_room_for_cost_the_copies() {
    let mut bench = Bench::among(&[2, 3, 4]);
    bench.hold();
    bench.run(SECOND);
    for (peer, from) in [(2, 0), (3, 800)] {
        let lost = (from..from + 800).map(|number| many_heard(number, 2, 5)).collect();
        bench.tell(peer, Told { lost, ..Told::default() });
    }
    // It does not answer: what nobody holds is waited for.
    bench.mute(4);
    bench.run(600 * MS);
    assert!(bench.node.recovery.lives().len() <= crate::repair::MAX_WANTED);
    assert!(!bench.holds() && bench.reports(|it| matches!(it, Report::Missed { .. })));
}

#[test]
fn a_flush_of_longer_words_than_there_may_be_ends_the_connection() {
    let of = |cache: &'static str, scope| {
        Frame::Flush(Flush { seq: Seq(1), cache, scopes: vec![scope], inherited: None })
    };
    let text = |bytes: usize| -> &'static str { "k".repeat(bytes).leak() };
    let (name, key, tag) = (wire::MAX_NAME_BYTES, wire::MAX_KEY_BYTES, wire::MAX_TAG_BYTES);
    for (cache, scope, fits) in [
        (text(name), Scope::All, true),
        (text(name + 1), Scope::All, false),
        ("c", Scope::Key(text(key)), true),
        ("c", Scope::Key(text(key + 1)), false),
        ("c", Scope::Prefix(text(key + 1)), false),
        ("c", Scope::Tag(text(tag)), true),
        ("c", Scope::Tag(text(tag + 1)), false),
    ] {
        let mut bench = Bench::among(&[2]);
        let conn = bench.conn_to(2);
        bench.hear(conn, &of(cache, scope));
        assert_eq!(bench.is_closed(conn), !fits);
        let announced = bench.node.announce(cache, vec![scope]).is_ok();
        assert_eq!(announced, fits, "what others refuse is not announced");
    }
}

#[test]
fn a_life_claims_no_more_over_many_connections_than_over_one() {
    let mut bench = Bench::among(&[3]);
    bench.dialled_by(2);
    for number in 0..20 {
        let claims = (0..16).map(|port| six(number * 16 + port)).collect();
        let conn = bench.accept(&hello(2, claims));
        bench.feed(Input::Closed { conn, why: "reset".into() });
    }
    assert!(bench.node.lives.get(life(2)).unwrap().claims.len() <= wire::MAX_CLAIMS);
}
