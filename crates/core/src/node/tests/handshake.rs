//! Who is at the other end of a connection, and which connection links two lives.

use super::*;
use crate::peers::LinkState;
use crate::wire::{Reject, tests::unhex};

fn is_flush(frame: &Frame<'_>) -> bool {
    matches!(frame, Frame::Flush(_))
}

#[test]
fn whoever_was_dialled_sends_no_flush_before_go() {
    let mut bench = Bench::new();
    bench.announce();
    let conn = bench.accept(&hello(2, vec![address(2)]));
    let sent = bench.take_sent(conn);
    assert!(matches!(sent[..], [Frame::Welcome(_)]), "{sent:?}");
    bench.announce();
    bench.expect_sent(conn, &[]);
    bench.hear(conn, &Frame::Go { resume: Seq(1), is_evidence: false });
    let sent = bench.take_sent(conn);
    assert!(matches!(&sent[..], [Frame::Renew(_), last] if *last == flush(2)), "{sent:?}");
}

#[test]
fn whoever_says_hello_and_no_more_is_nobody() {
    let mut bench = Bench::among(&[2]);
    bench.hold();
    for number in 0..2000 {
        let conn = bench.accept(&hello(11 + number, vec![]));
        if number % 2 == 0 {
            bench.feed(Input::Closed { conn, why: "reset".into() });
        }
    }
    assert_eq!((bench.node.lives_known(), bench.node.peers(bench.now).len()), (1, 1));
    bench.run(wire::HANDSHAKE_WITHIN + SECOND);
    assert!(bench.is_fresh() && bench.holds());
    assert_eq!(bench.node.conns.len(), 1, "they have had their time");
}

#[test]
fn a_frame_between_hello_and_go_ends_the_connection_and_moves_nothing() {
    let mut bench = Bench::among(&[8]);
    for frame in [flush(1), Frame::Ack { applied: Seq(0) }, Frame::Bye { head: Seq(0) }] {
        let conn = bench.accept(&hello(8, vec![address(8)]));
        bench.hear(conn, &frame);
        assert!(bench.is_closed(conn), "{frame:?}");
    }
    assert_eq!(bench.node.lives.heard(life(8)), Seq(0));
    assert!(bench.node.lives.get(life(8)).unwrap().is_linked());
}

#[test]
fn a_life_says_the_same_of_itself_over_all_its_connections() {
    let mut bench = Bench::among(&[8]);
    let Frame::Hello(good) = hello(8, vec![address(8)]) else { unreachable!() };
    let others = [
        Hello { node: "other", ..good.clone() },
        Hello { labels: vec![("a", "b")], ..good.clone() },
    ];
    for other in others {
        let conn = bench.accept(&Frame::Hello(other));
        assert!(bench.is_closed(conn));
        assert!(bench.reports(|it| matches!(it, Report::Offence { .. })));
    }
    // Where it is may differ: it depends on where it dials from.
    let conn = bench.dialled_at(8, address(9));
    assert!(!bench.is_closed(conn));
}

#[test]
fn nothing_is_said_in_the_name_of_a_life_that_has_another_key() {
    let mut bench = Bench::among(&[8]);
    bench.announce();
    // Of one that is linked, of one that nobody has met, and of this node itself.
    for number in [8, 7, 1] {
        for (shown, is_let_in) in [(Some(life(66)), false), (Some(life(number)), true)] {
            if is_let_in && number == 1 {
                continue;
            }
            let conn = bench.node.next_conn();
            bench.feed(Input::Accepted { conn, from: "10.0.0.99:50000".parse().unwrap() });
            bench.feed(Input::Shown { conn, life: shown, expires: None });
            bench.hear(conn, &hello(number, vec![address(number)]));
            assert_eq!(bench.is_closed(conn), !is_let_in, "{number}");
            let is_told = bench.reports(|it| matches!(it, Report::Offence { .. }));
            assert_eq!(is_told, !is_let_in, "{number}");
        }
    }
}

#[test]
fn who_was_dialled_and_has_another_key_than_it_says_is_nobody() {
    for (shown, is_linked) in [(life(66), false), (life(2), true)] {
        let mut bench = Bench::new();
        bench.list(&[address(2)]);
        let (conn, _) = bench.take_dials()[0];
        bench.feed(Input::Connected { conn, local: None });
        bench.feed(Input::Shown { conn, life: Some(shown), expires: None });
        bench.hear(conn, &welcome(2, vec![address(2)], vec![]));
        assert_eq!(bench.is_closed(conn), !is_linked);
        assert_eq!(bench.node.lives.get(life(2)).is_some(), is_linked);
    }
}

