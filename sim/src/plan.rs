//! Owns what a seed has in store: how large the world is, how long it goes on, and what is done to
//! it when. What each of it comes to is the matter of [`crate::actions`] and of the oddities' files.

use std::time::Duration;

use flushcast_core::cache::Guarantee;
use flushcast_core::flush::LogLimits;
use flushcast_core::node::Limits;

use crate::kinds::{Kind, Odd, Worlds};
use crate::member::{Cluster, Freshness};
use crate::world::{Event, World};

/// How long faults go on in most worlds.
const FAULTS_FOR: Duration = Duration::from_secs(20);
/// How long all nodes may take, once every fault is over, to be in step again.
const HEALS_WITHIN: Duration = Duration::from_secs(40);
/// How long faults go on where a node is restarted hundreds of times.
const LOOPS_FOR: Duration = Duration::from_secs(90);
/// Most lives of such a node.
const MANY_LIVES: usize = 400;
/// Worlds of many nodes cost much for each second: theirs are shorter.
const HEALS_WITHIN_CROWD: Duration = Duration::from_secs(25);
/// Most nodes of a wave.
const CROWD: usize = 12;
/// How long a node is alone before others join it.
const JOINED_AFTER: Duration = Duration::from_secs(5);
/// One restart each so long: a rolling update.
const ROLL_EVERY: Duration = Duration::from_millis(150);
/// When a calm world is rolled.
const CALM_UNTIL: Duration = Duration::from_secs(6);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    Start {
        slot: usize,
    },
    Change {
        slot: usize,
    },
    Read {
        slot: usize,
    },
    /// A write that leaves its value where it was made.
    Put {
        slot: usize,
    },
    /// The caller of a read or a write goes away.
    Leave {
        slot: usize,
    },
    Evict {
        slot: usize,
    },
    Kill {
        slot: usize,
    },
    /// A crash in the middle of a broadcast.
    ChangeAndKill {
        slot: usize,
    },
    Shutdown {
        slot: usize,
    },
    /// `SIGSTOP`, for a while.
    Pause {
        slot: usize,
    },
    Break,
    Cut,
    Discover {
        slot: usize,
    },
    /// A process ends after its goodbye.
    Exit {
        slot: usize,
        life: u64,
    },
    /// A list is asked for again.
    Relist {
        slot: usize,
    },
    /// The floating address passes to a machine.
    Float {
        to: usize,
    },
    /// A machine that refused answers nothing from now on.
    Vanish {
        slot: usize,
    },
    /// For a while, dials to a node are refused in its name.
    Refuse {
        slot: usize,
    },
    /// A node is restarted with the configuration of another one, or with its own again.
    Copy {
        slot: usize,
        of: Option<usize>,
    },
    /// A node and another one cannot reach each other for a while, and its list drops that one meanwhile.
    Flap {
        slot: usize,
    },
    /// A node's list leaves another one out.
    Unlist {
        slot: usize,
        other: usize,
    },
    /// A node leaves for good, and its machine is switched off.
    Retire {
        slot: usize,
    },
    /// The turn of a machine in a rolling restart.
    Roll {
        slot: usize,
        gently: bool,
    },
    /// One life of a crash loop: a flush mostly, then the end.
    Loop {
        slot: usize,
        left: usize,
    },
    /// A machine sleeps for minutes.
    Sleep {
        slot: usize,
    },
    /// Nothing drives the node, and its reads go on.
    Stall {
        slot: usize,
    },
    /// The end of the faults.
    Heal,
}

/// What a seed has in store.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    log: LogLimits,
    guarantee: Guarantee,
    freshness: Freshness,
    pub(crate) window: usize,
    /// Application calls over the fault phase.
    calls: usize,
    faults: usize,
    pub(crate) faults_for: Duration,
    pub(crate) heals_within: Duration,
    pub(crate) odd: Odd,
    /// The first node is alone for a while, and others join it.
    joined_late: bool,
    /// Whether a refused dial proves that nobody is there: condition C of the guarantees.
    trusts_refusals: Option<bool>,
    limits: Limits,
}

impl Plan {
    /// `rng` draws what plain worlds have, and `odd` what others have more: a plain world is the
    /// same, whatever others there are.
    pub(crate) fn draw(rng: &mut fastrand::Rng, odd: &mut fastrand::Rng, worlds: Worlds) -> Self {
        let entries = *rng.choice(&[4, 16, 10_000]).unwrap_or(&4);
        let mut plan = Self {
            nodes: rng.usize(2..=5),
            guarantee: match rng.u8(..10) {
                0..2 => Guarantee::Eventual,
                2..6 => Guarantee::Bounded(Duration::from_millis(rng.u64(1_000..5_000))),
                _ => Guarantee::Strict,
            },
            freshness: Freshness::draw(rng),
            window: *rng.choice(&[100, 4096]).unwrap_or(&100),
            log: LogLimits { entries, bytes: 1 << 20 },
            calls: rng.usize(20..200),
            faults: rng.usize(0..15),
            faults_for: FAULTS_FOR,
            heals_within: HEALS_WITHIN,
            odd: Odd::default(),
            joined_late: false,
            trusts_refusals: None,
            limits: limits(odd),
        };
        plan.odd = Odd::draw(worlds, plan.guarantee == Guarantee::Strict, odd);
        plan.suit(odd);
        if plan.odd.has(Kind::Loops) || plan.odd.has(Kind::Waves) {
            // So many lives end there that a small limit is reached, at the cost that it has.
            plan.limits.lives_over = 512;
        }
        plan
    }

