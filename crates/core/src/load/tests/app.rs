//! The application's code that runs during a load, besides its loader: the conversion of what it gives, the
//! weigher, the fallback, the drop of a value. It may panic, and it may ask the cache again.

use std::sync::OnceLock;

use super::*;
use crate::cache::Fallback;

/// What asks for a key in the middle of its own load, as one does that blocks on it.
#[derive(Default)]
struct Asks {
    cache: OnceLock<Arc<Numbers>>,
    is_recursive: OnceLock<bool>,
}

impl Asks {
    fn ask(&self) {
        let Some(cache) = self.cache.get() else { return };
        let read = pin!(load(cache, 1));
        let told = matches!(poll(read), Poll::Ready(Err(LoadError::Recursive)));
        self.is_recursive.get_or_init(|| told);
    }
}

struct Row<'a>(&'a Asks);

impl From<Row<'_>> for Loaded<u64> {
    fn from(row: Row<'_>) -> Self {
        row.0.ask();
        Loaded::new(1)
    }
}

#[test]
fn what_is_asked_in_the_middle_of_a_load_for_its_own_key_does_not_wait_for_it() {
    type Change = fn(Arc<Asks>, &mut CacheConfig<String, u64>);
    let changes: [(&str, Change); 3] = [
        ("what a loader gives", |_, _| {}),
        ("weigher", |asks, config| {
            config.weigher = Some(Arc::new(move |_, _| {
                asks.ask();
                1
            }));
        }),
        ("fallback", |asks, config| {
            let value = move |_: &String, _: &Failure| {
                asks.ask();
                Some(1)
            };
            let time_to_live = Duration::from_secs(1);
            config.fallback = Some(Fallback { value: Box::new(value), time_to_live });
        }),
    ];
    for (name, change) in changes {
        let asks = Arc::new(Asks::default());
        let cache = cache_with(|config| change(Arc::clone(&asks), config));
        assert!(asks.cache.set(Arc::clone(&cache)).is_ok());
        let told = match name {
            "fallback" => done(get_or_load(&cache, "k", at_start, || ready(Err::<u64, _>("down")))),
            "weigher" => done(get_or_load(&cache, "k", at_start, || ready(Ok::<u64, _>(1)))),
            _ => done(get_or_load(&cache, "k", at_start, || ready(Ok::<_, &str>(Row(&asks))))),
        };
        assert_eq!((told.unwrap(), asks.is_recursive.get()), (1, Some(&true)), "{name}");
    }
}

thread_local! {
    static PANICS: Cell<bool> = const { Cell::new(false) };
}

/// A value of which each drop panics, while that is so.
#[derive(Debug, Clone)]
struct Touchy(u64);

impl Drop for Touchy {
    fn drop(&mut self) {
        assert!(!PANICS.get() || std::thread::panicking(), "the drop of a value");
    }
}

struct Panics;

impl From<Panics> for Loaded<u64> {
    fn from(_: Panics) -> Self {
        panic!("boom")
    }
}

#[test]
fn a_panic_in_what_a_loader_of_one_key_gives_is_told_like_any_other_of_its_own() {
    let cache = cache();
    let told = done(get_or_load(&cache, "k", at_start, || ready(Ok::<_, String>(Panics))));
    assert_eq!(told.unwrap_err().to_string(), "loader panicked: boom");
}

/// What this comes to while the drop of each value panics; the caller's own are not dropped meanwhile.
fn touchy<T: Debug>(act: impl FnOnce() -> T) -> T {
    PANICS.set(true);
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
    PANICS.set(false);
    told.expect("the drop of a value reaches who reads")
}

#[test]
fn a_panic_in_the_drop_of_a_value_reaches_nobody_who_reads() {
    let config = CacheConfig::new(100, Guarantee::Eventual, HashSeeds([1, 2, 3, 4]));
    let cache = Cache::<String, Touchy>::register(&Caches::default(), "touchy", config).unwrap();
    let read = |loaded: Loaded<Touchy>| {
        get_or_load(&cache, "k", at_start, || ready(Ok::<_, String>(loaded)))
    };
    assert_eq!(touchy(|| done(read(Loaded::new(Touchy(1)).not_stored()))).unwrap().0, 1);
    let long = "t".repeat(1000);
    let bad = touchy(|| done(read(Loaded::new(Touchy(2)).tag(long.as_str()))));
    assert!(matches!(bad, Err(LoadError::BadTags { .. })));
    let bad =
        touchy(|| cache.insert(&"k".to_owned(), Loaded::new(Touchy(2)).tag(long), at_start()));
    assert!(matches!(bad, Err(LoadError::BadTags { .. })));
    let stored = touchy(|| done(read(Loaded::new(Touchy(3)))));
    assert_eq!(stored.unwrap().0, 3);
    // Of a key that nobody has asked for.
    let rows = ["j", "more"].map(|key| (key.to_owned(), Touchy(4)));
    let (asked, none, mut rows) = (["j".to_owned()], vec![None], Some(rows));
    let loader = |_: Vec<String>| ready(Ok::<_, String>(rows.take().unwrap()));
    let told = touchy(|| done(get_or_load_many(&cache, &asked, none, false, at_start, loader)));
    assert!(matches!(&told[..], [Ok(Some(Touchy(4)))]));
    // What comes too late is dropped with its flight.
    let Ok(lead) = cache.begin_refresh(&"k".to_owned(), Time::ZERO) else { panic!("it is loaded") };
    let mut waits = Box::pin(load_by::<_, _, String>(&cache, &asked[0], at_start, drop));
    assert!(poll(waits.as_mut()).is_ready());
    let flight = Waiter::new(Arc::clone(lead.flight()));
    assert_eq!(touchy(|| lead.complete(Touchy(5))), Landing::Stored);
    touchy(|| drop(flight));
}
