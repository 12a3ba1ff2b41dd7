//! Owns how the beginning of keys is named: as the leading parts of a tuple, or as text.

use super::key::{escape, unescape};
use super::{Key, KeyError, KeyPart, ToKey};

/// What some keys of type `K` begin with.
///
/// Typed: the leading parts of a key that is a tuple, each by reference, as
/// [it can be looked up by](super::AsKey): `("eu",)` or `("eu", &7)` for keys `(String, u64, u64)`. It names
/// the keys whose first parts equal these, and no others: `("eu",)` does not name `("europe", 7)`. Escapes
/// are written as in the [text of keys](super::key).
///
/// As text: it names the keys whose text begins so, `eu` those of `eu` and of `europe`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no beginning of a key of type `{K}`",
    note = "the leading parts of a tuple are given by reference, as in `(\"eu\", &7)`, and fewer of them \
            than the key has"
)]
pub trait Prefix<K> {
    /// The text that the named keys begin with, and no others.
    ///
    /// # Errors
    /// [`KeyError`] if no key of this type begins so.
    fn prefix_text(&self) -> Result<String, KeyError>;
}

impl<K: Key> Prefix<K> for &str {
    fn prefix_text(&self) -> Result<String, KeyError> {
        match K::may_begin(self) {
            true => Ok((*self).to_owned()),
            false => Err(KeyError::new(self, "beginning of a key of this cache")),
        }
    }
}

impl<K: Key> Prefix<K> for &String {
    fn prefix_text(&self) -> Result<String, KeyError> {
        Prefix::<K>::prefix_text(&self.as_str())
    }
}

impl<K: Key> Prefix<K> for String {
    fn prefix_text(&self) -> Result<String, KeyError> {
        Prefix::<K>::prefix_text(&self.as_str())
    }
}

macro_rules! leading_parts {
    ($($key:ident $part:ident $at:tt),+; $($rest:ident),+) => {
        impl<$($key: KeyPart, $part: ToKey<$key> + ?Sized,)+ $($rest: KeyPart),+>
            Prefix<($($key,)+ $($rest),+)> for ($(&$part,)+)
        {
            fn prefix_text(&self) -> Result<String, KeyError> {
                let mut text = String::new();
                $(
                    escape(&self.$at.to_key().to_text(), &mut text);
                    text.push('/');
                )+
                Ok(text)
            }
        }
    };
}

leading_parts!(A P 0; B);
leading_parts!(A P 0; B, C);
leading_parts!(A P 0; B, C, D);
leading_parts!(A P 0; B, C, D, E);
leading_parts!(A P 0; B, C, D, E, F);
leading_parts!(A P 0, B Q 1; C);
leading_parts!(A P 0, B Q 1; C, D);
leading_parts!(A P 0, B Q 1; C, D, E);
leading_parts!(A P 0, B Q 1; C, D, E, F);
leading_parts!(A P 0, B Q 1, C R 2; D);
leading_parts!(A P 0, B Q 1, C R 2; D, E);
leading_parts!(A P 0, B Q 1, C R 2; D, E, F);
leading_parts!(A P 0, B Q 1, C R 2, D S 3; E);
leading_parts!(A P 0, B Q 1, C R 2, D S 3; E, F);
leading_parts!(A P 0, B Q 1, C R 2, D S 3, E T 4; F);

/// What can be told of a part of a tuple by its text.
pub(super) struct PartOfText {
    /// Whether it is the text of one that is whole.
    is_whole: fn(&str) -> bool,
    /// Whether it may begin so, be it in the middle of an escape.
    may_begin: fn(&str) -> bool,
}

impl PartOfText {
    pub(super) fn of<K: Key>() -> Self {
        Self { is_whole: is_whole::<K>, may_begin: may_begin::<K> }
    }
}

/// Whether the text of a tuple of these parts may begin so.
pub(super) fn may_begin_parts(prefix: &str, parts: &[PartOfText]) -> bool {
    let texts: Vec<_> = prefix.split('/').collect();
    let (begun, whole) = (texts[texts.len() - 1], &texts[..texts.len() - 1]);
    let are_whole = whole.iter().zip(parts).all(|(text, part)| (part.is_whole)(text));
    are_whole && parts.get(whole.len()).is_some_and(|part| (part.may_begin)(begun))
}

fn is_whole<K: Key>(text: &str) -> bool {
    let Some(part) = unescape(text) else { return false };
    K::from_text(&part).is_ok_and(|key| key.to_text() == part)
}

fn may_begin<K: Key>(text: &str) -> bool {
    let begins = |text: &str| unescape(text).is_some_and(|part| K::may_begin(&part));
    match ["%2", "%"].iter().find_map(|cut| text.strip_suffix(cut)) {
        // It goes on as an escape of one or the other.
        Some(whole) => ["%25", "%2F"].iter().any(|escape| begins(&format!("{whole}{escape}"))),
        None => begins(text),
    }
}

#[cfg(test)]
mod tests;