    /// Makes the world such that its oddities can come about.
    fn suit(&mut self, rng: &mut fastrand::Rng) {
        let odd = self.odd.clone();
        let has = |kind| odd.has(kind);
        if has(Kind::Nat) {
            self.nodes = self.nodes.max(3);
        }
        self.joined_late = has(Kind::Alone) && rng.bool();
        if has(Kind::Waves) {
            self.nodes = rng.usize(4..=CROWD);
            self.heals_within = HEALS_WITHIN_CROWD;
        }
        if has(Kind::Flaps) {
            self.nodes = rng.usize(2..=3);
            self.guarantee = Guarantee::Bounded(Duration::from_millis(rng.u64(1_500..6_000)));
            self.faults = 0;
            self.joined_late = false;
        }
        if has(Kind::Loops) {
            self.nodes = 3;
            self.faults = self.faults.min(3);
            self.faults_for = LOOPS_FOR;
            self.heals_within = HEALS_WITHIN_CROWD;
            // Mostly nobody is reset: what is distrusted then is because of the loop.
            if rng.u8(..3) > 0 {
                self.log.entries = 10_000;
            }
        }
        if has(Kind::Sleeps) {
            self.nodes = self.nodes.min(3);
            self.faults_for = Duration::from_secs(rng.u64(100..200));
        }
        if has(Kind::Proxies) || has(Kind::OneWay) {
            // A strict cache takes a refusal alone for nothing, if nothing is said.
            self.trusts_refusals = *rng.choice(&[None, Some(false)]).unwrap_or(&None);
        }
        if has(Kind::Strangers) && self.guarantee == Guarantee::Strict {
            // For a strict cache, too, a place where something else answers is to be an empty one.
            match self.trusts_refusals {
                None if !has(Kind::Proxies) && !has(Kind::OneWay) => {
                    self.trusts_refusals = Some(true);
                }
                _ => self.odd.drop(Kind::Strangers),
            }
        }
        if has(Kind::OneWay) {
            // One that nobody can dial and that cannot dial another is cut off from it by rights; and
            // who has a floating address is not known to whom it cannot be dialled.
            self.odd.drop(Kind::Nat);
            self.odd.drop(Kind::Floats);
        }
        if has(Kind::Floats) {
            // One that lists nobody, and whose only address has passed on, is found by nobody.
            self.odd.drop(Kind::Alone);
            self.joined_late = false;
        }
        if has(Kind::Retires) {
            self.nodes = rng.usize(4..=5);
            self.faults = 0;
        }
        if has(Kind::Loops) {
            // Hundreds of lives pass in a log, more than a narrow connection carries in time.
            self.window = 4096;
        }
        if has(Kind::Calm) {
            self.nodes = rng.usize(8..=CROWD);
            self.guarantee = Guarantee::Bounded(Duration::from_secs(5));
            self.window = 4096;
            self.faults = 0;
            self.faults_for = CALM_UNTIL + Duration::from_secs(4);
            self.heals_within = Duration::from_secs(10);
        }
    }

    pub(crate) fn cluster(&self) -> Cluster {
        let Self { log, guarantee, freshness, trusts_refusals, limits, .. } = *self;
        Cluster { log, guarantee, freshness, trusts_refusals, limits }
    }

