use std::collections::BTreeMap;
use std::hash::Hasher;

use proptest::prelude::*;

use super::super::copied::More;
use std::time::Duration;

use super::super::trust::Trust;
use super::super::{Birth, Guarantee, HashSeeds};
use super::*;
use crate::Time;
use crate::cache::shards::hasher;

/// Keys of which many have the same hash, all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u16);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u16(self.0 / 3);
    }
}

type Numbers = Store<Key, u64>;

fn store(capacity: u64) -> Numbers {
    Store::new(Arc::new(Room::new(capacity, hasher(HashSeeds([1, 2, 3, 4])))))
}

fn trust() -> Trust {
    Trust::new(Guarantee::Eventual, Duration::ZERO, Arc::default())
}

fn judge(trust: &Trust, seconds: u32) -> Judge<'_> {
    let now = Time::ZERO + Duration::from_secs(1) * seconds;
    Judge { trust, keep_expired: Duration::ZERO, now }
}

/// No two are the same, as long as no key gets a number twice.
fn stamp(key: u16, number: u64) -> Stamp {
    Stamp(number << 16 | u64::from(key))
}

fn copy(key: u16, number: u64, weight: u64) -> Copied<Key, u64> {
    let birth = Birth { started: Time::ZERO, stamp: stamp(key, number) };
    let more = More { weight: weight.try_into().unwrap(), ..More::default() };
    Copied::new(Key(key), number, birth, Time::NEVER, more)
}

impl Numbers {
    fn put(&mut self, key: u16, number: u64, weight: u64) -> Vec<Copied<Key, u64>> {
        self.put_until(key, number, weight, Time::NEVER, 0).into_iter().map(|it| it.0).collect()
    }

    fn put_until(
        &mut self,
        key: u16,
        number: u64,
        weight: u64,
        expires: Time,
        now: u32,
    ) -> Going<Key, u64> {
        let mut gone = Going::new();
        let mut copy = copy(key, number, weight);
        copy.expires = expires;
        self.insert(self.hash(key), copy, &judge(&trust(), now), &mut gone);
        while self.room.is_over() {
            self.make_room(&judge(&trust(), now), &mut gone);
        }
        // It was tidied when this one had not been heavier than what it made go.
        let most = 3 * (self.len() + gone.len()) + SPARE_PLACES + 1;
        assert!(self.line.len() <= most, "{} places", self.line.len());
        gone
    }

    fn hash(&self, key: u16) -> u64 {
        self.room.hasher.hash_one(Key(key))
    }

    fn read(&self, key: u16) -> Option<u64> {
        let found = self.find(self.hash(key), &Key(key))?;
        found.standing.warm();
        Some(found.value)
    }

    fn drop_key(&mut self, key: u16) -> Option<u64> {
        let removed = self.remove(self.hash(key), |copy| copy.key == Key(key));
        removed.map(|copy| copy.value)
    }

