//! Owns the caches of a node: one of each guarantee, all of the same keys.

use flushcast::{Cache, CacheError, Guarantee, Node};
use flushcast_faults::clock::Moment;
use flushcast_faults::words::{BOUND, Flushed, Guarded, Outcome};

/// Most copies of a cache: more than any test has keys, so that none is evicted.
const CAPACITY: u64 = 100_000;

/// One cache and what it promises.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) guarded: Guarded,
    pub(crate) cache: Cache<u64, u64>,
}

/// All of them. Clones are the same caches.
#[derive(Debug, Clone)]
pub(crate) struct Caches(Vec<Kept>);

impl Caches {
    pub(crate) fn new(node: &Node, has_strict: bool) -> Result<Caches, CacheError> {
        let guarded = Guarded::ALL.into_iter();
        let guarded = guarded.filter(|&it| has_strict || it != Guarded::Strict);
        let build = |guarded| {
            let (name, guarantee) = match guarded {
                Guarded::Eventual => ("eventual", Guarantee::Eventual),
                Guarded::Bounded => ("bounded", Guarantee::Bounded(BOUND)),
                Guarded::Strict => ("strict", Guarantee::Strict),
            };
            let cache = node.cache(name).capacity(CAPACITY).guarantee(guarantee).build()?;
            Ok(Kept { guarded, cache })
        };
        guarded.map(build).collect::<Result<_, _>>().map(Caches)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.0.iter()
    }
}

impl Kept {
    /// Flushes a key and waits for what comes of it.
    pub(crate) async fn flush(&self, key: u64) -> Flushed {
        let issued = Moment::now();
        let flush = self.cache.flush(&key);
        let announced = Moment::now();
        let came_to = flush.await;
        let settled = Moment::now();
        let came_to = came_to.map(|outcome| Outcome {
            seq: outcome.seq.0,
            applied: outcome.applied.into_iter().map(|it| it.node).collect(),
            fenced: outcome.fenced,
            unconfirmed: outcome.unconfirmed.into_iter().map(|node| node.node).collect(),
        });
        Flushed { issued, announced, settled, came_to: came_to.map_err(|error| error.to_string()) }
    }
}
