//! The protocol's rules, one scenario each.

use super::*;
use crate::wire::Reject;

#[test]
fn a_flush_is_applied_then_acknowledged() {
    let mut bench = Bench::new();
    let conn = bench.follow(life(2));
    bench.hold(1);
    bench.hear(conn, &flush(1));
    assert!(!bench.holds());
    assert_eq!(bench.said(conn), ["Ack { applied: Seq(1) }"]);
    assert!(bench.said(conn).is_empty(), "acknowledged once");
}

#[test]
fn a_gap_or_a_repetition_ends_the_connection_and_applies_nothing() {
    for wrong in [0, 1, 3, u64::MAX] {
        let mut bench = Bench::new();
        let conn = bench.follow(life(2));
        bench.hear(conn, &flush(1));
        bench.hold(1);
        bench.hear(conn, &flush(wrong));
        assert!(bench.holds(), "number {wrong}");
        assert!(bench.outputs.contains(&Output::Close { conn }), "number {wrong}");
    }
}

#[test]
fn a_reset_distrusts_what_is_held_and_goes_on_at_the_head() {
    let mut bench = Bench::new();
    let conn = bench.follow(life(2));
    bench.hold(1);
    bench.hear(conn, &Frame::Reset { head: Seq(90) });
    assert!(!bench.holds());
    assert_eq!(bench.said(conn), ["Ack { applied: Seq(90) }"]);
    bench.hold(2);
    bench.hear(conn, &flush(91));
    assert!(!bench.holds());
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_ends_the_connection() {
    let mut bench = Bench::new();
    let conn = bench.followed(life(3), None);
    bench.node.announce("c", vec![Scope::All]).unwrap();
    bench.said(conn);
    bench.hear(conn, &Frame::Ack { applied: Seq(2) });
    assert!(bench.outputs.contains(&Output::Close { conn }));
    assert_eq!(bench.node.peers(Time::ZERO)[0].acknowledged, Seq(0));
}

#[test]
fn a_follower_of_an_earlier_life_starts_at_the_first_flush_of_this_one() {
    let mut bench = Bench::new();
    bench.node.announce("c", vec![Scope::All]).unwrap();
    let earlier = Position { incarnation: life(9), seq: Seq(7) };
    let conn = bench.followed(life(3), Some(earlier));
    let said = bench.said(conn);
    assert!(said[0].starts_with("Welcome") && said[1].contains("seq: Seq(1)"), "{said:?}");
}

#[test]
fn a_follower_resumes_where_it_stopped() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.node.announce("c", vec![Scope::All]).unwrap();
    }
    let here = Position { incarnation: life(1), seq: Seq(2) };
    let conn = bench.followed(life(3), Some(here));
    let said = bench.said(conn);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[1].contains("seq: Seq(3)"), "{said:?}");
}

#[test]
fn a_place_that_the_log_never_reached_is_answered_with_a_reset() {
    let mut bench = Bench::new();
    let beyond = Position { incarnation: life(1), seq: Seq(50) };
    let conn = bench.followed(life(3), Some(beyond));
    assert_eq!(bench.said(conn)[1], "Reset { head: Seq(0) }");
    assert_eq!(bench.node.peers(Time::ZERO)[0].acknowledged, Seq(0));
}

#[test]
fn an_unknown_follower_is_dialled_back_at_once() {
    let mut bench = Bench::new();
    bench.followed(life(3), None);
    assert!(bench.outputs.iter().any(|output| matches!(
        output, Output::Dial { address: back, .. } if *back == address(3)
    )));
}

#[test]
fn an_unspecified_address_stands_for_where_the_follower_came_from() {
    let mut bench = Bench::new();
    let conn = bench.node.next_conn();
    bench.feed(Input::Accepted { conn, from: "10.9.9.9:50000".parse().unwrap() });
    let Frame::Hello(mut hello) = hello("test", life(3), None) else { unreachable!() };
    hello.address = "0.0.0.0:7400".parse().unwrap();
    bench.hear(conn, &Frame::Hello(hello));
    assert_eq!(bench.node.peers(Time::ZERO)[0].address, "10.9.9.9:7400".parse().unwrap());
}

#[test]
fn another_cluster_is_rejected_by_name_and_not_on_the_roster() {
    let mut bench = Bench::new();
    let conn = bench.node.next_conn();
    bench.feed(Input::Accepted { conn, from: address(3) });
    bench.hear(conn, &hello("bank", life(3), None));
    assert_eq!(bench.said(conn), ["Reject(OtherCluster { cluster: \"test\" })"]);
    assert!(bench.node.peers(Time::ZERO).is_empty());
    assert!(bench.reported(|report| matches!(report, Report::Offence { .. })));
}

#[test]
fn a_node_that_reaches_itself_takes_the_address_off_the_roster() {
    let mut bench = Bench::new();
    bench.members(vec![address(1), address(7)]);
    assert_eq!(bench.node.peers(Time::ZERO).len(), 1, "its own listen address is never dialled");
    let conn = bench.dialled();
    bench.feed(Input::Connected { conn });
    bench.hear(conn, &Frame::Reject(Reject::Yourself));
    assert!(bench.node.peers(Time::ZERO).is_empty());
    bench.members(vec![address(1), address(7)]);
    assert!(bench.node.peers(Time::ZERO).is_empty(), "and stays off");
}

#[test]
fn a_new_life_at_a_known_address_is_followed_from_its_first_flush() {
    let mut bench = Bench::new();
    let conn = bench.follow(life(2));
    bench.hear(conn, &flush(1));
    bench.hold(1);
    bench.feed(Input::Closed { conn, why: "reset".into() });
    bench.later(60);
    let again = bench.dialled();
    bench.feed(Input::Connected { conn: again });
    bench.hear(again, &welcome(life(4), 1, 1));
    assert!(bench.holds(), "nobody else lives who could have been told more");
    bench.hear(again, &flush(1));
    assert!(!bench.holds(), "its first flush is no duplicate of the former life's");
}

