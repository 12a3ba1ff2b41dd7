//! Owns the count of what has happened to the node since its start, as its events tell.

use std::sync::{Arc, Mutex, PoisonError};

use flushcast::{Event, Node};
use flushcast_faults::words::{Happened, Healed};

/// Clones are the same tally.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<Happened>>);

impl Tally {
    pub(crate) fn of(node: &Node) -> Tally {
        let (tally, mut events) = (Tally::default(), node.events());
        let counting = tally.clone();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let mut happened = counting.0.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Event::CutOff { .. } => happened.cut_off += 1,
                    Event::Reset { .. } | Event::Missed { .. } => happened.distrusted += 1,
                    Event::Healed { node, replayed, reset } => {
                        happened.healed.push(Healed { node, replayed, reset });
                    }
                    _ => {}
                }
                happened.uncounted = events.lost();
            }
        });
        tally
    }

    pub(crate) fn happened(&self) -> Happened {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
