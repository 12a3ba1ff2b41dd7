//! Flushes that take long to apply, and the application's own code: neither keeps the node, its
//! other caches or its proofs from going on.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cluster::{Cluster, PATIENCE, load, until};
use flushcast::{Cache, Guarantee, Key, KeyError, Loaded, Node};
use tokio::runtime::Runtime;

/// Copies that a flush of a prefix has to look at.
const COPIES: u64 = 200_000;
/// Flushes of prefixes that come at once.
const PREFIXES: u64 = 150;
/// What the text of one key takes while it is [`SLOW`]: a look at all copies then takes most of a second.
const TEXT: Duration = Duration::from_micros(4);
/// After this long there is nothing more to be seen: what is still to be applied is not slow.
const ENOUGH: Duration = Duration::from_secs(4);
/// How long texts take: one of the next three.
static PACE: AtomicU8 = AtomicU8::new(PLAIN);
const PLAIN: u8 = 0;
/// [`TEXT`] each.
const SLOW: u8 = 1;
/// They are not written: only for what is left when there is nothing more to be seen.
const NOTHING: u8 = 2;

#[derive(Clone, PartialEq, Eq, Hash)]
struct SlowText(u64);

impl Key for SlowText {
    fn write_text(&self, out: &mut String) {
        match PACE.load(Ordering::Relaxed) {
            NOTHING => return,
            SLOW => {
                let start = Instant::now();
                while start.elapsed() < TEXT {
                    std::hint::spin_loop();
                }
            }
            _ => {}
        }
        self.0.write_text(out);
    }

    fn from_text(text: &str) -> Result<Self, KeyError> {
        u64::from_text(text).map(SlowText)
    }
}

/// The longest time that each of some calls has taken.
#[derive(Debug, Default)]
struct Longest {
    in_sync: Duration,
    peers: Duration,
    flush: Duration,
    calls: u64,
}

/// Calls the node again and again, on a thread of its own, until `over`.
fn call_all_the_time(
    node: Node,
    other: Cache<String, u64>,
    over: Arc<AtomicBool>,
) -> mpsc::Receiver<Longest> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut longest = Longest::default();
        let timed = |most: &mut Duration, call: &dyn Fn()| {
            let start = Instant::now();
            call();
            *most = start.elapsed().max(*most);
        };
        while !over.load(Ordering::SeqCst) {
            timed(&mut longest.in_sync, &|| _ = node.in_sync());
            timed(&mut longest.peers, &|| drop(node.peers()));
            timed(&mut longest.flush, &|| drop(other.flush("k")));
            longest.calls += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        // The test may have given up.
        let _ = tell.send(longest);
    });
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn flushes_of_prefixes_keep_neither_the_node_nor_its_other_caches_waiting() {
    let cluster = Cluster::of(2).await;
    let [writer, reader] = [0, 1].map(|at: usize| &cluster.nodes[at]);
    let slow = |node: &Node| -> Cache<SlowText, u64> {
        node.cache("slow").capacity(2 * COPIES).guarantee(Guarantee::Eventual).build().unwrap()
    };
    let (written, copies) = (slow(writer), slow(reader));
    for number in 0..COPIES {
        copies.insert(&SlowText(number), number).unwrap();
    }
    let [_, other] = cluster.caches().try_into().unwrap();

    PACE.store(SLOW, Ordering::SeqCst);
    // On a thread of its own: all of the runtime's may wait for the node.
    std::thread::spawn(|| {
        std::thread::sleep(ENOUGH);
        PACE.store(NOTHING, Ordering::SeqCst);
    });
    let over = Arc::new(AtomicBool::new(false));
    let longest = call_all_the_time(reader.clone(), other, Arc::clone(&over));
    let start = Instant::now();
    let mut last = None;
    for number in 0..PREFIXES {
        // None of them names any copy.
        last = Some(written.flush_prefix(format!("none {number}")));
    }
    let outcome = last.unwrap().await.unwrap();
    let whole = start.elapsed();
    over.store(true, Ordering::SeqCst);
    let longest = longest.recv_timeout(PATIENCE).expect("a call has not come back");
    let most = longest.in_sync.max(longest.peers).max(longest.flush);
    let one_look = TEXT * u32::try_from(COPIES).unwrap();
    let told = format!("all are applied in {whole:?}, meanwhile {longest:?}");
    assert!(most < whole.max(one_look) / 4, "{told}");
    assert_eq!(outcome.applied_by(), ["n1"], "{outcome}");
    assert!(copies.len() as u64 == COPIES, "a copy that nobody named is gone");
    until(reader, |_| reader.in_sync()).await;
}

/// What a value does when it is dropped.
#[derive(Clone)]
struct Does(#[allow(dead_code, reason = "held for its drop")] Arc<OnDrop>);

struct OnDrop(Box<dyn Fn() + Send + Sync>);

impl Does {
    fn new(what: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(OnDrop(Box::new(what))))
    }
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0();
    }
}

