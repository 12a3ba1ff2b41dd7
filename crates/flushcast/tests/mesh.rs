//! What a cluster promises, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster::{Cluster, PATIENCE, load, numbers, until};
use flushcast::discovery::Fixed;
use flushcast::{Cache, FlushError, LogLimits, Node, Peer, Reason, Source, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_anywhere_drops_the_copies_everywhere() {
    let cluster = Cluster::of(3).await;
    let caches = cluster.caches();
    for (writer, cache) in caches.iter().enumerate() {
        for cache in &caches {
            load(cache, "flushed", 1).await;
            load(cache, "kept", 1).await;
        }
        let outcome = cache.flush("flushed").await.unwrap();
        assert_eq!(outcome.applied.len(), 2, "{outcome:?}");
        assert!(outcome.is_complete() && outcome.fenced.is_empty());
        for cache in &caches {
            assert_eq!(cache.get("flushed"), None, "written at {writer}");
            assert_eq!(cache.get("kept"), Some(1));
        }
        assert_eq!(cache.flush_all().await.unwrap().applied.len(), 2);
        assert!(caches.iter().all(|cache| cache.get("kept").is_none()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_under_way_elsewhere_is_fenced_by_a_flush() {
    let cluster = Cluster::of(2).await;
    let [writer, reader] = cluster.caches().try_into().unwrap();
    for all in [false, true] {
        reader.evict("k");
        let (go, gate) = tokio::sync::oneshot::channel::<()>();
        let (started, begun) = tokio::sync::oneshot::channel();
        let slow = reader.clone();
        let old = tokio::spawn(async move {
            let loader = || async {
                started.send(()).unwrap();
                gate.await.unwrap();
                Ok::<_, std::io::Error>(1)
            };
            slow.get_or_load("k", loader).await.unwrap()
        });
        begun.await.unwrap();
        let flush = if all { writer.flush_all() } else { writer.flush("k") };
        assert_eq!(flush.await.unwrap().applied_by(), ["n1"]);
        assert_eq!(load(&reader, "k", 2).await, 2, "a read after the flush joined the old load");
        go.send(()).unwrap();
        assert_eq!(old.await.unwrap(), 1, "who waited before may get the old value");
        assert_eq!(reader.get("k"), Some(2), "the old load was installed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_misses_at_once_make_one_load() {
    let node = Cluster::of(1).await.nodes.remove(0);
    let (cache, loads) = (numbers(&node), Arc::new(AtomicU64::new(0)));
    let gate = Arc::new(tokio::sync::Barrier::new(100));
    let read = |_| {
        let (cache, loads, gate) = (cache.clone(), Arc::clone(&loads), Arc::clone(&gate));
        tokio::spawn(async move {
            gate.wait().await;
            let loader = || async {
                loads.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok::<_, std::io::Error>(7)
            };
            cache.get_or_load("k", loader).await.unwrap()
        })
    };
    for read in (0..100).map(read).collect::<Vec<_>>() {
        assert_eq!(read.await.unwrap(), 7);
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fills_are_not_broadcast() {
    let cluster = Cluster::of(4).await;
    let loads = AtomicU64::new(0);
    for cache in cluster.caches() {
        for _ in 0..1000 {
            let loader = || async {
                loads.fetch_add(1, Ordering::SeqCst);
                Ok::<_, std::io::Error>(7)
            };
            cache.get_or_load("k", loader).await.unwrap();
        }
    }
    assert_eq!(loads.load(Ordering::SeqCst), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_takes_part_both_ways_and_touches_no_copies() {
    let mut cluster = Cluster::of(2).await;
    let old = cluster.caches();
    old[0].flush("earlier").await.unwrap();
    for cache in &old {
        load(cache, "kept", 1).await;
        load(cache, "flushed", 1).await;
    }
    let joiner = cluster.join().await;
    let new = numbers(&joiner);
    cluster.all_linked().await;
    assert!(old.iter().all(|cache| cache.get("kept") == Some(1)));
    assert_eq!(new.flush("flushed").await.unwrap().applied_by(), ["n0", "n1"]);
    assert!(old.iter().all(|cache| cache.get("flushed").is_none()));
    load(&new, "flushed", 2).await;
    assert_eq!(old[1].flush("flushed").await.unwrap().applied_by(), ["n0", "n2"]);
    assert_eq!(new.get("flushed"), None);
    assert!(old.iter().all(|cache| cache.get("kept") == Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_on_no_list_takes_part_over_the_connection_it_has_dialled() {
    let origin = Cluster::of(1).await.nodes.remove(0);
    let joiner = Node::builder("test")
        .listen("127.0.0.1:0".parse().unwrap())
        .name("unlisted")
        .discovery(Fixed::new([origin.local_address()]))
        .start()
        .await
        .unwrap();
    until(&origin, |peers| peers.iter().any(Peer::is_linked)).await;
    let cache = numbers(&joiner);
    load(&cache, "k", 1).await;
    assert_eq!(numbers(&origin).flush("k").await.unwrap().applied_by(), ["unlisted"]);
    assert_eq!(cache.get("k"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_leaves_gracefully_is_not_waited_for() {
    let cluster = Cluster::of(3).await;
    let caches = cluster.caches();
    let last = caches[2].flush("last words");
    let outcome = cluster.nodes[2].shutdown().await.unwrap();
    assert_eq!(outcome.applied_by(), ["n0", "n1"], "its last flush is applied before it goes");
    drop(last);
    let gone = |peer: &Peer| peer.left || peer.name.as_deref() != Some("n2");
    until(&cluster.nodes[0], |peers| peers.iter().all(gone)).await;
    let outcome = caches[0].flush("k").await.unwrap();
    assert_eq!((outcome.applied_by(), outcome.unconfirmed.len()), (vec!["n1"], 0));
    assert_eq!(caches[2].flush("k").await, Err(FlushError::NodeLeft), "but it is applied here");
    assert_eq!(cluster.nodes[2].shutdown().await, Err(FlushError::NodeStopped));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_is_named_in_the_outcome() {
    let mut cluster = Cluster::of(3).await;
    let caches: Vec<_> = cluster.nodes[..2].iter().map(numbers).collect();
    // One that no list has is forgotten as soon as it is known to be dead.
    until(&cluster.nodes[0], |peers| peers.iter().all(is_listed)).await;
    // The last handle goes without a goodbye: sockets close as when a process is killed.
    drop(cluster.nodes.pop());
    let outcome = tokio::time::timeout(PATIENCE, caches[0].flush("k")).await.unwrap().unwrap();
    assert_eq!(outcome.applied_by(), ["n1"]);
    assert_eq!(outcome.unconfirmed.len(), 1, "{outcome:?}");
    assert_eq!(outcome.unconfirmed[0].node, "n2");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_wait_for_a_silent_node_is_unbounded() {
    let mut cluster = Cluster::new();
    let quick = |builder: flushcast::NodeBuilder| builder.confirm_within(Duration::from_millis(50));
    let node = cluster.join_with(quick).await;
    // It accepts, and then says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    cluster.list(address);
    let (_stream, _) = silent.accept().await.unwrap();
    let outcome = tokio::time::timeout(PATIENCE, numbers(&node).flush("k")).await.unwrap().unwrap();
    assert_eq!(outcome.unconfirmed[0].address, address);
    assert_eq!(outcome.unconfirmed[0].reason, Reason::Connecting);
    tokio::time::timeout(PATIENCE, node.shutdown()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_on_the_same_address_is_a_new_life_whose_flushes_all_count() {
    let mut cluster = Cluster::of(2).await;
    let survivor = numbers(&cluster.nodes[0]);
    let first = cluster.nodes.pop().unwrap();
    let address = first.local_address();
    for number in 0..10 {
        numbers_of(&first).flush(&format!("k{number}")).await.unwrap();
    }
    load(&survivor, "before", 1).await;
    drop(first);
    until(&cluster.nodes[0], |peers| peers.iter().all(|peer| !peer.is_linked())).await;

    let again = || {
        let discovery = flushcast::discovery::File::new(cluster.members_path());
        Node::builder("test").listen(address).name("n1").discovery(discovery).start()
    };
    // The former life's listener goes with its task, a moment after the handle.
    let second = loop {
        match again().await {
            Ok(node) => break node,
            Err(StartError::Listen { .. }) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    };
    cluster.nodes.push(second.clone());
    cluster.all_linked().await;
    assert_eq!(survivor.get("before"), Some(1), "nobody who lives was told more");
    // Its numbers start anew: 1 to 3 were seen already, from the first life.
    let cache = numbers(&second);
    for number in 0..3 {
        let key = format!("k{number}");
        load(&survivor, &key, 1).await;
        assert_eq!(cache.flush(&key).await.unwrap().applied_by(), ["n0"]);
        assert_eq!(survivor.get(key.as_str()), None, "flush {number} was taken for a duplicate");
    }
}

fn numbers_of(node: &Node) -> Cache<String, u64> {
    // The handle of an earlier call is gone, so that the name is free.
    numbers(node)
}

fn is_listed(peer: &Peer) -> bool {
    peer.sources.iter().any(|source| *source != Source::Hello)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_discovery_drops_is_not_waited_for() {
    let mut cluster = Cluster::of(3).await;
    let cache = numbers(&cluster.nodes[0]);
    let gone = cluster.nodes.pop().unwrap();
    let address = gone.local_address();
    until(&cluster.nodes[0], |peers| peers.iter().all(is_listed)).await;
    drop(gone);
    cluster.unlist(address);
    until(&cluster.nodes[0], |peers| peers.len() == 1).await;
    let outcome = cache.flush("k").await.unwrap();
    assert_eq!((outcome.applied.len(), outcome.unconfirmed.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_does_not_reach_back_resets_the_joiner_and_nobody_else() {
    let mut cluster = Cluster::new();
    let short = LogLimits { entries: 4, bytes: 1 << 20 };
    let origin = cluster.join_with(|builder| builder.flush_log(short)).await;
    let cache = numbers(&origin);
    load(&cache, "kept", 1).await;
    for number in 0..100 {
        cache.flush(&format!("k{number}")).await.unwrap();
    }
    // It is given no discovery, so that its copy is there before it is found.
    let joiner = Node::builder("test").listen("127.0.0.1:0".parse().unwrap()).name("n1");
    let joiner = joiner.start().await.unwrap();
    let copies = numbers(&joiner);
    load(&copies, "early", 1).await;
    cluster.list(joiner.local_address());
    cluster.nodes.push(joiner);
    cluster.all_linked().await;
    assert_eq!(cache.flush("again").await.unwrap().applied_by(), ["n1"]);
    assert_eq!(copies.get("early"), None, "the joiner cannot know what it missed");
    assert_eq!(cache.get("kept"), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_caches_with_the_same_key_are_kept_apart() {
    let cluster = Cluster::of(2).await;
    let make = |name: &str| -> [Cache<String, u64>; 2] {
        [0, 1].map(|at: usize| cluster.nodes[at].cache(name).build().unwrap())
    };
    let (red, blue) = (make("red"), make("blue"));
    for cache in red.iter().chain(&blue) {
        load(cache, "k", 1).await;
    }
    red[0].flush("k").await.unwrap();
    assert_eq!((red[1].get("k"), blue[1].get("k")), (None, Some(1)));
    red[0].flush_all().await.unwrap();
    assert_eq!(blue[0].get("k"), Some(1));
    assert!(cluster.nodes[0].cache::<String, u64>("red").build().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_on_the_same_machine_is_kept_apart_with_the_reason() {
    let mut cluster = Cluster::of(2).await;
    let stranger = Node::builder("other")
        .listen("127.0.0.1:0".parse().unwrap())
        .discovery(Fixed::new([cluster.nodes[0].local_address()]))
        .start()
        .await
        .unwrap();
    cluster.list(stranger.local_address());
    until(&cluster.nodes[0], |peers| {
        peers.iter().any(|peer| format!("{:?}", peer.following).contains("belongs to cluster"))
    })
    .await;
    let outcome = numbers(&cluster.nodes[0]).flush("k").await.unwrap();
    assert_eq!(outcome.applied_by(), ["n1"]);
    let reason = Reason::OtherCluster("other".to_owned());
    assert_eq!(outcome.unconfirmed[0].reason, reason);
    let cut_off = stranger.peers_until(|peers| format!("{peers:?}").contains("belongs to cluster"));
    tokio::time::timeout(PATIENCE, cut_off).await.unwrap();
    assert_eq!(numbers(&stranger).flush("k").await.unwrap().applied.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_endless_frames_end_their_connection_and_harm_nobody() {
    let cluster = Cluster::of(2).await;
    let caches = cluster.caches();
    let garbage: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff\xff\xff\xff",
        b"\x05\x00\x00\x00\x00\x03\x03\xff\xff",
        b"\x02\x00\x00\x00\x04\x09",
        b"\x03\x00\x00\x00\x63\x63\x63",
    ];
    for bytes in garbage {
        let mut stream =
            tokio::net::TcpStream::connect(cluster.nodes[0].local_address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        // Closed or reset, but ended, and with nothing said.
        let _ = tokio::time::timeout(PATIENCE, ended).await.unwrap();
        assert!(answer.is_empty(), "{answer:?}");
    }
    assert_eq!(caches[1].flush("k").await.unwrap().applied_by(), ["n0"]);
    assert_eq!(caches[0].flush("k").await.unwrap().applied_by(), ["n1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_protocol_versions_are_told_which_one_is_spoken() {
    let cluster = Cluster::of(1).await;
    // Hello of version 1, and of 7 to 9, each with a layout that nobody here knows.
    for hello in
        [b"\x06\x00\x00\x00\x00\x01\x01\xff\xff\xff", b"\x06\x00\x00\x00\x00\x07\x09\xff\xff\xff"]
    {
        let node = cluster.nodes[0].local_address();
        let mut stream = tokio::net::TcpStream::connect(node).await.unwrap();
        stream.write_all(hello).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        // Reject, no common version, ours is 3 to 3.
        assert_eq!(answer, b"\x04\x00\x00\x00\x02\x01\x03\x03");
    }
    assert!(cluster.nodes[0].peers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_protocol_version_is_shown_as_that_and_is_no_empty_place() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let old = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 7];
            stream.read_exact(&mut hello).await.unwrap();
            // As a node of version 1 answers: no common version, its own is 1 to 1.
            stream.write_all(b"\x04\x00\x00\x00\x02\x01\x01\x01").await.unwrap();
        }
    });
    let mut cluster = Cluster::new();
    let node = cluster.join().await;
    let cache = cluster::bounded(&node);
    cluster.list(old);
    let says = "protocol version 1";
    until(&node, |peers| peers.iter().any(|peer| format!("{:?}", peer.following).contains(says)))
        .await;
    until(&node, |_| !node.in_sync()).await;
    assert_eq!(node.cut_off()[0].address, old);
    let outcome = cache.flush("k").await.unwrap();
    assert!(matches!(outcome.unconfirmed[0].reason, Reason::OtherVersion(_)), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_over_the_limit_are_refused_clearly_and_short_ones_still_travel() {
    let cluster = Cluster::of(2).await;
    let caches = cluster.caches();
    let long = "k".repeat(1025);
    let loaded =
        caches[0].get_or_load(long.as_str(), || async { Ok::<_, std::io::Error>(1) }).await;
    assert_eq!(loaded.unwrap_err().to_string(), "key of 1025 bytes is over the limit of 1024");
    let flushed = caches[0].flush(long.as_str()).await;
    assert_eq!(flushed, Err(FlushError::KeyTooLong { bytes: 1025 }));
    assert_eq!(caches[0].flush(&long[1..]).await.unwrap().applied_by(), ["n1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_type_drops_the_whole_cache_to_be_safe() {
    let cluster = Cluster::of(2).await;
    let texts: Cache<String, u64> = cluster.nodes[0].cache("mixed").build().unwrap();
    let numbers: Cache<u64, u64> = cluster.nodes[1].cache("mixed").build().unwrap();
    numbers.get_or_load(&7, || async { Ok::<_, std::io::Error>(1) }).await.unwrap();
    texts.flush("not a number").await.unwrap();
    assert_eq!(numbers.get(&7), None);
}
