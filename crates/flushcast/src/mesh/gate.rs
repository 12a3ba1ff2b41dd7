//! Owns the connections that have not proven yet whose they are: how many there are, and how fast they
//! are dealt with. Who is silent keeps nobody out: what makes room is the one that waits longest, of
//! those who have most.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Most connections that have not proven whose they are, if the process may open four times as many
/// files; else a quarter of that.
pub(super) const MAX_UNPROVEN: usize = 256;
/// How long a handshake may take, from when the connection is accepted.
pub(super) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Between the beginnings of two handshakes that others ask for, on average: each takes a fraction of a
/// millisecond of a processor's time.
const HANDSHAKE_EVERY: Duration = Duration::from_millis(1);
/// So many begin at once, if none did before: no clock wakes anybody to the millisecond.
const AT_ONCE: u32 = 16;
/// When a reason is told again that a source was turned away for.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(600);
/// Most pairs of a source and a reason that are remembered, so as not to be told again.
const MAX_TOLD: usize = 64;

/// All that wait at one node's door.
#[derive(Debug)]
pub(crate) struct Gate {
    /// One for each that has not proven anything, given back when its socket is closed.
    places: Arc<sync::Semaphore>,
    /// Whose turn was last. Held by whose is next; who leaves takes none.
    turn: sync::Mutex<Option<Instant>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The next number.
    next: u64,
    /// Who has not proven anything yet, in order of their coming: the source, and a word to leave.
    unproven: BTreeMap<u64, (IpAddr, CancellationToken)>,
    /// Whom and what has been told, the latest last.
    told: VecDeque<(Instant, IpAddr, String)>,
    turned_away: u64,
}

/// A place at the door, for as long as this lives.
pub(super) struct Waiting {
    gate: Arc<Gate>,
    number: u64,
    /// Done once the place is needed for another one.
    pub(super) leave: CancellationToken,
    _place: Option<sync::OwnedSemaphorePermit>,
}

impl Gate {
    pub(crate) fn new() -> Arc<Self> {
        let places = Arc::new(sync::Semaphore::new(places(files())));
        Arc::new(Self { places, turn: sync::Mutex::default(), state: Mutex::default() })
    }

    /// Takes a place; where there is none left, somebody has to leave, and is waited for.
    pub(super) async fn wait(self: &Arc<Self>, from: IpAddr) -> Waiting {
        if self.places.available_permits() == 0 {
            self.state.lock().make_room();
        }
        // The semaphore is never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let mut state = self.state.lock();
        let (number, leave) = (state.next, CancellationToken::new());
        state.next += 1;
        state.unproven.insert(number, (source(from), leave.clone()));
        drop(state);
        Waiting { gate: Arc::clone(self), number, leave, _place: place }
    }

    /// Waits for one's turn: at most [`MAX_UNPROVEN`] times [`HANDSHAKE_EVERY`].
    pub(super) async fn turn(&self) {
        let mut last = self.turn.lock().await;
        let rested = Instant::now().checked_sub(HANDSHAKE_EVERY * AT_ONCE);
        let turn = last.max(rested).map(|last| last + HANDSHAKE_EVERY);
        if let Some(turn) = turn {
            tokio::time::sleep_until(turn).await;
        }
        *last = turn;
    }

    /// Counts one that was turned away. Whether it is to be told: once for each source and reason, and
    /// again after [`TELL_AGAIN_AFTER`].
    pub(super) fn turn_away(&self, from: IpAddr, why: &str) -> bool {
        let mut state = self.state.lock();
        state.turned_away += 1;
        let (now, from) = (Instant::now(), source(from));
        state.told.retain(|(at, ..)| now < *at + TELL_AGAIN_AFTER);
        if state.told.iter().any(|(_, source, reason)| *source == from && reason == why) {
            return false;
        }
        if state.told.len() == MAX_TOLD {
            state.told.pop_front();
        }
        state.told.push_back((now, from, why.to_owned()));
        true
    }

    pub(crate) fn turned_away(&self) -> u64 {
        self.state.lock().turned_away
    }
}

impl State {
    /// Of the source that has most, the one that waits longest leaves.
    fn make_room(&mut self) {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        self.unproven.values().for_each(|(from, _)| *counts.entry(*from).or_default() += 1);
        // Of several that have most, the one whose first came first.
        let longest = self.unproven.iter().rev().max_by_key(|(_, (from, _))| counts[from]);
        let longest = longest.map(|(&number, _)| number);
        if let Some((_, leave)) = longest.and_then(|number| self.unproven.remove(&number)) {
            leave.cancel();
        }
    }
}

