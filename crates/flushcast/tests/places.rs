//! An address is only a place where to look for a node: one node may be at several, or at none that
//! can be dialled, and somebody else may be at one that is listed.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::io::Write;
use std::net::SocketAddr;

use cluster::strangers::{BlackHole, closes_at_once, http_server};
use cluster::told::Told;
use cluster::{
    BOUND, Cluster, PATIENCE, bounded, free, in_sync_beyond_the_bound, load, on_loopback, until,
};
use flushcast::discovery::Fixed;
use flushcast::{Cache, Node, NodeBuilder, Peer};

fn builder(name: &str, listen: SocketAddr) -> NodeBuilder {
    // Some listen on all addresses, and some have strangers beside them.
    let builder = Node::builder("test").name(name).listen(listen).insecure_plaintext();
    builder.confirm_within(PATIENCE)
}

async fn start<A: ToString>(builder: NodeBuilder, list: &[A]) -> (Node, Cache<String, u64>) {
    let list: Vec<_> = list.iter().map(ToString::to_string).collect();
    let node = builder.discovery(Fixed::new(list)).start().await.unwrap();
    let cache = bounded(&node);
    (node, cache)
}

/// All addresses of this machine, IPv4.
fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

/// Two of the addresses at which whoever listens everywhere is found.
fn two_places(port: u16) -> [SocketAddr; 2] {
    [on_loopback(port), SocketAddr::from(([127, 0, 0, 2], port))]
}

fn linked(node: &Node, name: &str) -> impl Future<Output = Vec<Peer>> {
    let is_it = move |peer: &Peer| peer.is_linked() && peer.name.as_deref() == Some(name);
    until(node, move |peers| peers.iter().any(is_it))
}