#[test]
fn one_life_has_so_many_connections_at_most() {
    let mut bench = Bench::among(&[2]);
    for _ in 1..wire::MAX_CONNECTIONS_OF_LIFE {
        bench.dialled_by(2);
    }
    let conn = bench.accept(&hello(2, vec![address(2)]));
    assert!(bench.is_closed(conn));
    let linked = &bench.node.lives.get(life(2)).unwrap().conns;
    assert_eq!(linked.len(), wire::MAX_CONNECTIONS_OF_LIFE);
}

#[test]
fn whoever_dialled_sends_go_before_any_flush() {
    let mut bench = Bench::new();
    bench.announce();
    bench.list(&[address(2)]);
    let [(conn, _)] = bench.take_dials()[..] else { panic!("it is not dialled once") };
    bench.feed(Input::Connected { conn, local: None });
    let sent = bench.take_sent(conn);
    assert!(matches!(sent[..], [Frame::Hello(_)]), "{sent:?}");
    bench.hear(conn, &welcome(2, vec![address(2)], vec![]));
    let sent = bench.take_sent(conn);
    let go = Frame::Go { resume: Seq::START, is_evidence: false };
    assert!(sent[0] == go && sent.contains(&flush(1)), "{sent:?}");
}

#[test]
fn of_simultaneous_dials_the_one_by_the_smaller_life_stays() {
    for (peer, own_dial_stays) in [(2, false), (8, true)] {
        let mut bench = Bench::among(&[peer]);
        let dialled = bench.conn_to(peer);
        let accepted = bench.dialled_by(peer);
        assert_eq!(bench.is_over(accepted), own_dial_stays, "{peer}");
        assert!(!bench.is_over(dialled), "the other end closes it, if it has dialled at all");
        if !own_dial_stays {
            bench.told.remove(&dialled);
            bench.feed(Input::Closed { conn: dialled, why: "closed by the other end".into() });
        }
        bench.run(2 * SECOND);
        assert!(bench.is_fresh());
        assert!(!bench.reports(|it| matches!(it, Report::Lost { .. })), "nobody was lost");
        assert_eq!(bench.node.peers(bench.now)[0].following, LinkState::Open);
    }
}

#[test]
fn of_dials_none_is_closed_before_the_other_end_counts_the_one_that_stays() {
    let mut bench = Bench::new();
    bench.list(&[address(8)]);
    let [(dialled, _)] = bench.take_dials()[..] else { panic!("it is not dialled once") };
    bench.feed(Input::Connected { conn: dialled, local: None });
    let accepted = bench.dialled_by(8);
    bench.hear(dialled, &welcome(8, vec![address(8)], vec![]));
    assert!(!bench.is_over(accepted), "it may not have read go yet");
    bench.hear(dialled, &Frame::Renew(renew(1)));
    assert!(bench.is_over(accepted) && !bench.is_over(dialled));
}

#[test]
fn flushes_go_on_over_the_connection_that_stays() {
    let mut bench = Bench::among(&[2]);
    let dialled = bench.conn_to(2);
    bench.announce();
    assert!(bench.take_sent(dialled).contains(&flush(1)));
    bench.hear(dialled, &Frame::Ack { applied: Seq(1) });
    bench.announce();
    let accepted = bench.dialled_by(2);
    let flushes: Vec<_> = bench.take_sent(accepted).into_iter().filter(is_flush).collect();
    assert_eq!(flushes, [flush(2)], "what was acknowledged is not sent again");
}

#[test]
fn questions_and_acknowledgements_go_over_one_connection_and_once_it_ends_over_another() {
    let mut bench = Bench::among(&[2]);
    let first = bench.conn_to(2);
    bench.told.clear();
    let second = bench.accept(&hello(2, vec![address(2)]));
    bench.take_sent(second);
    bench.hear(first, &flush(1));
    bench.run(wire::RENEW_EVERY);
    bench.expect_sent(second, &[]);
    let sent = bench.take_sent(first);
    assert!(matches!(sent[..], [Frame::Renew(_), Frame::Ack { applied: Seq(1) }]), "{sent:?}");

    // The newer one carries all of it once it is ready.
    bench.hear(second, &Frame::Go { resume: Seq::START, is_evidence: false });
    bench.take_sent(second);
    bench.hear(first, &flush(2));
    bench.announce();
    bench.run(wire::RENEW_EVERY);
    bench.expect_sent(first, &[]);
    let all = |sent: &[Frame<'_>]| {
        let [Frame::Renew(_), Frame::Ack { applied: Seq(2) }, last] = sent else { return false };
        *last == flush(1)
    };
    let sent = bench.take_sent(second);
    assert!(all(&sent), "{sent:?}");

    // All of that may be lost with it.
    bench.feed(Input::Closed { conn: second, why: "reset".into() });
    let sent = bench.take_sent(first);
    assert!(all(&sent), "{sent:?}");
}

