//! Scenarios that once went wrong, or easily would.

use super::*;

#[test]
fn a_late_goodbye_of_a_former_life_does_not_make_the_new_one_count_as_left() {
    let mut bench = Bench::new();
    bench.members(vec![address(3)]);
    let dial = bench.dialled();
    bench.feed(Input::Connected { conn: dial });
    bench.hear(dial, &welcome(life(3), 1, 0));
    let serving = bench.followed(life(3), None);
    bench.hear(dial, &Frame::Bye);
    bench.feed(Input::Closed { conn: dial, why: "ended".into() });
    bench.later(60);
    let again = bench.dialled();
    bench.feed(Input::Connected { conn: again });
    bench.hear(again, &welcome(life(4), 1, 0));
    bench.hear(serving, &Frame::Bye);
    assert!(!bench.node.peers(Time::ZERO)[0].left);
}

#[test]
fn one_that_is_forgotten_after_its_goodbye_costs_nothing() {
    let mut bench = Bench::new();
    let conn = bench.follow(life(2));
    bench.hold(1);
    bench.hear(conn, &Frame::Bye);
    bench.feed(Input::Closed { conn, why: "ended".into() });
    bench.members(vec![]);
    assert!(bench.node.peers(Time::ZERO).is_empty());
    assert!(bench.holds());
}

#[test]
fn a_partial_list_takes_nobody_off() {
    let mut bench = Bench::new();
    bench.members(vec![address(2), address(3)]);
    bench.feed(Input::Members {
        source: "list".into(),
        listed: vec![address(4).into()],
        complete: false,
    });
    assert_eq!(bench.node.peers(Time::ZERO).len(), 3);
    bench.members(vec![]);
    bench.later(1);
    assert_eq!(bench.node.peers(Time::ZERO).len(), 0);
}

#[test]
fn dead_followers_are_forgotten_with_their_addresses() {
    let mut bench = Bench::new();
    for number in 0..=u32::try_from(wire::MAX_PEERS).unwrap() {
        // Listed at one address, and saying to listen at another: as behind a port mapping.
        let [.., high, low] = number.to_be_bytes();
        let mut incarnation = [7; 16];
        incarnation[..4].copy_from_slice(&number.to_be_bytes());
        let incarnation = Incarnation(incarnation);
        bench.members(vec![SocketAddr::from(([10, 1, high, low], 1))]);
        let dial = bench.dialled();
        bench.feed(Input::Connected { conn: dial });
        bench.hear(dial, &welcome(incarnation, 1, 0));
        let conn = bench.node.next_conn();
        bench.feed(Input::Accepted { conn, from: address(9) });
        let Frame::Hello(mut hello) = hello("test", incarnation, None) else { unreachable!() };
        hello.address = SocketAddr::from(([10, 2, high, low], 1));
        bench.hear(conn, &Frame::Hello(hello));
        let said = bench.said(conn);
        assert!(said[0].starts_with("Welcome"), "after {number} lives: {said:?}");
        bench.feed(Input::Closed { conn: dial, why: "reset".into() });
        bench.feed(Input::Closed { conn, why: "reset".into() });
        bench.members(vec![]);
        bench.later(u64::from(number) + 1);
        bench.outputs.clear();
    }
}

#[test]
fn a_flush_that_does_not_fit_leaves_the_log_readable() {
    let mut bench = Bench::new();
    let conn = bench.followed(life(3), None);
    let long = "k".repeat(wire::MAX_FRAME_BYTES);
    assert!(bench.node.announce("c", vec![Scope::Key(&long)]).is_err());
    bench.node.announce("c", vec![Scope::All]).unwrap();
    assert!(bench.said(conn)[1].contains("seq: Seq(1)"));
}

