//! Owns one simulated process: a core node, its cache, and what is known of it from outside.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::ack::TicketId;
use flushcast_core::cache::{Cache, CacheConfig, Caches, Guarantee, HashSeeds, Proof};
use flushcast_core::flush::LogLimits;
use flushcast_core::node::{Input, Limits, Node, NodeConfig};
use flushcast_core::peers::Listed;
use flushcast_core::wire::{Incarnation, Seq};

use crate::conditions::Listing;
use crate::history::Teller;
use crate::places::Name;
use crate::reads::Read;
use crate::tap::{ByLife, Change, Floors, Shared, Tap};
use crate::what::Id;

pub(crate) const CLUSTER: &str = "sim";
pub(crate) const DATA: &str = "data";
/// Where a node listens that listens on all addresses.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7400);

/// One life of one process.
pub(crate) struct Member {
    /// Its life, counted over the whole run.
    pub(crate) life: u64,
    pub(crate) core: Node,
    /// Something has changed in what its core knows of the others.
    pub(crate) has_news: bool,
    /// The places that it says to be at.
    pub(crate) claims: Vec<SocketAddr>,
    pub(crate) data: Arc<Cache<Id, u64>>,
    pub(crate) tap: Shared,
    /// Its proof of sync, on its own clock, as bounded caches read it.
    pub(crate) proof: Arc<Proof>,
    /// The proof that was checked last.
    pub(crate) checked: Time,
    /// What a read that starts now must not be older than.
    pub(crate) floors: Floors,
    /// When this life began.
    pub(crate) started: Time,
    /// Its own clock.
    pub(crate) clock: Clock,
    /// Changes made in this life.
    pub(crate) changes: u64,
    /// The last change applied of each origin's life; `None` where a reset allows a gap.
    pub(crate) last_of: ByLife<Option<u64>>,
    /// What lives up to this one had announced before is covered by a distrust.
    pub(crate) covered: u64,
    /// When it last distrusted everything.
    pub(crate) covered_at: Time,
    /// When it had done so before that.
    pub(crate) covered_before: Time,
    pub(crate) reads: Vec<Read>,
    pub(crate) awaited: Vec<(TicketId, Change, Time)>,
    /// The names of those that some flush was awaited of to its end, and the places where more than one was.
    pub(crate) in_vain: BTreeSet<String>,
    /// Nothing drives its node until then.
    pub(crate) paused_until: Time,
    /// Stopped by a signal until then, its reads included.
    pub(crate) frozen_until: Time,
    /// When it stopped being driven last, while its reads went on.
    pub(crate) stalled_at: Time,
    /// It has said goodbye and makes no more changes.
    pub(crate) leaving: bool,
    /// The lives that it has followed.
    pub(crate) followed: BTreeSet<u64>,
    /// The timer that is on its way.
    pub(crate) timer: Time,
    /// Since when each slot is on its roster.
    pub(crate) listed: BTreeMap<usize, Listing>,
    /// When each slot was on it, and is no more, because its list has dropped it.
    pub(crate) dropped: Vec<(usize, Listing)>,
    /// Since when it is linked with each life.
    pub(crate) linked: BTreeMap<u64, Time>,
    /// What its discovery told last.
    pub(crate) names: Vec<Name>,
    /// Who sent what it heard last.
    pub(crate) hears: Option<Teller>,
    /// Who sent what was applied last.
    pub(crate) applied_from: Option<Teller>,
    /// When it was taken out of the core.
    pub(crate) taken_at: Time,
    pub(crate) caches: Arc<Caches>,
    /// Since when, without a break, its discovery lists each slot.
    pub(crate) told: BTreeMap<usize, Time>,
    /// Distrusts that were heard and not yet accounted for.
    pub(crate) distrusts: i64,
}

/// What all members have in common.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) log: LogLimits,
    pub(crate) guarantee: Guarantee,
    pub(crate) freshness: Freshness,
    /// Whether a refused dial proves that nobody is there, if the operator has said so or not.
    pub(crate) trusts_refusals: Option<bool>,
    pub(crate) limits: Limits,
}

