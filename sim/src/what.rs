//! Owns what a change is of, and so what its flush names.

use flushcast_core::cache::Cache;
use flushcast_core::wire::Scope;

/// Keys of the data that every node caches.
pub(crate) const KEYS: usize = 4;
/// Each copy has one tag: its key modulo this.
const TAGS: usize = 2;

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
    pub(crate) fn draw(rng: &mut fastrand::Rng) -> Self {
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
            Self::Prefix(prefix) => key.to_string().starts_with(&prefix.to_string()),
            Self::All => true,
        }
    }

    /// Flushes it at one node, as the application's own call does.
    pub(crate) fn flush(self, data: &Cache<u64, u64>) {
        match self {
            Self::Key(key) => data.flush_key(&(key as u64)),
            Self::Tag(tag) => data.flush_tag(&tag.to_string()),
            Self::Prefix(key) => data.flush_prefix(&key.to_string()),
            Self::All => data.flush_all(),
        }
    }

    /// The text of its scope.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Key(number) | Self::Tag(number) | Self::Prefix(number) => number.to_string(),
            Self::All => String::new(),
        }
    }

    pub(crate) fn scope(self, text: &str) -> Scope<'_> {
        match self {
            Self::Key(_) => Scope::Key(text),
            Self::Tag(_) => Scope::Tag(text),
            Self::Prefix(_) => Scope::Prefix(text),
            Self::All => Scope::All,
        }
    }

    /// As it stands in a change's mark, and in a trace.
    pub(crate) fn word(self) -> String {
        let letter = match self {
            Self::Key(_) => "",
            Self::Tag(_) => "tag",
            Self::Prefix(_) => "prefix",
            Self::All => "all",
        };
        letter.to_owned() + &self.text()
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        let number = |text: &str| text.parse().ok();
        if word == "all" {
            return Some(Self::All);
        }
        let tag = word.strip_prefix("tag").and_then(number).map(Self::Tag);
        let prefix = || word.strip_prefix("prefix").and_then(number).map(Self::Prefix);
        tag.or_else(prefix).or_else(|| number(word).map(Self::Key))
    }
}
