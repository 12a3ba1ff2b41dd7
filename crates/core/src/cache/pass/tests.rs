//! Jobs of flushes, piece by piece: what others do between the pieces, and what the application's code
//! does in them.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::*;
use crate::Time;
use crate::cache::{
    Applying, Boarding, CacheConfig, Caches, Guarantee, HashSeeds, KeyError, RemovalCause, Widened,
};
use crate::load::{Landing, Lead, Loaded};
use crate::wire::Scope;

fn config<K, V>(capacity: u64) -> CacheConfig<K, V> {
    CacheConfig::new(capacity, Guarantee::Eventual, HashSeeds([1, 2, 3, 4]))
}

fn begin<'a>(caches: &Caches, scopes: impl IntoIterator<Item = Scope<'a>>) -> Applying {
    caches.begin(Time::ZERO, scopes.into_iter().map(|scope| ("c", scope)))
}

fn lead<'c, K: Key>(cache: &'c Cache<K, u64>, key: &K) -> Lead<'c, K, u64> {
    match cache.board(key, cache.read_begins(), Time::ZERO) {
        Boarding::Lead(lead) => lead,
        _ => panic!("a copy or a load is there"),
    }
}

/// A cache of so many, of which each third has a tag and the others begin differently.
fn large(count: u64) -> (Caches, Arc<Cache<String, u64>>) {
    let caches = Caches::default();
    let cache = Cache::register(&caches, "c", config(2 * count)).unwrap();
    for number in 0..count {
        let loaded = Loaded::new(number);
        let loaded = if number % 3 == 0 { loaded.tag("t") } else { loaded };
        cache.insert(&name(number), loaded, Time::ZERO).unwrap();
    }
    (caches, cache)
}

fn name(number: u64) -> String {
    format!("{}/{number}", ["tagged", "begins/so", "other"][number as usize % 3])
}

#[test]
fn a_flush_of_many_copies_is_done_in_small_pieces_while_others_read_and_load() {
    const COPIES: u64 = 60_000;
    let (caches, cache) = large(COPIES);
    let held = cache.len();
    assert!(held as u64 > COPIES / 10 * 9, "{held}");
    let old = ["tagged/x", "begins/so/x", "other/x"].map(|key| key.to_owned());
    let [tagged, begins, other] = old.each_ref().map(|key| lead(&cache, key));
    let mut job = begin(&caches, [Scope::Tag("t"), Scope::Prefix("begins/")]);
    // Loads that begin from here on read what is true now.
    let mut loaded = BTreeSet::new();
    let (mut pieces, mut before) = (0, cache.len());
    loop {
        let is_done = job.step();
        pieces += 1;
        let after = cache.len();
        assert!(before <= after + PIECE + AT_ONCE, "{before} to {after} in one piece");
        if is_done {
            break;
        }
        for key in [format!("begins/so/new {pieces}"), format!("tagged/new {pieces}")] {
            let landing = lead(&cache, &key).complete(Loaded::new(0).tag("t"));
            assert_eq!(landing, Landing::Stored, "it began behind the flush");
            loaded.insert(key);
        }
        before = cache.len();
    }
    assert!(pieces > held / PIECE, "{pieces} pieces");
    assert_eq!(tagged.complete(Loaded::new(1).tag("t")), Landing::Fenced);
    assert_eq!(begins.complete(1), Landing::Fenced);
    assert_eq!(other.complete(Loaded::new(1).tag("u")), Landing::Stored);
    let left: Vec<_> = cache.iter(|| Time::ZERO).map(|copy| copy.key).collect();
    let old = |key: &String| !key.starts_with("other/") && !loaded.contains(key);
    assert_eq!(left.iter().find(|key| old(key)), None);
    assert!(loaded.iter().all(|key| cache.get(key, Time::ZERO) == Some(0)), "newer, and dropped");
    assert_eq!(left.len(), cache.len());
    assert!(job.step() && job.widened().is_empty());
}

#[test]
fn no_copy_is_missed_when_others_change_their_places_meanwhile() {
    let caches = Caches::default();
    // So small a table that it grows again and again.
    let cache: Arc<Cache<u64, u64>> = Cache::register(&caches, "c", {
        let mut config = config(200_000);
        config.weigher = Some(Arc::new(|_, _| 1));
        config
    })
    .unwrap();
    let fill = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            cache.insert(&number, number, Time::ZERO).unwrap();
        }
    };
    fill(100_000..110_000);
    let mut job = begin(&caches, [Scope::Prefix("1")]);
    let mut next = 200_000;
    while !job.step() {
        fill(next..next + 150);
        next += 150;
        assert!(next < 400_000, "it does not come to an end");
    }
    let left = (100_000..110_000).filter(|number| cache.get(number, Time::ZERO).is_some());
    assert_eq!(left.count(), 0);
    assert_eq!(cache.len() as u64, next - 200_000);
}

