//! Members that know the secret, and lie about who they are.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::time::Duration;

use flushcast_core::wire::{self, END_OF_WORDS, Frame, FrameReader, Hello, Incarnation, Versions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::derived::{NodeKey, derive};
use super::{Handshake, Secret};
use crate::Node;

/// Ends a test that hangs; nothing is judged by it.
const PATIENCE: Duration = Duration::from_secs(30);

fn secret() -> Secret {
    Secret::new("0123456789abcdef0123456789abcdef").unwrap()
}

async fn node(name: &str) -> Node {
    let at = "127.0.0.1:0".parse().unwrap();
    Node::builder("shop").name(name).listen(at).secret(secret()).start().await.unwrap()
}

/// Whether a node goes on with whoever says hello in the name of this life.
async fn welcomes(node: &Node, by: &Handshake, life: Incarnation) -> bool {
    let socket = TcpStream::connect(node.local_address()).await.unwrap();
    let mut stream = by.connect(socket).await.unwrap();
    let hello = Frame::Hello(Hello {
        versions: Versions::OURS,
        cluster: "shop",
        node: "poses",
        life,
        claims: Vec::new(),
        labels: Vec::new(),
        fixed: Vec::new(),
        end: END_OF_WORDS,
    });
    let mut bytes = Vec::new();
    wire::encode(&hello, &mut bytes).unwrap();
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    let (mut reader, mut bytes) = (FrameReader::default(), vec![0; 16 * 1024]);
    loop {
        if let Some(body) = reader.next_body().unwrap() {
            return matches!(wire::decode(body).unwrap(), Frame::Welcome(_));
        }
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return false,
            Ok(count) => reader.push(&bytes[..count]),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_the_secret_can_speak_for_no_life_but_its_own() {
    let (one, other) = (node("one").await, node("other").await);
    let key = NodeKey::generate().unwrap();
    let handshake = derive("shop", &secret().into(), &key).unwrap();
    let linked = one.inner.shared.ask(|core, _| core.config().incarnation);
    let unknown = Incarnation([7; 16]);
    let own = other.inner.shared.ask(|core, _| core.config().incarnation);
    for life in [linked, unknown, own] {
        let welcomed = tokio::time::timeout(PATIENCE, welcomes(&other, &handshake, life));
        assert!(!welcomed.await.unwrap(), "{life}");
    }
    let welcomed = tokio::time::timeout(PATIENCE, welcomes(&other, &handshake, key.life()));
    assert!(welcomed.await.unwrap(), "as itself it is a member");
}
