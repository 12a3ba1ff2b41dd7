//! Loads that would wait for themselves, loads on tasks of their own, and what is left of those that fail.

use std::cell::RefCell;

use super::*;

type Told = Result<u64, LoadError<String>>;

async fn read(
    cache: &Numbers,
    key: &str,
    loader: impl Future<Output = Result<u64, String>>,
) -> Told {
    get_or_load(cache, key, at_start, || loader).await
}

fn as_text(told: Told) -> Result<u64, String> {
    told.map_err(|error| error.to_string())
}

const ITSELF: &str =
    "load failed: the load of this key has asked for the key itself: it would wait for ever";

#[test]
fn a_loader_that_reads_its_own_key_is_told_so() {
    let cache = cache();
    let own = async { as_text(load(&cache, 1).await) };
    assert_eq!(done(read(&cache, "k", own)).unwrap_err().to_string(), ITSELF);
    let many = async {
        let keys = ["j", "k"].map(str::to_owned);
        let loader =
            |keys: Vec<String>| ready(Ok::<_, String>(keys.into_iter().map(|key| (key, 2))));
        let told = get_or_load_many(&cache, &keys, vec![None; 2], false, at_start, loader).await;
        assert!(matches!(told[..], [Ok(Some(2)), Err(LoadError::Recursive)]), "{told:?}");
        Ok(3)
    };
    assert_eq!(
        done(read(&cache, "k", many)).unwrap(),
        3,
        "what it makes of that is its own business"
    );
}

#[test]
fn so_is_the_loader_of_many_that_reads_one_of_them_and_a_write_that_reads_its_key() {
    let cache = cache();
    let keys = ["j", "k"].map(str::to_owned);
    let loader = |_| async {
        let rows = vec![("j".to_owned(), 1)];
        as_text(load(&cache, 1).await).map(|_| rows)
    };
    for told in done(get_or_load_many(&cache, &keys, vec![None; 2], false, at_start, loader)) {
        assert_eq!(told.unwrap_err().to_string(), ITSELF);
    }
    let write = || async { as_text(load(&cache, 1).await) };
    let announced = Cell::new(false);
    let put = put(&cache, &keys[1], at_start, write, || announced.set(true));
    assert_eq!(done(put).unwrap_err().to_string(), ITSELF);
    assert!(announced.get());
}

#[test]
fn so_is_a_ring_of_two_caches() {
    let (orders, customers) = (cache(), cache());
    let order = async {
        let customer = async { as_text(read(&orders, "k", ready(Ok(1))).await) };
        as_text(read(&customers, "k", customer).await)
    };
    let told = done(read(&orders, "k", order)).unwrap_err().to_string();
    assert!(told.ends_with(ITSELF), "{told}");
}

/// A loader that reads another key once it is polled again.
async fn later(cache: &Numbers, key: &str) -> Result<u64, String> {
    let mut is_polled = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut is_polled, true) {
        false => Poll::Pending,
        true => Poll::Ready(()),
    })
    .await;
    as_text(read(cache, key, ready(Ok(1))).await)
}

#[test]
fn so_is_who_closes_a_ring_of_loads_that_began_beside_each_other() {
    let cache = cache();
    let mut first = Box::pin(read(&cache, "a", later(&cache, "b")));
    let mut second = Box::pin(read(&cache, "b", later(&cache, "c")));
    let mut third = Box::pin(read(&cache, "c", later(&cache, "a")));
    for load in [&mut first, &mut second, &mut third] {
        assert!(poll(load.as_mut()).is_pending());
    }
    for load in [&mut first, &mut second] {
        assert!(poll(load.as_mut()).is_pending());
    }
    assert_eq!(done(third).unwrap_err().to_string(), ITSELF);
    for load in [second, first] {
        assert!(done(load).unwrap_err().to_string().ends_with(ITSELF));
    }
    // Who has gone away waits for nothing.
    let mut gone = Box::pin(read(&cache, "a", later(&cache, "b")));
    let mut stays = Box::pin(read(&cache, "b", later(&cache, "a")));
    for load in [&mut gone, &mut stays] {
        assert!(poll(load.as_mut()).is_pending());
    }
    assert!(poll(gone.as_mut()).is_pending());
    drop(gone);
    assert_eq!(done(stays).unwrap(), 1);
}

