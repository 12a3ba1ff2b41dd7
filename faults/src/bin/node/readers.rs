//! Owns threads that read all the time, as the requests of an app would, and what they have seen.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use flushcast_faults::clock::Moment;
use flushcast_faults::history::History;
use tokio::runtime::Handle;

use crate::caches::Caches;
use crate::loader::Loader;

/// The readers of this node. They run until the process ends.
#[derive(Debug, Default)]
pub(crate) struct Readers(Vec<Running>);

#[derive(Debug)]
struct Running {
    history: Arc<Mutex<History>>,
    thread: JoinHandle<String>,
}

impl Readers {
    /// Has another thread read `keys` in turn, in all caches.
    pub(crate) fn start(
        &mut self,
        keys: Range<u64>,
        pause: Duration,
        caches: Caches,
        loader: Loader,
    ) {
        let (history, runtime) = (Arc::default(), Handle::current());
        let noted = Arc::clone(&history);
        let read = move || read(keys, pause, &caches, &loader, &noted, &runtime);
        self.0.push(Running { history, thread: thread::spawn(read) });
    }

    /// What all of them have seen; an error if one of them has ended, with its last words.
    pub(crate) fn history(&mut self) -> Result<History, String> {
        if let Some(ended) = self.0.iter().position(|running| running.thread.is_finished()) {
            let ended = self.0.swap_remove(ended).thread.join();
            return Err(ended.unwrap_or_else(|_| "a reader panicked".to_owned()));
        }
        let mut all = History::default();
        for running in &self.0 {
            all.merge(&running.history.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(all)
    }
}

/// Ends only by an error, which it gives back.
fn read(
    keys: Range<u64>,
    pause: Duration,
    caches: &Caches,
    loader: &Loader,
    noted: &Mutex<History>,
    runtime: &Handle,
) -> String {
    loop {
        for key in keys.clone() {
            for kept in caches.iter() {
                // Before the cache is asked: however long that takes, no read looks younger.
                let start = Moment::now();
                let version = match kept.cache.get(&key) {
                    Some(version) => version,
                    None => match runtime.block_on(loader.read(kept, key)) {
                        Ok(version) => version,
                        Err(error) => return format!("key {key} cannot be loaded: {error}"),
                    },
                };
                let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                noted.note(kept.guarded, key, version, start);
            }
        }
        if pause > Duration::ZERO {
            thread::sleep(pause);
        }
    }
}
