//! Owns how the application's own code is run: a key's parser, hash and text, a value's drop, a listener
//! for removals. It must never be run under a lock of the node, and under one of its cache only where
//! `shards.rs` says so.
//!
//! A panic in it ends here: the panic hook has told of it, and what goes on behind it, such as the
//! announcement of a flush, must not depend on it.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `run` gives; nothing if it panicked. Nobody may look at what it has left half done.
pub(crate) fn contain<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(given) => Some(given),
        Err(panic) => {
            // Its own drop is the application's, too, and may panic.
            std::mem::forget(panic);
            None
        }
    }
}

/// Drops something that has values or keys of the application's in it.
pub(crate) fn let_go<T>(last: T) {
    if std::mem::needs_drop::<T>() {
        contain(|| drop(last));
    }
}

/// Drops each, whatever the others do.
pub(crate) fn let_all_go<T>(last: impl IntoIterator<Item = T>) {
    last.into_iter().for_each(let_go);
}
