//! Owns how long a load may take, for who runs it and for who waits for it: nobody waits for ever for a
//! load that nobody polls.
//! It must never know of a clock that goes off by itself: who makes the cache brings one.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::nesting::begin_wait;
use super::{LoadError, Waiter};
use crate::Time;
use crate::cache::{Cache, Key, Stamp, Value};

/// Is over when the time is.
pub type Alarm = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How long a load may take.
#[derive(Clone)]
pub struct LoadLimit {
    /// From its start on.
    pub length: Duration,
    /// Sets an alarm that goes off after so long.
    pub alarm: Arc<dyn Fn(Duration) -> Alarm + Send + Sync>,
}

/// Who waits: its place in the order, and when it began by its clock.
#[derive(Clone, Copy)]
pub(super) struct Read {
    pub(super) began: Stamp,
    pub(super) at: Time,
}

/// After so many times the longest load a read waits for no other load any more. Without this, others could
/// begin one load after the other, each of which ends without a value for that read.
const MOST_LOADS: u32 = 2;

impl<K: Key, V: Value> Cache<K, V> {
    /// Waits for the end of somebody else's load, as long as one may take since it began. Then it is given
    /// up for all who wait, and nothing of it is stored: its own caller may never come to do that, because
    /// nobody polls it. Does not wait for a load that waits for this. Gives what it is [told](Ending::told).
    pub(super) async fn wait<E: Send + Sync + 'static>(
        &self,
        waiter: Waiter<K, V>,
        Read { began, at }: Read,
        is_for_this_read: bool,
        now: Time,
    ) -> Result<Option<Option<V>>, LoadError<E>> {
        let Some(_wait) = begin_wait(waiter.flight()) else { return Err(LoadError::Recursive) };
        let Some(limit) = self.load_limit() else {
            return waiter.await.told(began, is_for_this_read);
        };
        let flight = Arc::clone(waiter.flight());
        // Where its own caller is polled, that one decides: its clock may be ahead by a step.
        let longest = limit.length.saturating_add(self.clock_step());
        if now.since(at) > longest.saturating_mul(MOST_LOADS) {
            return Err(LoadError::TimedOut { after: limit.length });
        }
        let left = longest.saturating_sub(now.since(flight.birth().started));
        let ending = match within(Some((limit.alarm)(left)), waiter).await {
            Some(ending) => ending,
            None => {
                self.fail(&flight, LoadError::TimedOut { after: limit.length }, now + left);
                // Unless it has ended at the last moment.
                Waiter::new(flight).await
            }
        };
        ending.told(began, is_for_this_read)
    }
}

/// What `work` comes to; nothing if the alarm goes off before. It is dropped by then.
pub(super) async fn within<T>(alarm: Option<Alarm>, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut alarm) = (pin!(work), alarm);
    poll_fn(|context| match (work.as_mut().poll(context), &mut alarm) {
        (Poll::Ready(output), _) => Poll::Ready(Some(output)),
        (Poll::Pending, Some(alarm)) => alarm.as_mut().poll(context).map(|()| None),
        (Poll::Pending, None) => Poll::Pending,
    })
    .await
}
