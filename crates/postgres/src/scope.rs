//! Owns how a row says what is out of date.

use flushcast_core::wire::Scope;

/// What a row says is out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeKind {
    /// One key.
    Key,
    /// What has a tag.
    Tag,
    /// What begins so.
    Prefix,
    /// Everything.
    All,
}

impl ScopeKind {
    const ALL: [Self; 4] = [Self::Key, Self::Tag, Self::Prefix, Self::All];

    /// Of a scope, and whether that says only that it has expired.
    pub(crate) fn of(scope: Scope<'_>) -> (Self, bool) {
        let flushed = scope.flushed();
        let kind = match flushed {
            Scope::Tag(_) => Self::Tag,
            Scope::Prefix(_) => Self::Prefix,
            Scope::All => Self::All,
            _ => Self::Key,
        };
        (kind, scope != flushed)
    }

    /// As it stands in a row.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Tag => "tag",
            Self::Prefix => "prefix",
            Self::All => "all",
        }
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }

    /// The same as in a frame.
    pub(crate) fn scope(self, text: &str, expires: bool) -> Scope<'_> {
        match (self, expires) {
            (Self::Key, false) => Scope::Key(text),
            (Self::Tag, false) => Scope::Tag(text),
            (Self::Prefix, false) => Scope::Prefix(text),
            (Self::All, false) => Scope::All,
            (Self::Key, true) => Scope::ExpireKey(text),
            (Self::Tag, true) => Scope::ExpireTag(text),
            (Self::Prefix, true) => Scope::ExpirePrefix(text),
            (Self::All, true) => Scope::ExpireAll,
        }
    }
}
