//! A process that may open few files keeps most of them for itself. Alone in this program, as the limit
//! is of a whole process.
#![cfg(all(unix, feature = "tls"))]
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::sync::LazyLock;

use cluster::on_loopback;
use cluster::turned_away::{LOG, has_turned_away, logs};
use flushcast::{Node, Secret};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpStream;

const FILES: u64 = 400;

#[tokio::test]
async fn who_has_not_proven_anything_takes_a_quarter_of_the_files_at_the_most() {
    LazyLock::force(&LOG);
    let before = getrlimit(Resource::Nofile);
    let mut few = before;
    few.current = Some(FILES);
    setrlimit(Resource::Nofile, few).unwrap();
    let node = Node::builder("test").listen(on_loopback(0)).name("few");
    let node = node.secret(Secret::new([7; 32]).unwrap()).start().await.unwrap();
    // Those who dial are of this process, too.
    setrlimit(Resource::Nofile, before).unwrap();
    let mut silent = Vec::new();
    for _ in 0..FILES {
        silent.push(TcpStream::connect(node.local_address()).await.unwrap());
    }
    has_turned_away(&node, FILES - FILES / 4).await;
    // Because others came, not because their time was up.
    logs("few", "and others came").await;
    assert!(!std::fs::read_to_string(LOG.path()).unwrap().contains("within"));
}
