//! Owns one pass over a cache, in bounded pieces: what drops all that some scopes name, or has it expire,
//! and fences the loads of it. It must never hold a lock between two pieces, nor drop a copy under one.
//!
//! A pass has a *mark*, drawn when it began, from which on its tags are known to loads that end. What was
//! loaded behind it is newer than the flush, and may stay: so of a prefix, a shard's loads from before are
//! fenced first, then its copies from before are looked for (C4), and what comes meanwhile need not be.

use std::sync::{Arc, Weak};

use ahash::RandomState;

use super::app_code::{contain, let_all_go, let_go};
use super::copied::Copied;
use super::named::Named;
use super::shards::{Cleared, Shard};
use super::trust::{Order, UnderWay};
use super::{Apply, Cache, Count, Key, RemovalCause, Stamp, Value};
use crate::Time;
use crate::load::Flight;
use crate::planted::{Fault, planted};
use crate::sync::RwLock;
use crate::wire::Scope;

/// Copies that one piece looks at or takes out, places in a table that it looks at, loads that it fences:
/// together about so many.
const PIECE: usize = if cfg!(flushcast_shuttle) { 1 } else { 256 };
/// What else a shard costs, in the same unit.
const SHARD: usize = 8;
/// What a key costs: it is read, and its shard is locked for it alone.
const KEY: usize = 8;
/// Copies that are taken out under one lock. Readers of the shard wait for no more at a time, and get their
/// turn while these are dropped.
const AT_ONCE: usize = if cfg!(flushcast_shuttle) { 1 } else { 8 };
/// Tags that are asked for under one lock.
const TAGS_AT_ONCE: usize = 32;

/// What becomes of copies that are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// They are dropped.
    Flush,
    /// They expire, now at the latest, and are held as long as other expired ones.
    Expire(Time),
}

impl Verb {
    /// Why they are not held any more, if so.
    pub(super) fn cause(self) -> RemovalCause {
        match self {
            Self::Flush => RemovalCause::Flushed,
            Self::Expire(_) => RemovalCause::Expired,
        }
    }
}

/// How a copy stays that was told to expire.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stay {
    /// When it has expired, at the latest.
    pub(super) expired: Time,
    /// When it is of no use to anybody any more.
    pub(super) over: Time,
}

impl<K, V> Cache<K, V> {
    /// How what is named stays; nothing if it is taken out, as nobody has a use for it.
    pub(super) fn stays(&self, verb: Verb) -> Option<Stay> {
        let keep = self.config.keep_expired;
        match verb {
            Verb::Expire(expired) if !keep.is_zero() => {
                Some(Stay { expired, over: expired + keep })
            }
            _ => None,
        }
    }
}

/// How far a pass has come.
pub(super) struct Pass<K, V> {
    verb: Verb,
    mark: Stamp,
    named: Named,
    stage: Stage<K, V>,
    widened: usize,
    _under_way: UnderWay,
}

enum Stage<K, V> {
    /// Keys are dropped, from the last one on.
    Keys,
    /// Copies and loads are looked for, shard by shard.
    Walk { shard: usize, part: Part },
    /// Nothing from before is trusted any more; memory is given back, shard by shard.
    Clear { shard: usize, cleared: Option<Cleared<K, V>> },
    /// All is applied.
    Done,
}

/// What is to be done about a shard.
enum Part {
    /// Its loads whose keys begin with a prefix are to be fenced, first of all.
    Fence,
    /// Its copies that have a tag are dealt with, from this tag and place on.
    Tags(usize, Stamp),
    /// All its copies are looked at for their keys.
    Keys(Look),
}

/// Where a look at all copies of a shard stands.
struct Look {
    /// The next place in its table.
    place: usize,
    /// How often copies had changed their places when it began. If they do again, it begins anew.
    moves: u64,
    /// Places that a piece looks at, at least: more each time, so that it comes to an end.
    fewest: usize,
}