#[test]
fn one_that_says_to_listen_where_this_node_does_is_refused() {
    let mut bench = Bench::new();
    let conn = bench.followed(life(1 + 1), None);
    bench.said(conn);
    let conn = bench.node.next_conn();
    bench.feed(Input::Accepted { conn, from: address(9) });
    let Frame::Hello(mut hello) = hello("test", life(3), None) else { unreachable!() };
    hello.address = address(1);
    bench.hear(conn, &Frame::Hello(hello));
    assert!(bench.outputs.contains(&Output::Close { conn }));
    assert!(bench.reported(|report| matches!(report, Report::Offence { .. })));
}

#[test]
fn an_ipv4_address_inside_ipv6_is_the_same_address() {
    let mut bench = Bench::new();
    bench.members(vec![address(3)]);
    let conn = bench.node.next_conn();
    bench.feed(Input::Accepted { conn, from: "[::ffff:10.0.0.3]:50000".parse().unwrap() });
    let Frame::Hello(mut hello) = hello("test", life(3), None) else { unreachable!() };
    hello.address = "[::]:7400".parse().unwrap();
    bench.hear(conn, &Frame::Hello(hello));
    assert_eq!(bench.node.peers(Time::ZERO).len(), 1);
}

#[test]
fn another_way_to_a_node_is_not_tried_while_the_first_works() {
    let mut bench = Bench::new();
    let first = bench.follow(life(2));
    bench.members(vec![address(2), address(5)]);
    let second = bench.dialled();
    bench.feed(Input::Connected { conn: second });
    bench.hear(second, &welcome(life(2), 1, 0));
    for nonce in 1..5 {
        let now = Time::ZERO + wire::SILENT_AFTER / 2 * nonce;
        bench.node.handle(now, Input::Tick);
        bench.outputs = std::iter::from_fn(|| bench.node.poll_output()).collect();
        let dialled = bench.outputs.iter().any(|output| matches!(output, Output::Dial { .. }));
        assert!(!dialled, "a dial there would make the node drop the link that works");
        bench.said(first);
        let nonce = now.as_nanos();
        bench.node.handle(
            now,
            Input::Received {
                conn: first,
                bytes: &{
                    let mut bytes = Vec::new();
                    wire::encode(&Frame::Grant { nonce, head: Seq(0) }, &mut bytes).unwrap();
                    bytes
                },
            },
        );
    }
}

#[test]
fn a_flush_settles_when_the_last_one_it_waits_for_is_forgotten() {
    let mut bench = Bench::new();
    let conn = bench.followed(life(3), None);
    let dial = bench.dialled();
    bench.feed(Input::DialFailed { conn: dial, refused: false, why: "no answer".into() });
    bench.feed(Input::Closed { conn, why: "reset".into() });
    let seq = bench.node.announce("c", vec![Scope::All]).unwrap();
    bench.node.await_applied(Time::ZERO, seq, Time::ZERO, Time::NEVER, false);
    bench.later(61);
    assert!(bench.outcome().is_some());
    bench.later(62);
    assert!(bench.node.peers(Time::ZERO).is_empty());
}

#[test]
fn renewals_leave_one_trace_of_an_idle_follower() {
    let mut bench = Bench::new();
    let conn = bench.followed(life(3), None);
    for nonce in 0..100 {
        bench.hear(conn, &Frame::Renew { nonce });
        bench.said(conn);
    }
    assert_eq!(bench.node.idle.len(), 1);
    bench.feed(Input::Closed { conn, why: "reset".into() });
    assert!(bench.node.idle.is_empty());
}

#[test]
fn who_asks_for_more_than_it_reads_is_ended() {
    let mut bench = Bench::new();
    let conn = bench.followed(life(3), None);
    for nonce in 0..10_000 {
        bench.hear(conn, &Frame::Renew { nonce });
    }
    assert!(bench.outputs.contains(&Output::Close { conn }));
}

#[test]
fn after_it_has_left_a_node_serves_nothing_that_it_holds() {
    let mut bench = Bench::new();
    bench.hold(1);
    bench.feed(Input::Leave);
    assert!(!bench.holds());
    bench.hold(2);
    assert!(!bench.holds(), "nor what it loads from then on");
}