#[test]
fn a_late_welcome_touches_only_its_own_life() {
    let mut bench = Bench::new();
    bench.list(&[address(2)]);
    let [(late, _)] = bench.take_dials()[..] else { panic!("it is not dialled once") };
    bench.feed(Input::Connected { conn: late, local: None });
    // Before the answer comes, another life takes the place.
    let newer = bench.accept(&hello(4, vec![address(2)]));
    bench.hear(newer, &Frame::Go { resume: Seq::START, is_evidence: false });
    (1..=3).for_each(|seq| bench.hear(newer, &flush(seq)));
    bench.hear(late, &welcome(2, vec![address(2)], vec![]));
    bench.hold();
    bench.hear(late, &flush(1));
    assert!(!bench.holds(), "its own first flush");
    bench.hold();
    bench.hear(newer, &flush(4));
    assert!(!bench.holds() && !bench.is_closed(newer) && !bench.is_closed(late));
    let conflict = |it: &Report| matches!(it, Report::Conflict { .. });
    assert!(bench.reports(conflict), "both say to be there");
    bench.feed(Input::Closed { conn: late, why: "reset".into() });
    let peers = bench.node.peers(bench.now);
    assert_eq!((peers[0].incarnation, peers[0].applied), (Some(life(4)), Seq(4)));
}

#[test]
fn a_node_of_version_1_and_this_one_tell_each_other_why_they_stay_apart() {
    let mut bench = Bench::new();
    let conn = bench.node.next_conn();
    bench.feed(Input::Accepted { conn, from: address(2) });
    bench.hear_bytes(conn, &unhex(include_str!("../../../tests/golden/v1-hello.hex")));
    let versions = Versions::OURS;
    bench.expect_sent(conn, &[Frame::Reject(Reject::NoCommonVersion { versions })]);
    assert!(bench.is_over(conn));
    let reports = bench.take_reports();
    let [Report::Offence { why, .. }] = &reports[..] else { panic!("{reports:?}") };
    assert!(why.contains("speaks protocol version 1, this node 3"), "{why}");

    // The other way round: it is told by the answer of version 1.
    bench.list(&[address(2)]);
    let [(conn, _)] = bench.take_dials()[..] else { panic!("it is not dialled once") };
    bench.feed(Input::Connected { conn, local: None });
    let versions = Versions { oldest: 1, newest: 1 };
    bench.hear(conn, &Frame::Reject(Reject::NoCommonVersion { versions }));
    let reports = bench.take_reports();
    let [Report::NotReached { why, .. }] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!(why, "speaks protocol version 1");
    let seq = bench.announce();
    bench.await_for(seq, 60 * SECOND, false);
    let outcome = bench.take_outcome().expect("waiting longer does not help");
    assert_eq!(outcome.unconfirmed[0].reason.to_string(), "speaks protocol version 1");
    bench.run(10 * SECOND);
    assert!(!bench.node.in_sync(bench.now), "a node of this cluster is there all the same");
}

#[test]
fn another_cluster_is_rejected_by_name_and_is_no_peer() {
    let mut bench = Bench::new();
    let Frame::Hello(mut said) = hello(2, vec![address(2)]) else { unreachable!() };
    said.cluster = "bank";
    let conn = bench.accept(&Frame::Hello(said));
    bench.expect_sent(conn, &[Frame::Reject(Reject::OtherCluster { cluster: "test" })]);
    assert!(bench.node.peers(bench.now).is_empty());
    assert!(bench.reports(|it| matches!(it, Report::Offence { .. })));
}

#[test]
fn what_is_empty_or_over_a_limit_is_no_introduction() {
    let long = "n".repeat(wire::MAX_NAME_BYTES + 1);
    let Frame::Hello(good) = hello(2, vec![address(2)]) else { unreachable!() };
    let bad = [
        Hello { node: "", ..good.clone() },
        Hello { node: &long, ..good.clone() },
        Hello { node: "two\nlines", ..good.clone() },
        Hello { claims: (0..=16).map(address).collect(), ..good.clone() },
        Hello { labels: vec![("a", "b"); wire::MAX_LABELS + 1], ..good.clone() },
        Hello { fixed: (0..=256).map(address).collect(), ..good.clone() },
    ];
    for said in bad {
        let mut bench = Bench::new();
        let conn = bench.accept(&Frame::Hello(said.clone()));
        assert!(bench.is_closed(conn), "{said:?}");
        assert!(bench.node.peers(bench.now).is_empty());
    }
}