impl<K: Key, V: Value> Pass<K, V> {
    /// Begins to apply what `scopes` name together, however they say it, in the cache of this order and
    /// hash function. Runs none of the application's code.
    pub(super) fn begin(
        order: &Arc<Order>,
        hasher: &RandomState,
        verb: Verb,
        scopes: &[Scope<'_>],
    ) -> Self {
        let named = Named::new(scopes);
        let tags = named.tags.iter().map(|tag| hasher.hash_one(tag));
        let under_way = UnderWay::begin(order);
        let mark = order.flush_begins(tags, verb == Verb::Flush);
        Self { verb, mark, named, stage: Stage::Keys, widened: 0, _under_way: under_way }
    }

    /// Goes on until all is applied.
    pub(super) fn finish(mut self, cache: &Cache<K, V>) {
        while !self.step(cache) {}
    }

    /// Does one piece; gives back whether all is done.
    pub(super) fn step(&mut self, cache: &Cache<K, V>) -> bool {
        if contain(|| self.go_on(cache)).is_none() {
            match self.stage {
                // Its pieces call nothing that is not caught. Nothing is served that is left.
                Stage::Clear { .. } | Stage::Done => self.stage = Stage::Done,
                // Something cannot be told apart: everything goes, which is the safe side.
                Stage::Keys | Stage::Walk { .. } => {
                    self.widened += 1;
                    self.distrust(cache);
                }
            }
        }
        matches!(self.stage, Stage::Done)
    }

    fn go_on(&mut self, cache: &Cache<K, V>) {
        let mut left = PIECE;
        while left > 0 {
            let cost = match &mut self.stage {
                Stage::Keys => self.drop_next_key(cache),
                Stage::Walk { .. } => self.walk(cache, left),
                Stage::Clear { .. } => self.clear(cache, left),
                Stage::Done => return,
            };
            left = left.saturating_sub(cost);
        }
    }

    fn drop_next_key(&mut self, cache: &Cache<K, V>) -> usize {
        let Some(text) = self.named.keys.pop() else {
            if self.widened > 0 || (self.named.all && self.verb == Verb::Flush) {
                self.distrust(cache);
                return 0;
            }
            if self.named.all {
                self.named.look_for_all();
            }
            self.stage = match self.named.has_patterns() {
                true => Stage::Walk { shard: 0, part: Part::Fence },
                false => Stage::Done,
            };
            return 0;
        };
        let verb = self.verb;
        let dropped = contain(|| K::from_text(&text).is_ok_and(|key| cache.end_key(&key, verb)));
        if dropped != Some(true) {
            self.widened += 1;
        }
        KEY
    }

    fn walk(&mut self, cache: &Cache<K, V>, left: usize) -> usize {
        let Self { verb, mark, named, stage, .. } = self;
        let Stage::Walk { shard, part } = stage else { return 0 };
        let Some(lock) = cache.shards.nth(*shard) else {
            *stage = Stage::Done;
            return 0;
        };
        match part {
            Part::Fence => {
                *part = Part::Tags(0, Stamp::FIRST);
                SHARD + if named.prefixes.is_empty() { 0 } else { fence(*mark, named, lock) }
            }
            Part::Tags(tag, from) if *tag < named.tags.len() => {
                end_tagged(cache, (*verb, *mark), named, lock, (tag, from), left)
            }
            Part::Tags(..) if !named.prefixes.is_empty() => {
                *part = Part::Keys(Look { place: 0, moves: lock.read().moves(), fewest: 1 });
                0
            }
            Part::Keys(look) if !look.is_over(lock) => {
                end_named(cache, (*verb, *mark), named, lock, look, left)
            }
            Part::Tags(..) | Part::Keys(_) => {
                (*shard, *part) = (*shard + 1, Part::Fence);
                0
            }
        }
    }

    fn clear(&mut self, cache: &Cache<K, V>, left: usize) -> usize {
        let Stage::Clear { shard, cleared } = &mut self.stage else { return 0 };
        let Some(some) = cleared else {
            match cache.shards.take_out(*shard) {
                Some(taken) => (*shard, *cleared) = (*shard + 1, Some(taken)),
                None => self.stage = Stage::Done,
            }
            return SHARD;
        };
        let drop_one = |copy| cache.note_removed(Some(copy), RemovalCause::Flushed);
        let dropped = (0..left).take_while(|_| some.drop_one(drop_one)).count();
        if dropped < left {
            *cleared = None;
        }
        dropped + 1
    }

    fn distrust(&mut self, cache: &Cache<K, V>) {
        cache.counts.add(Count::Widened, self.widened as u64);
        // The mark alone makes old copies and loads unusable, and is set first: what is installed behind
        // it is new. Clearing gives back memory.
        if !planted(Fault::WholeCacheFlushLeavesLoads) {
            cache.trust.order.distrust_before(self.mark);
        }
        self.stage = Stage::Clear { shard: 0, cleared: None };
    }
}

impl Look {
    fn is_over<K: Key, V: Value>(&self, lock: &RwLock<Shard<K, V>>) -> bool {
        let shard = lock.read();
        shard.moves() == self.moves && self.place >= shard.places()
    }
}

/// Takes those loads from before out whose keys begin with a prefix; gives back what that cost.
fn fence<K: Key, V: Value>(mark: Stamp, named: &Named, lock: &RwLock<Shard<K, V>>) -> usize {
    let (mut text, mut looked) = (String::new(), 0);
    let is_named = |flight: &Flight<K, V>| {
        looked += 1;
        let is_from_before = flight.birth().stamp < mark;
        is_from_before
            && !planted(Fault::PrefixFlushLeavesLoads)
            && begins_so(named, flight.key(), &mut text)
    };
    let fenced = lock.write().flights.take_all(is_named);
    let_all_go(fenced);
    looked
}

/// Goes on from a tag and a place, which it moves on, with copies that have one of the tags: takes them
/// out, or has them expire. Gives back what it cost.
fn end_tagged<K: Key, V: Value>(
    cache: &Cache<K, V>,
    (verb, mark): (Verb, Stamp),
    named: &Named,
    lock: &RwLock<Shard<K, V>>,
    (at, from): (&mut usize, &mut Stamp),
    left: usize,
) -> usize {
    let (stays, mut cost, mut some) = (cache.stays(verb), 0, Vec::with_capacity(AT_ONCE));
    while *at < named.tags.len() && cost < left {
        let (mut copies, mut shard) = (0, lock.write());
        for tag in named.tags[*at..].iter().take(TAGS_AT_ONCE) {
            cost += 1;
            while copies < AT_ONCE
                && let Some((hash, stamp)) = shard.next_tagged(tag, *from, mark)
            {
                some.extend(shard.end(hash, |copy| copy.stamp() == stamp, stays));
                (copies, *from) = (copies + 1, stamp.next());
            }
            if copies == AT_ONCE {
                break;
            }
            (*at, *from) = (*at + 1, Stamp::FIRST);
        }
        drop(shard);
        cost += copies;
        cache.note_ended(&mut some, verb);
    }
    cost
}

/// Looks at copies' keys, and takes those out that begin with a prefix, or has them expire; gives back what
/// it cost.
fn end_named<K: Key, V: Value>(
    cache: &Cache<K, V>,
    (verb, mark): (Verb, Stamp),
    named: &Named,
    lock: &RwLock<Shard<K, V>>,
    look: &mut Look,
    left: usize,
) -> usize {
    let mut text = String::new();
    // Others may read meanwhile.
    let shard = lock.read();
    if shard.moves() != look.moves {
        *look = Look { place: 0, moves: shard.moves(), fewest: PIECE.max(2 * look.fewest) };
    }
    let end = (look.place + look.fewest.max(left)).min(shard.places());
    let at_places = shard.at_places(look.place..end);
    // What was loaded since may stay.
    let is_doomed =
        |copy: &&Copied<K, V>| copy.stamp() < mark && begins_so(named, &copy.key, &mut text);
    let place = |copy: &Copied<K, V>| (cache.shards.hash(&copy.key), copy.stamp());
    let mut doomed: Vec<_> = at_places.filter(is_doomed).map(place).collect();
    drop(shard);
    let cost = end - look.place + doomed.len();
    let (stays, mut some) = (cache.stays(verb), Vec::with_capacity(AT_ONCE));
    while !doomed.is_empty() {
        let mut shard = lock.write();
        for (hash, stamp) in doomed.drain(doomed.len().saturating_sub(AT_ONCE)..) {
            some.extend(shard.end(hash, |copy| copy.stamp() == stamp, stays));
        }
        drop(shard);
        cache.note_ended(&mut some, verb);
    }
    look.place = end;
    cost
}

fn begins_so<K: Key>(named: &Named, key: &K, text: &mut String) -> bool {
    text.clear();
    key.write_text(text);
    named.prefixes.cover(text)
}

/// A pass over a cache that the application may let go meanwhile: then nothing is left to be done.
pub(super) struct Job<K, V> {
    pub(super) cache: Weak<Cache<K, V>>,
    /// The last one is next.
    pub(super) passes: Vec<Pass<K, V>>,
    /// As which flushes from elsewhere they are to be counted.
    pub(super) counts: Vec<Count>,
    /// Of the passes that are over.
    pub(super) widened: usize,
}

impl<K: Key, V: Value> Apply for Job<K, V> {
    fn step(&mut self) -> bool {
        let Some(cache) = self.cache.upgrade() else { return true };
        self.counts.drain(..).for_each(|count| cache.counts.one(count));
        if let Some(pass) = self.passes.last_mut()
            && pass.step(&cache)
        {
            self.widened += pass.widened;
            self.passes.pop();
        }
        // It may be the last who holds it.
        let_go(cache);
        self.passes.is_empty()
    }

    fn widened(&self) -> usize {
        self.widened
    }
}

#[cfg(all(test, not(flushcast_shuttle)))]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests;
