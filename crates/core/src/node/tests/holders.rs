//! Who is at a place, and what that proves.

use super::*;
use crate::peers::LinkState;

/// One entry of a list with several addresses.
fn named(name: &str, addresses: &[u16]) -> Listed {
    Listed { name: name.into(), addresses: addresses.iter().copied().map(address).collect() }
}

/// Life 2 at its own place, and at 10.0.0.12, which it does not claim. It has dialled as well, so that
/// two connections link the two. Gives back the one that leads to the alias.
fn with_alias() -> (Bench, ConnId) {
    let mut bench = Bench::new();
    bench.there.insert(address(2), There::node(2));
    bench.there.insert(address(12), There::node(2));
    bench.feed(Input::Tick);
    bench.list(&[address(2), address(12)]);
    // It keeps what it has dialled, too.
    let conn = bench.accept(&hello(2, vec![address(2)]));
    bench.hear(conn, &Frame::Go { resume: Seq::START, is_evidence: true });
    bench.told.insert(conn, Told::default());
    bench.run(2 * SECOND);
    assert!(bench.is_fresh());
    let conns = bench.node.lives.get(life(2)).unwrap().conns.clone();
    let is_kept = |&it: &ConnId| it != conn && bench.node.conns[&it].linked().unwrap().is_evidence;
    let alias = conns.into_iter().find(is_kept).unwrap();
    (bench, alias)
}

impl Bench {
    /// Dials that nobody answers end, and time passes.
    fn let_dials_end(&mut self, rounds: u32) {
        for _ in 0..rounds {
            let is_dial = |(&id, conn): (&ConnId, &super::conn::Conn)| {
                matches!(conn.role, super::conn::Role::Dialling { .. }).then_some(id)
            };
            for conn in self.node.conns.iter().filter_map(is_dial).collect::<Vec<_>>() {
                self.feed(Input::DialFailed { conn, why: Reason::Unreachable("no answer".into()) });
            }
            self.run(3 * SECOND);
        }
    }
}

/// The place that was put for the first one is the second one's, too.
#[test]
fn whoever_is_where_a_lost_one_was_looked_for_is_waited_for_no_longer_than_any_other() {
    let mut bench = Bench::among(&[3]);
    bench.dialled_by(7);
    bench.run(SECOND);
    bench.lose(7);
    bench.run(SECOND);
    bench.there.insert(address(7), There::Node(9, vec![address(7)], vec![]));
    let named = Listed { name: "db-1:7400".into(), addresses: vec![address(7)] };
    bench.list_named(&[Listed::from(address(3)), named]);
    bench.let_dials_end(20);
    assert!(bench.is_fresh());
    bench.there.remove(&address(7));
    bench.lose(9);
    bench.run(SECOND);
    bench.list(&[address(3)]);
    bench.let_dials_end(50);
    assert!(bench.is_fresh(), "{:?}", bench.node.cut_off(bench.now));
}

/// It answers where the lost one was looked for, and says to be elsewhere.
#[test]
fn a_place_where_a_lost_one_was_looked_for_is_given_up_once_another_one_answers_there() {
    let mut bench = Bench::among(&[3]);
    bench.dialled_by(7);
    bench.run(SECOND);
    bench.there.insert(address(7), There::node(9));
    bench.there.insert(address(9), There::node(9));
    bench.lose(7);
    bench.run(SECOND);
    bench.there.remove(&address(7));
    bench.lose(9);
    bench.there.insert(address(9), There::Refuses);
    bench.let_dials_end(60);
    assert!(bench.is_fresh(), "{:?}", bench.node.cut_off(bench.now));
}