#[test]
fn a_goodbye_behind_the_last_flush_lets_the_next_life_in_without_distrust() {
    let mut bench = Bench::new();
    let conn = bench.follow(life(2));
    bench.hold(1);
    bench.hear(conn, &Frame::Bye);
    assert!(bench.node.peers(Time::ZERO)[0].left);
    bench.feed(Input::Closed { conn, why: "ended".into() });
    bench.node.handle(Time::ZERO + Duration::from_secs(60), Input::Tick);
    bench.outputs.extend(std::iter::from_fn(|| bench.node.poll_output()));
    let again = bench.dialled();
    bench.feed(Input::Connected { conn: again });
    bench.hear(again, &welcome(life(4), 1, 0));
    assert!(bench.holds());
    assert!(!bench.node.peers(Time::ZERO)[0].left);
}

#[test]
fn two_addresses_of_one_node_count_once() {
    let mut bench = Bench::new();
    bench.members(vec![address(2), address(5)]);
    let dials = bench.outputs.iter().filter_map(|output| match output {
        Output::Dial { conn, .. } => Some(*conn),
        _ => None,
    });
    let dials: Vec<_> = dials.collect();
    for &conn in &dials {
        bench.feed(Input::Connected { conn });
        bench.hear(conn, &welcome(life(2), 1, 0));
    }
    let seq = bench.node.announce("c", vec![Scope::All]).unwrap();
    bench.node.await_applied(Time::ZERO, seq, Time::ZERO, Time::ZERO, false);
    bench.feed(Input::Tick);
    let outcome = bench.outputs.iter().find_map(|output| match output {
        Output::Settled { outcome, .. } => Some(outcome),
        _ => None,
    });
    assert_eq!(outcome.unwrap().unconfirmed.len(), 1, "{outcome:?}");
}

#[test]
fn a_grant_proves_the_time_of_its_renewal_once_its_head_is_applied() {
    let mut bench = Bench::new();
    let conn = bench.follow(life(2));
    let second = Time::ZERO + Duration::from_secs(1);
    bench.later(1);
    let said = bench.said(conn);
    assert!(said[0].starts_with("Inquire(Inquire { nonce: 1"), "{said:?}");
    assert_eq!(said[1..], [format!("Renew {{ nonce: {} }}", second.as_nanos())]);
    bench.hear(conn, &testify(1, 0, vec![]));
    let in_step = |bench: &Bench| bench.node.peers(second + Duration::from_secs(1))[0].in_step;
    bench.hear(conn, &Frame::Grant { nonce: second.as_nanos(), head: Seq(1) });
    assert_eq!(in_step(&bench), Duration::from_secs(2), "flush 1 has not arrived");
    bench.hear(conn, &flush(1));
    assert_eq!(in_step(&bench), Duration::from_secs(1), "counted from the question");
}

#[test]
fn a_link_that_went_silent_is_given_up_and_dialled_again() {
    let mut bench = Bench::new();
    let conn = bench.follow(life(2));
    // The timer is on time, as it is in a process that runs.
    let mut ended = None;
    while ended.is_none() {
        let now = bench.node.next_deadline();
        bench.node.handle(now, Input::Tick);
        let mut outputs = std::iter::from_fn(|| bench.node.poll_output());
        ended = outputs.any(|it| it == Output::Close { conn }).then_some(now);
    }
    assert_eq!(ended, Some(Time::ZERO + wire::SILENT_AFTER));
    assert!(bench.node.next_deadline() < Time::ZERO + wire::SILENT_AFTER * 2);
}

#[test]
fn who_says_nothing_is_not_waited_for_beyond_the_handshake_limit() {
    let mut bench = Bench::new();
    let conn = bench.node.next_conn();
    bench.feed(Input::Accepted { conn, from: address(3) });
    assert_eq!(bench.node.next_deadline(), Time::ZERO + wire::HANDSHAKE_WITHIN);
    bench.node.handle(Time::ZERO + wire::HANDSHAKE_WITHIN, Input::Tick);
    let closed =
        std::iter::from_fn(|| bench.node.poll_output()).any(|it| it == Output::Close { conn });
    assert!(closed);
}

proptest::proptest! {
    /// In every role a connection can have, whatever bytes come: no panic, and other connections
    /// go on.
    #[test]
    fn no_bytes_from_a_peer_make_the_node_panic(
        role in 0..4_u8,
        bodies in proptest::collection::vec(
            (0..12_u8, proptest::collection::vec(proptest::num::u8::ANY, 0..40)), 1..6),
    ) {
        let mut bench = Bench::new();
        let other = bench.followed(life(8), None);
        let conn = match role {
            0 => bench.follow(life(2)),
            1 => bench.followed(life(3), None),
            2 => { bench.members(vec![address(2)]); bench.dialled() }
            _ => bench.node.next_conn(),
        };
        match role {
            2 => bench.feed(Input::Connected { conn }),
            3 => bench.feed(Input::Accepted { conn, from: address(3) }),
            _ => {}
        }
        for (tag, body) in bodies {
            // Mostly a known tag, so that more than the first byte is looked at.
            let length = u32::try_from(body.len() + 1).unwrap();
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.push(tag);
            bytes.extend_from_slice(&body);
            bench.feed(Input::Received { conn, bytes: &bytes });
            bench.said(conn);
        }
        bench.node.announce("c", vec![Scope::All]).unwrap();
        let said = bench.said(other);
        proptest::prop_assert!(said.iter().any(|frame| frame.starts_with("Flush")), "{:?}", said);
    }
}
