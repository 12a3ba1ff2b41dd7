//! Owns the measure of the core alone: the time inside one node among ever more peers, which are
//! played. No sockets, no threads; what carrying and playing take does not count.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flushcast::{CacheError, Guarantee, LogLimits};
use flushcast_core::ack::Reason;
use flushcast_core::cache::{Cache, CacheConfig, Caches, HashSeeds};
use flushcast_core::node::{ConnId, Input, Limits, NodeConfig, Output, Transmit};
use flushcast_core::peers::Listed;
use flushcast_core::wire::{Incarnation, RENEW_EVERY, Scope};
use flushcast_core::{Node, Time};

use crate::error::BenchError;
use crate::figures::{self, Table, median};
use crate::scripted::{Scripted, place};
use crate::words::{CACHE, CLUSTER};

/// As many bytes as the shell asks for at once.
const WRITE_BYTES: usize = 64 * 1024;
/// What passes between two inputs.
const MOMENT: Duration = Duration::from_micros(1);
/// Rounds of renewals until everything that a start brings is over.
const WARM_UP: usize = 6;
/// Figures of a run.
const FIGURES: usize = 6;
/// Where nobody listens.
const DEAD: u16 = u16::MAX;

/// Measures the time inside the core of one node among many, which are played
#[derive(Debug, Clone, clap::Args)]
pub struct CoreScaleArgs {
    /// How many peers; several runs by commas
    #[arg(long, value_delimiter = ',', default_values_t = [10_u16, 100, 300, 1000])]
    peers: Vec<u16>,
    /// Rounds, of which the median is taken
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// With a strict cache and a fixed list, which is of 256 at most
    #[arg(long)]
    strict: bool,
}

/// Runs the measure and gives back its report.
///
/// # Errors
/// [`BenchError`]; there are no figures then.
pub fn run(args: &CoreScaleArgs) -> Result<String, BenchError> {
    let machine = figures::machine();
    let head = [
        "peers",
        "sent",
        "acknowledged",
        "awaited",
        "awaited, strict",
        "renewal round",
        "one dead address",
        "start",
    ];
    let mut table = Table::new(head);
    let mut all = Vec::new();
    for &peers in &args.peers {
        let (figures, start) = measure(peers, args)?;
        let cells = figures.map(|millis| format!("{millis:.3}"));
        let mut row = vec![peers.to_string()];
        row.extend(cells);
        row.push(format!("{start:.0?}"));
        table.row(row);
        all.push((peers, figures));
    }
    if let Some(ratios) = growth(&all) {
        table.row(ratios);
    }
    Ok(format!(
        "processor time inside the core, ms: one node, scripted peers, {} rounds, medians; {machine}\n\
         a renewal round and a dead address: for each {RENEW_EVERY:?}\n\n{table}",
        args.rounds
    ))
}

/// How much more the largest run takes than N log N would have it, from the one of 100 peers on.
fn growth(all: &[(u16, [f64; FIGURES])]) -> Option<Vec<String>> {
    let work = |peers: u16| f64::from(peers) * f64::from(peers).ln();
    let (few, small) = all.iter().find(|(peers, _)| *peers == 100)?;
    let (many, large) = all.last().filter(|(many, _)| many > few)?;
    let more = work(*many) / work(*few);
    let ratios = small.iter().zip(large).map(|(small, large)| large / small / more);
    let mut row = vec![format!("{few} to {many}, to N log N")];
    row.extend(ratios.map(|ratio| format!("{ratio:.2}")));
    Some(row)
}

/// The figures in milliseconds: a flush that is sent, one that is acknowledged, one that is awaited,
/// the same of a strict cache, a round of renewals, a dead address.
fn measure(peers: u16, args: &CoreScaleArgs) -> Result<([f64; FIGURES], Duration), BenchError> {
    let mut rig = Rig::new(peers, args.strict)?;
    // Every second peer has dialled before the list is known, so that the others are dialled.
    (0..peers).filter(|peer| peer % 2 == 1).try_for_each(|peer| rig.dial_in(peer))?;
    rig.list((0..peers).map(place))?;
    for _ in 0..WARM_UP {
        rig.renewal_round()?;
    }
    rig.assert_linked(peers)?;
    let start = rig.busy;

    let mut figures: [Vec<f64>; FIGURES] = Default::default();
    for _ in 0..args.rounds {
        let sent = rig.millis_of(|rig| rig.flush(None))?;
        figures[0].push(sent);
        figures[1].push(sent + rig.millis_of(Rig::acknowledge_all)?);
        figures[2].push(rig.millis_of(|rig| rig.flush(Some(Guarantee::default())))?);
        figures[3].push(rig.millis_of(|rig| rig.flush(Some(Guarantee::Strict)))?);
    }
    for _ in 0..args.rounds {
        figures[4].push(rig.millis_of(Rig::renewal_round)?);
    }
    rig.assert_linked(peers)?;
    rig.list((0..peers).map(place).chain([place(DEAD)]))?;
    rig.in_question.push(place(DEAD));
    for _ in 0..WARM_UP {
        rig.renewal_round()?;
    }
    let alone = median(figures[4].clone());
    for _ in 0..args.rounds {
        figures[5].push((rig.millis_of(Rig::renewal_round)? - alone).max(0.0));
    }
    rig.assert_linked(peers)?;
    Ok((figures.map(median), start))
}