    /// What it keeps beside its copies is what can be told from them.
    fn check(&self) {
        let young = || self.copies.iter().filter(|copy| copy.standing.is_young());
        assert_eq!(self.weight, self.copies.iter().map(Copied::weight).sum::<u64>());
        assert_eq!(self.weight_of_young, young().map(Copied::weight).sum::<u64>());
        assert_eq!(self.weight, self.room.weight());
        assert!(!self.room.is_over(), "{} of {}", self.weight, self.room.capacity);
        let in_line =
            |copy: &Copied<Key, u64>| self.line.contains(&(self.hash(copy.key.0), copy.stamp()));
        assert!(young().all(in_line), "a young copy could never make room");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u16, u64),
    Read(u16),
    Drop(u16),
    DropOf(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..60_u16;
    prop_oneof![
        6 => (key(), prop_oneof![4 => Just(1), 2 => 1..5_u64, 1 => 1..40_u64])
            .prop_map(|(key, weight)| Step::Put(key, weight)),
        6 => key().prop_map(Step::Read),
        1 => key().prop_map(Step::Drop),
        1 => (0..300_u64).prop_map(Step::DropOf),
    ]
}

proptest! {
    /// Whatever is done, it holds no more than it may, what it holds is what was put in last, and
    /// each copy comes out once.
    #[test]
    fn it_holds_what_was_put_in_and_never_more_than_fits(
        capacity in 1..30_u64,
        steps in proptest::collection::vec(step(), 0..300),
    ) {
        let mut store = store(capacity);
        // By key: the number of the copy, and its weight.
        let mut held = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            let number = number as u64;
            match step {
                Step::Put(key, weight) => {
                    let before: u64 = held.values().map(|&(_, weight)| weight).sum();
                    let old = held.insert(key, (number, weight)).map_or(0, |(_, weight)| weight);
                    let gone = store.put(key, number, weight);
                    let replaced = gone.iter().filter(|copy| copy.key == Key(key) && copy.value < number);
                    prop_assert_eq!(replaced.count(), usize::from(old > 0));
                    let needed = (before - old + weight).saturating_sub(capacity);
                    let mut freed = 0;
                    for copy in gone.iter().filter(|copy| copy.key != Key(key) || copy.value == number) {
                        prop_assert!(freed < needed, "{:?} made room for nothing", copy.key);
                        prop_assert_eq!(held.remove(&copy.key.0), Some((copy.value, copy.weight())));
                        freed += copy.weight();
                    }
                    prop_assert!(weight <= capacity || !held.contains_key(&key));
                }
                Step::Read(key) => {
                    prop_assert_eq!(store.read(key), held.get(&key).map(|&(number, _)| number));
                }
                Step::Drop(key) => {
                    prop_assert_eq!(store.drop_key(key), held.remove(&key).map(|(number, _)| number));
                }
                Step::DropOf(number) => {
                    let key = held.iter().find(|(_, it)| it.0 == number).map(|(&key, _)| key);
                    let meant = key.unwrap_or_default();
                    let (hash, stamp) = (store.hash(meant), stamp(meant, number));
                    let removed = store.remove(hash, |copy| copy.stamp() == stamp);
                    let removed = removed.map(|copy| copy.key.0);
                    prop_assert_eq!(removed, key);
                    key.and_then(|key| held.remove(&key));
                }
            }
            store.check();
            prop_assert_eq!(store.len(), held.len());
        }
        let left: BTreeMap<_, _> =
            store.into_copies().map(|copy| (copy.key.0, (copy.value, copy.weight()))).collect();
        prop_assert_eq!(left, held);
    }
}

#[test]
fn what_is_read_stays_while_many_pass_that_nobody_reads() {
    let mut store = store(100);
    (0..20).for_each(|key| drop(store.put(key, 1, 1)));
    for key in 1000..3000 {
        assert!((0..20).all(|key| store.read(key).is_some()), "gone before {key}");
        store.put(key, 1, 1);
    }
}

#[test]
fn what_was_read_before_makes_room_once_it_is_not_read_any_more() {
    let mut store = store(100);
    (0..100).for_each(|key| drop(store.put(key, 1, 1)));
    (0..10).for_each(|_| assert!((0..100).all(|key| store.read(key).is_some())));
    for key in 1000..1400 {
        store.put(key, 1, 1);
        // So that it settles, and not what is there already alone.
        store.read(key);
    }
    assert!((0..100).all(|key| store.read(key).is_none()));
}

#[test]
fn what_comes_back_soon_after_it_made_room_stays_longer_than_what_is_new() {
    let mut store = store(100);
    (0..200).for_each(|key| drop(store.put(key, 1, 1)));
    assert!(store.read(50).is_none(), "it came first, and nobody read it");
    store.put(50, 2, 1);
    (1000..1500).for_each(|key| drop(store.put(key, 1, 1)));
    assert_eq!(store.read(50), Some(2));
}

/// What removed copies leave behind in a table would make it double, again and again.
#[test]
fn its_table_does_not_grow_while_copies_come_and_go() {
    let mut store = store(2816);
    (0..2816).for_each(|key| drop(store.put(key, 1, 1)));
    let buckets = store.copies.num_buckets();
    assert_eq!(buckets, 4096);
    for number in 0..40_000_u64 {
        store.put(u16::try_from(number % 60_000).unwrap(), number, 1);
        if number % 3 == 0 {
            store.drop_key(u16::try_from(number % 50_000).unwrap());
        }
    }
    store.check();
    assert_eq!(store.copies.num_buckets(), buckets);
}

