//! The cache's own code under a schedule explorer: `RUSTFLAGS="--cfg flushcast_shuttle" cargo test
//! -p flushcast-core --test interleavings`. A failure prints a schedule that replays it.
#![cfg(flushcast_shuttle)]

use std::future::{poll_fn, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::{Cache, CacheConfig, Caches, Fallback, Guarantee, HashSeeds};
use flushcast_core::load::{
    Alarm, Failure, Lead, LoadError, LoadLimit, Loaded, get_or_load, get_or_load_many, load_by,
};
use flushcast_core::wire::Scope;
use shuttle::future::block_on;
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;

const SCHEDULES: usize = 20_000;
/// When all copies have expired, and are still held.
const LATER: Duration = Duration::from_secs(2);
/// So few that others make room when more come.
const CAPACITY: u64 = 2;

/// A cache, the registry that flushes from peers come through, and the source of truth.
struct World {
    caches: Arc<Caches>,
    cache: Arc<Cache<String, u64>>,
    truth: AtomicU64,
}

impl World {
    fn new() -> Arc<Self> {
        Self::with(None)
    }

    /// Where whoever waits for a load gives it up at once, if it has not ended by then.
    fn impatient() -> Arc<Self> {
        let alarm = |_| Box::pin(ready(())) as Alarm;
        Self::with(Some(LoadLimit { length: Duration::ZERO, alarm: Arc::new(alarm) }))
    }

    fn with(load_limit: Option<LoadLimit>) -> Arc<Self> {
        let caches = Arc::<Caches>::default();
        let mut config = CacheConfig::new(CAPACITY, Guarantee::Eventual, HashSeeds([1, 2, 3, 4]));
        config.time_to_live = Some(LATER / 2);
        config.keep_expired = LATER;
        config.load_limit = load_limit;
        let value = |_: &String, failure: &Failure| match failure {
            LoadError::Failed(error) => error.downcast_ref().copied(),
            _ => None,
        };
        config.fallback = Some(Fallback { value: Box::new(value), time_to_live: LATER });
        let cache = Cache::register(&caches, "c", config).unwrap();
        Arc::new(World { caches, cache, truth: AtomicU64::new(1) })
    }

    /// Applies flushes that have come from elsewhere, piece by piece, with no lock held between.
    fn receive(&self, scopes: &[Scope<'_>]) {
        let mut job = self.caches.begin(Time::ZERO, scopes.iter().map(|&scope| ("c", scope)));
        while !job.step() {
            thread::yield_now();
        }
    }

    /// Reads through the cache; the loader is slow after it has read the truth.
    fn read(&self) -> u64 {
        let loader = || async {
            let value = self.truth.load(Ordering::SeqCst);
            thread::yield_now();
            // The tag is known when the load ends, as late as can be.
            Ok::<_, ()>(Loaded::new(value).tag("t"))
        };
        loop {
            match block_on(get_or_load(&self.cache, "k", || Time::ZERO, loader)) {
                Err(LoadError::TimedOut { .. }) => {}
                told => return told.unwrap(),
            }
        }
    }

    /// Loads the key again, whether it is held or not.
    fn refresh(&self) {
        let key = "k".to_owned();
        let Ok(lead) = self.cache.begin_refresh(&key, Time::ZERO) else { return };
        let loader = || async {
            let value = self.truth.load(Ordering::SeqCst);
            thread::yield_now();
            Ok::<_, ()>(Loaded::new(value).tag("t"))
        };
        block_on(lead.run(|| Time::ZERO, loader)).unwrap();
    }

    /// Loads the key again, by a loader that is always told that what is held has not changed.
    fn reload(&self) {
        let key = "k".to_owned();
        let Ok(lead) = self.cache.begin_refresh(&key, Time::ZERO) else { return };
        let loader = || async {
            let held = self.cache.held("k");
            let value = self.truth.load(Ordering::SeqCst);
            thread::yield_now();
            Ok::<_, ()>(held.unwrap_or_else(|| Loaded::new(value).tag("t")))
        };
        block_on(lead.run(|| Time::ZERO, loader)).unwrap();
    }

    /// Reads with a load on a task of its own, which goes on when this has gone; or without it, if that gave it
    /// up.
    fn read_by(self: &Arc<Self>) {
        let (key, world) = ("k".to_owned(), Arc::clone(self));
        let start = move |lead: Lead<'static, String, u64>| {
            thread::spawn(move || {
                let loader = || async {
                    let value = world.truth.load(Ordering::SeqCst);
                    thread::yield_now();
                    Ok::<_, ()>(Loaded::new(value).tag("t"))
                };
                block_on(lead.run(|| Time::ZERO, loader)).unwrap();
            });
        };
        let mut polls = 0;
        let mut read = pin!(load_by::<_, _, ()>(&self.cache, &key, || Time::ZERO, start));
        block_on(poll_fn(|context| {
            polls += 1;
            match read.as_mut().poll(context) {
                Poll::Pending if polls < 2 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        }));
    }

    /// Reads two keys at once, in this order.
    fn read_many(&self, keys: [&str; 2]) {
        let loader = |keys: Vec<String>| async move {
            let value = self.truth.load(Ordering::SeqCst);
            thread::yield_now();
            let told = |key| (key, Loaded::new(value).tag("t"));
            Ok::<Vec<_>, ()>(keys.into_iter().map(told).collect())
        };
        let keys = keys.map(str::to_owned);
        let found = keys.iter().map(|key| self.cache.get(key, Time::ZERO)).collect();
        let told =
            block_on(get_or_load_many(&self.cache, &keys, found, false, || Time::ZERO, loader));
        assert!(told.iter().all(|it| matches!(it, Ok(Some(_)))));
    }

    /// Starts a read and goes away in the middle of its load, or of its wait for another's.
    fn start_a_read_and_leave(&self) {
        let mut polls = 0;
        let loader = || async {
            let value = self.truth.load(Ordering::SeqCst);
            poll_fn(|_| Poll::<()>::Pending).await;
            Ok::<_, ()>(Loaded::new(value))
        };
        let mut read = pin!(get_or_load(&self.cache, "k", || Time::ZERO, loader));
        block_on(poll_fn(|context| {
            polls += 1;
            match read.as_mut().poll(context) {
                Poll::Pending if polls < 2 => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        }));
    }

    /// Changes the truth, announces it by `flush`, then demands what was promised.
    fn change(&self, flush: Flush) {
        self.truth.store(2, Ordering::SeqCst);
        flush(self);
        let expired = self.expired();
        assert!(expired.is_none_or(|value| value == 2), "the old value is there for bad times");
        assert_eq!(self.read(), 2, "a read that starts after the flush got the old value");
    }

    fn held(&self) -> Option<u64> {
        self.cache.get("k", Time::ZERO)
    }

    /// What would be served once the source has failed.
    fn expired(&self) -> Option<u64> {
        self.cache.get_expired("k", Time::ZERO + LATER).map(|(value, _)| value)
    }
}

type Flush = fn(&World);

const FLUSHES: [Flush; 20] = [
    |world| world.cache.flush_key("k"),
    |world| ["j", "k"].into_iter().for_each(|key| world.cache.flush_key(key)),
    |world| world.cache.flush_all(),
    |world| world.cache.flush_tag("t"),
    |world| world.cache.flush_prefix("k"),
    |world| world.receive(&[Scope::Key("k")]),
    |world| world.receive(&[Scope::Key("j"), Scope::Key("k")]),
    |world| world.receive(&[Scope::Tag("t")]),
    |world| world.receive(&[Scope::Prefix("k")]),
    |world| world.receive(&[Scope::All]),
    // What names it is one of many in a job, in each of its stages.
    |world| world.receive(&[Scope::Tag("u"), Scope::Prefix("k"), Scope::Prefix("j")]),
    |world| world.receive(&[Scope::Key("j"), Scope::Tag("t"), Scope::Prefix("x")]),
    |world| world.receive(&[Scope::Key("k"), Scope::Tag("u"), Scope::Prefix("x")]),
    // As a reset does.
    |world| world.caches.distrust(),
    // Copies that were told to expire are held for no time that is looked at here.
    |world| world.cache.expire_key("k", Time::ZERO),
    |world| world.cache.apply(&[Scope::ExpireTag("t")], Time::ZERO),
    |world| world.receive(&[Scope::ExpireKey("k")]),
    |world| world.receive(&[Scope::ExpireTag("u"), Scope::ExpirePrefix("k"), Scope::Key("j")]),
    |world| world.receive(&[Scope::ExpireTag("t"), Scope::Tag("u")]),
    |world| world.receive(&[Scope::ExpireAll]),
];

/// Runs `others` beside the change, for each way to announce it, and looks at what is left.
fn explore(others: fn(&Arc<World>) -> Vec<thread::JoinHandle<()>>) {
    explore_in(World::new, others);
}

fn explore_in(world: fn() -> Arc<World>, others: fn(&Arc<World>) -> Vec<thread::JoinHandle<()>>) {
    for flush in FLUSHES {
        let round = move || {
            let world = world();
            let mut threads = others(&world);
            let writer = Arc::clone(&world);
            threads.push(thread::spawn(move || writer.change(flush)));
            for thread in threads {
                thread.join().unwrap();
            }
            let held = world.held();
            assert!(held.is_none_or(|value| value == 2), "the old value was installed: {held:?}");
            assert_eq!(world.expired(), held);
            assert_eq!(world.read(), 2);
        };
        shuttle::check_random(round, SCHEDULES / FLUSHES.len() / 2);
        shuttle::check_pct(round, SCHEDULES / FLUSHES.len() / 2, 3);
    }
}

fn spawn(world: &Arc<World>, run: fn(&World)) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || run(&world))
}

fn reads(world: &World) {
    world.read();
}

#[test]
fn a_load_from_before_a_flush_is_never_installed_or_joined_after_it() {
    explore(|world| vec![spawn(world, reads), spawn(world, reads)]);
}

#[test]
fn nor_is_one_that_was_handed_over() {
    explore(|world| vec![spawn(world, World::start_a_read_and_leave), spawn(world, reads)]);
}

/// Whoever gave it up has a value of its own stored, or none.
#[test]
fn nor_is_one_that_was_given_up_by_who_waits_for_it() {
    explore_in(World::impatient, |world| vec![spawn(world, reads), spawn(world, reads)]);
}

#[test]
fn nor_is_one_of_a_refresh() {
    explore(|world| {
        world.read();
        vec![spawn(world, World::refresh), spawn(world, reads), spawn(world, World::refresh)]
    });
}

#[test]
fn nor_is_what_a_loader_has_given_back() {
    explore(|world| {
        world.read();
        vec![spawn(world, World::reload), spawn(world, World::reload), spawn(world, reads)]
    });
}

#[test]
fn nor_is_one_on_a_task_of_its_own() {
    explore(|world| {
        let again = Arc::clone(world);
        vec![
            thread::spawn(move || again.read_by()),
            spawn(world, reads),
            spawn(world, World::refresh),
        ]
    });
}

/// Here it is what the source said last before it failed. By tag it is not named: it has none.
#[test]
fn nor_is_a_fallback_of_one_that_fails() {
    const NAMING: [Flush; 5] = [
        |world| world.cache.flush_key("k"),
        |world| world.cache.flush_prefix("k"),
        |world| world.receive(&[Scope::All]),
        |world| world.caches.distrust(),
        |world| world.cache.expire_key("k", Time::ZERO),
    ];
    let fails = |world: &World| {
        let Ok(lead) = world.cache.begin_refresh(&"k".to_owned(), Time::ZERO) else { return };
        let seen = world.truth.load(Ordering::SeqCst);
        thread::yield_now();
        let failed = block_on(lead.run(|| Time::ZERO, || ready(Err::<u64, _>(seen))));
        assert!(failed.is_err() || failed.is_ok_and(|value| value == seen));
    };
    for flush in NAMING {
        let round = move || {
            let world = World::new();
            let threads = [spawn(&world, fails), spawn(&world, fails), spawn(&world, reads)];
            world.change(flush);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            let held = world.held();
            assert!(held.is_none_or(|value| value == 2), "of before the flush: {held:?}");
        };
        shuttle::check_random(round, SCHEDULES / NAMING.len() / 2);
        shuttle::check_pct(round, SCHEDULES / NAMING.len() / 2, 3);
    }
}

/// It drops what was held before, and nothing younger.
#[test]
fn nor_is_one_beside_a_refresh_that_finds_no_value() {
    explore(|world| {
        let finds_none = |world: &World| {
            let Ok(lead) = world.cache.begin_refresh(&"k".to_owned(), Time::ZERO) else { return };
            thread::yield_now();
            lead.complete_without_value(Time::ZERO);
        };
        world.read();
        vec![spawn(world, finds_none), spawn(world, reads)]
    });
}

/// Two who want each other's keys do not wait for each other for ever, either.
#[test]
fn nor_is_one_of_many() {
    explore(|world| {
        vec![
            spawn(world, |world| world.read_many(["k", "j"])),
            spawn(world, |world| world.read_many(["j", "k"])),
        ]
    });
}

#[test]
fn nor_is_one_beside_an_eviction() {
    explore(|world| vec![spawn(world, reads), spawn(world, |world| world.cache.evict("k"))]);
}

#[test]
fn nor_is_one_beside_a_sweep() {
    explore(|world| {
        let sweep = |world: &World| world.cache.evict_expired(Time::ZERO + 2 * LATER);
        vec![spawn(world, reads), spawn(world, sweep)]
    });
}

#[test]
fn nor_is_one_that_others_make_room_for_or_not() {
    explore(|world| {
        let fill = |world: &World| {
            for key in ["x", "y", "z"] {
                world.cache.insert(&key.to_owned(), 0, Time::ZERO).unwrap();
            }
        };
        vec![spawn(world, reads), spawn(world, fill), spawn(world, reads)]
    });
}

#[test]
fn nor_is_one_beside_another_flush() {
    explore(|world| {
        let flush_all = |world: &World| world.caches.distrust();
        vec![spawn(world, reads), spawn(world, flush_all), spawn(world, reads)]
    });
}

#[test]
fn nor_is_one_beside_a_flush_of_a_tag() {
    explore(|world| {
        let flush_tag = |world: &World| world.cache.flush_tag("t");
        vec![spawn(world, reads), spawn(world, flush_tag), spawn(world, reads)]
    });
}

/// Loads in other shards, copies that come and make others move, while a job goes from shard to shard.
#[test]
fn nor_is_one_beside_another_job_and_copies_that_come() {
    explore(|world| {
        let flush = |world: &World| world.receive(&[Scope::Prefix("x"), Scope::Tag("u")]);
        let fill = |world: &World| {
            for key in ["x", "y"] {
                world.cache.insert(&key.to_owned(), Loaded::new(0).tag("u"), Time::ZERO).unwrap();
            }
        };
        world.read();
        vec![spawn(world, reads), spawn(world, flush), spawn(world, fill)]
    });
}

/// A load that begins when the job has begun reads what is true, and may stay.
#[test]
fn what_is_loaded_behind_the_start_of_a_job_is_stored_unless_another_flush_comes() {
    let jobs: [&[Scope<'_>]; 2] = [&[Scope::Tag("t")], &[Scope::Prefix("k")]];
    for scopes in jobs {
        let round = move || {
            let world = World::new();
            let mut job = world.caches.begin(Time::ZERO, scopes.iter().map(|&scope| ("c", scope)));
            let reader = spawn(&world, reads);
            while !job.step() {
                thread::yield_now();
            }
            reader.join().unwrap();
            assert_eq!(world.held(), Some(1));
        };
        shuttle::check_random(round, SCHEDULES / jobs.len());
    }
}

/// Two writers of the application's own, a reader, and whatever else: at the end nobody holds what is
/// not true.
#[test]
fn what_was_put_is_held_only_if_nothing_was_written_or_flushed_since() {
    fn put(world: &World, value: u64) {
        let write = || async move {
            world.truth.store(value, Ordering::SeqCst);
            thread::yield_now();
            Ok::<_, ()>(Loaded::new(value).tag("t"))
        };
        let key = "k".to_owned();
        let announced = AtomicU64::new(0);
        let announce = || {
            announced.fetch_add(1, Ordering::SeqCst);
        };
        let value =
            block_on(flushcast_core::load::put(&world.cache, &key, || Time::ZERO, write, announce));
        value.unwrap();
        assert_eq!(announced.load(Ordering::SeqCst), 1);
    }
    let others: [fn(&World); 4] = [
        |world| put(world, 3),
        reads,
        // As another node's writer: the truth changes, then its flush arrives.
        |world| {
            world.truth.store(4, Ordering::SeqCst);
            world.receive(&[Scope::Key("k")]);
        },
        |world| {
            world.truth.store(5, Ordering::SeqCst);
            world.cache.flush_tag("t");
        },
    ];
    for other in others {
        let round = move || {
            let world = World::new();
            let threads =
                [spawn(&world, |world| put(world, 2)), spawn(&world, other), spawn(&world, reads)];
            for thread in threads {
                thread.join().unwrap();
            }
            let truth = world.truth.load(Ordering::SeqCst);
            let held = world.held();
            assert!(held.is_none_or(|value| value == truth), "{held:?} is held, {truth} is true");
            assert_eq!(world.expired(), held);
            assert_eq!(world.read(), truth);
        };
        shuttle::check_random(round, SCHEDULES / others.len() / 2);
        shuttle::check_pct(round, SCHEDULES / others.len() / 2, 3);
    }
}

#[test]
fn nobody_who_waits_is_forgotten() {
    let round = || {
        let world = World::new();
        let leaver = spawn(&world, World::start_a_read_and_leave);
        let readers = [spawn(&world, reads), spawn(&world, reads), spawn(&world, reads)];
        leaver.join().unwrap();
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(world.held(), Some(1));
    };
    shuttle::check_random(round, SCHEDULES);
}