/// What a node is told of places at its start.
#[derive(Debug)]
pub(crate) struct Place {
    /// Where it says to be; nothing if it listens on all addresses and advertises none.
    pub(crate) claims: Vec<SocketAddr>,
    /// All addresses of the list.
    pub(crate) all: Vec<SocketAddr>,
}

/// What a core says of a node that it knows of, in words that stay when the core's change.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) addresses: Vec<SocketAddr>,
    /// The life that was met there last.
    pub(crate) life: Option<u64>,
    pub(crate) is_linked: bool,
    pub(crate) applied: Seq,
    /// How old the proof of it is.
    pub(crate) in_step: Duration,
    pub(crate) left: bool,
}

/// How old copies get, and what becomes of them then.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Freshness {
    time_to_live: Option<Duration>,
    time_to_idle: Option<Duration>,
    keep_expired: Duration,
    refresh_after: Option<Duration>,
    refresh_early: Option<f64>,
}

impl Freshness {
    /// Each of it in half of the runs.
    pub(crate) fn draw(rng: &mut fastrand::Rng) -> Self {
        let mut length = |most| rng.bool().then(|| Duration::from_millis(rng.u64(1..most)));
        Self {
            time_to_live: length(5_000),
            time_to_idle: length(5_000),
            keep_expired: length(20_000).unwrap_or_default(),
            refresh_after: length(2_000),
            refresh_early: rng.bool().then_some(1.0),
        }
    }
}

impl Cluster {
    pub(crate) fn is_strict(&self) -> bool {
        self.guarantee == Guarantee::Strict
    }

    /// Whether the promise rests on honest refusals: unless the operator has said something else,
    /// a strict one does not.
    pub(crate) fn rests_on_refusals(&self) -> bool {
        self.trusts_refusals.unwrap_or(!self.is_strict())
    }
}

/// A process's own clock: it starts with the process, and runs a little fast or slow.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    world: Rc<Cell<Time>>,
    pub(crate) started: Time,
    /// Nanoseconds of this clock in a second of the world.
    rate: u64,
}

const SECOND: u128 = 1_000_000_000;
/// How far a clock may be off, in nanoseconds a second: the margin that the core allows for.
const DRIFT: u64 = 1_000_000;

impl Clock {
    pub(crate) fn start(world: &Rc<Cell<Time>>, rng: &mut fastrand::Rng) -> Self {
        let rate = SECOND as u64 - DRIFT + rng.u64(0..=2 * DRIFT);
        Self { world: Rc::clone(world), started: world.get(), rate }
    }

    /// What it shows now.
    pub(crate) fn now(&self) -> Time {
        self.reading(self.world.get())
    }

    /// What it shows at a moment of the world.
    pub(crate) fn reading(&self, at: Time) -> Time {
        let passed = at.since(self.started).as_nanos();
        Time::from_nanos((passed * u128::from(self.rate) / SECOND) as u64)
    }

    /// When, in the world, it shows `reading`.
    pub(crate) fn when(&self, reading: Time) -> Time {
        if reading == Time::NEVER {
            return reading;
        }
        let passed = (u128::from(reading.as_nanos()) * SECOND).div_ceil(u128::from(self.rate));
        self.started + Duration::from_nanos(passed as u64)
    }
}

