//! What is offered to a loader that asks whether it has changed, beside flushes.

use super::*;
use crate::wire::Scope;

/// A cache with a copy of `k`, of which the source says from here on that it has not changed.
fn unmodified() -> (Caches, Arc<Numbers>) {
    let caches = Caches::default();
    let mut config = CacheConfig::new(100, Guarantee::Eventual, HashSeeds([1, 2, 3, 4]));
    config.keep_expired = Duration::from_secs(1);
    let cache = Cache::register(&caches, "numbers", config).unwrap();
    hold(&cache, "k", 1, &["t"]);
    (caches, cache)
}

/// Loads `k` again: gives what it is offered, or, where that is nothing, what is true.
fn reload(cache: &Arc<Numbers>) -> u64 {
    let Ok(lead) = cache.begin_refresh(&"k".to_owned(), Time::ZERO) else { panic!("it is loaded") };
    let loaded = cache.held("k").unwrap_or_else(|| Loaded::new(2));
    let value = *loaded.value();
    lead.complete(loaded);
    value
}

#[test]
fn what_a_flush_names_that_is_being_applied_is_not_offered_to_live_on() {
    let named = [Scope::Tag("t"), Scope::Prefix("k"), Scope::All, Scope::Key("k")];
    for scope in named {
        let (caches, cache) = unmodified();
        assert_eq!(reload(&cache), 1);
        let mut flush = caches.begin(Time::ZERO, [("numbers", scope)]);
        reload(&cache);
        flush.finish();
        assert_ne!(cache.get("k", Time::ZERO), Some(1), "it was flushed");
        drop(flush);
        reload(&cache);
        assert_eq!(reload(&cache), 2, "it is offered again");
    }
}

#[test]
fn that_there_is_none_lives_on_as_such() {
    let cache = cache_with(|config| {
        config.absent_time_to_live = Some(Duration::from_secs(5));
        config.time_to_live = Some(Duration::from_secs(3600));
        config.keep_expired = Duration::from_secs(3600);
    });
    let (key, at) = ("k".to_owned(), |seconds| Time::ZERO + Duration::from_secs(seconds));
    let none = Loaded { is_absent: true, ..Loaded::new(0) };
    cache.insert(&key, none.clone(), at(0)).unwrap();
    assert_eq!(cache.get("k", at(6)), None);
    let Ok(lead) = cache.begin_refresh(&key, at(6)) else { panic!("nobody loads") };
    let held = cache.held("k").unwrap();
    assert_eq!(held, none.weight(1));
    lead.complete(held);
    assert_eq!((cache.get("k", at(10)), cache.get("k", at(12))), (Some(0), None));
}