#[test]
fn an_origin_of_another_version_is_named_with_what_it_speaks() {
    let mut bench = Bench::new();
    bench.members(vec![address(2)]);
    let conn = bench.dialled();
    bench.feed(Input::Connected { conn });
    let versions = Versions { oldest: 7, newest: 9 };
    bench.hear(conn, &Frame::Reject(wire::Reject::NoCommonVersion { versions }));
    let seq = bench.node.announce("c", vec![Scope::All]).unwrap();
    bench.node.await_applied(Time::ZERO, seq, Time::ZERO, Time::NEVER, false);
    bench.feed(Input::Tick);
    let outcome = bench.outcome().expect("waiting longer does not help");
    assert_eq!(outcome.unconfirmed[0].reason.to_string(), "speaks protocol version 7 to 9");
}

#[test]
fn the_goodbye_of_a_node_with_two_addresses_counts_at_both() {
    let mut bench = Bench::new();
    let conn = bench.follow(life(2));
    bench.members(vec![address(1), address(2), address(5)]);
    let alias = bench.dialled();
    bench.feed(Input::Connected { conn: alias });
    bench.hear(alias, &welcome(life(2), 1, 0));
    bench.hear(conn, &Frame::Bye);
    assert!(bench.node.peers(Time::ZERO).iter().all(|peer| peer.left));
}

#[test]
fn a_process_that_was_stopped_does_not_take_its_peers_for_silent() {
    let mut bench = Bench::new();
    let conn = bench.follow(life(2));
    bench.node.next_deadline();
    bench.later(60);
    assert!(!bench.outputs.contains(&Output::Close { conn }));
    bench.node.next_deadline();
    bench.hear(conn, &flush(1));
    assert_eq!(bench.node.peers(Time::ZERO)[0].applied, Seq(1));
}

#[test]
fn one_that_does_not_read_the_last_words_is_ended_all_the_same() {
    let mut bench = Bench::new();
    let conn = bench.node.next_conn();
    bench.feed(Input::Accepted { conn, from: address(3) });
    bench.hear(conn, &hello("bank", life(3), None));
    assert!(bench.node.next_deadline() <= Time::ZERO + wire::SILENT_AFTER);
    bench.node.handle(Time::ZERO + wire::SILENT_AFTER, Input::Tick);
    assert!(std::iter::from_fn(|| bench.node.poll_output()).any(|it| it == Output::Close { conn }));
}

#[test]
fn a_node_that_is_halted_says_no_goodbye_and_serves_nothing() {
    let mut bench = Bench::new();
    let conn = bench.followed(life(3), None);
    bench.said(conn);
    bench.hold(1);
    bench.node.announce("c", vec![Scope::All]).unwrap();
    bench.feed(Input::Halt);
    assert!(bench.said(conn).is_empty(), "it must look like a node that was killed");
    assert!(!bench.holds());
    assert_eq!(bench.node.announce("c", vec![Scope::All]), Err(AnnounceError::Left));
}

#[test]
fn a_node_that_is_left_with_its_second_address_alone_is_still_named() {
    let mut bench = Bench::new();
    let first = bench.follow(life(2));
    bench.members(vec![address(2), address(5)]);
    let second = bench.dialled();
    bench.feed(Input::Connected { conn: second });
    bench.hear(second, &welcome(life(2), 1, 0));
    bench.members(vec![address(5)]);
    bench.feed(Input::Closed { conn: first, why: "reset".into() });
    bench.later(1);
    let seq = bench.node.announce("c", vec![Scope::All]).unwrap();
    bench.node.await_applied(Time::ZERO, seq, Time::ZERO, Time::ZERO, false);
    bench.feed(Input::Tick);
    let unconfirmed = &bench.outcome().unwrap().unconfirmed;
    let addresses: Vec<_> = unconfirmed.iter().map(|it| it.address).collect();
    assert_eq!(addresses, [address(5)]);
}

