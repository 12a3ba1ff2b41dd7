//! Owns how the application's own code is run: a key's parser, hash and text, a value's drop, a listener
//! for removals. It must never be run under a lock of the node, and under one of its cache only where
//! `shards.rs` says so.
//!
//! A panic in it ends here: the panic hook has told of it, and what goes on behind it, such as the
//! announcement of a flush, must not depend on it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `run` gives, or the panic in it, which is to go on. Nobody may look at what it has left half done.
pub(super) fn caught<T>(run: impl FnOnce() -> T) -> std::thread::Result<T> {
    catch_unwind(AssertUnwindSafe(run))
}

/// What `run` gives; nothing if it panicked, as with [`caught`].
pub(crate) fn contain<T>(run: impl FnOnce() -> T) -> Option<T> {
    match caught(run) {
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

/// What is put off on this thread; nothing while nothing [runs in turn](in_turn).
type PutOff = RefCell<Option<VecDeque<Box<dyn FnOnce()>>>>;

#[cfg(not(flushcast_shuttle))]
std::thread_local! { static PUT_OFF: PutOff = const { RefCell::new(None) }; }
// The explorer's threads share one of the system's.
#[cfg(flushcast_shuttle)]
shuttle::thread_local! { static PUT_OFF: PutOff = RefCell::new(None); }

/// Runs this, or, from inside of another such call on this thread, puts it off until that one is done: what
/// calls itself again and again, as a listener does that flushes, takes no more of the stack each time.
/// All is done when the outermost call returns. No more is put off than what caches have held.
pub(crate) fn in_turn(run: impl FnOnce() + 'static) {
    let mut run = Some(run);
    let begins = PUT_OFF.try_with(|put_off| match &mut *put_off.borrow_mut() {
        Some(put_off) => {
            put_off.extend(run.take().map(|run| Box::new(run) as Box<dyn FnOnce()>));
            false
        }
        nothing => {
            *nothing = Some(VecDeque::new());
            true
        }
    });
    // At the end of a thread there may be no place to put anything.
    if let Some(run) = run {
        contain(run);
    }
    while begins == Ok(true) && contain_next() {}
}

/// Runs what was put off first; false if nothing is left, and then nothing is put off any more.
fn contain_next() -> bool {
    let next = PUT_OFF.try_with(|put_off| {
        let mut put_off = put_off.borrow_mut();
        let next = put_off.as_mut().and_then(VecDeque::pop_front);
        if next.is_none() {
            *put_off = None;
        }
        next
    });
    next.ok().flatten().map(contain).is_some()
}
