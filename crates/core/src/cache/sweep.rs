//! Owns the sweep: what takes copies out that are over, though nobody asks for them.
//! It must never hold a lock for longer than a bounded piece of the work takes.

use super::store::{AT_ONCE, Going};
use super::{Cache, Key, Value};
use crate::Time;

/// Places in a shard's table that a piece looks at.
const PIECE: usize = if cfg!(flushcast_shuttle) { 2 } else { 256 };
/// Rounds through a table after which it is left for the next sweep, should others move it again and again.
const MOST_ROUNDS: usize = 4;

/// Where a sweep of a cache stands.
#[derive(Debug, Default)]
pub struct Sweep {
    shard: usize,
    /// Pieces of it that are left, at most.
    left: Option<usize>,
}

impl<K: Key, V: Value> Cache<K, V> {
    /// Takes out all copies that have expired by now, and are not to be kept for when the source fails, and
    /// those that are not trusted any more; tells the listener. Goes through the tables in which there may be
    /// any, a piece at a time, without a lock between two pieces.
    pub fn evict_expired(&self, now: Time) {
        let mut sweep = Sweep::default();
        while !self.sweep(&mut sweep, now) {}
    }

    /// Does one piece of a sweep; gives back whether it has come to its end. A piece locks one shard, looks at
    /// 256 places of its table, and takes out 8 copies at most.
    pub fn sweep(&self, sweep: &mut Sweep, now: Time) -> bool {
        let Some(lock) = self.shards.nth(sweep.shard) else { return true };
        let (judge, mut gone) = (self.judge(now), Going::new());
        let left = {
            let shard = lock.read();
            let most = MOST_ROUNDS * (shard.places() / PIECE + shard.len() / AT_ONCE + 1);
            if shard.may_be_swept(&judge) { sweep.left.unwrap_or(most) } else { 0 }
        };
        if left == 0 {
            *sweep = Sweep { shard: sweep.shard + 1, left: None };
            return false;
        }
        sweep.left = Some(left - 1);
        lock.write().sweep(&judge, PIECE, &mut gone);
        gone.into_iter().for_each(|(copy, cause)| self.note_gone(copy, cause));
        false
    }
}
