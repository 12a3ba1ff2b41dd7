//! Owns which address leads whom where: what is listed under which name, who listens where, who
//! cannot dial whom, and what a node is told to say of itself.
//! It must never know what is sent over a connection.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use flushcast_core::Time;

use crate::kinds::{Kind, Odd};

const PORT: u16 = 7400;

/// What is at the end of a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leads {
    /// That machine: if its process does not run, it refuses.
    Slot(usize),
    Stranger(Stranger),
    Refused,
    /// Nothing answers at all.
    Nowhere,
}

/// Something that accepts and is not of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// Another program: it answers bytes that are no frame, and closes.
    Garbage,
    /// It says nothing, for ever.
    Silent,
    /// It closes at once.
    Closes,
    /// A node of another cluster.
    OtherCluster,
}

/// One node at any of some addresses, as a list has it.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    pub(crate) name: Arc<str>,
    pub(crate) addresses: Vec<SocketAddr>,
    /// Whose it is by right; nobody's is a stranger's.
    of: Option<usize>,
}

impl Name {
    pub(crate) fn is_of(&self, slot: usize) -> bool {
        self.of == Some(slot)
    }
}

/// How one machine stands in the world.
#[derive(Debug, Clone)]
struct Site {
    /// Where it can be dialled now, apart from addresses that pass on.
    address: SocketAddr,
    /// At how many addresses it was before.
    moves: u8,
    /// The places that its node is told to claim.
    claims: Claims,
    /// It is behind a translation of addresses: nobody can dial it.
    hidden: bool,
    /// The machine whose configuration it has got by mistake.
    twin_of: Option<usize>,
}

/// What a node says of where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claims {
    /// Its first address.
    One,
    /// All under which it is listed.
    All,
    /// Nothing: it listens on all addresses and advertises none.
    None,
}

/// The address that passes from one machine to another.
#[derive(Debug, Clone, Copy)]
struct Float {
    /// The machine that it comes back to.
    home: usize,
    /// That one is listed nowhere else.
    alone: bool,
}

#[derive(Debug)]
pub(crate) struct Places {
    routes: BTreeMap<SocketAddr, Leads>,
    /// What a list that is right says now.
    names: Vec<Name>,
    sites: Vec<Site>,
    float: Option<Float>,
    /// Who cannot dial whom; whether the dial is refused, rather than unanswered.
    walls: BTreeMap<(usize, usize), bool>,
    /// In whose name dials are refused, and until when.
    proxies: BTreeMap<usize, Time>,
    /// Machines whose names lead to another address after some of their restarts.
    movers: Vec<usize>,
}

impl Places {
    /// One clean address for each.
    fn plain(nodes: usize) -> Self {
        let site = |slot| Site {
            address: at(0, slot),
            moves: 0,
            claims: Claims::One,
            hidden: false,
            twin_of: None,
        };
        let name =
            |slot| Name { name: named("n", slot), addresses: vec![at(0, slot)], of: Some(slot) };
        Self {
            routes: (0..nodes).map(|slot| (at(0, slot), Leads::Slot(slot))).collect(),
            names: (0..nodes).map(name).collect(),
            sites: (0..nodes).map(site).collect(),
            float: None,
            walls: BTreeMap::new(),
            proxies: BTreeMap::new(),
            movers: Vec::new(),
        }
    }

    /// `trusts` says whether a refusal is to be believed: then none is told of who lives.
    pub(crate) fn draw(odd: &Odd, nodes: usize, trusts: bool, rng: &mut fastrand::Rng) -> Self {
        let mut places = Self::plain(nodes);
        for slot in 0..nodes {
            if odd.has(Kind::Aliases) && rng.bool() {
                places.draw_alias(slot, rng);
            }
            if odd.has(Kind::Names) && rng.bool() {
                places.draw_second_address(slot, rng);
            }
            if odd.has(Kind::Moves) && rng.bool() {
                places.movers.push(slot);
            }
        }
        if odd.has(Kind::Floats) {
            places.draw_float(rng);
        }
        if odd.has(Kind::Strangers) && rng.bool() {
            // Where refusals are not trusted, no other program's answer is: only another cluster's word.
            let is_garbage = rng.bool() && trusts;
            let stranger = if is_garbage { Stranger::Garbage } else { Stranger::OtherCluster };
            places.routes.insert(at(3, 0), Leads::Stranger(stranger));
            places.list("stranger".into(), vec![at(3, 0)], None);
        }
        if odd.has(Kind::OneWay) {
            places.draw_walls(trusts, rng);
        }
        if odd.has(Kind::Nat) {
            places.hide(rng);
        }
        places
    }

    fn list(&mut self, name: Arc<str>, addresses: Vec<SocketAddr>, of: Option<usize>) {
        self.names.push(Name { name, addresses, of });
    }