impl Member {
    pub(crate) fn start(
        slot: usize,
        life: u64,
        cluster: &Cluster,
        place: Place,
        clock: Clock,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let caches = Arc::new(Caches::default());
        let seeds = HashSeeds([rng.u64(..), rng.u64(..), rng.u64(..), rng.u64(..)]);
        let mut config = CacheConfig::new(100, cluster.guarantee, seeds);
        let Freshness { time_to_live, time_to_idle, keep_expired, refresh_after, refresh_early } =
            cluster.freshness;
        config.time_to_live = time_to_live;
        config.time_to_idle = time_to_idle;
        config.keep_expired = keep_expired;
        config.refresh_after = refresh_after;
        config.refresh_early = refresh_early;
        let Ok(data) = Cache::register(&caches, "behind the tap", config) else {
            unreachable!("new registry")
        };
        let tap = Tap::new(&data);
        let flushable = Arc::clone(&tap) as _;
        let Ok(()) = caches.register(DATA, Guarantee::Eventual, Duration::ZERO, flushable) else {
            unreachable!("new registry")
        };
        let config = NodeConfig {
            cluster: CLUSTER.to_owned(),
            name: name_of(slot),
            incarnation: incarnation_of(life),
            address: place.claims.first().copied().unwrap_or(ANYWHERE),
            labels: Default::default(),
            log: cluster.log,
            sources: 1,
            fixed: Some(place.all),
            trust_refusals: cluster.trusts_refusals,
            limits: cluster.limits,
            seed: rng.u64(..),
        };
        let claims = place.claims;
        let proof = caches.proof(cluster.guarantee);
        Self {
            life,
            claims,
            has_news: true,
            proof,
            checked: Time::ZERO,
            core: Node::new(config, Arc::clone(&caches)),
            data,
            tap,
            floors: Floors::default(),
            started: clock.started,
            clock,
            changes: 0,
            last_of: ByLife::new(),
            covered: 0,
            covered_at: Time::ZERO,
            covered_before: Time::ZERO,
            reads: Vec::new(),
            awaited: Vec::new(),
            in_vain: BTreeSet::new(),
            paused_until: Time::ZERO,
            frozen_until: Time::ZERO,
            stalled_at: Time::NEVER,
            leaving: false,
            followed: BTreeSet::new(),
            timer: Time::NEVER,
            listed: BTreeMap::new(),
            dropped: Vec::new(),
            linked: BTreeMap::new(),
            names: Vec::new(),
            hears: None,
            applied_from: None,
            taken_at: Time::ZERO,
            caches,
            told: BTreeMap::new(),
            distrusts: 0,
        }
    }

    /// Until when it does not come to something: a call of the application, or anything else.
    pub(crate) fn stopped_until(&self, is_of_a_call: bool) -> Time {
        if is_of_a_call { self.frozen_until } else { self.paused_until }
    }

    /// What its core says of all that it knows of.
    pub(crate) fn roster(&self) -> impl Iterator<Item = Known> {
        let peers = self.core.peers(self.clock.now()).into_iter();
        peers.map(|peer| Known {
            addresses: peer.addresses.clone(),
            life: peer.incarnation.map(life_of),
            is_linked: peer.is_linked(),
            applied: peer.applied,
            in_step: peer.in_step,
            left: peer.left,
        })
    }
}

/// What discovery tells a node.
pub(crate) fn members(names: &[Name]) -> Input<'static> {
    let listed =
        |name: &Name| Listed { name: Arc::clone(&name.name), addresses: name.addresses.clone() };
    let listed = names.iter().map(listed).collect();
    Input::Members { source: "list".into(), listed, complete: true }
}

pub(crate) fn name_of(slot: usize) -> String {
    format!("n{slot}")
}

/// Where a node is that has one clean address.
pub(crate) fn address_of(slot: usize) -> SocketAddr {
    let last = u8::try_from(slot + 1).unwrap_or(u8::MAX);
    SocketAddr::from(([10, 0, 0, last], 7400))
}

/// The node that has one clean address.
pub(crate) fn slot_of(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(address) => usize::from(address.ip().octets()[3]) - 1,
        SocketAddr::V6(_) => unreachable!("clean addresses are IPv4"),
    }
}

pub(crate) fn incarnation_of(life: u64) -> Incarnation {
    // In front, where people see it.
    Incarnation((u128::from(life) << 96).to_be_bytes())
}

pub(crate) fn life_of(incarnation: Incarnation) -> u64 {
    u64::try_from(u128::from_be_bytes(incarnation.0) >> 96).unwrap_or(u64::MAX)
}