#[test]
fn a_heavier_copy_in_place_of_another_makes_others_go_or_goes_itself() {
    let mut store = store(10);
    (0..10).for_each(|key| drop(store.put(key, 1, 1)));
    let gone = store.put(3, 2, 5);
    assert_eq!(gone.len(), 5, "the old one, and four others");
    assert_eq!(gone[0].key, Key(3));
    store.check();
    let gone = store.put(4, 2, 11);
    assert_eq!(gone.last().map(|copy| copy.value), Some(2), "it does not fit at all");
    assert_eq!(store.read(4), None, "and the old one is not what is true");
    store.check();
}

#[test]
fn places_in_line_of_copies_that_were_flushed_are_given_up_and_no_other() {
    let mut store = store(1000);
    (0..3).for_each(|key| drop(store.put(key, 1, 1)));
    for key in 100..1000 {
        store.put(key, 1, 1);
        store.drop_key(key);
        store.check();
    }
    assert!((0..3).all(|key| store.read(key).is_some()));
}

#[test]
fn so_are_those_of_copies_that_come_back() {
    let mut store = store(1000);
    for number in 0..3000 {
        let key = u16::try_from(number % 10).unwrap();
        store.put(key, number, 1);
        store.check();
        // Some are dropped and come back, others are replaced.
        if key < 5 {
            store.drop_key(key);
        }
    }
}

#[test]
fn a_table_of_many_that_have_gone_is_given_back() {
    let mut store = store(1_000_000);
    (0..10_000).for_each(|key| drop(store.put(key, 1, 1)));
    (1..10_000).for_each(|key| assert!(store.drop_key(key).is_some()));
    store.sweep(&judge(&trust(), 0), 1, &mut Going::new());
    store.put(1, 2, 1);
    assert!(store.copies.num_buckets() <= 64 && store.line.capacity() <= 64);
    assert_eq!((store.read(0), store.read(1)), (Some(1), Some(2)));
    store.check();
}

/// As many copies as fit are over, and half as many live: none of these makes room.
#[test]
fn what_is_over_makes_room_before_anything_that_lives() {
    let mut store = store(100);
    let soon = Time::ZERO + Duration::from_secs(1);
    (0..50).for_each(|key| drop(store.put_until(key, 1, 1, soon, 0)));
    // So that the policy would keep them.
    (0..9).for_each(|_| assert!((0..50).all(|key| store.read(key).is_some())));
    (50..100).for_each(|key| drop(store.put(key, 1, 1)));
    let mut lost = 0;
    for key in 100..150 {
        let gone = store.put_until(key, 1, 1, Time::NEVER, 2);
        lost += gone.iter().filter(|it| it.1 != RemovalCause::Expired).count();
        assert!(
            gone.len() == 1
                && gone.iter().all(|it| it.1 != RemovalCause::Expired || it.0.key < Key(50))
        );
    }
    // A look is short, and the last ones lie far from each other.
    assert!(lost <= 5, "{lost} made room that lived");
    store.check();
}

#[test]
fn a_round_that_found_nothing_is_not_gone_again_before_something_can_be_over() {
    let mut store = store(1000);
    let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
    (0..100).for_each(|key| drop(store.put_until(key, 1, 1, at(10 + u64::from(key)), 0)));
    let (trust, mut gone) = (trust(), Going::new());
    assert!(!store.may_be_swept(&judge(&trust, 9)), "as each was noted");
    assert!(store.may_be_swept(&judge(&trust, 10)));
    let mut sweep = |store: &mut Numbers, now| {
        for _ in 0..store.places() {
            store.sweep(&judge(&trust, now), 1, &mut gone);
        }
    };
    sweep(&mut store, 19);
    sweep(&mut store, 19);
    assert_eq!(store.len(), 90);
    assert!(!store.may_be_swept(&judge(&trust, 19)));
    assert!(store.may_be_swept(&judge(&trust, 20)), "the next one is");
    trust.order.distrust_before(Stamp(u64::MAX));
    sweep(&mut store, 19);
    sweep(&mut store, 19);
    assert_eq!((store.len(), gone.len()), (0, 100));
    assert_eq!(gone[99].1, RemovalCause::Distrusted);
    store.check();
}