#[test]
fn a_link_that_breaks_and_works_again_is_told_of_with_what_was_replayed() {
    for applied_before in [0, 2] {
        let mut bench = Bench::new();
        let conn = bench.follow(life(2));
        bench.wait(Duration::from_millis(20));
        let nonce = bench.nonce_asked_of(conn).unwrap();
        bench.hear(conn, &testify(nonce, 0, vec![]));
        (1..=applied_before).for_each(|seq| bench.hear(conn, &flush(seq)));
        bench.feed(Input::Closed { conn, why: "reset".into() });
        bench.later(1);
        let conn = bench.dialled();
        bench.feed(Input::Connected { conn });
        let head = applied_before + 3;
        bench.hear(conn, &welcome(life(2), 1, head));
        let asked = bench.now;
        bench.said(conn);
        bench.hear(conn, &Frame::Grant { nonce: asked.as_nanos(), head: Seq(head) });
        assert!(!bench.reported(|report| matches!(report, Report::Healed { .. })));
        (applied_before + 1..=head).for_each(|seq| bench.hear(conn, &flush(seq)));
        let healed =
            |report: &Report| matches!(report, Report::Healed { replayed: 3, reset: false, .. });
        assert!(bench.reported(healed), "{applied_before} flushes were applied before");
    }
}

#[test]
fn another_node_of_the_same_name_is_told_of() {
    let mut bench = Bench::new();
    bench.node.config.name = "peer".into();
    bench.follow(life(2));
    assert!(bench.reported(|report| matches!(report, Report::SameName { .. })));
}

/// In step with a peer as of the start, for caches with a bound of a second.
fn in_step() -> (Bench, ConnId) {
    let mut bench = Bench::with(Guarantee::Bounded(Duration::from_secs(1)));
    let conn = bench.follow(life(2));
    bench.wait(Duration::from_millis(20));
    let nonce = bench.nonce_asked_of(conn).unwrap();
    bench.hear(conn, &testify(nonce, 0, vec![]));
    bench.hear(conn, &Frame::Grant { nonce: 0, head: Seq(0) });
    (bench, conn)
}

#[test]
fn as_long_as_it_calls_itself_in_sync_a_node_serves_what_it_holds() {
    let (mut bench, _) = in_step();
    bench.hold(1);
    let nearly = Guarantee::Bounded(Duration::from_secs(1)).lease(STEP).unwrap();
    for (millis, served) in [(0, true), (1, false)] {
        bench.now = Time::ZERO + nearly + Duration::from_millis(millis);
        assert_eq!(bench.cache.get("k", bench.now).is_some(), served);
        assert_eq!(bench.node.in_sync(bench.now), served);
        assert_eq!(bench.node.cut_off(bench.now).is_empty(), served);
    }
}

#[test]
fn a_proof_that_lapsed_before_the_next_came_is_told_of() {
    let (mut bench, conn) = in_step();
    let half = Duration::from_millis(500);
    bench.wait(half);
    let renewed = bench.now.as_nanos();
    bench.said(conn);
    // A busy machine: the grant is heard before the tick that is due.
    bench.now = bench.now + half;
    assert!(!bench.node.in_sync(bench.now));
    bench.outputs.clear();
    bench.hear(conn, &Frame::Grant { nonce: renewed, head: Seq(0) });
    assert!(bench.node.in_sync(bench.now));
    assert!(bench.reported(|report| matches!(report, Report::CutOff { .. })));
    let lapsed = |report: &Report| matches!(report, Report::InSync { after } if !after.is_zero());
    assert!(bench.reported(lapsed), "{:?}", bench.outputs);
    let changes = bench.outputs.iter().filter(|it| **it == Output::PeersChanged).count();
    assert_eq!(changes, 2, "whoever waits for it is told");
}
