//! Owns how keys are written as text, so that another node, a command line or a database trigger
//! can name them.
//!
//! | type | text |
//! |---|---|
//! | `String`, `Arc<str>`, `Box<str>`, `char`, `bool` | as it is |
//! | integers | decimal, `-7` |
//! | `Uuid` (feature `uuid`) | lower case with hyphens |
//! | tuples of 2 to 6 of these | joined by `/`, `orders/eu/7`; in a part `%` is `%25`, `/` is `%2F` |
//! | [`Json<T>`] | compact JSON of any serde type |

use std::hash::Hash;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::prefix::{PartOfText, may_begin_parts};

pub use super::lookup::{ByEquivalence, ByParts};
pub use hashbrown::Equivalent;

/// A text is no key of the asked type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {wanted}")]
pub struct KeyError {
    text: String,
    wanted: &'static str,
}

impl KeyError {
    /// Says that `text` is no `wanted`, for an implementation of [`Key`] of your own.
    pub fn new(text: &str, wanted: &'static str) -> Self {
        // Enough to recognise it; a peer's text may be long.
        Self { text: text.chars().take(80).collect(), wanted }
    }
}

/// What names a copy. Equal keys must write equal text, and `from_text` must read it back equal.
///
/// Where that fails, more is dropped, never less: a node that cannot read a key in a flush drops the whole
/// cache of that name, and one whose own key reads back as another flushes the whole cache of all others.
pub trait Key: Hash + Eq + Clone + Send + Sync + 'static {
    /// Appends the key as text.
    fn write_text(&self, out: &mut String);

    /// Reads the key back.
    ///
    /// # Errors
    /// [`KeyError`] if the text is no key of this type.
    fn from_text(text: &str) -> Result<Self, KeyError>;

    /// Whether the text of some key may begin so. Where that is told, a flush of a
    /// [prefix as text](super::Prefix) that can name nothing is an error. Must not be false of any beginning
    /// of a key's text.
    fn may_begin(_prefix: &str) -> bool {
        true
    }

    /// The key as text.
    fn to_text(&self) -> String {
        let mut text = String::new();
        self.write_text(&mut text);
        text
    }
}

/// A key that can be a part of a tuple.
pub trait KeyPart: Key {}

macro_rules! parsed_key {
    ($may_begin:ident: $($type:ty),*) => {$(
        impl Key for $type {
            fn write_text(&self, out: &mut String) {
                use std::fmt::Write;
                // Writing to a String does not fail.
                let _ = write!(out, "{self}");
            }

            fn from_text(text: &str) -> Result<Self, KeyError> {
                text.parse().map_err(|_| KeyError::new(text, stringify!($type)))
            }

            fn may_begin(prefix: &str) -> bool {
                $may_begin::<Self>(prefix)
            }
        }

        impl KeyPart for $type {}
    )*};
}

parsed_key!(may_begin_whole: u8, u16, u32, u64, u128, usize, char);
parsed_key!(may_begin_signed: i8, i16, i32, i64, i128, isize);
parsed_key!(may_begin_bool: bool);

/// Where each beginning of a text but the empty one is the text of a key itself.
fn may_begin_whole<K: Key>(prefix: &str) -> bool {
    prefix.is_empty() || K::from_text(prefix).is_ok_and(|key| key.to_text() == prefix)
}

fn may_begin_signed<K: Key>(prefix: &str) -> bool {
    prefix == "-" || may_begin_whole::<K>(prefix)
}

fn may_begin_bool<K: Key>(prefix: &str) -> bool {
    let texts = ["true", "false"].iter().filter(|text| text.starts_with(prefix));
    texts.into_iter().any(|text| may_begin_whole::<K>(text))
}

#[cfg(feature = "uuid")]
use uuid::Uuid;
#[cfg(feature = "uuid")]
parsed_key!(may_begin_uuid: Uuid);

/// With as many zeros behind it as are missing.
#[cfg(feature = "uuid")]
fn may_begin_uuid<K: Key>(prefix: &str) -> bool {
    let rest = "00000000-0000-0000-0000-000000000000".get(prefix.len()..);
    rest.is_some_and(|rest| may_begin_whole::<K>(&format!("{prefix}{rest}")))
}