#[test]
fn what_many_scopes_name_is_one_job_and_what_is_named_twice_is_dropped_once() {
    let caches = Caches::default();
    let [one, two] = ["one", "two"].map(|name| {
        let cache = Cache::<String, u64>::register(&caches, name, config(100)).unwrap();
        for key in ["a", "b/1", "b/2", "c", "d"] {
            let loaded = Loaded::new(1);
            let loaded = if key == "c" { loaded.tag("t").tag("u") } else { loaded };
            cache.insert(&key.to_owned(), loaded, Time::ZERO).unwrap();
        }
        cache
    });
    let scopes = [
        ("one", Scope::Key("a")),
        ("two", Scope::Key("d")),
        ("nobody's", Scope::All),
        ("one", Scope::Tag("t")),
        ("one", Scope::Tag("u")),
        ("one", Scope::Prefix("b/")),
        ("one", Scope::Prefix("b/1")),
        ("one", Scope::Key("a")),
    ];
    caches.begin(Time::ZERO, scopes).finish();
    assert_eq!((one.len(), one.get("d", Time::ZERO)), (1, Some(1)));
    assert_eq!((two.len(), two.get("d", Time::ZERO)), (4, None));
    let flushes = one.stats().flushes_from_elsewhere;
    assert_eq!([flushes.keys, flushes.tags, flushes.prefixes, flushes.all], [2, 2, 2, 0]);
    let all = [("two", Scope::Key("a")), ("two", Scope::All), ("two", Scope::Tag("t"))];
    let old = lead(&two, &"x".to_owned());
    caches.begin(Time::ZERO, all).finish();
    assert_eq!((two.len(), old.complete(1)), (0, Landing::Fenced));
    assert_eq!(two.stats().flushes_from_elsewhere.total(), 4);
    caches.begin(Time::ZERO, []).finish();
    assert_eq!(one.len(), 1);
}

#[test]
fn a_cache_that_is_let_go_meanwhile_is_nobodys_work() {
    let (caches, cache) = large(10_000);
    let mut job = begin(&caches, [Scope::Prefix("begins/")]);
    assert!(!job.step());
    drop(cache);
    assert!(job.step());
    assert!(begin(&caches, [Scope::All]).step(), "nobody has it");
}

/// A key and a value whose code panics when it is told to.
#[derive(Clone)]
struct Touchy {
    text: String,
    acts: &'static Acts,
}

#[derive(Default)]
struct Acts {
    texts: AtomicUsize,
    drops: AtomicUsize,
    panic_at: [AtomicBool; 5],
}

const PARSE: usize = 0;
const HASH: usize = 1;
const TEXT: usize = 2;
const DROP: usize = 3;
const LISTEN: usize = 4;

static ACTS: [Acts; 6] = [const {
    Acts {
        texts: AtomicUsize::new(0),
        drops: AtomicUsize::new(0),
        panic_at: [const { AtomicBool::new(false) }; 5],
    }
}; 6];

impl Acts {
    fn act(&self, what: usize) {
        assert!(!self.panic_at[what].load(Ordering::SeqCst), "the application's code");
    }
}

impl Hash for Touchy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.acts.act(HASH);
        self.text.hash(state);
    }
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Touchy {}

impl Key for Touchy {
    fn write_text(&self, out: &mut String) {
        self.acts.texts.fetch_add(1, Ordering::SeqCst);
        self.acts.act(TEXT);
        self.text.write_text(out);
    }

    /// Begins with the number of its acts.
    fn from_text(text: &str) -> Result<Self, KeyError> {
        let acts = text.get(..1).and_then(|acts| acts.parse::<usize>().ok());
        let acts = acts.and_then(|acts| ACTS.get(acts));
        let acts = acts.ok_or_else(|| KeyError::new(text, "touchy key"))?;
        acts.act(PARSE);
        Ok(Touchy { text: text.to_owned(), acts })
    }
}

struct Counted(&'static Acts);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, Ordering::SeqCst);
        self.0.act(DROP);
    }
}

type Touchies = Cache<Touchy, Arc<Counted>>;

/// A cache of three copies, and a load under way, beside another cache of which a key is named too.
struct World {
    caches: Caches,
    touchy: Arc<Touchies>,
    calm: Arc<Cache<u64, u64>>,
    told: Arc<AtomicUsize>,
    acts: &'static Acts,
}