/// The processor time of this thread.
fn processor_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(spent).unwrap_or_default()
}

fn clock_costs() -> Duration {
    let readings: Vec<_> = (0..1001).map(|_| processor_time()).collect();
    let mut costs: Vec<_> = readings.windows(2).map(|pair| pair[1] - pair[0]).collect();
    costs.sort_unstable();
    costs[costs.len() / 2]
}

/// The measured node and the other ends of its connections.
struct Rig {
    node: Node,
    now: Time,
    /// Processor time that was spent inside the core: what else runs on the machine counts little.
    busy: Duration,
    /// What reading the clock takes, which is a call of the kernel.
    clock_costs: Duration,
    outputs: VecDeque<Output>,
    links: BTreeMap<ConnId, Scripted>,
    /// The fixed list that all nodes were given, if any.
    fixed: Option<Vec<SocketAddr>>,
    /// Places that the peers ask about.
    in_question: Vec<SocketAddr>,
    settled: usize,
}

impl Rig {
    fn new(peers: u16, strict: bool) -> Result<Self, BenchError> {
        let caches = Arc::new(Caches::default());
        let guarantee = if strict { Guarantee::Strict } else { Guarantee::default() };
        let config = CacheConfig::new(10, guarantee, HashSeeds([1, 2, 3, 4]));
        let _cache: Arc<Cache<String, u64>> =
            Cache::register(&caches, CACHE, config).map_err(CacheError::from)?;
        let own = SocketAddr::from(([10, 1, 0, 0], 7400));
        let fixed = strict.then(|| (0..peers).map(place).chain([own]).collect::<Vec<_>>());
        let config = NodeConfig {
            cluster: CLUSTER.to_owned(),
            name: "measured".to_owned(),
            incarnation: Incarnation([255; 16]),
            address: own,
            labels: BTreeMap::new(),
            log: LogLimits::default(),
            sources: 1,
            fixed: fixed.clone(),
            // Else a strict cache has no proof while a listed address refuses.
            trust_refusals: strict.then_some(true),
            limits: Limits::default(),
            seed: 1,
        };
        Ok(Self {
            node: Node::new(config, caches),
            now: Time::ZERO,
            busy: Duration::ZERO,
            clock_costs: clock_costs(),
            outputs: VecDeque::new(),
            links: BTreeMap::new(),
            fixed,
            in_question: Vec::new(),
            settled: 0,
        })
    }

    /// Does something with the node and takes its outputs; all of that counts.
    fn inside<T>(&mut self, what: impl FnOnce(&mut Node, Time) -> T) -> T {
        self.now = self.now + MOMENT;
        let start = processor_time();
        let came_to = what(&mut self.node, self.now);
        self.outputs.extend(std::iter::from_fn(|| self.node.poll_output()));
        self.busy += (processor_time() - start).saturating_sub(self.clock_costs);
        came_to
    }

    fn feed(&mut self, input: Input<'_>) {
        self.inside(|node, now| node.handle(now, input));
    }