macro_rules! text_key {
    ($($type:ty),*) => {$(
        impl Key for $type {
            fn write_text(&self, out: &mut String) {
                out.push_str(self);
            }

            fn from_text(text: &str) -> Result<Self, KeyError> {
                Ok(text.into())
            }
        }

        impl KeyPart for $type {}
    )*};
}

text_key!(String, Arc<str>, Box<str>);

macro_rules! tuple_key {
    ($first:ident $(, $rest:ident)+) => {
        impl<$first: KeyPart, $($rest: KeyPart),+> Key for ($first, $($rest),+) {
            fn write_text(&self, out: &mut String) {
                #[allow(non_snake_case, reason = "a part is named like its type")]
                let ($first, $($rest),+) = self;
                escape(&$first.to_text(), out);
                $(
                    out.push('/');
                    escape(&$rest.to_text(), out);
                )+
            }

            fn from_text(text: &str) -> Result<Self, KeyError> {
                let mut parts = text.split('/');
                let mut next = || {
                    let part = parts.next().ok_or_else(|| KeyError::new(text, "tuple: too short"))?;
                    unescape(part).ok_or_else(|| KeyError::new(text, "tuple: a bad % escape"))
                };
                let key = ($first::from_text(&next()?)?, $($rest::from_text(&next()?)?),+);
                match parts.next() {
                    None => Ok(key),
                    Some(_) => Err(KeyError::new(text, "tuple: too long")),
                }
            }

            fn may_begin(prefix: &str) -> bool {
                may_begin_parts(prefix, &[PartOfText::of::<$first>(), $(PartOfText::of::<$rest>()),+])
            }
        }
    };
}

tuple_key!(A, B);
tuple_key!(A, B, C);
tuple_key!(A, B, C, D);
tuple_key!(A, B, C, D, E);
tuple_key!(A, B, C, D, E, F);

pub(super) fn escape(part: &str, out: &mut String) {
    for letter in part.chars() {
        match letter {
            '%' => out.push_str("%25"),
            '/' => out.push_str("%2F"),
            other => out.push(other),
        }
    }
}

pub(super) fn unescape(part: &str) -> Option<String> {
    let mut pieces = part.split('%');
    let mut whole = pieces.next()?.to_owned();
    for piece in pieces {
        let (letter, rest) = match (piece.strip_prefix("25"), piece.strip_prefix("2F")) {
            (Some(rest), _) => ('%', rest),
            (_, Some(rest)) => ('/', rest),
            _ => return None,
        };
        whole.push(letter);
        whole.push_str(rest);
    }
    Some(whole)
}

/// Makes any serde type a key, written as compact JSON.
///
/// The text is as stable as the type's serialization: use structs, enums and sorted maps, not hash
/// maps. Floats read back as they were. What does not, such as NaN, an untagged enum whose variants share
/// a text, or a map with compound keys, costs all other nodes the whole cache with each flush of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Json<T>(pub T);

