//! Owns which connections of a port are open, and which of them gives way to a new one.
//!
//! Never closes a connection that is being answered. The others wait for their client: for a
//! request, for the rest of one, or for the end of the connection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: Mutex<Taken>,
    /// A place is free, or a connection came to wait for its client.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    /// Numbers places and waits: an earlier one has a lower number.
    count: u64,
    by_number: BTreeMap<u64, Turn>,
}

#[derive(Debug)]
struct Turn {
    is: State,
    gives_way: Arc<Notify>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Its client is waited for, since then.
    Waits {
        since: u64,
    },
    Answers,
    GivesWay,
}

/// A place that one connection has taken, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    gives_way: Arc<Notify>,
}

/// Held while a request is answered.
#[derive(Debug)]
pub(super) struct Answering(Arc<Place>);

impl Places {
    pub(super) fn new(most: usize) -> Arc<Places> {
        Arc::new(Places { most, taken: Mutex::default(), changed: Notify::new() })
    }

    /// Takes a place, and has another connection give way if there is none. Only one caller at a
    /// time may wait here.
    pub(super) async fn take(self: &Arc<Self>) -> Arc<Place> {
        loop {
            if let Some(place) = self.try_take() {
                return Arc::new(place);
            }
            self.changed.notified().await;
        }
    }

    /// Waits until no place is taken any more.
    pub(super) async fn all_free(&self) {
        while self.change(|taken| !taken.by_number.is_empty()) {
            self.changed.notified().await;
        }
    }

    fn try_take(self: &Arc<Self>) -> Option<Place> {
        self.change(|taken| {
            if taken.by_number.len() >= self.most {
                taken.make_room();
                return None;
            }
            let (number, gives_way) = (taken.next(), Arc::new(Notify::new()));
            let turn = Turn { is: State::Waits { since: number }, gives_way: gives_way.clone() };
            taken.by_number.insert(number, turn);
            Some(Place { places: Arc::clone(self), number, gives_way })
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Taken) -> T) -> T {
        change(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Taken {
    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn make_room(&mut self) {
        if self.by_number.values().any(|turn| turn.is == State::GivesWay) {
            return;
        }
        // In the order of states the one that waits longest comes first.
        let first = self.by_number.values_mut().min_by_key(|turn| turn.is);
        if let Some(turn @ Turn { is: State::Waits { .. }, .. }) = first {
            turn.is = State::GivesWay;
            turn.gives_way.notify_one();
        }
    }

    /// A connection that was told to give way does so, whatever it does next.
    fn set(&mut self, number: u64, is: State) {
        if let Some(turn) = self.by_number.get_mut(&number)
            && turn.is != State::GivesWay
        {
            turn.is = is;
        }
    }
}

impl Place {
    /// Waits until this connection has to make room for another one.
    pub(super) async fn gives_way(&self) {
        self.gives_way.notified().await;
    }

    /// The client has sent all of its request. Its connection stays until that is answered.
    pub(super) fn answering(self: Arc<Self>) -> Answering {
        self.places.change(|taken| taken.set(self.number, State::Answers));
        Answering(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.change(|taken| taken.by_number.remove(&self.number));
        self.places.changed.notify_one();
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let Answering(place) = self;
        place.places.change(|taken| {
            let since = taken.next();
            taken.set(place.number, State::Waits { since });
        });
        place.places.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_waiting_gives_way_and_nobody_else() {
        let places = Places::new(3);
        let (one, two, three) = (places.take().await, places.take().await, places.take().await);
        // The first was answered since, and the second is being answered.
        drop(Arc::clone(&one).answering());
        let _answering = two.answering();
        assert!(places.try_take().is_none());
        three.gives_way().await;
        assert!(places.try_take().is_none(), "room is being made, for one");
        let told = |place: &Place| {
            places.change(|taken| taken.by_number[&place.number].is == State::GivesWay)
        };
        assert!(!told(&one));
        drop(three);
        let new = places.try_take().unwrap();
        assert!(places.try_take().is_none());
        one.gives_way().await;
        assert!(!told(&new));
    }

    #[tokio::test]
    async fn where_all_are_answered_the_first_that_was_gives_way() {
        let places = Places::new(1);
        let one = places.take().await;
        let answering = Arc::clone(&one).answering();
        let mut take = Box::pin(places.take());
        assert!(futures_util::FutureExt::now_or_never(&mut take).is_none());
        drop(answering);
        assert!(futures_util::FutureExt::now_or_never(&mut take).is_none());
        one.gives_way().await;
        drop(one);
        take.await;
    }
}
