//! Who is no member gets no link, whatever it shows, and costs the members nothing.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::net::SocketAddr;
use std::sync::LazyLock;

use cluster::load::Load;
use cluster::told::Told;
use cluster::turned_away::{LOG, has_turned_away, logs, trouble_of};
use cluster::{Cluster, bounded, on_loopback, until};
use flushcast::discovery::Fixed;
use flushcast::{ChangeSecretError, Node, Peer, Secret, Secrets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn secret(letter: char) -> Secret {
    Secret::new(letter.to_string().repeat(32)).unwrap()
}

async fn members(count: usize) -> Cluster {
    let mut cluster = Cluster::new();
    for _ in 0..count {
        cluster.join_with(|builder| builder.secret(secret('a'))).await;
    }
    cluster.all_linked().await;
    cluster
}

#[tokio::test]
async fn members_of_one_secret_flush_each_other() {
    let cluster = members(3).await;
    let caches = cluster.caches();
    for number in 0..100 {
        let outcome = caches[number % 3].flush(&number.to_string()).await.unwrap();
        assert!(outcome.is_complete() && outcome.applied.len() == 2, "{outcome}");
    }
    for node in &cluster.nodes {
        assert_eq!(node.turned_away(), 0);
    }
}

#[tokio::test]
async fn who_shows_another_secret_or_none_gets_no_link_and_both_sides_say_why() {
    LazyLock::force(&LOG);
    let member = Node::builder("test").listen(on_loopback(0)).secret(secret('a')).name("member");
    let member = member.start().await.unwrap();
    let found = || Fixed::new([member.local_address()]);
    let of = |cluster| Node::builder(cluster).listen(on_loopback(0)).discovery(found());
    let another = "its certificate is of another secret or authority, or of another cluster";
    for (other, says, told) in [
        (of("test").secret(secret('b')), another, "it refuses this node's certificate"),
        (of("else").secret(secret('a')), another, "it refuses this node's certificate"),
        (of("test"), "it speaks TLS, and this node does not", "it does not speak TLS"),
    ] {
        let (told_here, before) = (Told::by(&member), member.turned_away());
        let other = other.start().await.unwrap();
        let trouble = trouble_of(&other).await;
        assert!(trouble.contains(says), "{trouble}");
        has_turned_away(&member, before + 1).await;
        logs("member", told).await;
        assert!(member.peers().is_empty(), "{:?}", member.peers());
        assert!(member.in_sync());
        assert_eq!(told_here.text(), "");
        other.shutdown().await.unwrap();
    }
    // The other way round: who has a secret makes no link with one that has none.
    let plain = Node::builder("test").listen(on_loopback(0)).start().await.unwrap();
    let other = Node::builder("test").listen(on_loopback(0)).secret(secret('a'));
    let other = other.discovery(Fixed::new([plain.local_address()])).start().await.unwrap();
    let trouble = trouble_of(&other).await;
    assert!(trouble.contains("has it no secret?"), "{trouble}");
    assert!(plain.peers().is_empty());
}

/// It may be a member all the same, with a secret that was replaced, or is to be.
#[tokio::test]
async fn whoever_is_at_a_listed_place_with_another_secret_is_not_taken_for_dead() {
    let one =
        Node::builder("test").listen(on_loopback(0)).secret(secret('a')).start().await.unwrap();
    let other = Node::builder("test").listen(on_loopback(0)).secret(secret('b'));
    let other = other.discovery(Fixed::new([one.local_address()])).start().await.unwrap();
    let _copies = bounded(&other);
    until(&other, |_| !other.in_sync()).await;
    one.change_secret(secret('a').or(secret('b'))).unwrap();
    other.change_secret(secret('b').or(secret('a'))).unwrap();
    until(&other, |_| other.in_sync()).await;
}

/// One that left is not waited for; whoever is there next is, whether it has the secret or not.
#[tokio::test]
async fn whoever_comes_after_one_that_left_is_not_taken_for_nobody() {
    for next in [Some('b'), None] {
        let mut cluster = members(2).await;
        let left = cluster.nodes.pop().unwrap();
        let stays = cluster.nodes[0].clone();
        let _copies = bounded(&stays);
        let at = left.local_address();
        left.shutdown().await.unwrap();
        drop(left);
        cluster::in_sync_beyond_the_bound(&[&stays]).await;
        let next = next.map(secret);
        let builder = Node::builder("test").listen(at);
        let builder = match next {
            Some(next) => builder.secret(next),
            None => builder,
        };
        let _next = builder.start().await.unwrap();
        until(&stays, |_| !stays.in_sync()).await;
        let trouble = trouble_of(&stays).await;
        assert!(trouble.contains("no member by what it shows"), "{trouble}");
    }
}

#[tokio::test]
async fn without_protection_only_this_machine_is_listened_to() {
    let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let error = Node::builder("test").listen(everywhere).start().await.unwrap_err().to_string();
    for way_out in [".secret(..)", ".tls(..)", "127.0.0.1:7400", ".insecure_plaintext()"] {
        assert!(error.contains(way_out), "{error}");
    }
    LazyLock::force(&LOG);
    for protected in [
        Node::builder("test").listen(everywhere).insecure_plaintext().name("open"),
        Node::builder("test").listen(everywhere).secret(secret('a')),
        Node::builder("test").listen("[::1]:0".parse().unwrap()),
        Node::builder("test").listen("[::ffff:127.0.0.1]:0".parse().unwrap()),
    ] {
        protected.start().await.unwrap();
    }
    logs("open", "whoever reaches it is a member").await;
    // Nor is anybody else dialled, whoever answers there.
    let elsewhere = Node::builder("test").listen(on_loopback(0));
    let elsewhere = elsewhere.discovery(Fixed::new(["192.0.2.1:7400"])).start().await.unwrap();
    let trouble = trouble_of(&elsewhere).await;
    assert!(trouble.contains("only this machine is dialled"), "{trouble}");
}

#[tokio::test]
async fn a_secret_is_replaced_on_running_nodes_and_nothing_is_missed() {
    let mut cluster = members(3).await;
    let told: Vec<_> = cluster.nodes.iter().map(Told::by).collect();
    let load = Load::on(&cluster.nodes[0]);
    let steps = [secret('a').or(secret('b')), secret('b').or(secret('a')), secret('b').into()];
    let mut previous: Secrets = secret('a').into();
    for step in steps {
        cluster.nodes[0].change_secret(step.clone()).unwrap();
        // Whoever comes meanwhile, with the one or the other, gets links with all.
        for secrets in [previous, step.clone()] {
            let joined = cluster.join_with(|builder| builder.secret(secrets)).await;
            cluster.all_linked().await;
            cluster.unlist(joined.local_address());
            cluster.nodes.pop();
            joined.shutdown().await.unwrap();
        }
        for node in &cluster.nodes[1..] {
            node.change_secret(step.clone()).unwrap();
        }
        previous = step;
    }
    // Links that were made with the old one are made anew, by both ends.
    for (node, told) in cluster.nodes.iter().zip(&told) {
        let is_linked = |peers: &[Peer]| peers.len() == 2 && peers.iter().all(Peer::is_linked);
        until(node, |peers| told.lost() >= 2 && is_linked(peers)).await;
    }
    load.end().await;
    for told in told {
        assert_eq!((told.distrusted(), told.lost()), (0, 2), "{}", told.text());
    }
    // Who knows only the old one is out.
    let late = Node::builder("test").listen(on_loopback(0)).secret(secret('a'));
    let late =
        late.discovery(Fixed::new([cluster.nodes[0].local_address()])).start().await.unwrap();
    assert!(trouble_of(&late).await.contains("another secret"));
    let plain = Node::builder("test").listen(on_loopback(0)).start().await.unwrap();
    let error = plain.change_secret(secret('a')).unwrap_err();
    assert!(matches!(error, ChangeSecretError::NoSecret));
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    LazyLock::force(&LOG);
    let member = Node::builder("test").listen(on_loopback(0)).secret(secret('a')).name("besieged");
    let member = member.start().await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(TcpStream::connect(member.local_address()).await.unwrap());
    }
    let newcomer = Node::builder("test").listen(on_loopback(0)).secret(secret('a'));
    let newcomer = newcomer.discovery(Fixed::new([member.local_address()])).start().await.unwrap();
    until(&newcomer, |peers| peers.iter().any(|peer| peer.is_linked())).await;
    // Those who were there first made room.
    has_turned_away(&member, 400 - 256).await;
    assert_eq!(silent[0].read(&mut [0]).await.unwrap_or(0), 0);
    logs("besieged", "and others came").await;
    let text = std::fs::read_to_string(LOG.path()).unwrap();
    let lines = text.lines().filter(|line| line.contains("node=\"besieged\"")).count();
    assert!(lines < 10, "{lines} lines: {text}");
}

