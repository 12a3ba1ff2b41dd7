//! Owns the count of what has happened to the node since its start, as its events tell.

use std::sync::{Arc, Mutex, PoisonError};

use flushcast::{Event, Node};
use flushcast_faults::clock::Moment;
use flushcast_faults::words::{Happened, Healed, OutOfSync};

/// Clones are the same tally.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    happened: Happened,
    /// Since when it is out of sync, while it is.
    out_since: Option<Moment>,
}

impl Counted {
    fn count(&mut self, event: Event) {
        let happened = &mut self.happened;
        match event {
            Event::CutOff { .. } => {
                happened.cut_off += 1;
                self.out_since = Some(Moment::now());
            }
            Event::InSync { after } => {
                let since = self.out_since.take();
                happened.out_of_sync.extend(since.map(|since| OutOfSync { since, lasted: after }));
            }
            Event::Lost { .. } => happened.lost += 1,
            Event::Reset { .. } | Event::Missed { .. } => happened.distrusted += 1,
            Event::Healed { node, replayed, reset } => {
                happened.healed.push(Healed { node, replayed, reset });
            }
            _ => {}
        }
    }
}

impl Tally {
    pub(crate) fn of(node: &Node) -> Tally {
        let (tally, mut events) = (Tally::default(), node.events());
        let counting = tally.clone();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let mut counted = counting.0.lock().unwrap_or_else(PoisonError::into_inner);
                counted.count(event);
                counted.happened.uncounted = events.lost();
            }
        });
        tally
    }

    pub(crate) fn happened(&self) -> Happened {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut happened = counted.happened.clone();
        let lasts = |since| OutOfSync { since, lasted: Moment::now().since(since) };
        happened.out_of_sync.extend(counted.out_since.map(lasts));
        happened
    }
}
