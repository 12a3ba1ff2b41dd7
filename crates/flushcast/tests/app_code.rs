//! The application's own code on the way of a flush: values whose drop panics or calls the node, and
//! runtimes that the application blocks. What was changed is announced, and nobody waits for ever.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::future::IntoFuture;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use cluster::{Cluster, PATIENCE, numbers, until};
use flushcast::discovery::Fixed;
use flushcast::{Cache, Flush, Key, KeyError, Loaded, Node, RemovalCause};
use tokio::runtime::Runtime;

/// A value that does this when the last of it is dropped.
struct OnDrop(Option<Box<dyn Fn() + Send + Sync>>);

type Value = Arc<OnDrop>;
type Values = Cache<String, Value>;

fn quiet() -> Value {
    Arc::new(OnDrop(None))
}

fn does(what: impl Fn() + Send + Sync + 'static) -> Value {
    Arc::new(OnDrop(Some(Box::new(what))))
}

fn panics() -> Value {
    does(|| panic!("a value's drop"))
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(what) = &self.0 {
            what();
        }
    }
}

fn values(node: &Node) -> Values {
    node.cache("values").build().unwrap()
}

fn hold(cache: &Values, key: &str, value: Value) {
    cache.insert(&key.to_owned(), Loaded::new(value).tag("t")).unwrap();
}

const KEYS: [&str; 3] = ["a", "b", "c"];

