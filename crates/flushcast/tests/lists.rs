//! Lists that change, are too long, or lead to somebody who talks slowly.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use cluster::relay::Relay;
use cluster::{BOUND, PATIENCE, bounded, load, until};
use flushcast::discovery::{Discovery, Listed, Members};
use flushcast::{Node, NodeBuilder, Peer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A source that tells what the test tells it.
struct Says(String, mpsc::UnboundedReceiver<Vec<Listed>>);

fn says(name: &str) -> (mpsc::UnboundedSender<Vec<Listed>>, Says) {
    let (tell, told) = mpsc::unbounded_channel();
    (tell, Says(name.to_owned(), told))
}

impl Discovery for Says {
    fn name(&self) -> String {
        self.0.clone()
    }
    fn watch(mut self: Box<Self>, members: Members) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            while let Some(list) = self.1.recv().await {
                members.set_listed(list, None);
            }
        })
    }
}

fn builder(name: &str, listen: &str) -> NodeBuilder {
    Node::builder("test").name(name).listen(listen.parse().unwrap()).confirm_within(PATIENCE)
}

fn has_linked(peers: &[Peer]) -> bool {
    peers.iter().any(Peer::is_linked)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_was_no_room_for_is_listed_when_there_is() {
    let other = builder("other", "127.0.0.1:0").start().await.unwrap();
    let (many, source_of_many) = says("many");
    let (one, source_of_one) = says("one");
    let nowhere = |n: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, n], 7400));
    many.send((1..=1024).map(|n| nowhere(n).into()).collect()).unwrap();
    let node = builder("lister", "127.0.0.1:0").discovery(source_of_many).discovery(source_of_one);
    let node = node.start().await.unwrap();
    until(&node, |peers| peers.len() == 1024).await;
    one.send(vec![other.local_address().into()]).unwrap();
    let no_room = async {
        while node.cut_off().is_empty() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(PATIENCE, no_room).await.unwrap();
    many.send(Vec::new()).unwrap();
    until(&node, has_linked).await;
    until(&node, |_| node.in_sync()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_talks_byte_by_byte_does_not_hide_the_next_one() {
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow_address = slow.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = slow.accept().await {
            tokio::spawn(async move {
                // The length of a frame that never ends.
                let _ = stream.write_all(&[0, 0x40, 0, 0]).await;
                while stream.write_all(&[0]).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
        }
    });
    let other = builder("other", "127.0.0.2:0").start().await.unwrap();
    let (tell, source) = says("two");
    let addresses = vec![slow_address, other.local_address()];
    tell.send(vec![Listed { name: "other".into(), addresses }]).unwrap();
    let node = builder("lister", "127.0.0.1:0").discovery(source).start().await.unwrap();
    let linked = tokio::time::timeout(PATIENCE, node.peers_until(has_linked)).await;
    assert!(linked.is_ok(), "a handshake takes 5 s at most: {:#?}", node.peers());
}

/// A readiness check that fails by the same break takes the writer off the list, and puts it on again.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_cut_off_is_not_forgotten_when_the_list_drops_it() {
    let port = cluster::free::<1>()[0];
    let relay = Relay::to(port).await;
    let writer = builder("writer", &port.to_string()).advertise(relay.address);
    let writer = writer.start().await.unwrap();
    let (tell, source) = says("list");
    tell.send(vec![relay.address.into()]).unwrap();
    let reader = builder("reader", "127.0.0.1:0").discovery(source).start().await.unwrap();
    until(&reader, has_linked).await;
    let (written, read) = (bounded(&writer), bounded(&reader));
    until(&reader, |_| reader.in_sync()).await;
    load(&read, "k", 1).await;

    relay.silence(true);
    let _flush = written.flush("k");
    until(&reader, |peers| !has_linked(peers)).await;
    // Behind the bound: not a single read may get it from here on.
    tokio::time::sleep(BOUND).await;
    assert_eq!(read.get("k"), None);
    for _ in 0..3 {
        tell.send(Vec::new()).unwrap();
        until(&reader, <[Peer]>::is_empty).await;
        until(&reader, |_| reader.in_sync()).await;
        assert_eq!(read.get("k"), None, "dropped");
        tell.send(vec![relay.address.into()]).unwrap();
        until(&reader, |peers| !peers.is_empty()).await;
        assert_eq!(read.get("k"), None, "listed again");
    }
}