/// What becomes of a scenario in which a thread may wait for itself: neither the runtime nor the
/// nodes in it can be dropped then.
fn in_a_runtime_that_may_hang<T: Send + 'static>(
    scenario: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let runtime = Runtime::new().unwrap();
    let (tell, told) = mpsc::channel();
    runtime.spawn(async move {
        let came_to = scenario.await;
        // The test may have given up.
        let _ = tell.send(came_to);
    });
    let came_to = told.recv_timeout(PATIENCE / 3);
    runtime.shutdown_background();
    came_to.ok()
}

#[test]
fn a_value_may_ask_its_node_when_a_flush_from_elsewhere_drops_it() {
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    let scenario = async move {
        let cluster = Cluster::of(2).await;
        let cache = |at: usize| -> Cache<String, Does> {
            cluster.nodes[at].cache("asking").build().unwrap()
        };
        let (written, copies) = (cache(0), cache(1));
        for key in ["by key", "by tag", "by prefix", "by all"] {
            let (node, asked) = (cluster.nodes[1].clone(), Arc::clone(&counted));
            let value = Does::new(move || {
                assert!(node.peers().len() == 1 && node.cut_off().is_empty());
                assert!(node.in_sync());
                asked.fetch_add(1, Ordering::SeqCst);
            });
            copies.insert(&key.to_owned(), Loaded::new(value).tag(key)).unwrap();
        }
        let mut applied_by = Vec::new();
        for flush in [
            written.flush("by key"),
            written.flush_tag("by tag"),
            written.flush_prefix("by prefix"),
            written.flush_all(),
        ] {
            let outcome = tokio::time::timeout(PATIENCE / 6, flush.into_future()).await;
            applied_by.push(outcome.map(|it| it.unwrap().applied.len()).unwrap_or_default());
            if applied_by.last() == Some(&0) {
                // Whoever drops the node waits as well.
                std::mem::forget((cluster, written, copies));
                return applied_by;
            }
        }
        drop(copies);
        applied_by
    };
    let applied_by = in_a_runtime_that_may_hang(scenario);
    assert_eq!(applied_by.as_deref(), Some(&[1, 1, 1, 1][..]), "a flush was not applied");
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

/// A value whose drop panics, unless that would end the process.
fn panics() -> Does {
    Does::new(|| assert!(std::thread::panicking(), "a drop that panics"))
}

/// Calls what may panic, as a request's handler would whose panic is caught.
fn caught<T>(call: impl FnOnce() -> T) {
    // Whatever it comes to: what matters is who was told.
    drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)));
}

/// A cluster of two, with a cache of each whose values may panic.
async fn with_panicking_values() -> (Cluster, [Cache<String, Does>; 2]) {
    let cluster = Cluster::of(2).await;
    let cache = |at: usize| cluster.nodes[at].cache("panicking").build().unwrap();
    let caches = [cache(0), cache(1)];
    (cluster, caches)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_is_announced_though_the_drop_of_a_value_panics_here() {
    let (_cluster, [one, two]) = with_panicking_values().await;
    for key in ["key", "tag", "prefix", "all"] {
        let harmless = Does::new(|| ());
        one.insert(&key.to_owned(), Loaded::new(panics()).tag(key)).unwrap();
        two.insert(&key.to_owned(), Loaded::new(harmless).tag(key)).unwrap();
        match key {
            "key" => caught(|| one.flush(key)),
            "tag" => caught(|| one.flush_tag(key)),
            "prefix" => caught(|| one.flush_prefix(key)),
            _ => caught(|| one.flush_all()),
        }
        assert!(one.flush("marker").await.unwrap().is_complete());
        assert!(one.get(key).is_none(), "{key}: still here");
        assert!(two.get(key).is_none(), "{key}: the other node was not told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_flush_names_is_dropped_though_the_drop_of_one_value_panics() {
    let (_cluster, [one, two]) = with_panicking_values().await;
    let keys: Vec<_> = (0..40).map(|number| format!("k{number}")).collect();
    for by_tag in [false, true] {
        for (number, key) in keys.iter().enumerate() {
            let value = |bad| if bad { panics() } else { Does::new(|| ()) };
            one.insert(key, Loaded::new(value(number % 10 == 3)).tag("t")).unwrap();
            two.insert(key, Loaded::new(value(false)).tag("t")).unwrap();
        }
        match by_tag {
            false => caught(|| one.flush_keys(&keys)),
            true => caught(|| one.flush_tag("t")),
        }
        assert!(one.flush("marker").await.unwrap().is_complete());
        let left = |cache: &Cache<String, Does>| {
            keys.iter().filter(|key| cache.get(key.as_str()).is_some()).count()
        };
        assert_eq!([left(&one), left(&two)], [0, 0], "by tag: {by_tag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_that_panics_when_the_flush_comes_from_elsewhere_costs_no_link() {
    let (cluster, [one, two]) = with_panicking_values().await;
    let told = cluster::told::Told::by(&cluster.nodes[1]);
    two.insert(&"k".to_owned(), panics()).unwrap();
    assert_eq!(one.flush("k").await.unwrap().applied_by(), ["n1"]);
    assert!(two.get("k").is_none());
    let [numbers, others] = cluster.caches().try_into().unwrap();
    load(&others, "k", 1).await;
    assert_eq!(numbers.flush("k").await.unwrap().applied_by(), ["n1"]);
    assert_eq!(others.get("k"), None);
    assert_eq!(told.lost(), 0, "{}", told.text());
}
