//! Owns what a cache can be asked by in place of a key: what equals one, and can be made one.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::Equivalent;

use super::key::KeyPart;

/// How most things stand for a key: they are [`Equivalent`] to it, as each key is to itself, `str` to
/// `String`, and whatever a key can be [borrowed](std::borrow::Borrow) as.
#[derive(Debug, Clone, Copy)]
pub enum ByEquivalence {}

/// How a tuple stands for a key that is a tuple: part by part.
#[derive(Debug, Clone, Copy)]
pub enum ByParts {}

/// What a key of type `K` can be looked up by. `Via` is found by the compiler.
///
/// A key itself; what is [`Equivalent`] to it; and for a tuple, a tuple of references to what its parts can
/// be looked up by: `("eu", &7)` for a key `(String, u64)`.
///
/// It must hash as the keys do that it [equals](Self::equals), or it finds nothing. To look up by a type of
/// your own, derive its `Hash` from the same parts in the same order, and implement [`Equivalent`] for it;
/// for calls that may load or flush, [`ToKey`] too.
#[diagnostic::on_unimplemented(
    message = "a key of type `{K}` cannot be looked up by `{Self}`",
    note = "the parts of a tuple are given by reference: `(\"eu\", &7)` for `(String, u64)`"
)]
pub trait AsKey<K, Via = ByEquivalence>: Hash {
    /// Whether it stands for this key.
    fn equals(&self, key: &K) -> bool;
}

impl<K, Q: Hash + Equivalent<K> + ?Sized> AsKey<K> for Q {
    #[inline]
    fn equals(&self, key: &K) -> bool {
        self.equivalent(key)
    }
}

/// What a key of type `K` can be looked up by, and made of: for calls that may load, or tell others.
///
/// A key itself; `str` for `String`, `Arc<str>` and `Box<str>`; a tuple of references to such parts.
#[diagnostic::on_unimplemented(
    message = "no key of type `{K}` can be made of `{Self}`",
    note = "the parts of a tuple are given by reference: `(\"eu\", &7)` for `(String, u64)`"
)]
pub trait ToKey<K, Via = ByEquivalence>: AsKey<K, Via> {
    /// The key that it [equals](AsKey::equals).
    fn to_key(&self) -> K;
}

impl<K: Hash + Eq + Clone> ToKey<K> for K {
    fn to_key(&self) -> K {
        self.clone()
    }
}

impl ToKey<String> for str {
    fn to_key(&self) -> String {
        self.to_owned()
    }
}

impl ToKey<Arc<str>> for str {
    fn to_key(&self) -> Arc<str> {
        self.into()
    }
}

impl ToKey<Box<str>> for str {
    fn to_key(&self) -> Box<str> {
        self.into()
    }
}

macro_rules! by_parts {
    ($($key:ident $part:ident $at:tt),+) => {
        impl<$($key: KeyPart, $part: AsKey<$key> + ?Sized),+> AsKey<($($key,)+), ByParts>
            for ($(&$part,)+)
        {
            #[inline]
            fn equals(&self, key: &($($key,)+)) -> bool {
                $(self.$at.equals(&key.$at))&&+
            }
        }

        impl<$($key: KeyPart, $part: ToKey<$key> + ?Sized),+> ToKey<($($key,)+), ByParts>
            for ($(&$part,)+)
        {
            fn to_key(&self) -> ($($key,)+) {
                ($(self.$at.to_key(),)+)
            }
        }
    };
}

by_parts!(A P 0, B Q 1);
by_parts!(A P 0, B Q 1, C R 2);
by_parts!(A P 0, B Q 1, C R 2, D S 3);
by_parts!(A P 0, B Q 1, C R 2, D S 3, E T 4);
by_parts!(A P 0, B Q 1, C R 2, D S 3, E T 4, F U 5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Key;
    use ahash::RandomState;
    use proptest::prelude::*;

    /// It finds the key, makes it, and finds no other.
    #[track_caller]
    fn stands_for<K: Key + std::fmt::Debug, Q: ToKey<K, Via> + ?Sized, Via>(
        looked_up: &Q,
        key: &K,
        other: &K,
    ) {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        assert!(looked_up.equals(key));
        assert_eq!(looked_up.to_key(), *key);
        assert_eq!(hasher.hash_one(looked_up), hasher.hash_one(key));
        assert_eq!(looked_up.equals(other), key == other);
    }

    proptest! {
        #[test]
        fn what_stands_for_a_key_hashes_as_it_does_and_makes_it(
            a in "[a/%é]{0,3}", b in any::<i64>(), c in any::<char>(), d in any::<bool>(),
            e in "[a/%é]{0,3}",
        ) {
            let (shared, boxed): (Arc<str>, Box<str>) = (a.as_str().into(), e.as_str().into());
            stands_for(a.as_str(), &a, &e);
            stands_for(&a, &a, &e);
            stands_for(a.as_str(), &shared, &e.as_str().into());
            stands_for(e.as_str(), &boxed, &a.as_str().into());
            stands_for(&b, &b, &0);
            let key = (a.clone(), e.clone());
            stands_for(&(a.as_str(), e.as_str()), &key, &(e.clone(), a.clone()));
            stands_for(&(&a, e.as_str()), &key, &(a.clone(), a.clone()));
            stands_for(&key, &key, &(e.clone(), e.clone()));
            let key = (a.clone(), b, c);
            stands_for(&(a.as_str(), &b, &c), &key, &(e.clone(), b, c));
            let key = (a.clone(), b, c, d);
            stands_for(&(a.as_str(), &b, &c, &d), &key, &(a.clone(), b, c, !d));
            let key = (shared, b, c, d, boxed);
            stands_for(&(a.as_str(), &b, &c, &d, e.as_str()), &key, &key.clone());
            let key = (b, b, c, d, e.clone(), a.clone());
            let other = (b, b.wrapping_add(1), c, d, e.clone(), a.clone());
            stands_for(&(&b, &b, &c, &d, e.as_str(), a.as_str()), &key, &other);
        }
    }

    /// Of an application's own, without a copy of what it is made of.
    #[derive(Hash)]
    struct Both<'t>(&'t str, u64);

    impl Equivalent<(String, u64)> for Both<'_> {
        fn equivalent(&self, key: &(String, u64)) -> bool {
            self.0 == key.0 && self.1 == key.1
        }
    }

    impl ToKey<(String, u64)> for Both<'_> {
        fn to_key(&self) -> (String, u64) {
            (self.0.to_owned(), self.1)
        }
    }

    #[test]
    fn a_type_of_ones_own_stands_for_a_key() {
        stands_for(&Both("eu", 7), &("eu".to_owned(), 7), &("eu".to_owned(), 8));
    }
}
