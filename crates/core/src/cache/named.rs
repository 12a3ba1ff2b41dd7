//! Owns what a job of flushes names in one cache: each tag and prefix once, and its keys.

use super::Tag;
use crate::wire::Scope;

/// What is named, without what something else in it covers.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Everything is, and the rest is empty.
    pub(super) all: bool,
    pub(super) keys: Vec<Box<str>>,
    pub(super) tags: Vec<Tag>,
    pub(super) prefixes: Prefixes,
}

impl Named {
    /// What these scopes name together.
    pub(super) fn new(scopes: &[Scope<'_>]) -> Self {
        let mut named = Self { keys: Vec::with_capacity(scopes.len()), ..Self::default() };
        let mut prefixes = Vec::<Box<str>>::new();
        for scope in scopes {
            match scope.flushed() {
                Scope::Key(text) => named.keys.push(text.into()),
                Scope::Tag(tag) => named.tags.push(tag.into()),
                Scope::Prefix(prefix) => prefixes.push(prefix.into()),
                _ => named.all = true,
            }
        }
        named.all |= prefixes.iter().any(|prefix| prefix.is_empty());
        if named.all {
            return Self { all: true, ..Self::default() };
        }
        // Keys come by the hundred, and one that comes twice is dropped twice for less than it takes to
        // sort them.
        prefixes.sort_unstable();
        prefixes.dedup();
        named.tags.sort_unstable();
        named.tags.dedup();
        named.prefixes = Prefixes::new(prefixes);
        named
    }

    /// Has everything that is named looked for, copy by copy.
    pub(super) fn look_for_all(&mut self) {
        self.prefixes = Prefixes(vec!["".into()]);
    }

    /// Whether copies have to be looked for, beyond those of known keys.
    pub(super) fn has_patterns(&self) -> bool {
        !self.tags.is_empty() || !self.prefixes.is_empty()
    }
}

/// Prefixes of which none begins with another one, in order. So a text begins with one of them only if it
/// begins with the last that is not behind the text: one search, however many there are.
#[derive(Debug, Default)]
pub(super) struct Prefixes(Vec<Box<str>>);

impl Prefixes {
    /// Of texts in order.
    fn new(mut sorted: Vec<Box<str>>) -> Self {
        // What begins with a text stands right behind it.
        sorted.dedup_by(|longer, kept| longer.starts_with(&**kept));
        Self(sorted)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a text begins with one of them.
    pub(super) fn cover(&self, text: &str) -> bool {
        let behind = self.0.partition_point(|prefix| **prefix <= *text);
        behind > 0 && text.starts_with(&*self.0[behind - 1])
    }
}

#[cfg(all(test, not(flushcast_shuttle)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefixes(texts: &[String]) -> Prefixes {
        let scopes: Vec<_> = texts.iter().map(|text| Scope::Prefix(text)).collect();
        Named::new(&scopes).prefixes
    }

    proptest! {
        #[test]
        fn a_text_is_covered_if_it_begins_with_one_of_many_prefixes(
            texts in proptest::collection::vec("[ab/é]{1,4}", 0..12), text in "[ab/é]{0,6}"
        ) {
            let begins = texts.iter().any(|prefix| text.starts_with(prefix));
            prop_assert_eq!(prefixes(&texts).cover(&text), begins);
        }
    }

    #[test]
    fn what_something_else_covers_is_left_out() {
        let named = Named::new(&[
            Scope::Prefix("a/b"),
            Scope::Key("k"),
            Scope::Prefix("a"),
            Scope::Tag("t"),
            Scope::Prefix("b"),
            Scope::Tag("t"),
        ]);
        assert_eq!(named.prefixes.0, ["a".into(), "b".into()] as [Box<str>; 2]);
        assert_eq!((named.keys.len(), named.tags.len(), named.all), (1, 1, false));
        for all in [Scope::All, Scope::Prefix("")] {
            let named = Named::new(&[Scope::Key("k"), Scope::Prefix("a"), Scope::Tag("t"), all]);
            assert!(named.all && named.keys.is_empty() && !named.has_patterns());
        }
    }
}