/// A copied configuration.
#[test]
fn whoever_said_to_be_at_this_nodes_place_and_another_is_waited_for_no_longer_than_any_other() {
    let mut bench = Bench::among(&[3]);
    bench.list(&[address(3), address(OWN)]);
    let seven = bench.accept(&hello(7, vec![address(0)]));
    bench.run(MS);
    bench.feed(Input::Closed { conn: seven, why: "reset".into() });
    let conns = [address(OWN), address(0)].map(|claim| bench.accept(&hello(6, vec![claim])));
    for conn in conns {
        bench.feed(Input::Closed { conn, why: "reset".into() });
    }
    bench.there.insert(address(OWN), There::Node(OWN, vec![address(OWN)], vec![]));
    bench.let_dials_end(60);
    assert!(bench.is_fresh(), "{:?}", bench.node.cut_off(bench.now));
}

#[test]
fn a_name_with_two_addresses_is_dead_only_when_both_are() {
    let mut bench = Bench::new();
    bench.feed(Input::Tick);
    bench.there.insert(address(2), There::Refuses);
    bench.list_named(&[named("n2", &[2, 12])]);
    bench.run(10 * SECOND);
    assert!(!bench.node.in_sync(bench.now), "at the other nobody has answered");
    // That dial ends, and so do those behind it.
    bench.there.insert(address(12), There::Refuses);
    let conn = bench.node.conns.keys().next_back().copied().unwrap();
    bench.refuse(conn);
    bench.run(2 * SECOND);
    assert!(bench.is_fresh());
}

#[test]
fn all_addresses_of_a_name_are_tried() {
    let mut bench = Bench::new();
    bench.there.insert(address(2), There::Refuses);
    bench.there.insert(address(12), There::Node(2, vec![address(12)], vec![]));
    bench.list_named(&[named("n2", &[2, 12])]);
    bench.run(SECOND);
    assert!(bench.is_fresh());
    let peers = bench.node.peers(bench.now);
    assert_eq!((peers.len(), peers[0].incarnation), (1, Some(life(2))));
}

#[test]
fn a_welcome_from_a_former_address_says_nothing_of_where_the_name_is_now() {
    let mut bench = Bench::new();
    bench.feed(Input::Tick);
    bench.list_named(&[named("n2", &[2, 12])]);
    let [(first, _)] = bench.take_dials()[..] else { panic!("it is not dialled once") };
    bench.refuse(first);
    let [(former, _)] = bench.take_dials()[..] else { panic!("the next is not dialled") };
    bench.feed(Input::Connected { conn: former, local: None });
    bench.list_named(&[named("n2", &[22, 32])]);
    let [(_, now)] = bench.take_dials()[..] else { panic!("it is not looked for there") };
    assert_eq!(now, address(22), "the refusal at 2 was no look at this one");
    bench.hear(former, &welcome(2, vec![address(12)], vec![]));
    bench.told.insert(former, Told::default());
    bench.run(10 * SECOND);
    assert!(!bench.node.in_sync(bench.now));
    assert_eq!(bench.node.peers(bench.now)[0].incarnation, None);
}

#[test]
fn a_refusal_at_a_former_address_settles_nobody() {
    let mut bench = Bench::among(&[2, 3]);
    let peers = |places: &[u16]| [named("n3", &[3]), named("n6", places)];
    bench.list_named(&peers(&[6]));
    bench.run(SECOND);
    let dial = bench.node.conns.keys().next_back().copied().unwrap();
    bench.mute(3);
    bench.kill(2);
    bench.run(SECOND);
    // A node at the new address may have heard more of 2.
    bench.list_named(&peers(&[16]));
    bench.refuse(dial);
    bench.tell(3, Told::default());
    bench.run(2 * SECOND);
    assert!(bench.node.lives.get(life(2)).unwrap().is_lost());
}