    /// A second name for a node: of another address, of either family, or of the same one.
    fn draw_alias(&mut self, slot: usize, rng: &mut fastrand::Rng) {
        let address = match rng.u8(..4) {
            0 => at(0, slot),
            1 => at_v6(slot),
            _ => at(1, slot),
        };
        self.routes.insert(address, Leads::Slot(slot));
        self.list(named("alias", slot), vec![address], Some(slot));
        self.sites[slot].claims =
            *rng.choice(&[Claims::One, Claims::All, Claims::None]).unwrap_or(&Claims::One);
    }

    /// A second address for a name: one that works, one that is refused, or one that leads nowhere.
    fn draw_second_address(&mut self, slot: usize, rng: &mut fastrand::Rng) {
        let leads = *rng
            .choice(&[Leads::Slot(slot), Leads::Refused, Leads::Nowhere])
            .unwrap_or(&Leads::Refused);
        let address = if rng.bool() { at_v6(slot) } else { at(4, slot) };
        self.routes.entry(address).or_insert(leads);
        let before = rng.bool();
        if let Some(name) = self.names.iter_mut().find(|name| name.of == Some(slot)) {
            name.addresses.insert(usize::from(!before), address);
        }
    }

    /// An address that belongs to the first machine, beside its own or as its only one.
    fn draw_float(&mut self, rng: &mut fastrand::Rng) {
        let (home, alone) = (0, rng.bool());
        let address = float_address();
        self.routes.insert(address, Leads::Slot(home));
        if alone {
            self.names.retain(|name| name.of != Some(home));
            // It says that it is there, also while it is not: one that said nothing could not be told
            // by whom it dials from one that never was there.
            self.sites[home].claims = Claims::One;
        }
        self.list("float".into(), vec![address], Some(home));
        self.float = Some(Float { home, alone });
    }

    /// Of two machines, one at least can dial the other.
    fn draw_walls(&mut self, trusts: bool, rng: &mut fastrand::Rng) {
        let nodes = self.sites.len();
        let refuses = !trusts && rng.bool();
        let walled = rng.usize(..nodes);
        let all = rng.bool();
        for one in 0..nodes {
            for other in (0..nodes).filter(|&other| other != one) {
                let wall = if all { other == walled } else { one < other && rng.bool() };
                if wall {
                    self.walls.insert((one, other), refuses);
                    // Who is at a place that cannot be dialled is only known by its own word, and a
                    // node has that for one place.
                    self.names.retain(|name| name.name != named("alias", other));
                    self.sites[other].claims = Claims::One;
                }
            }
        }
    }

    /// Hides one or two behind one source address. They are on no list, and say nothing of places.
    fn hide(&mut self, rng: &mut fastrand::Rng) {
        let nodes = self.sites.len();
        let count = rng.usize(1..=2).min(nodes - 1);
        let outside = if rng.bool() { Leads::Refused } else { Leads::Nowhere };
        self.routes.insert(translated(), outside);
        for slot in nodes - count..nodes {
            self.sites[slot].hidden = true;
            self.sites[slot].claims = Claims::None;
            self.names.retain(|name| name.of != Some(slot));
            self.routes.retain(|_, leads| *leads != Leads::Slot(slot));
        }
    }

    /// Where a dial by a machine ends.
    pub(crate) fn leads(&self, from: usize, address: SocketAddr, now: Time) -> Leads {
        let leads = self.routes.get(&address).copied().unwrap_or(Leads::Nowhere);
        let Leads::Slot(to) = leads else { return leads };
        if self.proxies.get(&to).is_some_and(|until| *until > now) && from != to {
            return Leads::Refused;
        }
        match self.walls.get(&(from, to)) {
            Some(true) => Leads::Refused,
            Some(false) => Leads::Nowhere,
            None => leads,
        }
    }

    /// The machine that an address belongs to now, whoever can dial it.
    pub(crate) fn holder(&self, address: SocketAddr) -> Option<usize> {
        match self.routes.get(&address) {
            Some(Leads::Slot(slot)) => Some(*slot),
            _ => None,
        }
    }

    /// The machine that some of these addresses belong to.
    pub(crate) fn holder_of(&self, addresses: &[SocketAddr]) -> Option<usize> {
        addresses.iter().find_map(|&address| self.holder(address))
    }

    /// What the node of a machine is told to claim.
    pub(crate) fn claims(&self, slot: usize) -> Vec<SocketAddr> {
        let site = &self.sites[slot];
        let of = site.twin_of.unwrap_or(slot);
        let named = self.names.iter().filter(|name| name.of == Some(of));
        let mut all: Vec<_> = named.flat_map(|name| name.addresses.iter().copied()).collect();
        all.retain(|address| !matches!(self.routes.get(address), Some(Leads::Refused) | None));
        match (site.twin_of, site.claims) {
            (None, Claims::None) => Vec::new(),
            (None, Claims::All) => all,
            (None, Claims::One) | (Some(_), _) => match self.float {
                Some(float) if float.alone && float.home == of => vec![float_address()],
                _ => vec![self.sites[of].address],
            },
        }
    }

