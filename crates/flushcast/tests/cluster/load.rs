//! A node that flushes all the time, while something else is done to its cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flushcast::Node;
use tokio::task::JoinHandle;

use super::numbers;

pub struct Load {
    is_over: Arc<AtomicBool>,
    flushes: JoinHandle<u64>,
}

impl Load {
    /// Flushes one after the other. Each has to be confirmed by all.
    pub fn on(node: &Node) -> Self {
        let (cache, is_over) = (numbers(node), Arc::<AtomicBool>::default());
        let until = Arc::clone(&is_over);
        let flushes = tokio::spawn(async move {
            let mut flushes = 0;
            while !until.load(Ordering::Relaxed) {
                let outcome = cache.flush(&flushes.to_string()).await.unwrap();
                assert!(outcome.is_complete(), "{outcome}");
                flushes += 1;
                tokio::task::yield_now().await;
            }
            flushes
        });
        Self { is_over, flushes }
    }

    pub async fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        assert!(self.flushes.await.unwrap() > 0);
    }
}