#[test]
fn a_goodbye_at_a_former_address_says_nothing_of_where_the_name_is_now() {
    let mut bench = Bench::new();
    bench.feed(Input::Tick);
    bench.there.insert(address(2), There::node(2));
    bench.list_named(&[named("n2", &[2])]);
    bench.run(SECOND);
    let conn = bench.conn_to(2);
    bench.there.clear();
    bench.hear(conn, &Frame::Bye { head: Seq::START });
    bench.run(10 * SECOND);
    assert!(bench.is_fresh());
    bench.list_named(&[named("n2", &[12])]);
    bench.run(10 * SECOND);
    assert!(!bench.node.in_sync(bench.now));
    assert_eq!(bench.node.cut_off(bench.now)[0].address, address(12));
}

#[test]
fn what_is_no_node_of_this_cluster_counts_as_nobody_and_is_named() {
    for (there, named) in [
        (There::Foreign, "something else answers at its address"),
        (There::Cluster("bank"), "belongs to cluster \"bank\""),
        (There::Refuses, "nobody listens at its address"),
    ] {
        let mut bench = Bench::new();
        bench.feed(Input::Tick);
        bench.there.insert(address(2), there);
        bench.list(&[address(2)]);
        bench.run(10 * SECOND);
        assert!(bench.is_fresh(), "{named}");
        let said = |it: &Report| matches!(it, Report::NotReached { .. });
        assert!(bench.reports(said), "{named}");
        let peers = bench.node.peers(bench.now);
        let LinkState::Connecting { trouble: Some(trouble) } = &peers[0].following else {
            panic!("{peers:?}")
        };
        assert!(trouble.starts_with(named), "{trouble}");
    }
}

#[test]
fn where_refusals_are_not_trusted_another_clusters_word_is_and_no_other_programs() {
    for (there, is_empty) in
        [(There::Refuses, false), (There::Foreign, false), (There::Cluster("bank"), true)]
    {
        let mut bench = Bench::with(Guarantee::Eventual, |it| it.trust_refusals = Some(false));
        bench.feed(Input::Tick);
        bench.there.insert(address(2), there);
        bench.list(&[address(2)]);
        bench.run(10 * SECOND);
        assert_eq!(bench.node.in_sync(bench.now), is_empty);
    }
}

#[test]
fn whatever_speaks_tls_may_be_a_member_with_a_secret() {
    let mut bench = Bench::new();
    bench.feed(Input::Tick);
    bench.there.insert(address(2), There::Tls);
    bench.list(&[address(2)]);
    bench.run(10 * SECOND);
    assert!(!bench.node.in_sync(bench.now));
    let said = |it: &Report| matches!(it, Report::NotReached { why, .. } if why.contains("TLS"));
    assert!(bench.reports(said));
}

/// Whoever comes after one that left may be a member all the same, with another secret or version.
#[test]
fn a_place_that_was_left_in_order_is_empty_until_somebody_is_there() {
    let other = Versions { oldest: 9, newest: 9 };
    for there in [There::Tls, There::Version(other), There::Full, There::Refuses] {
        let mut bench = Bench::among(&[2, 3]);
        let conn = bench.conn_to(2);
        bench.there.insert(address(2), There::Refuses);
        bench.hear(conn, &Frame::Bye { head: Seq::START });
        bench.run(5 * SECOND);
        assert!(bench.is_fresh(), "nobody is there");
        let is_somebody = !matches!(there, There::Refuses);
        bench.there.insert(address(2), there);
        bench.run(30 * SECOND);
        assert_eq!(bench.is_fresh(), !is_somebody, "{:#?}", bench.node.peers(bench.now));
        let said = |it: &Report| matches!(it, Report::NotReached { .. });
        assert_eq!(bench.reports(said), is_somebody);
    }
}

#[test]
fn a_place_where_nobody_answers_at_all_is_no_proof() {
    let mut bench = Bench::new();
    bench.feed(Input::Tick);
    bench.list(&[address(2)]);
    bench.run(10 * SECOND);
    assert!(!bench.node.in_sync(bench.now));
    assert_eq!(bench.node.cut_off(bench.now)[0].address, address(2));
}

