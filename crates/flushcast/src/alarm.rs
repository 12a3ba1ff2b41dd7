//! Owns when tasks are woken that must not wait for a runtime: by one thread for all nodes of the process,
//! which is there only while something is due. It must never run anything but wakers.
//!
//! A node's own timer runs on the runtime it was started in, which the application may block, and its
//! reads on any other, which may have no timers. Awaited flushes and loads end in time all the same.

use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

static CLOCK: Clock = Clock { state: Mutex::new(State::new()), earlier: Condvar::new() };

struct Clock {
    state: Mutex<State>,
    /// Something is due before the thread would look again.
    earlier: Condvar,
}

struct State {
    /// Who is to be woken when, each with a number of its own.
    due: BTreeMap<(Instant, u64), Waker>,
    drawn: u64,
    /// When the thread looks again; nothing while there is none.
    looks_at: Option<Instant>,
}

impl State {
    const fn new() -> Self {
        Self { due: BTreeMap::new(), drawn: 0, looks_at: None }
    }

    /// Sees to it that the thread looks at `at`, or before.
    ///
    /// # Errors
    /// There is none, and none could be had. To be logged under no lock: who listens may wait.
    fn look_at(&mut self, at: Instant) -> std::io::Result<()> {
        match self.looks_at {
            Some(looks_at) if looks_at <= at => {}
            Some(_) => {
                CLOCK.earlier.notify_one();
            }
            None => {
                let thread = std::thread::Builder::new().name("flushcast alarm".to_owned());
                thread.spawn(run)?;
                self.looks_at = Some(at);
            }
        }
        Ok(())
    }
}

/// Wakes until nothing is due any more.
fn run() {
    let mut state = CLOCK.state.lock();
    loop {
        let now = Instant::now();
        match state.due.first_entry() {
            None => {
                state.looks_at = None;
                return;
            }
            Some(first) if first.key().0 <= now => {
                let waker = first.remove();
                drop(state);
                // An executor's: a panic in it must not keep the others waiting.
                let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
                state = CLOCK.state.lock();
            }
            Some(first) => {
                let at = first.key().0;
                state.looks_at = Some(at);
                CLOCK.earlier.wait_until(&mut state, at);
            }
        }
    }
}

/// Wakes one task at a time. Cancelled by dropping it.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<(Instant, u64)>);

impl Alarm {
    /// Has the task woken in so much time, unless it was set before and has not gone off: then only which
    /// task changes.
    pub(crate) fn set(&mut self, left: Duration, waker: &Waker) {
        let waker = waker.clone();
        let mut thread = Ok(());
        let mut state = CLOCK.state.lock();
        let before = match self.0.and_then(|key| state.due.get_mut(&key)) {
            Some(set) => Some(std::mem::replace(set, waker)),
            None => {
                let at = Instant::now() + left;
                state.drawn += 1;
                let key = (at, state.drawn);
                state.due.insert(key, waker);
                thread = state.look_at(at);
                self.0 = Some(key);
                None
            }
        };
        drop(state);
        // It may be all that is left of a task.
        drop(before);
        if let Err(error) = thread {
            tracing::warn!(%error, "no thread for deadlines: the node's runtime keeps them");
        }
    }
}

/// What `future` comes to, or nothing if that takes longer than `limit`. On any executor.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let Some(until) = Instant::now().checked_add(limit) else { return Some(future.await) };
    let mut alarm = Alarm::default();
    let mut future = pin!(future);
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return Poll::Ready(None);
        }
        alarm.set(left, context.waker());
        Poll::Pending
    })
    .await
}

/// Is over after so long. On any executor.
pub(crate) async fn sleep(length: Duration) {
    // Nothing is what it comes to.
    let _ = within(length, pending::<()>()).await;
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let left = self.0.and_then(|key| CLOCK.state.lock().due.remove(&key));
        drop(left);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::task::Wake;

    use super::*;

    struct Tell(Mutex<mpsc::Sender<u32>>, u32);

    impl Wake for Tell {
        fn wake(self: Arc<Self>) {
            self.0.lock().send(self.1).unwrap();
            assert!(self.1 != 1, "an executor that panics");
        }
    }

    #[test]
    fn tasks_are_woken_in_time_unless_they_have_gone() {
        const PATIENCE: Duration = Duration::from_secs(30);
        let (tell, woken) = mpsc::channel();
        let waker = |number| Waker::from(Arc::new(Tell(Mutex::new(tell.clone()), number)));
        let mut alarms: [Alarm; 4] = Default::default();
        alarms[0].set(Duration::from_millis(60), &waker(0));
        // Set later, due earlier.
        alarms[1].set(Duration::from_millis(20), &waker(1));
        alarms[2].set(Duration::from_millis(40), &waker(2));
        alarms[3].set(Duration::from_millis(1), &waker(4));
        // Its task has changed.
        alarms[3].set(PATIENCE, &waker(3));
        let [_first, _second, gone, _third] = alarms;
        drop(gone);
        let order: Vec<_> = (0..3).map(|_| woken.recv_timeout(PATIENCE).unwrap()).collect();
        assert_eq!(order, [3, 1, 0]);
        // Again, behind a pause in which its thread may have ended.
        let mut again = Alarm::default();
        again.set(Duration::ZERO, &waker(5));
        assert_eq!(woken.recv_timeout(PATIENCE), Ok(5));
    }
}
