//! Owns what a change is of, and so what its flush names.

use flushcast_core::Time;
use flushcast_core::cache::{Cache, Key, KeyError};
use flushcast_core::wire::Scope;

/// Keys of the data that every node caches.
pub(crate) const KEYS: usize = 4;
/// Each copy has one tag: its key modulo this.
const TAGS: usize = 2;

/// The key of a copy. The last two share a text, which reads back as the first of them: a flush of the
/// other one has to name everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id(pub(crate) usize);

fn text_of(key: usize) -> String {
    key.min(KEYS - 2).to_string()
}

impl Key for Id {
    fn write_text(&self, out: &mut String) {
        out.push_str(&text_of(self.0));
    }

    fn from_text(text: &str) -> Result<Self, KeyError> {
        text.parse().map(Self).map_err(|_| KeyError::new(text, "number"))
    }
}

/// What a change is of, and what is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) what: What,
    /// Copies have expired, in place of being dropped.
    pub(crate) expires: bool,
}

impl Said {
    /// Mostly a flush.
    pub(crate) fn draw(rng: &mut fastrand::Rng) -> Self {
        Self { what: What::draw(rng), expires: rng.u8(..) < 64 }
    }

    /// Does it at one node, as the application's own call does.
    pub(crate) fn apply(self, data: &Cache<Id, u64>, now: Time) {
        match self.what {
            What::Key(key) if self.expires => data.expire_key(&Id(key), now),
            What::Key(key) => data.flush_key(&Id(key)),
            _ => data.apply(&[self.scope(data, &self.what.text())], now),
        }
    }

    /// What is announced of it, as the application's own call does.
    pub(crate) fn scope<'t>(self, data: &Cache<Id, u64>, text: &'t str) -> Scope<'t> {
        let scope = self.what.scope(data, text);
        if self.expires { scope.expired() } else { scope }
    }

    /// As it stands in a change's mark, and in a trace.
    pub(crate) fn word(self) -> String {
        let word = self.what.word();
        if self.expires { format!("{EXPIRES}{word}") } else { word }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        let rest = word.strip_prefix(EXPIRES);
        Some(Self { what: What::parse(rest.unwrap_or(word))?, expires: rest.is_some() })
    }
}

const EXPIRES: &str = "expire-";

/// What a change is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Key(usize),
    /// All keys whose copies have this tag.
    Tag(usize),
    /// All keys whose text begins with this one's.
    Prefix(usize),
    All,
}

/// The tag that a load of a key gives its copy.
pub(crate) fn tag_of(key: usize) -> String {
    (key % TAGS).to_string()
}

impl What {
    /// Mostly a key.
    fn draw(rng: &mut fastrand::Rng) -> Self {
        match rng.u8(..) {
            ..16 => Self::All,
            16..48 => Self::Tag(rng.usize(..TAGS)),
            48..64 => Self::Prefix(rng.usize(..KEYS)),
            _ => Self::Key(rng.usize(..KEYS)),
        }
    }

    pub(crate) fn names(self, key: usize) -> bool {
        match self {
            Self::Key(it) => it == key,
            Self::Tag(tag) => key % TAGS == tag,
            Self::Prefix(prefix) => text_of(key).starts_with(&text_of(prefix)),
            Self::All => true,
        }
    }

    /// The text of its scope.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Key(key) | Self::Prefix(key) => text_of(key),
            Self::Tag(tag) => tag.to_string(),
            Self::All => String::new(),
        }
    }

    fn scope<'t>(self, data: &Cache<Id, u64>, text: &'t str) -> Scope<'t> {
        match self {
            Self::Key(key) => data.scope_of(&Id(key), text),
            Self::Tag(_) => Scope::Tag(text),
            Self::Prefix(_) => Scope::Prefix(text),
            Self::All => Scope::All,
        }
    }

    fn word(self) -> String {
        match self {
            Self::Key(key) => key.to_string(),
            Self::Tag(tag) => format!("tag{tag}"),
            Self::Prefix(key) => format!("prefix{key}"),
            Self::All => "all".to_owned(),
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let number = |text: &str| text.parse().ok();
        if word == "all" {
            return Some(Self::All);
        }
        let tag = word.strip_prefix("tag").and_then(number).map(Self::Tag);
        let prefix = || word.strip_prefix("prefix").and_then(number).map(Self::Prefix);
        tag.or_else(prefix).or_else(|| number(word).map(Self::Key))
    }
}
