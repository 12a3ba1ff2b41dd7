//! Owns one simulated process: a core node, its cache, and what is known of it from outside.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use flushcast_core::Time;
use flushcast_core::ack::TicketId;
use flushcast_core::cache::{Cache, CacheConfig, Caches, Flushable, HashSeeds};
use flushcast_core::flush::LogLimits;
use flushcast_core::node::{Node, NodeConfig};
use flushcast_core::wire::Incarnation;

use crate::reads::Read;
use crate::tap::{ByLife, Change, Floors, Shared};

pub(crate) const CLUSTER: &str = "sim";
pub(crate) const DATA: &str = "data";
pub(crate) const TAP: &str = "tap";

/// One life of one process.
pub(crate) struct Member {
    /// Its life, counted over the whole run.
    pub(crate) life: u64,
    pub(crate) core: Node,
    pub(crate) data: Arc<Cache<u64, u64>>,
    pub(crate) tap: Shared,
    /// What a read that starts now must not be older than.
    pub(crate) floors: Floors,
    /// When this life began.
    pub(crate) started: Time,
    /// Changes made in this life.
    pub(crate) changes: u64,
    /// The last change applied of each origin's life; `None` where a reset allows a gap.
    pub(crate) last_of: ByLife<Option<u64>>,
    /// What lives up to this one had announced before is covered by a distrust.
    pub(crate) covered: u64,
    pub(crate) reads: Vec<Read>,
    pub(crate) awaited: Vec<(TicketId, Change, Time)>,
    /// Stopped by a signal until then.
    pub(crate) paused_until: Time,
    /// It has said goodbye and makes no more changes.
    pub(crate) leaving: bool,
    /// The lives that it has followed.
    pub(crate) followed: BTreeSet<u64>,
    /// The timer that is on its way.
    pub(crate) timer: Time,
}

impl Member {
    pub(crate) fn start(slot: usize, life: u64, log: LogLimits, rng: &mut fastrand::Rng) -> Self {
        let caches = Arc::new(Caches::default());
        let seeds = HashSeeds([rng.u64(..), rng.u64(..), rng.u64(..), rng.u64(..)]);
        let config =
            CacheConfig { capacity: 100, weigher: None, time_to_live: None, bound: None, seeds };
        let Ok(data) = Cache::register(&caches, DATA, config) else { unreachable!("new registry") };
        let tap = Shared::default();
        let flushable: Arc<dyn Flushable> = Arc::clone(&tap) as _;
        let Ok(()) = caches.register(TAP, Arc::downgrade(&flushable)) else {
            unreachable!("new registry")
        };
        let config = NodeConfig {
            cluster: CLUSTER.to_owned(),
            name: name_of(slot),
            incarnation: incarnation_of(life),
            address: address_of(slot),
            labels: Default::default(),
            log,
            seed: rng.u64(..),
        };
        Self {
            life,
            core: Node::new(config, caches),
            data,
            tap,
            floors: Floors::default(),
            started: Time::ZERO,
            changes: 0,
            last_of: ByLife::new(),
            covered: 0,
            reads: Vec::new(),
            awaited: Vec::new(),
            paused_until: Time::ZERO,
            leaving: false,
            followed: BTreeSet::new(),
            timer: Time::NEVER,
        }
    }
}

pub(crate) fn name_of(slot: usize) -> String {
    format!("n{slot}")
}

pub(crate) fn address_of(slot: usize) -> SocketAddr {
    let last = u8::try_from(slot + 1).unwrap_or(u8::MAX);
    SocketAddr::from(([10, 0, 0, last], 7400))
}

pub(crate) fn slot_of(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(address) => usize::from(address.ip().octets()[3]) - 1,
        SocketAddr::V6(_) => unreachable!("simulated nodes have IPv4 addresses"),
    }
}

fn incarnation_of(life: u64) -> Incarnation {
    Incarnation(u128::from(life).to_be_bytes())
}

pub(crate) fn life_of(incarnation: Incarnation) -> u64 {
    u64::try_from(u128::from_be_bytes(incarnation.0)).unwrap_or(u64::MAX)
}