/// A flush at `from` reaches `to`, once, is confirmed by it, once, and by nobody else.
async fn assert_reached_once(from: &Cache<String, u64>, to: &Cache<String, u64>, name: &str) {
    load(to, "reached", 1).await;
    let before = to.stats().flushes_from_elsewhere.total();
    let outcome = from.flush("reached").await.unwrap();
    assert_eq!(outcome.applied_by(), [name], "{outcome}");
    assert_eq!(to.get("reached"), None, "{name} serves what was flushed: {outcome}");
    assert_eq!(to.stats().flushes_from_elsewhere.total() - before, 1, "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_listed_under_two_of_its_addresses_is_followed_once_and_cuts_nobody_off() {
    let (origin, flushed) = start::<&str>(builder("origin", everywhere(0)), &[]).await;
    let places = two_places(origin.local_address().port());
    let (lister, copies) = start(builder("lister", on_loopback(0)), &places).await;
    linked(&lister, "origin").await;
    load(&copies, "kept", 1).await;
    in_sync_beyond_the_bound(&[&lister, &origin]).await;
    assert_eq!(copies.get("kept"), Some(1), "{:#?}", lister.peers());
    assert_reached_once(&flushed, &copies, "lister").await;
    assert_reached_once(&copies, &flushed, "origin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_all_know_two_addresses_of_each_are_in_sync() {
    let ports = free::<2>().map(|address| address.port());
    let list: Vec<_> = ports.into_iter().flat_map(two_places).collect();
    let (one, of_one) = start(builder("one", everywhere(ports[0])), &list).await;
    let (two, of_two) = start(builder("two", everywhere(ports[1])), &list).await;
    linked(&one, "two").await;
    linked(&two, "one").await;
    in_sync_beyond_the_bound(&[&one, &two]).await;
    assert_reached_once(&of_one, &of_two, "two").await;
    assert_reached_once(&of_two, &of_one, "one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_address_of_a_known_node_that_is_listed_later_cuts_nobody_off() {
    let (origin, flushed) = start::<&str>(builder("origin", everywhere(0)), &[]).await;
    let places = two_places(origin.local_address().port());
    let mut cluster = Cluster::new();
    cluster.list_only([places[0]]);
    let lister = cluster.join_with(|builder| builder.name("lister")).await;
    let copies = bounded(&lister);
    linked(&lister, "origin").await;
    in_sync_beyond_the_bound(&[&lister]).await;
    cluster.list_only(places);
    until(&lister, |peers| peers.iter().any(|peer| peer.address == places[1])).await;
    in_sync_beyond_the_bound(&[&lister, &origin]).await;
    assert_reached_once(&flushed, &copies, "lister").await;
}

/// Whether it shows that all addresses of a name are tried depends on what the machine makes of
/// this one; with a single address it shows that names work at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_leads_to_a_node_at_any_of_its_addresses() {
    let resolved: Vec<_> = tokio::net::lookup_host("localhost:7400").await.unwrap().collect();
    if resolved.iter().all(SocketAddr::is_ipv4) {
        // Not by a macro: what those print is not shown of a test that passes.
        let line = "localhost has no IPv6 address here: no name of two families was tried";
        writeln!(std::io::stderr(), "{line}").unwrap();
    }
    let ports = free::<2>().map(|address| address.port());
    let list = ports.map(|port| format!("localhost:{port}"));
    let (one, of_one) = start(builder("one", everywhere(ports[0])), &list).await;
    let (two, of_two) = start(builder("two", everywhere(ports[1])), &list).await;
    linked(&one, "two").await;
    linked(&two, "one").await;
    in_sync_beyond_the_bound(&[&one, &two]).await;
    assert_reached_once(&of_one, &of_two, "two").await;
    assert_reached_once(&of_two, &of_one, "one").await;
}

/// What `node` says about a listed place.
fn said_of(node: &Node, place: SocketAddr) -> String {
    let peers = node.peers();
    let peer = peers.iter().find(|peer| peer.address == place);
    peer.map(|peer| format!("{:?}", peer.following)).unwrap_or_default()
}

/// Two nodes that list each other and `place`, where somebody else answers, are in sync and reach
/// each other; both say of the place something with one of these words.
async fn assert_cuts_nobody_off(place: SocketAddr, words: &[&str]) {
    let [first, second] = free();
    let list = [first, second, place];
    let (one, of_one) = start(builder("one", first), &list).await;
    let (two, of_two) = start(builder("two", second), &list).await;
    linked(&one, "two").await;
    linked(&two, "one").await;
    in_sync_beyond_the_bound(&[&one, &two]).await;
    for node in [&one, &two] {
        let says = |_: &[Peer]| words.iter().any(|&word| said_of(node, place).contains(word));
        until(node, says).await;
    }
    assert_reached_once(&of_one, &of_two, "two").await;
    assert_reached_once(&of_two, &of_one, "one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_address_of_another_cluster_cuts_nobody_off_and_is_shown_as_that() {
    let other = Node::builder("other").listen(on_loopback(0)).start().await.unwrap();
    assert_cuts_nobody_off(other.local_address(), &["cluster \\\"other\\\""]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_address_of_an_http_server_cuts_nobody_off_and_is_shown_as_that() {
    let server = http_server().await;
    assert_cuts_nobody_off(server, &["no flushcast", "another program", "HTTP"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_address_that_closes_each_connection_is_named_as_what_cuts_off() {
    // A node that is stopped or behind a proxy that has lost it looks the same: it proves nothing.
    let place = closes_at_once().await;
    let [first] = free();
    let (node, _cache) = start(builder("one", first), &[first, place]).await;
    until(&node, |_: &[Peer]| !node.in_sync()).await;
    let cut_off = node.cut_off();
    assert!(cut_off.iter().all(|it| it.address == place) && !cut_off.is_empty(), "{cut_off:?}");
    let said = said_of(&node, place);
    assert!(["close", "reset"].iter().any(|word| said.contains(word)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_three_names_of_the_node_itself_is_a_list_of_nobody() {
    let [address] = free();
    let port = address.port();
    let list =
        [format!("127.0.0.1:{port}"), format!("127.0.0.2:{port}"), format!("localhost:{port}")];
    let (node, cache) = start(builder("alone", everywhere(port)), &list).await;
    let told = Told::by(&node);
    load(&cache, "kept", 1).await;
    in_sync_beyond_the_bound(&[&node]).await;
    assert_eq!(cache.get("kept"), Some(1), "{:#?}", node.peers());
    let outcome = cache.flush("k").await.unwrap();
    assert!(outcome.is_complete() && outcome.applied.is_empty(), "{outcome}");
    assert!(!node.peers().iter().any(Peer::is_linked), "{:#?}", node.peers());
    assert_eq!(told.lost(), 0, "{}", told.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_over_a_limit_is_not_taken_for_the_whole() {
    const LISTED: u16 = 2000;
    let mut cluster = Cluster::new();
    let node = cluster.join().await;
    let (cache, told) = (bounded(&node), Told::by(&node));
    // Each refuses, so that none of those which are looked at cuts anybody off.
    let [nobody] = free();
    let address = |number: u16| {
        let [high, low] = number.to_be_bytes();
        SocketAddr::from(([127, 1, high, low], nobody.port()))
    };
    cluster.list_only((0..LISTED).map(address));
    until(&node, |peers| peers.len() > 100).await;
    load(&cache, "kept", 1).await;
    tokio::time::sleep(BOUND * 2).await;
    let listed = node.peers().len();
    if listed == usize::from(LISTED) {
        return;
    }
    assert!(!node.in_sync(), "in sync with {listed} of {LISTED}");
    assert_eq!(cache.get("kept"), None);
    let said = format!("{}{:?}{:?}", told.text(), node.discovery(), node.cut_off());
    let says = ["no room", "left out", "limit"].iter().any(|words| said.contains(words));
    assert!(says, "nothing says that {listed} of {LISTED} are known: {}", told.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_nobody_can_have_is_a_clear_error_and_is_not_dialled() {
    for bad in ["0.0.0.0:0", "127.0.0.1:0", "0.0.0.0:7400"] {
        let node = builder("n", on_loopback(0)).discovery(Fixed::new([bad])).start().await;
        let said = match &node {
            Ok(node) => format!("{:?}", node.discovery()),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(bad), "{bad} is taken for an address: {said}");
        let peers = node.map(|node| node.peers()).unwrap_or_default();
        assert!(peers.is_empty(), "{bad} is dialled: {peers:#?}");
    }
}

/// `third` and two nodes that dial it take part in full, and no link is lost meanwhile.
async fn assert_both_take_part(third: &Node, two: [(Node, Cache<String, u64>); 2]) {
    let of_third = bounded(third);
    let nodes = [third, &two[0].0, &two[1].0];
    let told = nodes.map(Told::by);
    for (node, _) in &two {
        linked(third, node.name()).await;
        linked(node, third.name()).await;
    }
    in_sync_beyond_the_bound(&nodes).await;
    for (_, cache) in &two {
        load(cache, "k", 1).await;
    }
    load(&of_third, "k", 1).await;
    let outcome = of_third.flush("k").await.unwrap();
    let names = two.each_ref().map(|(node, _)| node.name());
    assert_eq!((outcome.applied_by(), outcome.unconfirmed.len()), (names.to_vec(), 0), "{outcome}");
    for (node, cache) in &two {
        assert_eq!(cache.get("k"), None, "{}", node.name());
        load(&of_third, "k", 1).await;
        let outcome = cache.flush("k").await.unwrap();
        assert!(outcome.applied_by().contains(&third.name()), "{}: {outcome}", node.name());
        assert_eq!(of_third.get("k"), None);
    }
    for (node, told) in nodes.iter().zip(&told) {
        assert_eq!(told.lost(), 0, "{} has lost links:\n{}", node.name(), told.text());
    }
}

/// As behind a router that lets both out by one address: each says that it listens at the default
/// port of wherever it is seen.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_behind_one_source_address_both_take_part() {
    let third = builder("third", on_loopback(0)).start().await.unwrap();
    let [nobody] = free();
    let behind = |name| builder(name, on_loopback(0)).advertise(everywhere(nobody.port()));
    let list = [third.local_address()];
    let two = [start(behind("one"), &list).await, start(behind("two"), &list).await];
    assert_both_take_part(&third, two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_address_refuses_takes_part_over_the_links_it_dials() {
    let third = builder("third", on_loopback(0)).start().await.unwrap();
    let list = [third.local_address()];
    let [nobody] = free();
    let refusing = builder("one", on_loopback(0)).advertise(nobody);
    let two = [start(refusing, &list).await, start(builder("two", on_loopback(0)), &list).await];
    assert_both_take_part(&third, two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_address_never_answers_takes_part_over_the_links_it_dials() {
    let third = builder("third", on_loopback(0)).start().await.unwrap();
    let list = [third.local_address()];
    let hole = BlackHole::at(free::<1>()[0]).await;
    let silent = builder("one", on_loopback(0)).advertise(hole.address);
    let two = [start(silent, &list).await, start(builder("two", on_loopback(0)), &list).await];
    assert_both_take_part(&third, two).await;
}
