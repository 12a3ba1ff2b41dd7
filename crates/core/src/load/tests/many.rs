//! Many keys at once.

use std::cell::RefCell;
use std::future::Ready;

use super::*;

fn keys<const COUNT: usize>(names: [&str; COUNT]) -> Vec<String> {
    names.map(str::to_owned).into()
}

type Rows = Vec<(String, u64)>;

/// All of them, or the first error.
async fn read_many<F, L, I, W>(
    cache: &Numbers,
    keys: &[String],
    clock: impl Fn() -> Time,
    loader: F,
) -> Result<Vec<Option<u64>>, LoadError<String>>
where
    F: FnMut(Vec<String>) -> L,
    L: Future<Output = Result<I, String>>,
    I: IntoIterator<Item = (String, W)>,
    W: Into<Loaded<u64>>,
{
    let found = keys.iter().map(|key| cache.get(key, clock())).collect();
    get_or_load_many(cache, keys, found, false, &clock, loader).await.into_iter().collect()
}

/// A source that has every key but `none`; it says what it was asked for.
fn source(asked: &RefCell<Vec<String>>) -> impl FnMut(Vec<String>) -> Ready<Result<Rows, String>> {
    |keys| {
        asked.borrow_mut().push(keys.join(" "));
        // In any order.
        let known = keys.into_iter().rev().filter(|key| key != "none");
        ready(Ok(known.map(|key| (key, 7)).collect()))
    }
}

#[test]
fn many_misses_make_one_call_and_what_is_here_none() {
    let cache = cache();
    let asked = RefCell::default();
    hold(&cache, "b", 2, &[]);
    let wanted = keys(["a", "b", "none", "a", "c"]);
    let read = || done(read_many(&cache, &wanted, at_start, source(&asked))).unwrap();
    assert_eq!(read(), [Some(7), Some(2), None, Some(7), Some(7)]);
    assert_eq!(asked.take(), ["a none c"]);
    assert_eq!(read(), [Some(7), Some(2), None, Some(7), Some(7)]);
    assert_eq!(asked.take(), ["none"], "nothing is stored for what has no value");
}

#[test]
fn that_a_key_has_no_value_is_told_to_all_who_wait_for_it() {
    let cache = cache();
    let (loads, is_open) = (Cell::new(0), Cell::new(false));
    let wanted = keys(["none"]);
    let read = || {
        read_many(&cache, &wanted, at_start, |_| async {
            loads.set(loads.get() + 1);
            std::future::poll_fn(|_| if is_open.get() { Poll::Ready(()) } else { Poll::Pending })
                .await;
            Ok::<Rows, String>(Vec::new())
        })
    };
    let mut reads: Vec<_> = (0..100).map(|_| Box::pin(read())).collect();
    assert!(reads.iter_mut().all(|read| poll(read.as_mut()).is_pending()));
    is_open.set(true);
    for read in &mut reads {
        assert!(matches!(poll(read.as_mut()), Poll::Ready(Ok(none)) if none == [None]));
    }
    assert_eq!(loads.get(), 1);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.failed_loads, stats.joins), (1, 0, 99), "it is no failure");
}

#[test]
fn who_needs_a_value_of_a_key_without_one_loads_it_once_for_all() {
    let cache = cache();
    let wanted = keys(["k"]);
    let is_open = Cell::new(false);
    let none = |_| {
        std::future::poll_fn(|_| match is_open.get() {
            false => Poll::Pending,
            true => Poll::Ready(Ok::<Rows, String>(Vec::new())),
        })
    };
    let mut bulk = Box::pin(read_many(&cache, &wanted, at_start, none));
    assert!(poll(bulk.as_mut()).is_pending());
    let mut reads = [1, 2, 3].map(|value| Box::pin(load(&cache, value)));
    assert!(reads.iter_mut().all(|read| poll(read.as_mut()).is_pending()));
    is_open.set(true);
    assert_eq!(done(bulk).unwrap(), [None]);
    for read in reads {
        assert_eq!(done(read).unwrap(), 1);
    }
}

#[test]
fn that_a_key_has_no_value_takes_the_place_of_the_copy_that_has_expired() {
    let cache = cache_with(|config| {
        config.time_to_live = Some(Duration::from_secs(1));
        config.keep_expired = Duration::from_secs(100);
    });
    hold(&cache, "none", 1, &[]);
    let later = Time::ZERO + Duration::from_secs(2);
    assert!(cache.get_expired("none", later).is_some());
    let (wanted, asked) = (keys(["none"]), RefCell::default());
    let read = read_many(&cache, &wanted, || later, source(&asked));
    assert_eq!(done(read).unwrap(), [None]);
    assert_eq!(cache.get_expired("none", later), None, "it is known to be gone");
}