/// Keys in a loop, a tenth more than fit.
#[test]
fn most_of_a_loop_over_a_tenth_more_than_fits_are_hits() {
    let (mut store, mut hits) = (store(1000), 0);
    for number in 0..22_000_u64 {
        let key = u16::try_from(number % 1100).unwrap();
        if store.read(key).is_some() {
            hits += u64::from(number >= 11_000);
        } else {
            store.put(key, number, 1);
        }
    }
    assert!(hits > 8 * 1100, "{hits} of 11000");
}

#[test]
fn a_heavy_copy_has_few_others_make_room_under_one_lock() {
    let mut store = store(1000);
    (0..1000).for_each(|key| drop(store.put(key, 1, 1)));
    let mut gone = Going::new();
    store.insert(store.hash(1000), copy(1000, 1, 900), &judge(&trust(), 0), &mut gone);
    assert_eq!(gone.len(), AT_ONCE);
    while store.room.is_over() {
        assert!(store.make_room(&judge(&trust(), 0), &mut gone));
    }
    assert_eq!((gone.len(), store.read(1000)), (900, Some(1)));
}

thread_local! {
    static PANICS_AT: std::cell::Cell<Option<u32>> = const { std::cell::Cell::new(None) };
}

thread_local! {
    static IS_LOCKED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A value that must not be dropped under a lock: its drop may ask for the same one.
#[derive(Debug)]
struct Asks;

impl Drop for Asks {
    fn drop(&mut self) {
        assert!(!IS_LOCKED.get(), "dropped under the lock");
    }
}

/// A key whose comparison or hash panics, after so many calls.
#[derive(Debug, Clone)]
struct Touchy(u16);

fn touch() {
    PANICS_AT.with(|left| match left.get() {
        Some(0) => {
            left.set(None);
            panic!("the application's code")
        }
        Some(more) => left.set(Some(more - 1)),
        None => {}
    });
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        touch();
        self.0 == other.0
    }
}

impl Eq for Touchy {}

impl Hash for Touchy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        touch();
        state.write_u16(self.0 / 3);
    }
}

#[test]
fn a_key_that_panics_takes_no_room_for_ever_and_drops_no_value_under_the_lock() {
    let trust = trust();
    for panics_at in 0..200 {
        let room = Arc::new(Room::new(1000, hasher(HashSeeds([1, 2, 3, 4]))));
        let mut store = Store::<Touchy, Asks>::new(Arc::clone(&room));
        PANICS_AT.set(Some(panics_at));
        for number in 0..60_u16 {
            let hash = || room.hasher.hash_one(Touchy(number % 45));
            let Ok(hash) = std::panic::catch_unwind(hash) else { continue };
            let birth = Birth { started: Time::ZERO, stamp: stamp(number, number.into()) };
            let more = More { weight: 5, ..More::default() };
            let copy = Copied::new(Touchy(number % 45), Asks, birth, Time::NEVER, more);
            let mut gone = Going::new();
            let insert = || store.insert(hash, copy, &judge(&trust, 0), &mut gone);
            IS_LOCKED.set(true);
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(insert)));
            IS_LOCKED.set(false);
        }
        PANICS_AT.set(None);
        let held = store.copies.iter().map(Copied::weight).sum::<u64>();
        assert_eq!((store.weight, room.weight()), (held, held), "{panics_at}");
        let young = store.copies.iter().filter(|copy| copy.standing.is_young());
        assert_eq!(store.weight_of_young, young.map(Copied::weight).sum::<u64>(), "{panics_at}");
    }
}

#[test]
fn a_large_table_without_copies_is_given_back_when_room_is_needed() {
    let mut store = store(1 << 20);
    (0..10_000).for_each(|key| drop(store.put(key, 1, 1)));
    (0..10_000).for_each(|key| assert!(store.drop_key(key).is_some()));
    // By a copy of another shard.
    store.room.take(2 << 20);
    assert!(!store.make_room(&judge(&trust(), 0), &mut Going::new()));
    assert!(store.copies.num_buckets() < FEWEST_BUCKETS);
}
