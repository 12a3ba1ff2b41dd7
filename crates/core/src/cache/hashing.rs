//! Owns the hash of a key: computed once, for the shard and for the place in it.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, Hasher};

use ahash::{AHasher, RandomState};
use quick_cache::Equivalent;

/// A key as it is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held<K>(pub(crate) K);

/// A key that is looked for, with its hash.
pub(crate) struct Probe<'k, Q: ?Sized> {
    hash: u64,
    key: &'k Q,
}

/// What tells the hasher which of the two follows.
const KEY: u8 = 0;
const ITS_HASH: u8 = 1;

impl<K: Hash> Hash for Held<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(KEY);
        self.0.hash(state);
    }
}

impl<Q: ?Sized> Hash for Probe<'_, Q> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(ITS_HASH);
        state.write_u64(self.hash);
    }
}

impl<K: Borrow<Q>, Q: Eq + ?Sized> Equivalent<Held<K>> for Probe<'_, Q> {
    fn equivalent(&self, held: &Held<K>) -> bool {
        self.key == held.0.borrow()
    }
}

/// Hashes held keys, and takes a probe's word for its.
#[derive(Debug, Clone)]
pub(super) struct Once(pub(super) RandomState);

impl Once {
    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.0.hash_one(key)
    }

    pub(super) fn probe<'k, Q: ?Sized>(&self, hash: u64, key: &'k Q) -> Probe<'k, Q> {
        Probe { hash, key }
    }
}

impl BuildHasher for Once {
    type Hasher = OnceHasher;

    fn build_hasher(&self) -> OnceHasher {
        OnceHasher::Fresh(self.0.build_hasher())
    }
}

/// Only ever fed with a [`Held`] or a [`Probe`].
pub(super) enum OnceHasher {
    /// The first byte tells what follows.
    Fresh(AHasher),
    Key(AHasher),
    Known(u64),
}

macro_rules! forward {
    ($($write:ident: $type:ty),*) => {$(
        fn $write(&mut self, value: $type) {
            if let Self::Key(key) = self {
                key.$write(value);
            }
        }
    )*};
}

impl Hasher for OnceHasher {
    forward!(write: &[u8], write_u16: u16, write_u32: u32, write_u128: u128, write_usize: usize);

    fn write_u8(&mut self, value: u8) {
        match self {
            Self::Fresh(key) if value == KEY => *self = Self::Key(key.clone()),
            Self::Fresh(_) => *self = Self::Known(0),
            Self::Key(key) => key.write_u8(value),
            Self::Known(_) => {}
        }
    }

    fn write_u64(&mut self, value: u64) {
        match self {
            Self::Key(key) => key.write_u64(value),
            Self::Known(hash) => *hash = value,
            Self::Fresh(_) => {}
        }
    }

    fn finish(&self) -> u64 {
        match self {
            Self::Fresh(key) | Self::Key(key) => key.finish(),
            Self::Known(hash) => *hash,
        }
    }
}

#[cfg(all(test, not(flushcast_shuttle)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agree<K: Hash + Eq>(key: K) -> bool {
        let once = Once(RandomState::with_seeds(1, 2, 3, 4));
        let hash = once.hash(&key);
        let probe = once.probe(hash, &key);
        once.hash_one(&probe) == hash && {
            let held = Held(key);
            once.hash_one(&held) == hash
        }
    }

    proptest! {
        #[test]
        fn a_held_key_and_a_probe_for_it_have_the_key_s_own_hash(
            text in any::<String>(),
            number in any::<u64>(),
            parts in any::<(u8, i16, u32, i128, char, bool, Vec<u8>)>(),
        ) {
            prop_assert!(agree(text.clone()) && agree(number) && agree(parts.clone()));
            prop_assert!(agree((text, number, parts, number as usize)));
        }
    }
}