    /// The address from which the others see a machine dial.
    pub(crate) fn source(&self, slot: usize) -> SocketAddr {
        if self.sites[slot].hidden { translated() } else { self.sites[slot].address }
    }

    /// The address that a machine has for itself.
    pub(crate) fn inside(&self, slot: usize) -> SocketAddr {
        if self.sites[slot].hidden { at(200, slot) } else { self.sites[slot].address }
    }

    pub(crate) fn is_hidden(&self, slot: usize) -> bool {
        self.sites[slot].hidden
    }

    /// What a list that names these machines says, and all that is no machine's.
    pub(crate) fn names_of(&self, listed: impl Fn(usize) -> bool) -> Vec<Name> {
        let names = self.names.iter().filter(|name| name.of.is_none_or(&listed));
        names.cloned().collect()
    }

    /// What somebody may call a machine that never said its name.
    pub(crate) fn calls(&self, slot: usize, word: &str) -> bool {
        let is_it = |(address, leads): (&SocketAddr, &Leads)| {
            *leads == Leads::Slot(slot) && address.to_string() == word
        };
        self.routes.iter().any(is_it)
            || self.names.iter().any(|it| it.is_of(slot) && *it.name == *word)
    }

    /// All addresses that are listed by rights.
    pub(crate) fn all_addresses(&self) -> Vec<SocketAddr> {
        let mut all: Vec<_> = self.names.iter().flat_map(|name| name.addresses.clone()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether two machines have to come to be linked: one can dial the other.
    pub(crate) fn are_to_be_linked(&self, one: usize, other: usize) -> bool {
        let can_dial = |from, to| !self.is_hidden(to) && !self.walls.contains_key(&(from, to));
        can_dial(one, other) || can_dial(other, one)
    }

    /// Something else answers, or nothing, where a machine was while its process is away.
    pub(crate) fn take_over(&mut self, slot: usize, stranger: Stranger) {
        let address = self.sites[slot].address;
        if self.routes.contains_key(&address) {
            self.routes.insert(address, Leads::Stranger(stranger));
        }
    }

    /// A process starts on a machine: what answered in its place is gone. Says whether its names
    /// lead elsewhere now.
    pub(crate) fn comes_up(&mut self, slot: usize, rng: &mut fastrand::Rng) -> bool {
        if self.sites[slot].hidden {
            return false;
        }
        let before = self.sites[slot].address;
        self.routes.insert(before, Leads::Slot(slot));
        if !self.movers.contains(&slot) || rng.bool() {
            return false;
        }
        self.sites[slot].moves = self.sites[slot].moves.wrapping_add(1);
        let after = at(100 + self.sites[slot].moves, slot);
        let left = *rng.choice(&[Leads::Refused, Leads::Nowhere]).unwrap_or(&Leads::Refused);
        self.routes.insert(before, left);
        self.routes.insert(after, Leads::Slot(slot));
        self.sites[slot].address = after;
        let listed = self.names.iter_mut().filter(|name| name.of == Some(slot));
        listed
            .flat_map(|name| &mut name.addresses)
            .filter(|it| **it == before)
            .for_each(|it| *it = after);
        true
    }

    /// Passes the floating address on. Gives back who had it. One that nobody can dial has none: it
    /// would be a member for those who cannot reach it otherwise, and no member again.
    pub(crate) fn float_to(&mut self, slot: usize) -> Option<usize> {
        self.float.filter(|_| !self.is_hidden(slot))?;
        let before = self.holder(float_address())?;
        self.routes.insert(float_address(), Leads::Slot(slot));
        (before != slot).then_some(before)
    }

    pub(crate) fn float_home(&self) -> Option<usize> {
        self.float.map(|float| float.home)
    }

    /// A machine gets the configuration of another one, or its own back.
    pub(crate) fn copy_configuration(&mut self, slot: usize, of: Option<usize>) {
        self.sites[slot].twin_of = of;
    }

    pub(crate) fn twin_of(&self, slot: usize) -> Option<usize> {
        self.sites[slot].twin_of
    }

    /// Dials to a machine are refused in its name for a while.
    pub(crate) fn refuse_for(&mut self, slot: usize, until: Time) {
        self.proxies.insert(slot, until);
    }

    /// Nobody refuses in another's name any more.
    pub(crate) fn heal(&mut self) {
        self.proxies.clear();
    }
}

fn named(what: &str, slot: usize) -> Arc<str> {
    format!("{what}{slot}").into()
}

fn at(net: u8, slot: usize) -> SocketAddr {
    let last = u8::try_from(slot + 1).unwrap_or(u8::MAX);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, net, 0, last)), PORT)
}

fn at_v6(slot: usize) -> SocketAddr {
    let last = u16::try_from(slot + 1).unwrap_or(u16::MAX);
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)), PORT)
}

pub(crate) fn float_address() -> SocketAddr {
    at(2, 0)
}

/// As the world sees those that are hidden.
fn translated() -> SocketAddr {
    at(6, 0)
}