impl World {
    fn new(acts: usize) -> Self {
        let (caches, told) = (Caches::default(), Arc::new(AtomicUsize::new(0)));
        let ear = Arc::clone(&told);
        let mut touchy = config(100);
        touchy.listener = Some(Arc::new(move |key: &Touchy, _: &Arc<Counted>, cause| {
            ear.fetch_add(usize::from(cause == RemovalCause::Flushed), Ordering::SeqCst);
            key.acts.act(LISTEN);
        }));
        let touchy = Cache::register(&caches, "c", touchy).unwrap();
        let calm = Cache::register(&caches, "calm", config(100)).unwrap();
        for number in 0..3 {
            let key = Touchy::from_text(&format!("{acts}/{number}")).unwrap();
            let loaded = Loaded::new(Arc::new(Counted(&ACTS[acts]))).tag("t");
            touchy.insert(&key, loaded, Time::ZERO).unwrap();
        }
        calm.insert(&1, 1, Time::ZERO).unwrap();
        ACTS[acts].texts.store(0, Ordering::SeqCst);
        Self { caches, touchy, calm, told, acts: &ACTS[acts] }
    }

    /// Applies these flushes, while what is named panics.
    fn flush(&self, panics: usize, scopes: &[Scope<'_>]) -> Vec<Widened> {
        self.acts.panic_at[panics].store(true, Ordering::SeqCst);
        let scopes = scopes.iter().map(|&scope| ("c", scope));
        let mut job = self.caches.begin(Time::ZERO, scopes.chain([("calm", Scope::Key("1"))]));
        job.finish();
        self.acts.panic_at[panics].store(false, Ordering::SeqCst);
        assert!(self.calm.is_empty(), "another cache's flush was lost");
        job.widened().to_vec()
    }

    fn served(&self) -> usize {
        self.touchy.iter(|| Time::ZERO).count()
    }
}

#[test]
fn each_copy_is_looked_at_once_however_many_prefixes_are_named() {
    let world = World::new(0);
    let texts: Vec<_> = (0..1000).map(|number| format!("0/{number:03}")).collect();
    let prefixes: Vec<_> = texts.iter().map(|text| Scope::Prefix(text)).collect();
    assert_eq!(world.flush(LISTEN, &prefixes), []);
    assert_eq!((world.served(), world.acts.texts.load(Ordering::SeqCst)), (3, 3));
    assert_eq!(world.flush(LISTEN, &[Scope::Prefix("0/1"), Scope::Prefix("0/2")]), []);
    assert_eq!((world.served(), world.acts.texts.load(Ordering::SeqCst)), (1, 6));
}

#[test]
fn a_key_that_cannot_be_read_drops_its_cache_and_is_counted() {
    let world = World::new(1);
    let scopes = [Scope::Key("1/0"), Scope::Key("1/1"), Scope::Key("none"), Scope::Tag("u")];
    let times = [(PARSE, 3), (HASH, 3), (DROP, 1)];
    for (panics, times) in times {
        for number in 0..3 {
            let key = Touchy::from_text(&format!("1/{number}")).unwrap();
            let value = Loaded::new(Arc::new(Counted(world.acts)));
            world.touchy.insert(&key, value, Time::ZERO).unwrap();
        }
        world.calm.insert(&1, 1, Time::ZERO).unwrap();
        let before = world.touchy.stats().widened;
        assert_eq!(world.flush(panics, &scopes), [Widened { cache: "c".to_owned(), times }]);
        assert_eq!((world.served(), world.touchy.len()), (0, 0));
        assert_eq!(world.touchy.stats().widened - before, times as u64);
    }
}

#[test]
fn a_key_whose_text_panics_drops_its_cache_if_it_may_be_named() {
    let world = World::new(2);
    let key = Touchy::from_text("2/load").unwrap();
    let Boarding::Lead(old) = world.touchy.board(&key, world.touchy.read_begins(), Time::ZERO)
    else {
        panic!("no copy")
    };
    assert_eq!(
        world.flush(TEXT, &[Scope::Prefix("2/0")]),
        [Widened { cache: "c".to_owned(), times: 1 }]
    );
    assert_eq!((world.served(), world.touchy.len()), (0, 0));
    assert_eq!(old.complete(Arc::new(Counted(world.acts))), Landing::Fenced);
}

#[test]
fn a_panic_where_a_copy_is_dropped_or_told_of_keeps_no_other_from_it_and_drops_no_more() {
    let scopes: [&[Scope<'_>]; 4] = [
        &[Scope::Key("3/0"), Scope::Key("3/1")],
        &[Scope::Prefix("3/0"), Scope::Prefix("3/1")],
        &[Scope::Tag("t")],
        &[Scope::All],
    ];
    for panics in [DROP, LISTEN] {
        for (scopes, left) in scopes.into_iter().zip([1, 1, 0, 0]) {
            let world = World::new(3);
            world.acts.drops.store(0, Ordering::SeqCst);
            assert_eq!(world.flush(panics, scopes), [], "nothing is unknown");
            assert_eq!(world.served(), left);
            let gone = (world.told.load(Ordering::SeqCst), world.acts.drops.load(Ordering::SeqCst));
            assert_eq!(gone, (3 - left, 3 - left), "{scopes:?}");
        }
    }
}

#[test]
fn the_same_goes_for_flushes_that_are_called_here() {
    let world = World::new(4);
    let key = |number| Touchy::from_text(&format!("4/{number}")).unwrap();
    let panics = |what: usize, is: bool| world.acts.panic_at[what].store(is, Ordering::SeqCst);
    let keys = [key(0), key(1)];
    panics(DROP, true);
    panics(LISTEN, true);
    world.touchy.flush_key(&keys[0]);
    assert_eq!(world.served(), 2);
    world.touchy.evict(&keys[1]);
    assert_eq!(world.served(), 1);
    world.touchy.flush_prefix("4/");
    assert_eq!((world.served(), world.told.load(Ordering::SeqCst)), (0, 2));
    panics(DROP, false);
    let value = Loaded::new(Arc::new(Counted(world.acts)));
    world.touchy.insert(&keys[0], value, Time::ZERO).unwrap();
    panics(HASH, true);
    world.touchy.flush_key(&keys[1]);
    assert_eq!((world.served(), world.touchy.stats().widened), (0, 1), "it may have been named");
    panics(HASH, false);
}

#[test]
fn values_that_panic_when_they_make_room_or_go_with_their_cache_all_go() {
    let acts = &ACTS[5];
    let caches = Caches::default();
    let cache = Cache::register(&caches, "c", config(20)).unwrap();
    acts.panic_at[DROP].store(true, Ordering::SeqCst);
    for number in 0_u64..100 {
        let landing = cache.insert(&number, Arc::new(Counted(acts)), Time::ZERO).unwrap();
        assert_eq!(landing, Landing::Stored);
    }
    assert_eq!(cache.stats().evictions + cache.len() as u64, 100);
    assert_eq!(acts.drops.load(Ordering::SeqCst), 100 - cache.len());
    let mut job = begin(&caches, [Scope::All]);
    drop(cache);
    job.finish();
    assert_eq!(acts.drops.load(Ordering::SeqCst), 100);
}

#[test]
fn a_weigher_that_panics_has_its_value_told_and_not_held() {
    let caches = Caches::default();
    let mut config = config(100);
    config.weigher = Some(Arc::new(|_: &u64, &value: &u64| {
        assert!(value != 7, "a weigher");
        1
    }));
    let cache = Cache::register(&caches, "c", config).unwrap();
    cache.insert(&1, 1, Time::ZERO).unwrap();
    assert_eq!(lead(&cache, &7).complete(7), Landing::Unstored);
    assert_eq!((cache.len(), cache.get(&7, Time::ZERO)), (1, None));
}

#[test]
fn a_listener_that_flushes_is_told_of_that_when_it_is_done() {
    const COPIES: u64 = 2000;
    type Flush = fn(&Cache<u64, u64>);
    let flushes: [Flush; 4] = [
        |cache| cache.flush_all(),
        |cache| cache.flush_tag("t"),
        |cache| cache.flush_prefix(""),
        |cache| {
            let next = cache.iter(|| Time::ZERO).next();
            next.into_iter().for_each(|copy| cache.flush_key(&copy.key));
        },
    ];
    for flush in flushes {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        static INSIDE: AtomicUsize = AtomicUsize::new(0);
        static DEEPEST: AtomicUsize = AtomicUsize::new(0);
        CALLS.store(0, Ordering::SeqCst);
        let this = Arc::new(OnceLock::<Arc<Cache<u64, u64>>>::new());
        let again = Arc::clone(&this);
        let mut config = config(2 * COPIES);
        config.listener = Some(Arc::new(move |_, _, _| {
            CALLS.fetch_add(1, Ordering::SeqCst);
            DEEPEST.fetch_max(INSIDE.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            flush(again.get().unwrap());
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }));
        let cache = Cache::register(&Caches::default(), "c", config).unwrap();
        this.set(Arc::clone(&cache)).ok().unwrap();
        for number in 0..COPIES {
            cache.insert(&number, Loaded::new(number).tag("t"), Time::ZERO).unwrap();
        }
        let held = cache.len();
        flush(&cache);
        assert_eq!((cache.len(), CALLS.load(Ordering::SeqCst)), (0, held));
        assert_eq!(DEEPEST.load(Ordering::SeqCst), 1, "each takes a piece of the stack");
    }
}
