//! Owns one pass over a cache, in bounded pieces: what drops all that some scopes name, and fences the
//! loads of it. It must never hold a lock between two pieces, nor drop a copy under one.
//!
//! A pass has a *mark*, drawn when it began. What was loaded behind it is newer than the flush, and may
//! stay: so a shard's loads from before are fenced first, then its copies from before are looked for
//! (C4), and what comes meanwhile need not be.

use std::sync::{Arc, Weak};

use super::app_code::{contain, let_all_go};
use super::named::Named;
use super::shards::Shard;
use super::store::Leaving;
use super::{Apply, Cache, Count, Key, RemovalCause, Stamp, Value};
use crate::load::Flight;
use crate::planted::{Fault, planted};
use crate::sync::locks::Lock;

/// Copies that one piece looks at or takes out, places in a table that it looks at, loads that it fences:
/// together about so many.
const PIECE: usize = if cfg!(flushcast_shuttle) { 1 } else { 512 };
/// What else a shard costs, in the same unit.
const SHARD: usize = 8;
/// What a key costs: it is read, and its shard is locked for it alone.
const KEY: usize = 8;
/// Copies that are taken out under one lock. Readers of the shard wait for no more at a time, and get their
/// turn while these are dropped.
const AT_ONCE: usize = if cfg!(flushcast_shuttle) { 1 } else { 8 };

/// How far a pass has come.
pub(super) struct Pass<K, V> {
    mark: Stamp,
    named: Named,
    stage: Stage<K, V>,
    widened: usize,
}

enum Stage<K, V> {
    /// Keys are dropped, from the last one on.
    Keys,
    /// The loads of a shard are to be fenced.
    Fence {
        shard: usize,
    },
    /// The copies of a shard that have a tag are taken out.
    Tags {
        shard: usize,
    },
    /// The copies of a shard are looked at whose keys may begin with a prefix.
    Prefixes {
        shard: usize,
        look: Look,
    },
    /// Nothing from before is trusted any more; memory is given back, shard by shard.
    Clear {
        shard: usize,
        leaving: Option<Leaving<K, V>>,
    },
    Done,
}

/// Where a look at all copies of a shard stands.
struct Look {
    /// The next place in its table.
    place: usize,
    /// How often copies had changed their places when it began. If they do again, it begins anew.
    moves: u64,
    /// Places that a piece looks at: more each time, so that it comes to an end.
    stride: usize,
}

impl Look {
    fn new(moves: u64, stride: usize) -> Self {
        Self { place: 0, moves, stride }
    }
}

