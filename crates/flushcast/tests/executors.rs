//! Reads where the application's executor has less than Tokio's usual one: no timers, or nothing of Tokio at
//! all. And lengths of time that are longer than any clock shows.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use flushcast::{Cache, Guarantee, LoadError, Loaded, Node, NodeBuilder, Served};
use tokio::runtime::{Builder, Runtime};

const MOMENT: Duration = Duration::from_millis(20);

fn builder() -> NodeBuilder {
    Node::builder("test").listen("127.0.0.1:0".parse().unwrap())
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs this without anything of Tokio.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A node in a runtime of its own, with a cache whose copy of 7 has expired, and is held for long.
fn with_an_expired_copy(home: &Runtime) -> (Node, Cache<u64, u64>) {
    let node = home.block_on(builder().start()).unwrap();
    let cache: Cache<u64, u64> = node
        .cache("c")
        .keep_expired(Duration::from_secs(3600))
        .serve_expired_after(MOMENT)
        .build()
        .unwrap();
    hold_expired(&cache, 7);
    (node, cache)
}

fn hold_expired(cache: &Cache<u64, u64>, key: u64) {
    cache.insert(&key, Loaded::new(1).time_to_live(Duration::from_nanos(1))).unwrap();
    // The clock of reads moves on by steps.
    while cache.get_expired(&key).is_none() {
        std::thread::yield_now();
    }
}

#[test]
fn an_expired_copy_is_served_in_a_runtime_without_timers() {
    let home = Runtime::new().unwrap();
    let (_node, cache) = with_an_expired_copy(&home);
    let plain = Builder::new_current_thread().build().unwrap();
    let never = cache.with_loader(|_| pending::<Result<u64, std::io::Error>>());
    let slow = plain.block_on(never.load_or_expired(&7)).unwrap();
    assert!(matches!(slow, Served::Expired { value: 1, error: None, .. }), "{slow:?}");
    // A pause behind a failure needs a timer, too.
    hold_expired(&cache, 8);
    let fails = cache.with_loader(|_| async { Err::<u64, _>("down") });
    plain.block_on(async {
        for _ in 0..3 {
            let failed = fails.load_or_expired(&8).await.unwrap();
            assert!(matches!(failed, Served::Expired { value: 1, error: Some(_), .. }));
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(cache.stats().failed_loads, 1, "it is left alone for a while");
}

#[test]
fn a_load_is_given_up_in_time_on_any_executor() {
    let home = Runtime::new().unwrap();
    let node = home.block_on(builder().start()).unwrap();
    let cache: Cache<u64, u64> = node.cache("c").load_time_out(MOMENT).build().unwrap();
    let load = || cache.get_or_load(&7, pending::<Result<u64, std::io::Error>>);
    let plain = Builder::new_current_thread().build().unwrap();
    for told in [block_on(load()), plain.block_on(load())] {
        assert!(matches!(told, Err(LoadError::TimedOut { after: MOMENT })), "{told:?}");
    }
}

#[test]
fn every_length_may_be_as_long_as_there_is() {
    const EVER: Duration = Duration::MAX;
    let home = Runtime::new().unwrap();
    home.block_on(async {
        let node = builder().confirm_within(EVER).start().await.unwrap();
        let cache: Cache<u64, u64> = node
            .cache("c")
            .guarantee(Guarantee::Bounded(EVER))
            .time_to_live(EVER)
            .time_to_live_jitter(1e-9)
            .time_to_idle(EVER)
            .absent_time_to_live(EVER)
            .keep_expired(EVER)
            .load_time_out(EVER)
            .serve_expired_after(Duration::from_secs(u64::MAX))
            .pause_after_failure(EVER)
            .refresh_early(1.0)
            .build()
            .unwrap();
        cache.insert(&1, 1).unwrap();
        hold_expired(&cache, 2);
        let values = cache.with_loader(|key| async move {
            tokio::task::yield_now().await;
            Ok::<u64, std::io::Error>(key * 10)
        });
        assert_eq!(values.load(&1).await.unwrap(), 1);
        assert_eq!(values.load_or_expired(&2).await.unwrap().into_value(), 20);
        assert_eq!(values.load(&3).await.unwrap(), 30);
        assert!(cache.put(&4, async || Ok::<u64, std::io::Error>(4)).await.unwrap().await.is_ok());
        assert!(cache.flush(&1).await.unwrap().is_complete());
        assert_eq!(cache.iter().count(), 3);
        node.shutdown().await.unwrap();
    });
}
