//! Owns when the engine's acknowledgements came, as far back as an epoch that ends may take something along.
//! It must never take a flush for acknowledged earlier than it was.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Time;
use crate::wire::Seq;

/// Those that came within so much time are one, however many they are.
const GRAIN: Duration = Duration::from_millis(500);
/// Most grains: the earliest are one beyond that, and count as late as the last of them.
const MOST: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Receipts(VecDeque<Grain>);

#[derive(Debug)]
struct Grain {
    began: Time,
    last: Time,
    /// The first number that was acknowledged then.
    first: Seq,
}

impl Receipts {
    /// All from `first` on, up to what comes next, were acknowledged at `now`.
    pub(super) fn add(&mut self, now: Time, first: Seq) {
        if let Some(grain) = self.0.back_mut().filter(|it| now <= it.began + GRAIN) {
            grain.last = now;
            return;
        }
        self.0.push_back(Grain { began: now, last: now, first });
        if self.0.len() > MOST
            && let Some(earliest) = self.0.pop_front()
            && let Some(next) = self.0.front_mut()
        {
            next.first = earliest.first;
        }
    }

    /// The first number that was not surely acknowledged more than `length` before `then`.
    pub(super) fn first_within(&self, length: Duration, then: Time) -> Option<Seq> {
        self.0.iter().find(|it| it.last + length >= then).map(|it| it.first)
    }

    /// What is behind `upto` is to be acknowledged anew.
    pub(super) fn forget_behind(&mut self, upto: Seq) {
        while self.0.back().is_some_and(|it| it.first > upto) {
            self.0.pop_back();
        }
    }
}