#[test]
fn who_waits_beside_a_load_on_the_same_task_is_told_its_value() {
    let cache = cache();
    let is_open = Cell::new(false);
    let slow = std::future::poll_fn(|_| match is_open.get() {
        false => Poll::Pending,
        true => Poll::Ready(Ok(7)),
    });
    let mut lead = Box::pin(read(&cache, "k", slow));
    let mut joins = Box::pin(load(&cache, 8));
    assert!(poll(lead.as_mut()).is_pending());
    assert!(poll(joins.as_mut()).is_pending());
    // As the loader of another key may, too.
    let mut other = Box::pin(read(&cache, "other", async { as_text(load(&cache, 8).await) }));
    assert!(poll(other.as_mut()).is_pending());
    is_open.set(true);
    assert_eq!(done(lead).unwrap(), 7);
    assert_eq!((done(joins).unwrap(), done(other).unwrap()), (7, 7));
}

#[test]
fn a_panic_of_a_loader_leaves_nothing_on_the_stack() {
    let cache = cache();
    let panics = read(&cache, "k", async { panic!("a loader") });
    assert!(matches!(done(panics), Err(LoadError::Panicked { .. })));
    assert_eq!(done(load(&cache, 1)).unwrap(), 1);
}

#[test]
fn a_load_on_a_task_of_its_own_is_shared_and_outlives_who_asked() {
    let cache = cache();
    let (key, tasks) = ("k".to_owned(), RefCell::new(Vec::new()));
    let ask = || {
        let start = |lead: Lead<'static, _, _>| tasks.borrow_mut().push(lead);
        Box::pin(load_by::<_, _, String>(&cache, &key, at_start, start))
    };
    let (mut leaves, mut stays) = (ask(), ask());
    assert!(poll(leaves.as_mut()).is_pending());
    assert!(poll(stays.as_mut()).is_pending());
    let mut joins = Box::pin(load(&cache, 8));
    assert!(poll(joins.as_mut()).is_pending());
    drop(leaves);
    let lead = tasks.borrow_mut().pop().unwrap();
    assert!(tasks.borrow().is_empty(), "there is one");
    assert_eq!(lead.complete(Loaded::new(7).not_stored()), Landing::Unstored);
    assert_eq!((done(stays).unwrap(), done(joins).unwrap()), (Some(7), 7));
    let mut lost = ask();
    assert!(poll(lost.as_mut()).is_pending());
    tasks.borrow_mut().clear();
    assert_eq!(done(lost).unwrap(), None, "its task is gone: who asked loads for itself");
}

