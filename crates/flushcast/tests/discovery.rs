//! How nodes find each other, and what a source shows that cannot tell.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use cluster::{PATIENCE, until};
use flushcast::discovery::{Discovery, Dns, File, Fixed};
use flushcast::{Node, Source};

async fn node_of(discovery: impl Discovery) -> Node {
    let node = Node::builder("test").listen("127.0.0.1:0".parse().unwrap());
    node.discovery(discovery).start().await.unwrap()
}

/// Waits until the one source of `node` shows an error with these words.
async fn shows(node: &Node, wanted: &str) {
    let shown = async {
        loop {
            let error = node.discovery()[0].error.clone();
            if error.unwrap_or_default().contains(wanted) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let shown = tokio::time::timeout(PATIENCE, shown).await;
    shown.unwrap_or_else(|_| panic!("{wanted:?} is not in {:?}", node.discovery()));
}

/// On one thread, where nothing else runs before the next await.
#[tokio::test]
async fn a_flush_right_after_the_start_names_whom_it_did_not_reach() {
    let node = node_of(Fixed::new(["127.0.0.1:9"])).await;
    assert_eq!(node.peers().len(), 1);
    let cache: flushcast::Cache<String, u64> = node.cache("numbers").build().unwrap();
    let outcome = cache.flush("k").await.unwrap();
    assert_eq!(outcome.unconfirmed.len(), 1, "{outcome:?}");
}

struct Silent;

impl Discovery for Silent {
    fn name(&self) -> String {
        "silent".to_owned()
    }

    fn watch(
        self: Box<Self>,
        members: flushcast::discovery::Members,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let _kept = members;
            std::future::pending().await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_tells_nothing_holds_up_the_start_for_a_second_only() {
    let before = tokio::time::Instant::now();
    let node = node_of(Silent).await;
    assert_eq!(before.elapsed().as_secs(), 1);
    assert!(node.peers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_addresses_of_a_name_are_found() {
    let other = node_of(Fixed::new([] as [&str; 0])).await;
    let port = other.local_address().port();
    let node = node_of(Dns::new("localhost", port)).await;
    let peers = until(&node, |peers| peers.iter().any(flushcast::Peer::is_linked)).await;
    let linked = peers.iter().find(|peer| peer.is_linked()).unwrap();
    assert_eq!(linked.address, other.local_address());
    let source = Source::Discovery(format!("dns localhost:{port}").into());
    assert!(linked.sources.contains(&source), "{linked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve_is_shown_and_tried_again() {
    // RFC 6761 keeps this domain from ever resolving.
    let node = node_of(Dns::new("flushcast.invalid", 7400)).await;
    shows(&node, "does not resolve").await;
    assert!(node.peers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lists_of_several_sources_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.json");
    std::fs::write(&path, r#"{"members": ["127.0.0.1:9", "127.0.0.1:10"]}"#).unwrap();
    let node = Node::builder("test").listen("127.0.0.1:0".parse().unwrap());
    let node = node.discovery(Fixed::new(["127.0.0.1:9", "127.0.0.1:11"]));
    let node = node.discovery(File::new(&path)).start().await.unwrap();
    let peers = until(&node, |peers| peers.len() == 3).await;
    assert_eq!(peers.iter().map(|peer| peer.sources.len()).collect::<Vec<_>>(), [2, 1, 1]);
    // What one source drops stays for the other's sake.
    std::fs::write(&path, r#"{"members": []}"#).unwrap();
    until(&node, |peers| peers.len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_members_file_that_is_cut_off_malformed_or_missing_leaves_the_last_list_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.json");
    let node = Node::builder("test").listen("127.0.0.1:0".parse().unwrap());
    let node = node.discovery(File::new(&path)).start().await.unwrap();
    shows(&node, "waiting for it").await;
    let whole = r#"{"members": ["127.0.0.1:9", "127.0.0.1:10"]}"#;
    std::fs::write(&path, whole).unwrap();
    until(&node, |peers| peers.len() == 2).await;
    for (text, wanted) in [
        (&whole[..30], "malformed"),
        ("", "malformed"),
        (r#"{"member": []}"#, "unknown field `member`"),
        (r#"{"members": ["nonsense"]}"#, "write host:port"),
    ] {
        std::fs::write(&path, text).unwrap();
        shows(&node, wanted).await;
        assert_eq!(node.peers().len(), 2, "after {text:?}");
    }
    std::fs::remove_file(&path).unwrap();
    shows(&node, "waiting for it").await;
    assert_eq!(node.peers().len(), 2);
    std::fs::write(&path, r#"{"members": ["127.0.0.1:9"]}"#).unwrap();
    until(&node, |peers| peers.len() == 1).await;
    assert_eq!(node.discovery()[0].error, None);
}
