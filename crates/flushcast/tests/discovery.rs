//! How nodes find each other, and what a source shows that cannot tell.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;

use cluster::{PATIENCE, until};
use flushcast::discovery::{Discovery, Dns, File, Fixed, Listed, Members, SourceStatus};
use flushcast::{Node, Source};

async fn node_of(discovery: impl Discovery) -> Node {
    let node = Node::builder("test").listen("127.0.0.1:0".parse().unwrap());
    node.discovery(discovery).start().await.unwrap()
}

/// Waits until the first source of `node` stands as wanted.
async fn stands(node: &Node, wanted: impl Fn(&SourceStatus) -> bool) {
    let stands = async {
        while !wanted(&node.discovery()[0]) {
            tokio::task::yield_now().await;
        }
    };
    let stands = tokio::time::timeout(PATIENCE, stands).await;
    stands.unwrap_or_else(|_| panic!("still {:?}", node.discovery()));
}

/// Waits until the first source of `node` shows an error with these words.
async fn shows(node: &Node, wanted: &str) {
    stands(node, |source| source.error.as_ref().is_some_and(|error| error.contains(wanted))).await;
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
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

/// A source of the name `mine` that runs `watch`.
struct Mine<W>(W);

impl<W, F> Discovery for Mine<W>
where
    W: FnOnce(Members) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    fn name(&self) -> String {
        "mine".to_owned()
    }

    fn watch(self: Box<Self>, members: Members) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin((self.0)(members))
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_tells_nothing_holds_up_the_start_for_a_second_only() {
    let before = tokio::time::Instant::now();
    let silent = Mine(async |members: Members| {
        let _kept = members;
        std::future::pending().await
    });
    let node = node_of(silent).await;
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

/// What is at the path of a members file, made anew by `make`.
async fn is_shown_and_a_good_file_in_its_place_is_read(make: impl Fn(&Path), wanted: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (path, beside) = (folder.path().join("members.json"), folder.path().join("beside"));
    let node = node_of(File::new(&path)).await;
    let put = |text: &str| {
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &path).unwrap();
    };
    put(r#"{"members": ["127.0.0.1:9", "127.0.0.1:10"]}"#);
    until(&node, |peers| peers.len() == 2).await;

    std::fs::remove_file(&path).unwrap();
    make(&path);
    shows(&node, wanted).await;
    assert_eq!(node.peers().len(), 2);

    if path.is_dir() {
        std::fs::remove_dir(&path).unwrap();
    }
    put(r#"{"members": ["127.0.0.1:9"]}"#);
    until(&node, |peers| peers.len() == 1).await;
    stands(&node, |source| source.error.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_members_file_that_is_a_folder_is_shown() {
    let make = |path: &Path| std::fs::create_dir(path).unwrap();
    is_shown_and_a_good_file_in_its_place_is_read(make, "it is a folder").await;
}

/// Sparse: it takes no room.
#[tokio::test(flavor = "multi_thread")]
async fn a_members_file_that_is_far_too_long_is_shown() {
    let make = |path: &Path| std::fs::File::create(path).unwrap().set_len(100 << 20).unwrap();
    is_shown_and_a_good_file_in_its_place_is_read(make, "1048576 bytes or more").await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_members_file_that_is_a_pipe_is_shown_and_not_waited_for() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let make = |path: &Path| mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    is_shown_and_a_good_file_in_its_place_is_read(make, "it is a pipe or device").await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_members_file_that_is_an_endless_device_is_shown() {
    let make = |path: &Path| std::os::unix::fs::symlink("/dev/zero", path).unwrap();
    is_shown_and_a_good_file_in_its_place_is_read(make, "it is a pipe or device").await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_members_file_that_links_to_itself_is_shown() {
    let make = |path: &Path| std::os::unix::fs::symlink(path, path).unwrap();
    is_shown_and_a_good_file_in_its_place_is_read(make, "to a file beside it and rename it").await;
}

/// Names are looked up beside the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_a_members_file_is_a_node() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.json");
    std::fs::write(&path, r#"{"members": ["localhost:9", "127.0.0.1:10"]}"#).unwrap();
    let node = node_of(File::new(&path)).await;
    until(&node, |peers| peers.len() >= 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_can_be_no_place_is_shown_and_the_others_are_used() {
    let node = node_of(Fixed::new(["0.0.0.0:0", "0.0.0.0:7400", "127.0.0.1:9"])).await;
    let peers = until(&node, |peers| !peers.is_empty()).await;
    assert_eq!(peers.iter().map(|peer| peer.address).collect::<Vec<_>>(), [address(9)]);
    shows(&node, "\"0.0.0.0:0\" cannot be a node: write the port").await;
    shows(&node, "\"0.0.0.0:7400\" cannot be a node: write the address").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_the_node_alone_under_three_names_is_nobody() {
    let free = std::net::TcpListener::bind(address(0)).unwrap().local_addr().unwrap().port();
    let names = [format!("127.0.0.1:{free}"), format!("[::ffff:127.0.0.1]:{free}")];
    let names = names.into_iter().chain([format!("localhost:{free}")]);
    let node = Node::builder("test").listen(address(free)).discovery(Fixed::new(names));
    let node = node.start().await.unwrap();
    let peers = until(&node, |peers| !peers.iter().any(|peer| peer.address == address(free))).await;
    // Where localhost is an address of IPv6, too, nobody listens there.
    assert!(!peers.iter().any(flushcast::Peer::is_linked), "{peers:?}");
    assert!(node.in_sync());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_ends_shows_and_its_last_list_stays_in_use() {
    let node =
        node_of(Mine(async |members: Members| members.set(vec![address(9), address(10)]))).await;
    stands(&node, |source| source.ended).await;
    assert_eq!(node.discovery()[0].error, None);
    assert_eq!(node.peers().len(), 2);
    // A list of addresses is told once.
    let node = node_of(Fixed::new(["127.0.0.1:9"])).await;
    stands(&node, |source| source.ended && source.error.is_none()).await;
    // Names are looked up for ever.
    let node = node_of(Fixed::new(["localhost:9"])).await;
    assert!(!node.discovery()[0].ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_panics_shows_its_text_and_its_last_list_stays_in_use() {
    let node = node_of(Mine(async |members: Members| {
        members.set(vec![address(9)]);
        tokio::task::yield_now().await;
        panic!("no {}", "fabric");
    }))
    .await;
    shows(&node, "panicked (no fabric)").await;
    stands(&node, |source| source.ended).await;
    assert_eq!(node.peers().len(), 1);

    let node = node_of(Mine(|_| -> std::future::Pending<()> { panic!("at once") })).await;
    shows(&node, "panicked (at once)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_of_one_name_are_told_apart() {
    let node = Node::builder("test").listen(address(0));
    let node = node.discovery(Fixed::new(["127.0.0.1:9"]));
    let node = node.discovery(Fixed::new(["127.0.0.1:9"])).discovery(Fixed::new(["nonsense"]));
    let node = node.start().await.unwrap();
    let names: Vec<_> = node.discovery().iter().map(|source| source.name.to_string()).collect();
    assert_eq!(names, ["fixed", "fixed #1", "fixed #2"]);
    until(&node, |peers| peers.iter().map(|peer| peer.sources.len()).eq([2])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_found_at_any_address_of_its_entry() {
    let other = node_of(Fixed::new([] as [&str; 0])).await;
    let addresses = vec![address(9), other.local_address()];
    let entry = Listed { name: "other".into(), addresses };
    let node = node_of(Mine(async |members: Members| members.set_listed(vec![entry], None))).await;
    until(&node, |peers| peers.iter().any(flushcast::Peer::is_linked)).await;
}
