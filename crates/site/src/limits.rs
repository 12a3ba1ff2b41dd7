//! What a save may hold, and the check that says so before anything is stored.
//!
//! Never touches the store or the cache: it looks at the input only.

use std::collections::BTreeMap;

use crate::store::Setting;

/// The most settings that one save may hold, a count.
pub const MAX_SETTINGS: usize = 200;
/// The longest name of a setting, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 200;
/// The longest value of a setting, in bytes of UTF-8.
pub const MAX_VALUE_BYTES: usize = 10_000;
/// The largest body of a request, in bytes: the limits above with every letter escaped fit in it.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// Why settings are refused; nothing was changed. Settings are counted from 1.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// More settings than one save may hold.
    #[error("{count} settings are too many: at most {MAX_SETTINGS} can be saved")]
    TooMany {
        /// How many were sent.
        count: usize,
    },
    /// A name of nothing but white space.
    #[error("setting {position} has no name: give it one, or remove it")]
    EmptyName {
        /// The setting it is about.
        position: usize,
    },
    /// A name that looks like another one, for white space at its ends.
    #[error("the name of setting {position} starts or ends with white space: remove that")]
    PaddedName {
        /// The setting it is about.
        position: usize,
    },
    /// A longer name than allowed.
    #[error(
        "the name of setting {position} is {bytes} bytes long: at most {MAX_NAME_BYTES} bytes are \
         allowed"
    )]
    LongName {
        /// The setting it is about.
        position: usize,
        /// The length of the name.
        bytes: usize,
    },
    /// A longer value than allowed.
    #[error(
        "the value of setting {position} is {bytes} bytes long: at most {MAX_VALUE_BYTES} bytes \
         are allowed"
    )]
    LongValue {
        /// The setting it is about.
        position: usize,
        /// The length of the value.
        bytes: usize,
    },
    /// A control character, which a text field would drop or change without a word.
    #[error(
        "setting {position} holds a control character: only line breaks and tabs are allowed, and \
         only in a value"
    )]
    ControlCharacter {
        /// The setting it is about.
        position: usize,
    },
    /// Two settings of one name.
    #[error("settings {first} and {second} have the same name, {name:?}: rename or remove one")]
    DuplicateName {
        /// The name.
        name: String,
        /// The first setting of that name.
        first: usize,
        /// The second one.
        second: usize,
    },
}

/// Checks settings against every limit, in the order in which they were sent.
///
/// # Errors
/// The first limit that is not kept.
pub fn validate(settings: &[Setting]) -> Result<(), Invalid> {
    if settings.len() > MAX_SETTINGS {
        return Err(Invalid::TooMany { count: settings.len() });
    }
    let mut seen = BTreeMap::new();
    for (setting, position) in settings.iter().zip(1..) {
        validate_one(setting, position)?;
        if let Some(first) = seen.insert(setting.name.as_str(), position) {
            let name = setting.name.clone();
            return Err(Invalid::DuplicateName { name, first, second: position });
        }
    }
    Ok(())
}

fn validate_one(setting: &Setting, position: usize) -> Result<(), Invalid> {
    let Setting { name, value } = setting;
    if name.trim().is_empty() {
        return Err(Invalid::EmptyName { position });
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(Invalid::LongName { position, bytes: name.len() });
    }
    if value.len() > MAX_VALUE_BYTES {
        return Err(Invalid::LongValue { position, bytes: value.len() });
    }
    let odd_in_value = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if name.chars().any(char::is_control) || value.chars().any(odd_in_value) {
        return Err(Invalid::ControlCharacter { position });
    }
    if name.trim() != name {
        return Err(Invalid::PaddedName { position });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<Setting> {
        names.iter().map(|name| Setting::new(*name, "on")).collect()
    }

    #[test]
    fn ordinary_settings_pass_and_so_do_none_at_all() {
        assert_eq!(validate(&named(&["Title", "title", "Überschrift"])), Ok(()));
        assert_eq!(validate(&[Setting::new("Greeting", "two\nlines\tand a tab")]), Ok(()));
        assert_eq!(validate(&[]), Ok(()));
    }

    #[test]
    fn the_limits_themselves_pass_and_one_more_is_refused() {
        let names: Vec<String> = (0..=MAX_SETTINGS).map(|n| format!("setting {n}")).collect();
        let settings: Vec<Setting> = names.iter().map(|name| Setting::new(name, "")).collect();
        assert_eq!(validate(&settings[..MAX_SETTINGS]), Ok(()));
        assert_eq!(validate(&settings), Err(Invalid::TooMany { count: MAX_SETTINGS + 1 }));

        let name = |bytes: usize| [Setting::new("n".repeat(bytes), "")];
        assert_eq!(validate(&name(MAX_NAME_BYTES)), Ok(()));
        let refused = Invalid::LongName { position: 1, bytes: MAX_NAME_BYTES + 1 };
        assert_eq!(validate(&name(MAX_NAME_BYTES + 1)), Err(refused));

        let value = |bytes: usize| [Setting::new("name", "v".repeat(bytes))];
        assert_eq!(validate(&value(MAX_VALUE_BYTES)), Ok(()));
        let refused = Invalid::LongValue { position: 1, bytes: MAX_VALUE_BYTES + 1 };
        assert_eq!(validate(&value(MAX_VALUE_BYTES + 1)), Err(refused));
    }

    #[test]
    fn lengths_count_bytes_and_not_letters() {
        let long = "ü".repeat(MAX_NAME_BYTES / 2 + 1);
        let refused = Invalid::LongName { position: 1, bytes: MAX_NAME_BYTES + 2 };
        assert_eq!(validate(&[Setting::new(long, "")]), Err(refused));
    }

    #[test]
    fn empty_padded_and_doubled_names_are_refused_with_their_place() {
        assert_eq!(validate(&named(&["a", " \t"])), Err(Invalid::EmptyName { position: 2 }));
        assert_eq!(validate(&named(&["a", "b "])), Err(Invalid::PaddedName { position: 2 }));
        let doubled = Invalid::DuplicateName { name: "a".into(), first: 1, second: 3 };
        assert_eq!(validate(&named(&["a", "b", "a"])), Err(doubled));
    }

    #[test]
    fn control_characters_are_refused() {
        let refused = Err(Invalid::ControlCharacter { position: 1 });
        assert_eq!(validate(&[Setting::new("two\nlines", "")]), refused);
        assert_eq!(validate(&[Setting::new("name", "nul\0")]), refused);
    }

    #[test]
    fn the_messages_state_the_limit() {
        let messages = [
            Invalid::TooMany { count: 201 }.to_string(),
            Invalid::LongName { position: 1, bytes: 201 }.to_string(),
            Invalid::LongValue { position: 1, bytes: 10_001 }.to_string(),
        ];
        assert!(messages[0].contains("at most 200 "), "{}", messages[0]);
        assert!(messages[1].contains("at most 200 bytes"), "{}", messages[1]);
        assert!(messages[2].contains("at most 10000 bytes"), "{}", messages[2]);
    }
}
