//! Owns a smallest value among many that change one at a time: a change costs O(log n), the smallest
//! is there. It must never be walked as a whole on a path that each message takes.

use std::collections::{BTreeMap, BTreeSet};

/// Values by key, and in order.
#[derive(Debug)]
pub(crate) struct Minimum<K, T> {
    by_key: BTreeMap<K, T>,
    ordered: BTreeSet<(T, K)>,
}

impl<K, T> Default for Minimum<K, T> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), ordered: BTreeSet::new() }
    }
}

impl<K: Ord + Copy, T: Ord + Copy> Minimum<K, T> {
    /// Gives `key` a value, or takes it out.
    pub(crate) fn set(&mut self, key: K, value: Option<T>) {
        let before = match value {
            Some(value) => self.by_key.insert(key, value),
            None => self.by_key.remove(&key),
        };
        if before == value {
            return;
        }
        if let Some(before) = before {
            self.ordered.remove(&(before, key));
        }
        if let Some(value) = value {
            self.ordered.insert((value, key));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The smallest value.
    pub(crate) fn min(&self) -> Option<T> {
        self.ordered.first().map(|&(value, _)| value)
    }

    /// The largest value.
    pub(crate) fn max(&self) -> Option<T> {
        self.ordered.last().map(|&(value, _)| value)
    }

    /// The one with the smallest value.
    pub(crate) fn first(&self) -> Option<K> {
        self.ordered.first().map(|&(_, key)| key)
    }

    pub(crate) fn get(&self, key: K) -> Option<T> {
        self.by_key.get(&key).copied()
    }

    /// Those whose value is at most `most`, the smallest first.
    pub(crate) fn up_to(&self, most: T) -> impl Iterator<Item = (T, K)> {
        self.ordered.iter().take_while(move |(value, _)| *value <= most).copied()
    }

    pub(crate) fn contains(&self, key: K) -> bool {
        self.by_key.contains_key(&key)
    }

    /// All of them, in the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, T)> {
        self.by_key.iter().map(|(&key, &value)| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_smallest_is_that_of_a_look_at_all(
            changes in prop::collection::vec((0..5_u8, prop::option::of(0..9_u8)), 0..40),
        ) {
            let (mut held, mut plain) = (Minimum::default(), BTreeMap::new());
            for (key, value) in changes {
                held.set(key, value);
                match value {
                    Some(value) => plain.insert(key, value),
                    None => plain.remove(&key),
                };
                prop_assert_eq!(held.min(), plain.values().min().copied());
                prop_assert_eq!(held.iter().collect::<BTreeMap<_, _>>(), plain.clone());
            }
        }
    }
}