/// Its caller may have little time: what it joined and got nothing from must not end that.
#[test]
fn who_joined_a_load_that_ended_without_a_value_for_it_begins_one_on_a_task_of_its_own() {
    let key = "k".to_owned();
    type End = fn(Lead<'_, String, u64>);
    let ends: [End; 3] = [
        |lead| drop(lead),
        |lead| {
            lead.complete_without_value(Time::ZERO);
        },
        |lead| drop(done(lead.run(at_start, || ready(Err::<u64, _>(7_u8))))),
    ];
    for end in ends {
        let (cache, tasks) = (cache(), RefCell::new(Vec::new()));
        let joined = lead(&cache);
        let start = |lead: Lead<'static, _, _>| tasks.borrow_mut().push(lead);
        let mut read = Box::pin(load_by::<_, _, String>(&cache, &key, at_start, start));
        assert!(poll(read.as_mut()).is_pending());
        end(joined);
        assert!(poll(read.as_mut()).is_pending());
        tasks.borrow_mut().pop().unwrap().complete(7);
        assert_eq!(done(read).unwrap(), Some(7));
    }
}

#[test]
fn a_refresh_gives_nothing_from_before_it_was_called_and_shares_what_is_not() {
    let cache = cache();
    hold(&cache, "k", 1, &[]);
    let key = "k".to_owned();
    let Ok(before) = cache.begin_refresh(&key, Time::ZERO) else { panic!("nobody loads") };
    let (calls, is_open) = (Cell::new(0), Cell::new(false));
    let ask = || {
        Box::pin(refresh(&cache, &key, at_start, || async {
            calls.set(calls.get() + 1);
            std::future::poll_fn(|_| if is_open.get() { Poll::Ready(()) } else { Poll::Pending })
                .await;
            Ok::<_, String>(3)
        }))
    };
    let mut asks = [ask(), ask(), ask()];
    assert!(asks.iter_mut().all(|ask| poll(ask.as_mut()).is_pending()));
    before.complete(2);
    assert!(asks.iter_mut().all(|ask| poll(ask.as_mut()).is_pending()), "that was from before");
    assert_eq!((cache.get("k", Time::ZERO), calls.get()), (Some(2), 1));
    is_open.set(true);
    for ask in asks {
        assert_eq!(done(ask).unwrap(), 3);
    }
    assert_eq!((cache.get("k", Time::ZERO), calls.get()), (Some(3), 1));
}

#[test]
fn a_copy_whose_load_has_failed_is_left_for_a_while_and_no_longer_than_it_is_held() {
    let (second, key) = (Duration::from_secs(1), "k".to_owned());
    let cache = cache_with(|config| {
        config.refresh_after = Some(second);
        config.pause_after_failure = 10 * second;
    });
    let at = |seconds| Time::ZERO + seconds * second;
    let is_due = |now| cache.get_or_due("k", || now, || 0.5).map(|(_, is_due)| is_due);
    let fail = |now| {
        let Ok(lead) = cache.begin_refresh(&key, now) else { panic!("nobody loads") };
        done(lead.run(|| now, || ready(Err::<u64, _>("down".to_owned())))).unwrap_err();
    };
    let failure = |now| {
        let failure = cache.failure_of("k", now)?;
        assert!(failure.downcast::<u64>().is_none(), "another loader's");
        failure.downcast::<String>().map(|error| error.to_string())
    };
    fail(at(0));
    assert_eq!(failure(at(0)), None, "nothing is held");
    cache.insert(&key, 1, at(0)).unwrap();
    assert_eq!((is_due(at(2)), failure(at(2))), (Some(true), None));
    fail(at(2));
    assert_eq!((is_due(at(11)), cache.due(|| at(11)).count()), (Some(false), 0));
    assert_eq!(failure(at(11)).unwrap(), "load failed: down");
    assert_eq!((is_due(at(12)), failure(at(12))), (Some(true), None));
    assert_eq!(cache.due(|| at(12)).collect::<Vec<_>>(), ["k"]);
    fail(at(12));
    hold(&cache, "k", 1, &[]);
    cache.insert(&key, 2, at(12)).unwrap();
    assert_eq!(failure(at(12)), None, "an answer has come since");
}

/// As if they had looked before the load that fails ended, and came to board behind it.
#[test]
fn who_may_have_an_expired_copy_leaves_a_key_alone_whose_load_has_just_failed() {
    let (second, key) = (Duration::from_secs(1), "k".to_owned());
    let cache = cache_with(|config| {
        config.time_to_live = Some(second);
        config.keep_expired = 60 * second;
        config.pause_after_failure = 10 * second;
    });
    cache.insert(&key, 1, at_start()).unwrap();
    let now = || Time::ZERO + 2 * second;
    let Ok(lead) = cache.begin_refresh(&key, now()) else { panic!("nobody loads") };
    done(lead.run(now, || ready(Err::<u64, _>("down".to_owned())))).unwrap_err();
    let alone = load_by::<_, _, String>(&cache, &key, now, |_| panic!("a load is begun"));
    assert_eq!(done(alone).unwrap_err().to_string(), "load failed: down");
    let many = |leaves_failed| {
        let rows = |keys: Vec<String>| ready(Ok::<_, String>(keys.into_iter().zip(2_u64..)));
        let keys = std::slice::from_ref(&key);
        let mut told = done(get_or_load_many(&cache, keys, vec![None], leaves_failed, now, rows));
        told.remove(0).map_err(|error| error.to_string())
    };
    assert_eq!(many(true), Err("load failed: down".to_owned()));
    assert_eq!(many(false), Ok(Some(2)), "who may not loads it");
}