/// Whom an address stands for: with IPv6, everybody has a whole network of them.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address => address,
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.gate.state.lock().unproven.remove(&self.number);
    }
}

/// How many wait at the most in a process that may open so many files.
fn places(files: usize) -> usize {
    MAX_UNPROVEN.min(files / 4).max(1)
}

/// How many files the process may open.
#[cfg(unix)]
fn files() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
fn files() -> usize {
    usize::MAX
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    fn from(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    /// Somebody comes to a full gate; gives back who had to leave, of those who `wait`.
    async fn leaves(gate: &Arc<Gate>, late: IpAddr, wait: &mut Vec<Waiting>) -> Vec<usize> {
        let coming = tokio::spawn({
            let gate = Arc::clone(gate);
            async move { gate.wait(late).await }
        });
        tokio::task::yield_now().await;
        let leaving: Vec<_> = (0..wait.len()).filter(|&at| wait[at].leave.is_cancelled()).collect();
        assert!(!coming.is_finished(), "its socket is open still");
        wait.retain(|it| !it.leave.is_cancelled());
        wait.push(coming.await.unwrap());
        leaving
    }

    #[tokio::test]
    async fn who_waits_longest_of_those_who_have_most_makes_room() {
        let gate = Gate::new();
        let mut wait = vec![gate.wait(from(1)).await];
        while gate.places.available_permits() > 0 {
            wait.push(gate.wait(from(2)).await);
        }
        assert_eq!(leaves(&gate, from(3), &mut wait).await, [1]);
        assert_eq!(leaves(&gate, from(3), &mut wait).await, [1]);
        drop(wait);
        assert!(gate.state.lock().unproven.is_empty());
    }

    #[tokio::test]
    async fn a_whole_network_is_one_source_and_of_equals_the_first_makes_room() {
        let gate = Gate::new();
        let in_network = |network, it| IpAddr::from([0x2001, network, 0, 0, 0, 0, 0, it]);
        let mut wait = vec![gate.wait(in_network(1, 1)).await];
        for it in 0..2 {
            wait.push(gate.wait(in_network(2, it)).await);
        }
        for network in 3.. {
            if gate.places.available_permits() == 0 {
                break;
            }
            wait.push(gate.wait(in_network(network, 1)).await);
        }
        assert_eq!(leaves(&gate, from(1), &mut wait).await, [1], "two of one network");
        assert_eq!(leaves(&gate, from(1), &mut wait).await, [0], "it came first");
    }

    #[test]
    fn no_more_than_a_quarter_of_the_files_is_theirs() {
        let limits = [usize::MAX, 1024, 400, 3, 0];
        assert_eq!(limits.map(places), [256, 256, 100, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn each_source_and_reason_is_told_once_and_few_are_remembered() {
        let gate = Gate::new();
        assert!(gate.turn_away(from(1), "no certificate"));
        assert!(!gate.turn_away(from(1), "no certificate"), "told already");
        assert!(gate.turn_away(from(2), "no certificate"));
        assert!(gate.turn_away(from(1), "expired"));
        for number in 0..=u8::MAX {
            gate.turn_away(from(number), "no certificate");
        }
        assert_eq!(gate.turned_away(), 4 + 256);
        assert_eq!(gate.state.lock().told.len(), MAX_TOLD);
        let last = from(u8::MAX);
        assert!(!gate.turn_away(last, "no certificate"));
        tokio::time::advance(TELL_AGAIN_AFTER).await;
        assert!(gate.turn_away(last, "no certificate"), "it is news again");
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_begin_one_after_the_other() {
        let gate = Gate::new();
        let start = Instant::now();
        for _ in 0..AT_ONCE {
            gate.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..100 {
            gate.turn().await;
        }
        assert!(start.elapsed() >= 99 * HANDSHAKE_EVERY);
        assert!(start.elapsed() <= 102 * HANDSHAKE_EVERY);
        // Who leaves before its turn takes none.
        for _ in 0..1000 {
            let _ = tokio::time::timeout(Duration::ZERO, gate.turn()).await;
        }
        let start = Instant::now();
        gate.turn().await;
        assert!(start.elapsed() <= 2 * HANDSHAKE_EVERY);
    }
}
