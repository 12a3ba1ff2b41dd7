//! Owns the streams of what happens to a node, for applications that want more than log lines. An event
//! is added under the core's lock, which keeps the order; readers are woken under none.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::task::Poll;

use flushcast_core::node::Report;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How many events a reader may be behind.
const KEPT: usize = 256;

/// What has happened to a node since the stream was asked for. Made by
/// [`Node::events`](crate::Node::events).
#[derive(Debug)]
pub struct Events {
    stream: Arc<Stream>,
}

impl Events {
    /// The next one; `None` when the node is gone or was shut down, and all that happened before was
    /// read. Cancel by dropping: nothing is lost by that.
    pub async fn next(&mut self) -> Option<Report> {
        loop {
            if let Poll::Ready(next) = self.stream.waiting.lock().next() {
                return next.map(Arc::unwrap_or_clone);
            }
            // It remembers that it was notified before this.
            self.stream.added.notified().await;
        }
    }

    /// How many events this reader has missed by being more than 256 behind. The state is never
    /// lost: ask [`Node::cut_off`](crate::Node::cut_off) and [`Node::peers`](crate::Node::peers).
    pub fn lost(&self) -> u64 {
        self.stream.waiting.lock().lost
    }
}

/// All streams of a node that are read.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<Readers>);

#[derive(Debug, Default)]
struct Readers {
    streams: Vec<Weak<Stream>>,
    ended: bool,
}

/// What one reader has not read.
#[derive(Debug, Default)]
struct Stream {
    waiting: Mutex<Waiting>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Arc<Report>>,
    lost: u64,
    ended: bool,
}

impl Waiting {
    fn next(&mut self) -> Poll<Option<Arc<Report>>> {
        match self.events.pop_front() {
            None if !self.ended => Poll::Pending,
            next => Poll::Ready(next),
        }
    }
}

impl Streams {
    /// What happens from here on.
    pub(crate) fn read(&self) -> Events {
        let stream = Arc::<Stream>::default();
        let mut readers = self.0.lock();
        stream.waiting.lock().ended = readers.ended;
        readers.streams.push(Arc::downgrade(&stream));
        Events { stream }
    }

    /// Adds an event; [`Self::wake`] tells of it.
    pub(crate) fn add(&self, event: &Arc<Report>) {
        if self.0.lock().ended {
            return;
        }
        self.for_each(|stream| {
            let mut waiting = stream.waiting.lock();
            if waiting.events.len() == KEPT {
                waiting.events.pop_front();
                waiting.lost += 1;
            }
            waiting.events.push_back(Arc::clone(event));
        });
    }

    /// Nothing is added from here on; [`Self::wake`] tells of it.
    pub(crate) fn end(&self) {
        self.0.lock().ended = true;
        self.for_each(|stream| stream.waiting.lock().ended = true);
    }

    /// Wakes whoever waits for an event, or for the end. Under no lock.
    pub(crate) fn wake(&self) {
        let mut streams = Vec::new();
        self.for_each(|stream| streams.push(Arc::clone(stream)));
        for stream in streams {
            stream.added.notify_one();
        }
    }

    fn for_each(&self, mut each: impl FnMut(&Arc<Stream>)) {
        self.0.lock().streams.retain(|stream| {
            let stream = stream.upgrade();
            if let Some(stream) = &stream {
                each(stream);
            }
            stream.is_some()
        });
    }
}
