//! Flushes that name more than one key: many keys, a tag, a prefix, on all nodes.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::time::Duration;

use cluster::{Cluster, load};
use flushcast::{Cache, FindCacheError, Flush, FlushError, Loaded, Node, Served};

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

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_everywhere_is_fresh_nowhere_and_served_when_the_source_fails() {
    let cluster = Cluster::of(2).await;
    let build = |node: &Node| {
        let kept = Duration::from_secs(600);
        let cache = node.cache::<String, u64>("kept").keep_expired(kept).build().unwrap();
        cache.with_loader(|key: String| async move {
            let failed = Err(std::io::Error::other("the source is down"));
            if key == "down" { failed } else { Ok(Loaded::new(2).tag("t")) }
        })
    };
    let [one, two] = [0, 1].map(|at| build(&cluster.nodes[at]));
    type Expire = fn(&Cache<String, u64>) -> Flush;
    let expiries: [Expire; 4] = [
        |cache| cache.expire("down"),
        |cache| cache.expire_tag("t"),
        |cache| cache.expire_prefix("dow"),
        |cache| cache.expire_all(),
    ];
    for expire in expiries {
        for cache in [&one, &two] {
            cache.insert(&"down".to_owned(), Loaded::new(1).tag("t")).unwrap();
        }
        assert_eq!(expire(&one).await.unwrap().applied_by(), ["n1"]);
        for cache in [&one, &two] {
            assert_eq!(cache.get("down"), None);
            let served = cache.load_or_expired("down").await.unwrap();
            assert!(matches!(served, Served::Expired { value: 1, error: Some(_), .. }));
        }
        one.flush_tag("t").await.unwrap();
        for cache in [&one, &two] {
            assert_eq!(cache.get_expired("down"), None, "a flush ends that");
            assert!(cache.load_or_expired("down").await.is_err());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tags_are_flushed_at_once_and_a_bad_one_stops_no_other() {
    let cluster = Cluster::of(2).await;
    let [one, two] = cluster.caches().try_into().unwrap();
    let tags: Vec<_> = (0..100).map(|number| format!("t{number}")).collect();
    for tag in &tags {
        load_tagged(&two, tag, tag).await;
    }
    load_tagged(&two, "kept", "another").await;
    let before = cluster.nodes[0].flush_log_bytes();
    assert_eq!(one.flush_tags(&tags).await.unwrap().applied_by(), ["n1"]);
    assert!(cluster.nodes[0].flush_log_bytes() - before < 100 * 12, "they share frames");
    assert_eq!((two.len(), two.get("kept")), (1, Some(1)));
    assert_eq!(one.stats().flushes_here.tags, 100);

    let long = "t".repeat(257);
    let flush = one.flush_tags([long.as_str(), "another"]).await;
    assert_eq!(flush, Err(FlushError::TagTooLong { bytes: 257 }));
    // In order: this one tells that the former was applied.
    one.flush_tags(Vec::<String>::new()).await.unwrap();
    assert_eq!(two.get("kept"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flush_of_a_node_drops_every_cache_of_every_node() {
    let cluster = Cluster::of(2).await;
    let of = |node: usize, name: &str| {
        let cache: Cache<u64, u64> = cluster.nodes[node].cache(name).build().unwrap();
        cache.insert(&1, 1).unwrap();
        cache
    };
    // The last one is nowhere else.
    let caches = [of(0, "a"), of(0, "b"), of(1, "a"), of(1, "b"), of(1, "c")];
    let flush = cluster.nodes[0].flush_all();
    assert_eq!((caches[0].get(&1), caches[1].get(&1)), (None, None), "before it returns");
    assert_eq!(flush.await.unwrap().applied_by(), ["n1"]);
    assert!(caches.iter().all(|cache| cache.get(&1).is_none()));
    assert_eq!(caches[0].stats().flushes_here.all, 1);
    assert_eq!(caches[4].stats().flushes_from_elsewhere.all, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_is_found_by_its_name_and_types_as_long_as_somebody_holds_it() {
    let cluster = Cluster::of(1).await;
    let node = &cluster.nodes[0];
    let built: Cache<u64, String> = node.cache("titles").build().unwrap();
    let found = node.find_cache::<u64, String>("titles").unwrap();
    built.insert(&7, "Northwind".to_owned()).unwrap();
    assert_eq!(found.get(&7).as_deref(), Some("Northwind"));

    let other = node.find_cache::<u64, u64>("titles").unwrap_err();
    let text = other.to_string();
    assert!(text.contains("Cache<u64, alloc::string::String>"), "what it is: {text}");
    assert!(text.contains("Cache<u64, u64>"), "what was asked for: {text}");
    let missing = |name: &str| Some(FindCacheError::Missing { name: name.to_owned() });
    assert_eq!(node.find_cache::<u64, u64>("nobody's").err(), missing("nobody's"));
    drop((built, found));
    assert_eq!(node.find_cache::<u64, String>("titles").err(), missing("titles"));
    let _again: Cache<u64, u64> = node.cache("titles").build().unwrap();
    assert!(node.find_cache::<u64, u64>("titles").is_ok());
}