#[test]
fn an_alias_keeps_a_connection_of_its_own() {
    let (mut bench, alias) = with_alias();
    let conns = bench.node.lives.get(life(2)).unwrap().conns.clone();
    assert_eq!(conns.len(), 2);
    let go = Frame::Go { resume: Seq::START, is_evidence: true };
    assert!(bench.take_sent(alias).contains(&go));
    let states: Vec<_> =
        bench.node.peers(bench.now).into_iter().map(|peer| peer.following).collect();
    assert_eq!(states, [LinkState::Open, LinkState::Alias]);
    // Each flush goes over one of the two.
    bench.announce();
    let sent: Vec<_> = conns.iter().flat_map(|&conn| bench.take_sent(conn)).collect();
    assert_eq!(sent.iter().filter(|&frame| *frame == flush(1)).count(), 1);
}

#[test]
fn a_lost_alias_connection_opens_its_place_however_well_its_life_is_linked() {
    let (mut bench, alias) = with_alias();
    bench.there.remove(&address(12));
    bench.told.remove(&alias);
    let lost = bench.now;
    bench.feed(Input::Closed { conn: alias, why: "reset".into() });
    bench.run(10 * SECOND);
    assert!(bench.proof() <= lost && !bench.node.in_sync(bench.now));
    // Somebody else is there by now, whom the life at its own place knows nothing of.
    bench.there.insert(address(12), There::node(3));
    let conn = bench.node.conns.keys().next_back().copied().unwrap();
    bench.refuse(conn);
    bench.run(3 * SECOND);
    assert!(bench.is_fresh());
    assert_eq!(bench.node.peers(bench.now)[1].incarnation, Some(life(3)));
}

#[test]
fn an_alias_that_answers_for_its_life_alone_proves_nothing_of_its_place() {
    let (mut bench, alias) = with_alias();
    bench.told.remove(&alias);
    let silent = bench.now;
    bench.run(4 * SECOND);
    assert!(bench.proof() <= silent, "over that connection nothing was answered");
}

#[test]
fn a_node_is_no_peer_of_itself_at_any_of_its_places() {
    // Where it says to be, where somebody forwards to it, and where it cannot reach itself.
    for there in [Some(There::node(OWN)), Some(There::Refuses), None] {
        let mut bench = Bench::new();
        bench.feed(Input::Tick);
        if let Some(there) = there.clone() {
            bench.there.insert(address(OWN), there);
        }
        bench.there.insert(address(15), There::node(OWN));
        bench.list(&[address(OWN), address(15)]);
        bench.run(10 * SECOND);
        assert!(bench.is_fresh(), "{there:?}");
        assert!(bench.node.peers(bench.now).is_empty());
        let seq = bench.announce();
        bench.await_for(seq, SECOND, false);
        assert!(bench.take_outcome().unwrap().is_complete());
    }
}

#[test]
fn a_place_that_leads_back_to_this_node_is_proven_by_its_own_answer() {
    let mut bench = Bench::new();
    bench.feed(Input::Tick);
    bench.there.insert(address(15), There::node(OWN));
    bench.list(&[address(15)]);
    bench.run(2 * SECOND);
    assert!(bench.is_fresh());
    bench.told.clear();
    let silent = bench.now;
    bench.run(4 * SECOND);
    assert!(bench.proof() <= silent, "who knows who is there by now");
}