    pub(crate) fn schedule(&self, world: &mut World) {
        for slot in 0..self.nodes {
            // Some join while others are at work already.
            let latest = if world.rng.bool() || self.odd.has(Kind::Calm) { 1 } else { 5_000 };
            let mut start = Duration::from_millis(world.rng.u64(0..latest));
            if self.joined_late {
                start = if slot == 0 { Duration::ZERO } else { start + JOINED_AFTER };
            }
            world.after(start, Event::Act(Action::Start { slot }));
        }
        let moment = |rng: &mut fastrand::Rng| self.faults_for.mul_f64(rng.f64());
        for _ in 0..self.calls {
            let slot = world.rng.usize(..self.nodes);
            let action = match world.rng.u8(..100) {
                0..30 => Action::Change { slot },
                30..40 => Action::Put { slot },
                40..85 => Action::Read { slot },
                85..95 => Action::Leave { slot },
                _ => Action::Evict { slot },
            };
            let when = moment(&mut world.rng);
            // Calls come in bursts, as users do.
            for _ in 0..world.rng.usize(1..4) {
                world.after(when, Event::Act(action));
            }
        }
        for _ in 0..self.faults {
            let slot = world.rng.usize(..self.nodes);
            let action = match world.rng.u8(..100) {
                0..30 => Action::Break,
                30..50 => Action::Cut,
                50..62 => Action::Pause { slot },
                62..72 => Action::Kill { slot },
                72..84 => Action::ChangeAndKill { slot },
                84..90 => Action::Shutdown { slot },
                // A strict promise is about a list that does not change.
                _ if self.guarantee == Guarantee::Strict => Action::Cut,
                _ => Action::Discover { slot },
            };
            let when = moment(&mut world.rng);
            world.after(when, Event::Act(action));
        }
        for kind in Kind::ALL.into_iter().filter(|&kind| self.odd.has(kind)) {
            self.schedule_odd(kind, world);
        }
        world.after(self.faults_for, Event::Act(Action::Heal));
    }

    fn schedule_odd(&self, kind: Kind, world: &mut World) {
        let times = world.rng.usize(1..=4);
        for _ in 0..times {
            let slot = world.rng.usize(..self.nodes);
            let when = self.faults_for.mul_f64(world.rng.f64());
            let action = match kind {
                Kind::Floats => Action::Float { to: slot },
                // What moves, or is taken over, does so while its node is away.
                Kind::Moves | Kind::Strangers | Kind::Vanishes => Action::Kill { slot },
                Kind::Proxies => Action::Refuse { slot },
                Kind::Stalls => Action::Stall { slot },
                Kind::Flaps => Action::Flap { slot },
                _ => break,
            };
            world.after(when, Event::Act(action));
        }
        match kind {
            Kind::Twins => self.schedule_twins(world),
            Kind::Waves => {
                let begin = self.faults_for.mul_f64(world.rng.f64());
                let gently = world.rng.bool();
                self.schedule_roll(begin, gently, world);
            }
            Kind::Retires => {
                for (slot, second) in [(0, 8), (1, 10)] {
                    let when = Duration::from_secs(second);
                    world.after(when, Event::Act(Action::Retire { slot }));
                }
                let when = Duration::from_secs(world.rng.u64(9..15));
                world.after(when, Event::Act(Action::Kill { slot: 2 }));
            }
            Kind::Calm => self.schedule_roll(CALM_UNTIL, true, world),
            Kind::Loops => {
                let slot = world.rng.usize(..self.nodes);
                // Some come near the number of lives that a node remembers, and beyond.
                let most = if world.rng.bool() { 100 } else { MANY_LIVES };
                let left = world.rng.usize(most / 2..=most);
                let first = Duration::from_secs(2);
                world.after(first, Event::Act(Action::Loop { slot, left }));
            }
            Kind::Sleeps => {
                let slot = world.rng.usize(..self.nodes);
                let when = self.faults_for.mul_f64(0.2 * world.rng.f64());
                world.after(when, Event::Act(Action::Sleep { slot }));
            }
            Kind::Alone if self.joined_late && world.rng.bool() => {
                // What is joined knows nothing of it: nothing drives it.
                let when = JOINED_AFTER.mul_f64(0.5 + 0.5 * world.rng.f64());
                world.after(when, Event::Act(Action::Stall { slot: 0 }));
            }
            _ => {}
        }
    }

    fn schedule_twins(&self, world: &mut World) {
        let slot = world.rng.usize(..self.nodes);
        let of = (slot + world.rng.usize(1..self.nodes)) % self.nodes;
        let begin = self.faults_for.mul_f64(0.8 * world.rng.f64());
        let mended = begin + (self.faults_for - begin).mul_f64(world.rng.f64());
        world.after(begin, Event::Act(Action::Copy { slot, of: Some(of) }));
        world.after(mended, Event::Act(Action::Copy { slot, of: None }));
    }

    fn schedule_roll(&self, begin: Duration, gently: bool, world: &mut World) {
        let mut when = begin;
        for slot in 0..self.nodes {
            world.after(when, Event::Act(Action::Roll { slot, gently }));
            when += ROLL_EVERY;
        }
    }
}

/// Small ones, so that small worlds reach them.
fn limits(rng: &mut fastrand::Rng) -> Limits {
    let entries = *rng.choice(&[2, 16, 512]).unwrap_or(&2);
    Limits {
        tail: LogLimits { entries, bytes: 16 * 1024 },
        lives_over: *rng.choice(&[8, 512]).unwrap_or(&512),
        // Longer than it takes to hear of a life that somebody has lost.
        forget_after: Duration::from_millis(*rng.choice(&[2_500, 5_000]).unwrap_or(&5_000)),
        patience: Duration::from_secs(3),
        // Longer than it takes to notice that a host has vanished.
        ask_within: Duration::from_secs(12),
        ..Limits::default()
    }
}