impl<K: Key, V: Value> Pass<K, V> {
    /// Runs none of the application's code.
    pub(super) fn new(mark: Stamp, named: Named) -> Self {
        Self { mark, named, stage: Stage::Keys, widened: 0 }
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
                _ => self.widen(cache),
            }
        }
        matches!(self.stage, Stage::Done)
    }

    fn go_on(&mut self, cache: &Cache<K, V>) {
        let mut left = PIECE;
        while left > 0 && !matches!(self.stage, Stage::Done) {
            left = left.saturating_sub(self.advance(cache, left));
        }
    }

    /// Does a part of a piece; gives back what it cost.
    fn advance(&mut self, cache: &Cache<K, V>, left: usize) -> usize {
        match &mut self.stage {
            Stage::Keys => self.drop_next_key(cache),
            Stage::Fence { shard } => match cache.shards.nth(*shard) {
                Some(lock) => {
                    let shard = *shard;
                    let cost = self.fence(lock);
                    self.stage = Stage::Tags { shard };
                    SHARD + cost
                }
                None => {
                    self.stage = Stage::Done;
                    0
                }
            },
            Stage::Tags { shard } => {
                let shard = *shard;
                let (cost, is_over) = self.take_tagged(cache, shard, left);
                if is_over {
                    self.stage = match (self.named.prefixes.is_empty(), cache.shards.nth(shard)) {
                        (false, Some(lock)) => {
                            let look = Look::new(lock.read().moves(), PIECE);
                            Stage::Prefixes { shard, look }
                        }
                        _ => Stage::Fence { shard: shard + 1 },
                    };
                }
                cost
            }
            Stage::Prefixes { shard, .. } => {
                let shard = *shard;
                let (cost, is_over) = self.take_prefixed(cache, shard, left);
                if is_over {
                    self.stage = Stage::Fence { shard: shard + 1 };
                }
                cost
            }
            Stage::Clear { .. } => self.clear(cache, left),
            Stage::Done => 0,
        }
    }

    fn drop_next_key(&mut self, cache: &Cache<K, V>) -> usize {
        let Some(text) = self.named.keys.pop() else {
            if self.named.all || self.widened > 0 {
                self.distrust(cache);
            } else if self.named.has_patterns() {
                self.stage = Stage::Fence { shard: 0 };
            } else {
                self.stage = Stage::Done;
            }
            return 0;
        };
        let dropped = contain(|| K::from_text(&text).is_ok_and(|key| cache.drop_key(&key)));
        if dropped != Some(true) {
            self.widened += 1;
        }
        KEY
    }

    /// Takes those loads from before out that may come to install what is named.
    fn fence(&self, lock: Lock<'_, Shard<K, V>>) -> usize {
        let Self { mark, named, .. } = self;
        let (by_tag, by_prefix) = (
            !named.tags.is_empty() && !planted(Fault::TagFlushLeavesLoads),
            !named.prefixes.is_empty() && !planted(Fault::PrefixFlushLeavesLoads),
        );
        let (mut text, mut looked) = (String::new(), 0);
        let mut is_named = |flight: &Flight<K, V>| {
            looked += 1;
            if flight.birth().stamp >= *mark {
                return false;
            }
            // Its tags are known when it ends.
            let is_full = |tag| by_tag && flight.note_flushed(*mark, tag);
            by_prefix && begins_so(named, flight.key(), &mut text) || named.tags.iter().any(is_full)
        };
        let fenced = lock.write().flights.take_all(&mut is_named);
        let_all_go(fenced);
        looked
    }

    fn take_tagged(&self, cache: &Cache<K, V>, shard: usize, left: usize) -> (usize, bool) {
        let Some(lock) = cache.shards.nth(shard) else { return (0, true) };
        let (mut cost, mut some) = (self.named.tags.len(), Vec::with_capacity(AT_ONCE));
        for tag in &self.named.tags {
            loop {
                let mut shard = lock.write();
                let next = std::iter::from_fn(|| shard.pop_tagged(tag, self.mark));
                some.extend(next.take(AT_ONCE));
                drop(shard);
                let taken = some.len();
                cache.note_flushed(&mut some);
                cost += taken;
                if taken < AT_ONCE {
                    break;
                }
                if cost >= left {
                    return (cost, false);
                }
            }
        }
        (cost, true)
    }

    fn take_prefixed(&mut self, cache: &Cache<K, V>, shard: usize, left: usize) -> (usize, bool) {
        let Some(lock) = cache.shards.nth(shard) else { return (0, true) };
        let Stage::Prefixes { look, .. } = &mut self.stage else { return (0, true) };
        let mut text = String::new();
        // Others may read meanwhile.
        let read = lock.read();
        if read.moves() != look.moves {
            *look = Look::new(read.moves(), 2 * look.stride);
        }
        let end = (look.place + look.stride.min(left.max(PIECE / 4))).min(read.places());
        let at_places = read.at_places(look.place..end);
        let named = at_places.filter(|(_, copy)| {
            copy.stamp() < self.mark && begins_so(&self.named, &copy.key, &mut text)
        });
        let mut doomed: Vec<_> = named.map(|(place, copy)| (place, copy.stamp())).collect();
        let is_over = end == read.places();
        drop(read);
        let mut cost = end - look.place + doomed.len();
        while !doomed.is_empty() {
            let mut some = Vec::with_capacity(AT_ONCE);
            let mut shard = lock.write();
            if shard.moves() != look.moves {
                // They are somewhere else now.
                return (cost + SHARD, false);
            }
            let next = doomed.drain(doomed.len().saturating_sub(AT_ONCE)..);
            some.extend(next.filter_map(|(place, stamp)| shard.remove_at(place, stamp)));
            drop(shard);
            cost += SHARD;
            cache.note_flushed(&mut some);
        }
        look.place = end;
        (cost, is_over)
    }

    fn clear(&mut self, cache: &Cache<K, V>, left: usize) -> usize {
        let Stage::Clear { shard, leaving } = &mut self.stage else { return 0 };
        let Some(copies) = leaving else {
            *leaving = cache.shards.take_out(*shard);
            *shard += 1;
            if leaving.is_none() {
                self.stage = Stage::Done;
            }
            return SHARD;
        };
        let mut dropped = 0;
        while dropped < left {
            let Some(copy) = copies.next() else {
                *leaving = None;
                break;
            };
            cache.note_removed(Some(copy), RemovalCause::Flushed);
            dropped += 1;
        }
        dropped
    }

    /// Something that is named cannot be told apart: everything goes, which is the safe side.
    fn widen(&mut self, cache: &Cache<K, V>) {
        self.widened += 1;
        self.distrust(cache);
    }

    fn distrust(&mut self, cache: &Cache<K, V>) {
        cache.counts.add(Count::Widened, self.widened as u64);
        // The mark alone makes old copies and loads unusable, and is set first: what is installed behind
        // it is new. Clearing gives back memory.
        if !planted(Fault::WholeCacheFlushLeavesLoads) {
            cache.trust.distrust_before(self.mark);
        }
        self.stage = Stage::Clear { shard: 0, leaving: None };
    }
}

fn begins_so<K: Key>(named: &Named, key: &K, text: &mut String) -> bool {
    text.clear();
    key.write_text(text);
    named.prefixes.cover(text)
}

/// A pass over a cache that the application may let go meanwhile: then nothing is left to be done.
pub(super) struct Job<K, V> {
    pub(super) cache: Weak<Cache<K, V>>,
    pub(super) pass: Pass<K, V>,
    /// As which flushes from elsewhere they are to be counted.
    pub(super) counts: Vec<(Count, u64)>,
}

impl<K: Key, V: Value> Apply for Job<K, V> {
    fn step(&mut self) -> bool {
        let Some(cache) = self.cache.upgrade() else { return true };
        for (count, by) in self.counts.drain(..) {
            cache.counts.add(count, by);
        }
        let is_done = self.pass.step(&cache);
        // It may be the last who holds it.
        super::app_code::let_go::<Arc<_>>(cache);
        is_done
    }

    fn widened(&self) -> usize {
        self.pass.widened
    }
}