#[tokio::test]
async fn a_handshake_that_is_played_again_and_bytes_of_no_handshake_are_turned_away() {
    let member = Node::builder("test").listen(on_loopback(0)).secret(secret('a'));
    let member = member.start().await.unwrap();
    let at = member.local_address();

    // Somebody on the way records what a member says.
    let listener = TcpListener::bind(on_loopback(0)).await.unwrap();
    let relay = listener.local_addr().unwrap();
    let recording = tokio::spawn(async move {
        let (mut from, _) = listener.accept().await.unwrap();
        let mut to = TcpStream::connect(at).await.unwrap();
        let ((mut from_read, mut from_write), (mut to_read, mut to_write)) =
            (from.split(), to.split());
        let mut recorded = Vec::new();
        let forth = async {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from_read.read(&mut bytes).await {
                recorded.extend_from_slice(&bytes[..count]);
                to_write.write_all(&bytes[..count]).await.unwrap();
            }
        };
        let back = tokio::io::copy(&mut to_read, &mut from_write);
        tokio::select! { () = forth => {}, _ = back => {} }
        recorded
    });
    let other = Node::builder("test").listen(on_loopback(0)).secret(secret('a'));
    let other = other.discovery(Fixed::new([relay])).start().await.unwrap();
    until(&other, |peers| peers.iter().any(|peer| peer.is_linked())).await;
    other.shutdown().await.unwrap();
    let recorded = recording.await.unwrap();
    assert!(recorded.len() > 500 && member.turned_away() == 0);

    let junk = b"GET / HTTP/1.1\r\nHost: member\r\n\r\n".to_vec();
    let huge = [[22, 3, 1, 255, 255].to_vec(), vec![0; 70_000]].concat();
    for said in [recorded, junk, huge] {
        let before = member.turned_away();
        let mut stream = TcpStream::connect(at).await.unwrap();
        // It may be turned away before all was said.
        let _ = stream.write_all(&said).await;
        has_turned_away(&member, before + 1).await;
        assert!(member.peers().iter().all(|peer| !peer.is_linked()));
    }
}