#[test]
fn a_key_with_bad_tags_costs_the_others_nothing() {
    let cache = cache();
    let wanted = keys(["bad", "good", "none"]);
    let told = |_| {
        let bad = ("bad".to_owned(), Loaded::new(1).tag("t".repeat(257)));
        ready(Ok::<_, String>([bad, ("good".to_owned(), Loaded::new(2))]))
    };
    let read = done(read_many(&cache, &wanted, at_start, told));
    assert!(matches!(read, Err(LoadError::BadTags { tags: 1, longest: 257 })));
    assert_eq!((cache.get("good", Time::ZERO), cache.len()), (Some(2), 1));
    assert_eq!(cache.stats().failed_loads, 1);
}

#[test]
fn a_key_that_somebody_loads_is_waited_for_behind_the_own_load() {
    let cache = cache();
    let asked = RefCell::default();
    let theirs = lead(&cache);
    let wanted = keys(["a", "k"]);
    let mut read = Box::pin(read_many(&cache, &wanted, at_start, source(&asked)));
    assert!(poll(read.as_mut()).is_pending());
    assert_eq!(cache.get("a", Time::ZERO), Some(7), "its own is there for others already");
    // Given up: it is loaded by a second call.
    drop(theirs);
    assert_eq!(done(read).unwrap(), [Some(7), Some(7)]);
    assert_eq!(asked.take(), ["a", "k"]);
}

#[test]
fn each_key_of_many_has_its_own_fence() {
    for flush in [
        |cache: &Numbers| cache.flush_key("a"),
        |cache: &Numbers| cache.flush_prefix("a"),
        |cache: &Numbers| cache.flush_tag("t"),
    ] {
        let cache = cache();
        let wanted = keys(["a", "b"]);
        let loader = |keys: Vec<String>| {
            flush(&cache);
            let told = |key: String| {
                let tag = if key == "a" { "t" } else { "u" };
                (key, Loaded::new(1).tag(tag))
            };
            ready(Ok::<Vec<_>, String>(keys.into_iter().map(told).collect()))
        };
        let values = done(read_many(&cache, &wanted, at_start, loader)).unwrap();
        assert_eq!(values, [Some(1), Some(1)], "it had asked before");
        assert_eq!(cache.get("a", Time::ZERO), None);
        assert_eq!(cache.get("b", Time::ZERO), Some(1));
    }
}

#[test]
fn an_error_of_many_is_told_to_all_who_wait_for_one_of_them() {
    let cache = cache();
    let wanted = keys(["a", "k"]);
    let gate = Cell::new(false);
    let loader = |_| {
        std::future::poll_fn(|_| match gate.get() {
            false => Poll::Pending,
            true => Poll::Ready(Err::<Rows, _>("down".to_owned())),
        })
    };
    let mut read = Box::pin(read_many(&cache, &wanted, at_start, loader));
    assert!(poll(read.as_mut()).is_pending());
    let mut waiter = Box::pin(load(&cache, 1));
    assert!(poll(waiter.as_mut()).is_pending());
    gate.set(true);
    assert_eq!(done(read).unwrap_err().to_string(), "load failed: down");
    assert!(matches!(poll(waiter.as_mut()), Poll::Ready(Err(_))));
    assert_eq!(cache.stats().failed_loads, 2);

    let panics = |_| -> Ready<Result<Rows, String>> { panic!("boom") };
    let panicked = done(read_many(&cache, &wanted, at_start, panics));
    assert_eq!(panicked.unwrap_err().to_string(), "loader panicked: boom");
    let long = vec!["k".repeat(1025)];
    let never = |_| -> Ready<Result<Rows, String>> { unreachable!("called") };
    assert!(done(read_many(&cache, &long, at_start, never)).is_err());
}

#[test]
fn a_panic_in_what_a_loader_gives_is_told_like_any_other_of_its_own() {
    let cache = cache();
    let wanted = keys(["a", "b", "c"]);
    let rows = |keys: Vec<String>| {
        let row = |key: String| if key == "b" { panic!("a row") } else { (key, 7) };
        ready(Ok::<_, String>(keys.into_iter().map(row)))
    };
    let mut reads = [(); 2].map(|()| Box::pin(read_many(&cache, &wanted, at_start, rows)));
    for read in &mut reads {
        let Poll::Ready(told) = poll(read.as_mut()) else { panic!("still waiting") };
        assert_eq!(told.unwrap_err().to_string(), "loader panicked: a row");
    }
    assert_eq!(cache.len(), 0, "what it gave before is not stored either");
}
