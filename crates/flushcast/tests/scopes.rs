//! Flushes that name more than one key: many keys, a tag, a prefix, on all nodes.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use cluster::{Cluster, load};
use flushcast::{Cache, FlushError, Loaded};

async fn load_tagged(cache: &Cache<String, u64>, key: &str, tag: &str) {
    let loader = || async { Ok::<_, std::io::Error>(Loaded::new(1).tag(tag)) };
    cache.get_or_load_with(key, loader).await.unwrap();
}

fn held<'k>(cache: &Cache<String, u64>, keys: &[&'k str]) -> Vec<&'k str> {
    keys.iter().copied().filter(|key| cache.get(*key).is_some()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_and_a_prefix_name_copies_on_every_node() {
    let cluster = Cluster::of(3).await;
    let caches = cluster.caches();
    let keys = ["orders/eu/1", "orders/eu/2", "orders/us/1"];
    for cache in &caches {
        load_tagged(cache, keys[0], "shop 7").await;
        load_tagged(cache, keys[1], "shop 8").await;
        load_tagged(cache, keys[2], "shop 7").await;
    }
    assert_eq!(caches[0].flush_tag("shop 7").await.unwrap().applied.len(), 2);
    for cache in &caches {
        assert_eq!(held(cache, &keys), [keys[1]]);
        load_tagged(cache, keys[2], "shop 7").await;
    }
    assert_eq!(caches[1].flush_prefix("orders/eu/").await.unwrap().applied.len(), 2);
    for cache in &caches {
        assert_eq!(held(cache, &keys), [keys[2]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_elsewhere_that_comes_to_have_a_flushed_tag_is_not_stored() {
    let cluster = Cluster::of(2).await;
    let [writer, reader] = cluster.caches().try_into().unwrap();
    let (go, gate) = tokio::sync::oneshot::channel::<()>();
    let (started, begun) = tokio::sync::oneshot::channel();
    let slow = reader.clone();
    let old = tokio::spawn(async move {
        let loader = || async {
            started.send(()).unwrap();
            gate.await.unwrap();
            Ok::<_, std::io::Error>(Loaded::new(1).tag("t"))
        };
        slow.get_or_load_with("k", loader).await.unwrap()
    });
    begun.await.unwrap();
    assert_eq!(writer.flush_tag("t").await.unwrap().applied_by(), ["n1"]);
    let joined = tokio::spawn({
        let reader = reader.clone();
        async move { load(&reader, "k", 2).await }
    });
    go.send(()).unwrap();
    assert_eq!(old.await.unwrap(), 1, "it had asked before");
    assert_eq!(joined.await.unwrap(), 2, "it asked after the flush");
    assert_eq!(load(&reader, "k", 3).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_flushed_at_once_and_a_bad_one_stops_no_other() {
    let cluster = Cluster::of(2).await;
    let [one, two] = cluster.caches().try_into().unwrap();
    let keys: Vec<_> = (0..100).map(|number| format!("k{number}")).collect();
    for key in &keys {
        load(&two, key, 1).await;
    }
    load(&two, "kept", 1).await;
    let before = cluster.nodes[0].flush_log_bytes();
    assert_eq!(one.flush_keys(&keys).await.unwrap().applied_by(), ["n1"]);
    assert!(cluster.nodes[0].flush_log_bytes() - before < 100 * 12, "they share frames");
    assert_eq!((two.len(), two.get("kept")), (1, Some(1)));

    let long = "k".repeat(1025);
    let refused = one.flush_keys([long.as_str(), "kept"]).await.unwrap_err();
    assert!(matches!(refused, FlushError::KeyTooLong { bytes: 1025 }), "{refused}");
    assert!(one.flush("marker").await.unwrap().is_complete());
    assert_eq!(two.get("kept"), None);
    let none: [&str; 0] = [];
    assert!(one.flush_keys(none).await.unwrap().is_complete());
    let refused = one.flush_tag(&"t".repeat(257)).await.unwrap_err();
    assert_eq!(refused.to_string(), "tag of 257 bytes is over the limit of 256: use a shorter one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_held_here_and_flushed_elsewhere_and_what_is_inserted_is_told_to_nobody() {
    let cluster = Cluster::of(2).await;
    let [one, two] = cluster.caches().try_into().unwrap();
    let key = "k".to_owned();
    for cache in [&one, &two] {
        load(cache, &key, 1).await;
    }
    let flush = one.put(&key, || async { Ok::<_, std::io::Error>(2) }).await.unwrap();
    assert_eq!(flush.await.unwrap().applied_by(), ["n1"]);
    assert_eq!((one.get(&key), two.get(&key)), (Some(2), None));

    load(&two, &key, 2).await;
    let down = one.put(&key, || async { Err::<u64, _>(std::io::Error::other("down")) }).await;
    assert_eq!(down.unwrap_err().to_string(), "load failed: down");
    // It was announced all the same.
    assert!(one.flush("marker").await.unwrap().is_complete());
    assert_eq!((one.get(&key), two.get(&key)), (None, None));

    two.insert(&key, 3).unwrap();
    load(&one, &key, 3).await;
    one.insert(&key, 4).unwrap();
    assert!(one.flush("marker").await.unwrap().is_complete());
    assert_eq!(two.get(&key), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_read_with_one_call_and_flushed_each_for_itself() {
    let cluster = Cluster::of(2).await;
    let [one, two] = cluster.caches().try_into().unwrap();
    let keys = ["a", "b", "c"].map(str::to_owned);
    load(&two, "b", 2).await;
    let loader = async |missing: Vec<String>| {
        assert_eq!(missing, ["a", "c"]);
        Ok::<_, std::io::Error>([("a".to_owned(), Loaded::new(1).tag("t"))])
    };
    let values = two.get_or_load_many(&keys, loader).await;
    let values: Vec<_> = values.into_iter().map(Result::unwrap).collect();
    assert_eq!(values, [Some(1), Some(2), None]);
    assert!(one.flush_tag("t").await.unwrap().is_complete());
    assert_eq!(held(&two, &["a", "b"]), ["b"]);
    let stats = two.stats();
    assert_eq!(
        (stats.hits, stats.misses, stats.flushes_from_elsewhere.total()),
        (2, 4, 1),
        "{stats:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_with_its_loader_loads_once_and_tags_what_it_loads() {
    let cluster = Cluster::of(2).await;
    let [one, two] = cluster.caches().try_into().unwrap();
    let loads = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&loads);
    let texts = two.with_loader(move |key: String| {
        let load = counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        async move {
            match key.as_str() {
                "none" => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
                _ => Ok(Loaded::new(load).tag("t")),
            }
        }
    });
    let [first, again] = [texts.load("k").await, texts.clone().load("k").await];
    assert_eq!((first.unwrap(), again.unwrap()), (1, 1));
    assert!(one.flush_tag("t").await.unwrap().is_complete());
    assert_eq!(texts.get("k"), None);
    assert_eq!(texts.load("k").await.unwrap(), 2);
    assert!(texts.load("none").await.unwrap_err().to_string().contains("not found"));
}
