//! Owns rows of the log as an app writes them, in its own transactions.

use flushcast_core::cache::Key;
use flushcast_core::wire::{MAX_KEY_BYTES, MAX_NAME_BYTES, MAX_TAG_BYTES, Scope};
use tokio_postgres::Transaction;

use crate::ScopeKind;

/// Why nothing was written. The transaction goes on in the first three cases.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// The cache's name is empty or too long.
    #[error("{bytes} bytes are no name of a cache: 1 to {MAX_NAME_BYTES} are")]
    BadName {
        /// Its length.
        bytes: usize,
    },
    /// A key, tag or prefix is too long.
    #[error(
        "a key, tag or prefix of {bytes} bytes is over the limit of {MAX_KEY_BYTES}, \
         {MAX_TAG_BYTES} for tags: flush the whole cache instead"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It has a character that PostgreSQL holds in no text.
    #[error(
        "a key, tag or prefix has a zero byte, which PostgreSQL holds in no text: flush the whole cache instead"
    )]
    HasZero,
    /// The statement failed, and the transaction with it.
    #[error(
        "flushes cannot be written; is the schema installed, and may this user insert into flushcast.flushes?"
    )]
    Database(#[from] tokio_postgres::Error),
}

/// Flushes one key once this transaction commits, on every node that follows the log; nothing if it rolls
/// back. Costs one statement.
///
/// Nodes apply it with their next poll. Until then this one, too, serves what it holds.
///
/// # Errors
/// A name or key over the limits; PostgreSQL's.
pub async fn flush<K: Key>(
    transaction: &Transaction<'_>,
    cache: &str,
    key: &K,
) -> Result<(), FlushError> {
    flush_keys(transaction, cache, std::slice::from_ref(key)).await
}

/// Flushes these keys, as [`flush`] does, in one statement however many they are.
///
/// # Errors
/// Those of `flush`; then none is written.
pub async fn flush_keys<K: Key>(
    transaction: &Transaction<'_>,
    cache: &str,
    keys: &[K],
) -> Result<(), FlushError> {
    let texts: Vec<String> = keys.iter().map(Key::to_text).collect();
    let scopes: Vec<Scope<'_>> = texts.iter().map(|text| Scope::Key(text)).collect();
    flush_scopes(transaction, cache, &scopes).await
}

/// Flushes every copy that has this tag, as [`flush`] does.
///
/// # Errors
/// Those of `flush`.
pub async fn flush_tag(
    transaction: &Transaction<'_>,
    cache: &str,
    tag: &str,
) -> Result<(), FlushError> {
    flush_scopes(transaction, cache, &[Scope::Tag(tag)]).await
}

/// Flushes every copy of a cache, as [`flush`] does.
///
/// # Errors
/// Those of `flush`.
pub async fn flush_all(transaction: &Transaction<'_>, cache: &str) -> Result<(), FlushError> {
    flush_scopes(transaction, cache, &[Scope::All]).await
}

/// Flushes, or has expire, what these scopes name, as [`flush`] does.
///
/// # Errors
/// Those of `flush`.
pub async fn flush_scopes(
    transaction: &Transaction<'_>,
    cache: &str,
    scopes: &[Scope<'_>],
) -> Result<(), FlushError> {
    const INSERT: &str = "INSERT INTO flushcast.flushes (cache, kind, expires, scope) \
        SELECT $1, kind, expires, scope \
        FROM unnest($2::text[], $3::boolean[], $4::text[]) AS it (kind, expires, scope)";
    if cache.is_empty() || cache.len() > MAX_NAME_BYTES {
        return Err(FlushError::BadName { bytes: cache.len() });
    }
    let (mut kinds, mut expire, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    for &scope in scopes {
        let (text, (kind, expires)) = (scope.text(), ScopeKind::of(scope));
        let longest = if kind == ScopeKind::Tag { MAX_TAG_BYTES } else { MAX_KEY_BYTES };
        if text.len() > longest {
            return Err(FlushError::TooLong { bytes: text.len() });
        }
        if text.contains('\0') {
            return Err(FlushError::HasZero);
        }
        kinds.push(kind.as_str());
        expire.push(expires);
        texts.push(text);
    }
    if !scopes.is_empty() {
        transaction.execute(INSERT, &[&cache, &kinds, &expire, &texts]).await?;
    }
    Ok(())
}
