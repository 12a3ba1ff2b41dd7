//! Two living nodes that say to be at one address, and an address that refuses in the name of a
//! living node: nobody is told that all is well.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::net::SocketAddr;
use std::time::Duration;

use cluster::relay::Relay;
use cluster::told::Told;
use cluster::{PATIENCE, free, load, out_of_sync_for_good, until};
use flushcast::discovery::Fixed;
use flushcast::{Cache, Guarantee, LinkState, Node, NodeBuilder, Peer};

/// Longer than the lease of a silent node, so that a strict flush can come to be `Ok` by it.
const CONFIRM_WITHIN: Duration = Duration::from_secs(3);
/// Most links that a node may lose while somebody finds out about a conflict, and while it lasts.
const FEW: usize = 5;

fn builder(name: &str, listen: SocketAddr) -> NodeBuilder {
    Node::builder("test").name(name).listen(listen).confirm_within(CONFIRM_WITHIN)
}

async fn start(builder: NodeBuilder, list: &[SocketAddr]) -> (Node, Cache<String, u64>) {
    let node = builder.discovery(Fixed::new(list)).start().await.unwrap();
    let cache = node.cache("numbers").guarantee(Guarantee::Strict).build().unwrap();
    (node, cache)
}

/// A configuration that was copied: two nodes say to be at the first one's address.
const TWINS: [&str; 2] = ["first-twin", "second-twin"];

/// Nobody of these stays in sync, a strict flush of each is an error, all that know of the
/// conflict name both twins, and they do not take each other's links away.
async fn assert_conflict(nodes: &[(Node, Cache<String, u64>)]) {
    let told: Vec<_> = nodes.iter().map(|(node, _)| Told::by(node)).collect();
    let all: Vec<_> = nodes.iter().map(|(node, _)| node).collect();
    let is_told = |peers: &[Peer]| {
        peers.iter().any(|peer| matches!(peer.following, LinkState::Conflict { .. }))
    };
    for node in &all {
        until(node, is_told).await;
    }
    out_of_sync_for_good(&all).await;
    let flushes = nodes.iter().map(|(_, cache)| cache.flush("k"));
    for (flush, node) in flushes.collect::<Vec<_>>().into_iter().zip(&all) {
        let outcome = flush.await;
        assert!(outcome.is_err(), "{}: {outcome:?}", node.name());
    }
    for (node, told) in all.iter().zip(&told) {
        let said = format!("{}{:?}{:?}", told.text(), node.peers(), node.cut_off());
        let others = TWINS.iter().filter(|&&twin| twin != node.name());
        let unnamed: Vec<_> = others.filter(|&&twin| !said.contains(twin)).collect();
        assert!(unnamed.is_empty(), "{} does not name {unnamed:?}: {said}", node.name());
        let lost = told.lost();
        assert!(lost <= FEW, "{} has lost {lost} links:\n{}", node.name(), told.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_at_one_address_are_a_conflict_for_both() {
    let [place, elsewhere] = free();
    let list = [place];
    let first = start(builder(TWINS[0], place), &list).await;
    let second = start(builder(TWINS[1], elsewhere).advertise(place), &list).await;
    assert_conflict(&[first, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_at_one_address_are_a_conflict_for_all_and_do_not_replace_each_other() {
    let [place, elsewhere, other] = free();
    let list = [place, other];
    let third = start(builder("third", other), &list).await;
    let first = start(builder(TWINS[0], place), &list).await;
    let second = start(builder(TWINS[1], elsewhere).advertise(place), &list).await;
    assert_conflict(&[third, first, second]).await;
}

/// Where nodes listen behind relays, which of these refuse.
#[derive(Clone, Copy)]
struct Refused {
    writer: bool,
    reader: bool,
}

/// A flush that is awaited and comes back `Ok` leaves no old copy to be served, though the address
/// of a living node refuses for longer than a lease.
async fn assert_no_old_copy_behind(refused: Refused, has_witness: bool) {
    let ports: [_; 2] = free();
    let [mut to_writer, mut to_reader] = [Relay::to(ports[0]).await, Relay::to(ports[1]).await];
    let places = [to_writer.address, to_reader.address];
    let mut list = places.to_vec();
    let witness_place = free::<1>()[0];
    list.extend(has_witness.then_some(witness_place));
    let behind = |at: usize, name| builder(name, ports[at]).advertise(places[at]);
    let (writer, written) = start(behind(0, "writer"), &list).await;
    let (reader, read) = start(behind(1, "reader"), &list).await;
    let mut nodes = vec![&writer, &reader];
    let witness = match has_witness {
        true => Some(start(builder("witness", witness_place), &list).await),
        false => None,
    };
    nodes.extend(witness.as_ref().map(|(node, _)| node));
    for node in &nodes {
        let others = nodes.len() - 1;
        let all = |peers: &[Peer]| peers.iter().filter(|peer| peer.is_linked()).count() == others;
        until(node, all).await;
        until(node, |_| node.in_sync()).await;
    }
    load(&read, "k", 1).await;
    assert_eq!(read.get("k"), Some(1), "{:#?}", reader.peers());

    if refused.writer {
        to_writer.stop().await;
    }
    if refused.reader {
        to_reader.stop().await;
    }
    // Until whoever takes a refusal for a death has come to that.
    tokio::time::sleep(Guarantee::STRICT_LEASE * 3 / 2).await;
    let outcome = tokio::time::timeout(PATIENCE, written.flush("k")).await.unwrap();
    if outcome.is_ok() {
        let served = read.get("k");
        assert_eq!(served, None, "after {outcome:?}: {:#?}", reader.peers());
    }
    if !(refused.writer && refused.reader) {
        let applied = outcome.as_ref().map(|it| it.applied_by().contains(&"reader"));
        assert_eq!(applied, Ok(true), "they reach each other: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_old_copy_is_served_after_a_strict_flush_while_the_readers_port_refuses() {
    assert_no_old_copy_behind(Refused { writer: false, reader: true }, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_old_copy_is_served_after_a_strict_flush_while_the_writers_port_refuses() {
    assert_no_old_copy_behind(Refused { writer: true, reader: false }, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_old_copy_is_served_after_a_strict_flush_while_both_ports_refuse() {
    assert_no_old_copy_behind(Refused { writer: true, reader: true }, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_old_copy_is_served_after_a_strict_flush_while_both_ports_refuse_beside_a_witness() {
    assert_no_old_copy_behind(Refused { writer: true, reader: true }, true).await;
}