    fn hear(&mut self, conn: ConnId, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.feed(Input::Received { conn, bytes });
        }
    }

    fn millis_of(
        &mut self,
        what: impl FnOnce(&mut Self) -> Result<(), BenchError>,
    ) -> Result<f64, BenchError> {
        let before = self.busy;
        what(self)?;
        Ok((self.busy - before).as_secs_f64() * 1000.0)
    }

    fn list(&mut self, places: impl Iterator<Item = SocketAddr>) -> Result<(), BenchError> {
        let listed = places.map(Listed::from).collect();
        self.feed(Input::Members { source: "list".into(), listed, complete: true });
        self.settle()
    }

    fn dial_in(&mut self, peer: u16) -> Result<(), BenchError> {
        let conn = self.node.next_conn();
        let scripted = self.scripted(peer);
        let mut hello = Vec::new();
        scripted.greet(&mut hello)?;
        self.links.insert(conn, scripted);
        self.feed(Input::Accepted { conn, from: place(peer) });
        self.hear(conn, &hello);
        // A connection is asked once for what it has to say, before the node wakes it.
        self.carry(conn)?;
        self.settle()
    }

    fn scripted(&self, peer: u16) -> Scripted {
        Scripted::new(peer, self.fixed.clone().unwrap_or_default())
    }

    /// Carries out what the node wants until it wants nothing.
    fn settle(&mut self) -> Result<(), BenchError> {
        while let Some(output) = self.outputs.pop_front() {
            match output {
                Output::Dial { conn, address } if address == place(DEAD) => {
                    self.feed(Input::DialFailed { conn, why: Reason::Refused });
                }
                Output::Dial { conn, address } => {
                    let SocketAddr::V4(at) = address else { continue };
                    let [.., high, low] = at.ip().octets();
                    let scripted = self.scripted(u16::from_be_bytes([high, low]));
                    self.links.insert(conn, scripted);
                    self.feed(Input::Connected { conn, local: None });
                    self.carry(conn)?;
                }
                Output::Wake { conn } => self.carry(conn)?,
                Output::Close { conn } => drop(self.links.remove(&conn)),
                Output::Settled { outcome, .. } => {
                    self.settled += usize::from(outcome.is_complete())
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Brings the other end what the node has to say, and back what it answers.
    fn carry(&mut self, conn: ConnId) -> Result<(), BenchError> {
        let (mut said, mut answer) = (Vec::new(), Vec::new());
        loop {
            said.clear();
            let sent = self.inside(|node, _| node.transmit(conn, WRITE_BYTES, &mut said));
            if sent != Transmit::Data {
                break;
            }
            if let Some(scripted) = self.links.get_mut(&conn) {
                scripted.hear(&said, &mut answer)?;
            }
        }
        self.hear(conn, &answer);
        Ok(())
    }

    /// One flush, sent to all; if it is awaited, as one of a cache with that guarantee, until all
    /// have acknowledged it.
    fn flush(&mut self, awaited: Option<Guarantee>) -> Result<(), BenchError> {
        self.links.values_mut().for_each(|scripted| scripted.acknowledges = awaited.is_some());
        let before = self.settled;
        self.inside(|node, now| {
            // The names are within their limits, and the node does not leave.
            let seq = node.announce(CACHE, vec![Scope::Key("settings/42")]);
            if let (Some(guarantee), Ok(seq)) = (awaited, seq) {
                let strict = guarantee == Guarantee::Strict;
                node.await_applied(now, seq, now, now + RENEW_EVERY, strict);
            }
        });
        self.settle()?;
        self.links.values_mut().for_each(|scripted| scripted.acknowledges = true);
        match self.settled - before {
            0 if awaited.is_some() => Err(self.not_linked()),
            _ => Ok(()),
        }
    }

    fn acknowledge_all(&mut self) -> Result<(), BenchError> {
        for conn in self.links.keys().copied().collect::<Vec<_>>() {
            let mut acks = Vec::new();
            if let Some(scripted) = self.links.get_mut(&conn) {
                scripted.acknowledge(&mut acks)?;
            }
            self.hear(conn, &acks);
        }
        self.settle()
    }

    /// Lets [`RENEW_EVERY`] pass: the node asks all peers, and all peers ask it.
    fn renewal_round(&mut self) -> Result<(), BenchError> {
        let end = self.now + RENEW_EVERY;
        for conn in self.links.keys().copied().collect::<Vec<_>>() {
            let mut renew = Vec::new();
            if let Some(scripted) = self.links.get_mut(&conn) {
                scripted.renew(&self.in_question, &mut renew)?;
            }
            self.hear(conn, &renew);
            self.settle()?;
        }
        loop {
            let deadline = self.inside(|node, _| node.next_deadline());
            if deadline > end {
                break;
            }
            self.now = self.now.max(deadline);
            self.feed(Input::Tick);
            self.settle()?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    fn assert_linked(&self, wanted: u16) -> Result<(), BenchError> {
        let peers = self.node.peers(self.now);
        let linked = peers.iter().filter(|peer| peer.is_linked()).count();
        match linked == usize::from(wanted) && self.node.in_sync(self.now) {
            true => Ok(()),
            false => Err(self.not_linked()),
        }
    }

    fn not_linked(&self) -> BenchError {
        let peers = self.node.peers(self.now);
        let linked = peers.iter().filter(|peer| peer.is_linked()).count();
        let seen = format!("{linked} linked, cut off from {:?}", self.node.cut_off(self.now));
        BenchError::NotLinked { seen }
    }
}