impl<T> Key for Json<T>
where
    T: Serialize + DeserializeOwned + Hash + Eq + Clone + Send + Sync + 'static,
{
    fn write_text(&self, out: &mut String) {
        out.push_str(&serde_json::to_string(&self.0).unwrap_or_default());
    }

    fn from_text(text: &str) -> Result<Self, KeyError> {
        let value = serde_json::from_str(text);
        value.map(Json).map_err(|_| KeyError::new(text, "JSON of the key's type"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_read_as_people_would_write_them() {
        assert_eq!(42_u64.to_text(), "42");
        assert_eq!("orders".to_owned().to_text(), "orders");
        assert_eq!(("orders".to_owned(), "eu".to_owned(), 7_i32).to_text(), "orders/eu/7");
        assert_eq!(("a/b".to_owned(), "50%".to_owned()).to_text(), "a%2Fb/50%25");
        assert_eq!(Json(vec![1, 2]).to_text(), "[1,2]");
    }

    #[cfg(feature = "uuid")]
    #[test]
    fn a_uuid_is_written_in_lower_case_with_hyphens() {
        let uuid = Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
        assert_eq!(uuid.to_text(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
        assert_eq!(Uuid::from_text(&uuid.to_text().to_uppercase()), Ok(uuid));
        assert_eq!((uuid, 7_u8).to_text(), "67e55044-10b1-426f-9247-bb680e5fe0c8/7");
    }

    #[test]
    fn a_text_that_is_no_key_says_what_was_wanted() {
        assert_eq!(u64::from_text("7x").unwrap_err().to_string(), "\"7x\" is no u64");
        assert!(<(u64, u64)>::from_text("7").is_err());
        assert!(<(u64, u64)>::from_text("7/8/9").is_err());
        assert!(<(String, u64)>::from_text("a%zz/9").is_err());
        assert!(Json::<Vec<u8>>::from_text("[1,").is_err());
    }

    /// A float as people make a key of one.
    #[derive(Debug, Clone, Copy, Serialize, serde::Deserialize)]
    struct Bits(f64);

    impl PartialEq for Bits {
        fn eq(&self, other: &Self) -> bool {
            self.0.to_bits() == other.0.to_bits()
        }
    }

    impl Eq for Bits {}

    impl Hash for Bits {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            self.0.to_bits().hash(state);
        }
    }

    #[track_caller]
    fn reads_back<K: Key + std::fmt::Debug>(key: K) {
        assert_eq!(K::from_text(&key.to_text()), Ok(key));
    }

    #[test]
    fn the_edges_of_each_type_read_back() {
        for text in ["", "/", "%", "%2F", "a/b%", " ", "\0", "\n", "é", "日本/語", "\u{10ffff}"]
        {
            reads_back(text.to_owned());
            reads_back::<Arc<str>>(text.into());
            reads_back::<Box<str>>(text.into());
            reads_back((text.to_owned(), text.to_owned()));
            reads_back((text.to_owned(), 0_u8, text.to_owned(), 'x', false, text.to_owned()));
            reads_back(Json(text.to_owned()));
            reads_back(Json(vec![Some(text.to_owned()), None]));
        }
        for letter in ['/', '%', '\0', 'é', '\u{10ffff}'] {
            reads_back(letter);
            reads_back((letter, letter, letter));
            reads_back(Json(letter));
        }
        reads_back((i128::MIN, u128::MAX, isize::MIN, usize::MAX, i8::MIN));
        reads_back(Json((i128::MIN, u128::MAX, i64::MIN, u64::MAX, ())));
        reads_back((true, false));
    }

    #[test]
    fn floats_in_json_read_back_as_they_were() {
        let mut rng = fastrand::Rng::with_seed(7);
        let random = (0..100_000).map(|_| f64::from_bits(rng.u64(..)));
        let edges = [0.0, -0.0, f64::MIN_POSITIVE, f64::from_bits(1), f64::MAX, f64::EPSILON, 0.1];
        for float in random.chain(edges).filter(|float| float.is_finite()) {
            let key = Json(Bits(float));
            assert_eq!(Json::from_text(&key.to_text()), Ok(key), "{float:e}");
        }
        let narrow = (0..100_000).map(|_| f32::from_bits(rng.u32(..)));
        for float in narrow.filter(|float| float.is_finite()) {
            let text = serde_json::to_string(&float).unwrap();
            assert_eq!(serde_json::from_str::<f32>(&text).unwrap().to_bits(), float.to_bits());
        }
    }

    proptest! {
        #[test]
        fn every_key_reads_back_equal(a in any::<String>(), b in any::<i64>(), c in any::<char>()) {
            prop_assert_eq!(String::from_text(&a.to_text()), Ok(a.clone()));
            prop_assert_eq!(i64::from_text(&b.to_text()), Ok(b));
            let tuple = (a.clone(), b, c);
            prop_assert_eq!(<(String, i64, char)>::from_text(&tuple.to_text()), Ok(tuple));
            let json = Json((a, b));
            prop_assert_eq!(Json::from_text(&json.to_text()), Ok(json));
        }

        #[test]
        fn different_tuples_never_share_a_text(a in "[a/%25F]{0,4}", b in "[a/%25F]{0,4}",
                                               c in "[a/%25F]{0,4}", d in "[a/%25F]{0,4}") {
            let (left, right) = ((a, b), (c, d));
            prop_assert_eq!(left == right, left.to_text() == right.to_text());
        }
    }
}