#[test]
fn frames_of_the_handshake_have_no_place_behind_it() {
    let go = Frame::Go { resume: Seq::START, is_evidence: false };
    for frame in [go, hello(2, vec![]), welcome(2, vec![], vec![]), Frame::Reject(Reject::Full)] {
        let mut bench = Bench::among(&[2]);
        let conn = bench.dialled_by(2);
        bench.hear(conn, &frame);
        assert!(bench.is_closed(conn), "{frame:?}");
    }
}

#[test]
fn only_as_many_lives_are_linked_as_there_is_room_for_and_a_listed_one_always() {
    let mut bench = Bench::with(Guarantee::Eventual, |config| config.limits.peers = 2);
    bench.there.insert(address(2), There::node(2));
    bench.list(&[address(2)]);
    bench.run(SECOND);
    bench.dialled_by(3);
    let conn = bench.accept(&hello(4, vec![address(4)]));
    bench.expect_sent(conn, &[Frame::Reject(Reject::Full)]);
    bench.lose(2);
    bench.dialled_by(6);
    let conn = bench.accept(&hello(2, vec![address(2)]));
    let sent = bench.take_sent(conn);
    assert!(matches!(sent[0], Frame::Welcome(_)), "{sent:?}");
}

#[test]
fn one_that_does_not_finish_the_handshake_is_ended() {
    let mut bench = Bench::new();
    let conn = bench.node.next_conn();
    bench.feed(Input::Accepted { conn, from: address(3) });
    bench.run(wire::HANDSHAKE_WITHIN + SECOND);
    assert!(bench.is_closed(conn));
}

#[test]
fn one_that_does_not_read_the_last_words_is_ended_all_the_same() {
    let mut bench = Bench::new();
    let Frame::Hello(mut said) = hello(2, vec![address(2)]) else { unreachable!() };
    said.cluster = "bank";
    let conn = bench.accept(&Frame::Hello(said));
    bench.run(wire::SILENT_AFTER + SECOND);
    assert!(bench.is_closed(conn));
}

#[test]
fn who_asks_for_more_than_it_reads_is_ended() {
    let mut bench = Bench::among(&[2]);
    let conn = bench.conn_to(2);
    (0..10_000).for_each(|nonce| bench.hear(conn, &Frame::Renew(renew(nonce))));
    assert!(bench.is_closed(conn));
}

#[test]
fn one_that_listens_everywhere_says_to_be_where_it_dials_from() {
    let everywhere = "0.0.0.0:7400".parse().unwrap();
    let local = [
        ("10.0.0.77:51000", Some("10.0.0.77:7400")),
        ("[::ffff:10.0.0.77]:51000", Some("10.0.0.77:7400")),
        ("127.0.0.1:51000", None),
    ];
    for (local, claimed) in local {
        let mut bench = Bench::with(Guarantee::Eventual, |config| config.address = everywhere);
        bench.list(&[address(2)]);
        let [(conn, _)] = bench.take_dials()[..] else { panic!("it is not dialled once") };
        bench.feed(Input::Connected { conn, local: Some(local.parse().unwrap()) });
        let sent = bench.take_sent(conn);
        let [Frame::Hello(hello)] = &sent[..] else { panic!("{sent:?}") };
        let claims: Vec<_> = hello.claims.iter().map(ToString::to_string).collect();
        assert_eq!(claims, claimed.into_iter().collect::<Vec<_>>(), "{local}");
    }
}

#[test]
fn another_node_of_the_same_name_is_told_of() {
    let mut bench = Bench::with(Guarantee::Eventual, |config| config.name = "n2".into());
    bench.there.insert(address(2), There::node(2));
    bench.list(&[address(2)]);
    bench.run(SECOND);
    assert!(bench.reports(|it| matches!(it, Report::SameName { .. })));
}

/// Somebody who is at the place that a flush waited for has to be waited for in its stead.
#[test]
fn a_flush_that_waits_for_a_place_waits_for_who_turns_out_to_be_there() {
    for dials in [true, false] {
        let mut bench = Bench::among(&[2]);
        bench.list(&[address(2), address(3)]);
        let seq = bench.announce();
        bench.await_for(seq, 10 * SECOND, false);
        let conn = bench.conn_to(2);
        bench.hear(conn, &Frame::Ack { applied: seq });
        assert!(bench.take_outcome().is_none(), "who is at the other place was not met");
        if dials {
            bench.there.insert(address(3), There::node(3));
            bench.run(5 * SECOND);
        } else {
            bench.dialled_by(3);
        }
        assert_eq!(bench.take_outcome(), None);
        let conn = bench.conn_to(3);
        bench.hear(conn, &Frame::Ack { applied: seq });
        assert!(bench.take_outcome().unwrap().is_complete());
    }
}
