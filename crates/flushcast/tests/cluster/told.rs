//! What a node has told since it was listened to, for tests that count or look for words.

use std::sync::{Arc, Mutex};

use flushcast::{Event, Node};

use super::PATIENCE;

/// The events of one node, as they come.
pub struct Told(Arc<Mutex<Vec<Event>>>);

impl Told {
    /// Listens from here on, for as long as the node lives.
    pub fn by(node: &Node) -> Self {
        let (told, mut events) = (Arc::<Mutex<Vec<_>>>::default(), node.events());
        let heard = Arc::clone(&told);
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                heard.lock().unwrap().push(event);
            }
        });
        Self(told)
    }

    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| wanted(event)).count()
    }

    /// Waits for the first of which `wanted` makes something.
    pub async fn wait_for<T>(&self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = self.0.lock().unwrap().iter().find_map(&mut wanted) {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("it is not told of:\n{}", self.text()))
    }

    /// How many links were lost.
    pub fn lost(&self) -> usize {
        self.count(|event| matches!(event, Event::Lost { .. }))
    }

    /// How often the node stopped to trust what it held.
    pub fn distrusted(&self) -> usize {
        self.count(|event| {
            matches!(event, Event::Reset { .. } | Event::Missed { .. } | Event::Behind { .. })
        })
    }

    /// All of it as people read it, an event a line.
    pub fn text(&self) -> String {
        let lines = self.0.lock().unwrap();
        lines.iter().map(|event| format!("{event}\n")).collect()
    }
}
