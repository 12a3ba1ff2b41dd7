use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::cache::key::Json;

const PART: &str = "[ea/%é2F5]{0,3}";

fn text<K, P: Prefix<K>>(prefix: P) -> String {
    prefix.prefix_text().unwrap()
}

fn may<K: Key>(prefix: &str) -> bool {
    Prefix::<K>::prefix_text(&prefix).is_ok()
}

#[test]
fn a_typed_prefix_names_no_key_that_merely_shares_the_text() {
    type Order = (String, u64);
    let eu = text::<Order, _>(("eu",));
    assert!(("eu".to_owned(), 7).to_text().starts_with(&eu));
    assert!(!("europe".to_owned(), 7).to_text().starts_with(&eu));
    assert_eq!(text::<Order, _>(("a/b%",)), "a%2Fb%25/");
    assert_eq!(text::<(u64, Arc<str>, bool), _>((&7, "x")), "7/x/");
}

proptest! {
    #[test]
    fn a_typed_prefix_names_the_keys_whose_first_parts_equal_it_and_no_others(
        a in PART, b in PART, n in 0..3_u64, c in PART, d in PART, m in 0..3_u64,
    ) {
        let key = (c.clone(), m, d.clone());
        let (one, two) = (text::<(String, u64, String), _>((a.as_str(),)),
                          text::<(String, u64, String), _>((&a, &n)));
        prop_assert_eq!(key.to_text().starts_with(&one), a == c);
        prop_assert_eq!(key.to_text().starts_with(&two), a == c && n == m);
        let key = (c.clone(), d.clone());
        let first = text::<(String, String), _>((a.as_str(),));
        prop_assert_eq!(key.to_text().starts_with(&first), a == c);
        let key = (d.clone(), c.clone(), m, true);
        let third = text::<(String, String, u64, bool), _>((b.as_str(), a.as_str(), &n));
        prop_assert_eq!(key.to_text().starts_with(&third), b == d && a == c && n == m);
    }

    /// Whatever is cut off behind.
    #[test]
    fn no_beginning_of_a_key_is_refused(
        a in any::<String>(), b in any::<i64>(), c in any::<char>(), d in any::<bool>(),
        e in any::<u8>(), f in PART,
    ) {
        fn all<K: Key>(key: &K) -> Result<(), TestCaseError> {
            let text = key.to_text();
            for (at, _) in text.char_indices().chain([(text.len(), ' ')]) {
                prop_assert!(may::<K>(&text[..at]), "{}", &text[..at]);
            }
            Ok(())
        }
        all(&a)?;
        all(&b)?;
        all(&c)?;
        all(&d)?;
        all(&e)?;
        all(&(a.clone(), b))?;
        all(&(c, f.clone(), d))?;
        all(&(f.clone(), a.clone(), e, b, c, f.clone()))?;
        all(&Json((a, b)))?;
    }
}

#[test]
fn a_prefix_as_text_that_can_name_nothing_is_an_error() {
    for nothing in ["x", "-1", "01", "00", "256", "1 ", "+1"] {
        assert!(!may::<u8>(nothing), "{nothing}");
    }
    assert!(may::<u8>("25") && may::<i8>("-") && may::<i8>("-12") && !may::<i8>("-129"));
    assert!(!may::<u8>("-") && !may::<i8>("-0") && !may::<i8>("-01"));
    assert!(may::<bool>("fal") && !may::<bool>("no"));
    assert!(may::<char>("é") && !may::<char>("ab"));

    type Order = (String, u64);
    for nothing in ["eu/x", "eu/7/", "eu/7/8", "a%zz/7", "a%2f/7", "%3", "eu/%"] {
        assert!(!may::<Order>(nothing), "{nothing}");
    }
    for some in ["", "eu", "eu/", "eu/7", "a%", "a%2", "a%2F", "/", "/7"] {
        assert!(may::<Order>(some), "{some}");
    }
    assert!(!may::<(u64, u64)>("/7") && !may::<(u64, u64)>("01/7"));
    let error = Prefix::<Order>::prefix_text(&"eu/x").unwrap_err();
    assert_eq!(error.to_string(), "\"eu/x\" is no beginning of a key of this cache");
}

#[cfg(feature = "uuid")]
#[test]
fn a_uuid_begins_in_lower_case() {
    use uuid::Uuid;
    let text = Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8).to_text();
    assert!((0..=text.len()).all(|at| may::<Uuid>(&text[..at])));
    for nothing in ["67E5", "67e550441", "g", &format!("{text}0"), "é"] {
        assert!(!may::<Uuid>(nothing), "{nothing}");
    }
}