#[test]
fn two_that_claim_one_place_are_named_and_nothing_is_proven_there() {
    let mut bench = Bench::among(&[2, 3]);
    bench.hold();
    let other = bench.accept(&hello(4, vec![address(3)]));
    bench.hear(other, &Frame::Go { resume: Seq::START, is_evidence: false });
    bench.told.insert(other, Told::default());
    let reports = bench.take_reports();
    let expected =
        Report::Conflict { place: "10.0.0.3:7400".into(), nodes: vec!["n3".into(), "n4".into()] };
    assert!(reports.contains(&expected), "{reports:?}");
    bench.run(10 * SECOND);
    assert!(!bench.node.in_sync(bench.now));
    assert_eq!(bench.node.cut_off(bench.now)[0].node, "n3 and n4");
    let seq = bench.announce();
    for conn in [bench.conn_to(2), bench.conn_to(3), other] {
        bench.take_sent(conn);
        bench.hear(conn, &Frame::Ack { applied: seq });
    }
    bench.await_for(seq, 10 * SECOND, true);
    bench.run(11 * SECOND);
    let outcome = bench.take_outcome().unwrap();
    assert_eq!(outcome.unconfirmed[0].node, "n3 and n4");
    assert!(outcome.unconfirmed[0].reason.to_string().starts_with("two nodes are at this place"));

    // One of them goes: the other is alone there, once everybody was asked.
    bench.told.remove(&other);
    bench.feed(Input::Closed { conn: other, why: "reset".into() });
    bench.run(2 * SECOND);
    assert!(bench.is_fresh() && bench.holds());
}

#[test]
fn one_that_claims_this_nodes_place_is_a_conflict_too() {
    let mut bench = Bench::new();
    bench.feed(Input::Tick);
    bench.list(&[address(OWN)]);
    let other = bench.accept(&hello(2, vec![address(OWN)]));
    bench.hear(other, &Frame::Go { resume: Seq::START, is_evidence: false });
    bench.told.insert(other, Told::default());
    let named = |it: &Report| {
        matches!(it, Report::Conflict { nodes, .. }
            if nodes.iter().eq(["n2", "me"]))
    };
    assert!(bench.reports(named));
    bench.run(10 * SECOND);
    assert!(!bench.node.in_sync(bench.now));
    let seq = bench.announce();
    bench.hear(other, &Frame::Ack { applied: seq });
    bench.await_for(seq, SECOND, true);
    bench.run(2 * SECOND);
    assert!(!bench.take_outcome().unwrap().is_complete());
}

#[test]
fn two_listed_places_that_one_life_claims_are_one_node() {
    let mut bench = Bench::new();
    bench.feed(Input::Tick);
    let there = There::Node(2, vec![address(2), address(12)], vec![]);
    bench.there.insert(address(2), there.clone());
    bench.there.insert(address(12), there);
    bench.list(&[address(2), address(12)]);
    bench.run(2 * SECOND);
    assert!(bench.is_fresh());
    let conns = bench.node.lives.get(life(2)).unwrap().conns.clone();
    assert_eq!(conns.len(), 1, "of two dials by one end the newest stays");
    let seq = bench.announce();
    bench.await_for(seq, SECOND, false);
    bench.run(2 * SECOND);
    assert_eq!(bench.take_outcome().unwrap().unconfirmed.len(), 1);
}

#[test]
fn an_ipv4_address_inside_ipv6_is_the_same_place() {
    let mut bench = Bench::among(&[3]);
    let mapped = "[::ffff:10.0.0.3]:7400".parse().unwrap();
    bench.list(&[mapped]);
    bench.run(SECOND);
    assert_eq!(bench.node.peers(bench.now).len(), 1);
    assert!(bench.is_fresh());
}

#[test]
fn who_lists_nobody_and_is_dialled_knows_its_peers_all_the_same() {
    let mut bench = Bench::new();
    bench.feed(Input::Tick);
    let conn = bench.accept(&hello(2, vec![]));
    bench.hear(conn, &Frame::Go { resume: Seq::START, is_evidence: false });
    bench.told.insert(conn, Told::default());
    bench.run(2 * SECOND);
    assert!(bench.is_fresh() && bench.node.peers(bench.now)[0].is_linked());
    let seq = bench.announce();
    bench.await_for(seq, SECOND, false);
    assert!(bench.take_outcome().is_none(), "it is waited for");
    bench.hear(conn, &Frame::Ack { applied: seq });
    assert!(bench.take_outcome().unwrap().is_complete());
}