/// Has `flush` drop three copies here of which each panics, and looks at what is left, here and there.
async fn flushed_in_spite_of_panics(flush: impl Fn(&Values) -> Option<Flush>, keys: &[&str]) {
    let cluster = Cluster::of(2).await;
    let heard = Arc::new(AtomicUsize::new(0));
    let ear = Arc::clone(&heard);
    let told = move |_: &String, _: &Value, cause| {
        if cause == RemovalCause::Flushed {
            ear.fetch_add(1, Ordering::SeqCst);
        }
        panic!("a listener");
    };
    let here: Values = cluster.nodes[0].cache("values").on_removal(told).build().unwrap();
    let there = values(&cluster.nodes[1]);
    for key in keys {
        hold(&here, key, panics());
        hold(&there, key, quiet());
    }
    hold(&there, "other", quiet());
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| flush(&here)));
    assert!(here.is_empty(), "stopped in the middle");
    assert_eq!(heard.load(Ordering::SeqCst), keys.len(), "each is told of");
    // Announced in order: when this one is applied, so is what came before it.
    let probe = here.flush("probe").await.unwrap();
    assert_eq!(probe.applied_by(), ["n1"]);
    assert!(keys.iter().all(|key| there.get(*key).is_none()), "it was not announced");
    if let Ok(Some(flush)) = caught {
        assert!(flush.await.unwrap().is_complete());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_of_a_key_whose_value_panics_when_dropped_is_announced() {
    flushed_in_spite_of_panics(|cache| Some(cache.flush("a")), &["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_of_many_keys_does_not_stop_at_a_value_that_panics() {
    flushed_in_spite_of_panics(|cache| Some(cache.flush_keys(KEYS)), &KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_of_a_tag() {
    flushed_in_spite_of_panics(|cache| Some(cache.flush_tag("t")), &KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_of_a_prefix() {
    flushed_in_spite_of_panics(|cache| Some(cache.flush_prefix("")), &KEYS).await;
    let one_by_one = |cache: &Values| KEYS.map(|key| cache.flush_prefix(key)).into_iter().last();
    flushed_in_spite_of_panics(one_by_one, &KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_of_everything() {
    flushed_in_spite_of_panics(|cache| Some(cache.flush_all()), &KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_were_dropped_before_the_list_of_them_panicked_are_announced() {
    let flush = |cache: &Values| {
        let keys = KEYS.iter().copied().chain(std::iter::once_with(|| panic!("a list")));
        Some(cache.flush_keys(keys))
    };
    flushed_in_spite_of_panics(flush, &KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_old_value_panics_when_dropped_is_announced() {
    for fails in [false, true] {
        let cluster = Cluster::of(2).await;
        let [here, there] = [0, 1].map(|node| values(&cluster.nodes[node]));
        hold(&here, "k", panics());
        hold(&there, "k", quiet());
        let (key, written) = ("k".to_owned(), here.clone());
        let put = tokio::spawn(async move {
            let write =
                move || async move { if fails { Err("down") } else { Ok(Loaded::new(quiet())) } };
            written.put(&key, write).await.is_ok()
        });
        let put = put.await;
        let probe = here.flush("probe").await.unwrap();
        assert_eq!(probe.applied_by(), ["n1"]);
        assert!(there.get("k").is_none(), "it was not announced");
        assert_eq!(here.get("k").is_none(), fails);
        assert_eq!(put.ok(), Some(!fails));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_from_elsewhere_drops_what_it_names_and_no_more_if_a_value_panics() {
    let cluster = Cluster::of(2).await;
    let [here, there] = [0, 1].map(|node| values(&cluster.nodes[node]));
    for key in KEYS {
        hold(&there, key, panics());
    }
    hold(&there, "other", quiet());
    // Without a tag that is flushed.
    there.insert(&"kept".to_owned(), quiet()).unwrap();
    assert!(here.flush_keys(["a", "b"]).await.unwrap().is_complete());
    assert_eq!(there.len(), 3);
    assert!(here.flush_tag("t").await.unwrap().is_complete());
    assert!(there.get("kept").is_some(), "the whole cache was dropped");
    assert_eq!(there.stats().widened, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_of_values_that_panic_when_dropped_can_be_let_go() {
    let cluster = Cluster::of(1).await;
    let cache = values(&cluster.nodes[0]);
    let dropped = Arc::new(AtomicUsize::new(0));
    for number in 0..100 {
        let count = Arc::clone(&dropped);
        let value = does(move || {
            count.fetch_add(1, Ordering::SeqCst);
            panic!("a value's drop")
        });
        hold(&cache, &number.to_string(), value);
    }
    drop(cache);
    assert_eq!(dropped.load(Ordering::SeqCst), 100);
    // The name is free again.
    assert!(values(&cluster.nodes[0]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_let_go_while_a_flush_drops_its_values_leaves_its_name_free() {
    let cluster = Cluster::of(2).await;
    let [here, there] = [0, 1].map(|node| values(&cluster.nodes[node]));
    let (tell, is_dropping) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let slow = does(move || {
        tell.send(()).unwrap();
        // Until this test is over, however it ends.
        let _ = wait.lock().unwrap().recv();
    });
    hold(&there, "k", slow);
    let flush = here.flush("k");
    is_dropping.recv_timeout(PATIENCE).unwrap();
    let clone = there.clone();
    drop(there);
    assert!(cluster.nodes[1].cache::<u64, u64>("values").build().is_err(), "there is a handle");
    drop(clone);
    let again = cluster.nodes[1].cache::<u64, u64>("values").build();
    drop(go_on);
    assert!(flush.await.unwrap().is_complete());
    assert!(again.is_ok(), "{:?}", again.err());
}

/// How many of the next hashes of a [`Touchy`] key panic.
static PANICS: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone, PartialEq, Eq)]
struct Touchy;

impl Hash for Touchy {
    fn hash<H: Hasher>(&self, _: &mut H) {
        let one_less = |left: usize| left.checked_sub(1);
        let panics = PANICS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
        assert!(!panics, "a key's hash");
    }
}

impl Key for Touchy {
    fn write_text(&self, _: &mut String) {}

    fn from_text(_: &str) -> Result<Self, KeyError> {
        Ok(Self)
    }
}

// On one thread, so that the load in the background begins when this test waits.
#[tokio::test]
async fn a_hash_that_panics_in_the_background_ends_that_load_and_no_more() {
    let cluster = Cluster::of(1).await;
    let cache = cluster.nodes[0].cache("touchy").refresh_after(Duration::from_nanos(1));
    let cache: Cache<Touchy, usize> = cache.build().unwrap();
    let loads = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&loads);
    let values = cache.with_loader(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Ok::<_, String>(number) }
    });
    // Nothing of this waits: when a hit was due, its load is a task that has not begun.
    while cache.stats().hits_due == 0 {
        values.load(&Touchy).await.unwrap();
    }
    PANICS.store(2, Ordering::SeqCst);
    let loaded_again = async {
        while loads.load(Ordering::SeqCst) == 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if PANICS.load(Ordering::SeqCst) < 2 {
                PANICS.store(0, Ordering::SeqCst);
                values.load(&Touchy).await.unwrap();
            }
        }
    };
    tokio::time::timeout(PATIENCE, loaded_again).await.expect("the key is left alone for good");
}

/// What a value may do with its node.
fn asks(node: &Node, cache: &Cache<String, u64>, done: mpsc::Sender<usize>) -> Value {
    let (node, cache) = (node.clone(), cache.clone());
    does(move || {
        let peers = node.peers().len();
        let _ = (node.in_sync(), node.cut_off(), node.discovery(), node.flush_log_bytes());
        drop(cache.flush("k"));
        // Nobody needs to listen.
        let _ = done.send(peers);
    })
}

/// Has a node's own flush, or another's, drop a value that asks its node.
fn flushed_while_a_value_asks(from_elsewhere: bool, flush: fn(&Values) -> Flush) {
    let runtime = Runtime::new().unwrap();
    let (done, asked) = mpsc::channel();
    let (cluster, holder, other, flusher) = runtime.block_on(async {
        let mut cluster = Cluster::new();
        for _ in 0..2 {
            cluster.join_with(|node| node.confirm_within(Duration::from_secs(5))).await;
        }
        cluster.all_linked().await;
        let [holder, other] = [0, 1].map(|node| values(&cluster.nodes[node]));
        let flusher = if from_elsewhere { &other } else { &holder }.clone();
        let values = asks(&cluster.nodes[0], &numbers(&cluster.nodes[0]), done);
        hold(&holder, "k", values);
        (cluster, holder, other, flusher)
    });
    // Where it hangs, its thread and its runtime are left behind.
    let flushing = runtime.spawn(async move { flush(&flusher).await });
    let peers = asked.recv_timeout(PATIENCE);
    if peers.is_err() {
        std::mem::forget((cluster, holder, other));
        runtime.shutdown_background();
        panic!("the value waits for its node, and its node for it");
    }
    assert_eq!(peers, Ok(1));
    assert!(runtime.block_on(flushing).unwrap().unwrap().is_complete());
    assert!(holder.get("k").is_none());
}

const FLUSHES: [fn(&Values) -> Flush; 4] = [
    |cache| cache.flush("k"),
    |cache| cache.flush_tag("t"),
    |cache| cache.flush_prefix("k"),
    |cache| cache.flush_all(),
];

#[test]
fn a_value_may_ask_its_node_when_it_is_dropped() {
    FLUSHES.into_iter().for_each(|flush| flushed_while_a_value_asks(false, flush));
}

#[test]
fn a_value_may_ask_its_node_when_a_flush_from_elsewhere_drops_it() {
    FLUSHES.into_iter().for_each(|flush| flushed_while_a_value_asks(true, flush));
}

#[test]
fn an_awaited_flush_ends_by_its_deadline_though_the_nodes_runtime_is_blocked() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    let (unblock, blocked) = mpsc::channel::<()>();
    let owner = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let node = runtime.block_on(async {
            let node = Node::builder("test")
                .listen("127.0.0.1:0".parse().unwrap())
                .confirm_within(Duration::from_millis(200))
                .discovery(Fixed::new([address]));
            let node = node.start().await.unwrap();
            until(&node, |peers| peers.len() == 1).await;
            node
        });
        tell.send(node).unwrap();
        // Until the test is over, nobody drives it.
        let _ = blocked.recv();
    });
    let node = told.recv_timeout(PATIENCE).unwrap();
    let (tell, told) = mpsc::channel();
    let awaiting = std::thread::spawn(move || {
        let cache = numbers(&node);
        // On one executor, on another one, and two at a time.
        let outcome = futures_executor(cache.flush("k").into_future());
        assert_eq!(outcome.unwrap().unconfirmed.len(), 1);
        let runtime = Runtime::new().unwrap();
        let both = async {
            tokio::join!(cache.flush("k").into_future(), cache.flush_tag("t").into_future())
        };
        let (one, other) = runtime.block_on(both);
        assert_eq!((one.unwrap().unconfirmed.len(), other.unwrap().unconfirmed.len()), (1, 1));
        tell.send(()).unwrap();
    });
    let ended = told.recv_timeout(PATIENCE);
    drop(unblock);
    assert_eq!(ended, Ok(()), "nobody ended the wait");
    awaiting.join().unwrap();
    owner.join().unwrap();
}

/// The plainest executor: it parks its thread until it is woken.
fn futures_executor<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
