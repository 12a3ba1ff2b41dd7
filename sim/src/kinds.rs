//! Owns which oddities of the world a seed has: each is a kind, and has a file, or a clear part of
//! one, that brings it about. Plain worlds have none.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// One thing that the world does beyond clean addresses, cuts, breaks, pauses and deaths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Several places, listed each by a name of its own, lead to one life.
    Aliases,
    /// Names of two addresses: of both families, or one of them refused or unroutable.
    Names,
    /// Names lead to another address after a restart, and lists learn it late.
    Moves,
    /// An address passes from one node to another, whose old holder lives or is dead.
    Floats,
    /// Where a node was listed, something answers that is not of this cluster.
    Strangers,
    /// Some can dial others and cannot be dialled by them.
    OneWay,
    /// Some can be dialled by nobody, and share one source address.
    Nat,
    /// For a while two lives claim one place: a copied configuration.
    Twins,
    /// A host refuses for a while after its process died, and then answers nothing.
    Vanishes,
    /// For a while, dials to a living node are refused in its name.
    Proxies,
    /// Dials and first messages on fresh connections take long.
    Late,
    /// Rolling restarts of all nodes, one each 150 ms.
    Waves,
    /// One node is restarted again and again.
    Loops,
    /// A machine sleeps for minutes and wakes with connections that are long dead.
    Sleeps,
    /// Nothing drives a node for a while, and its reads go on.
    Stalls,
    /// A node is told of the others late.
    Alone,
    /// A member says false things of others.
    Liars,
    /// Flushes take long to be applied.
    Slow,
    /// Some leave for good, by a goodbye, and their machines are switched off; nothing else goes wrong
    /// but a restart.
    Retires,
    /// A list drops one that cannot be reached and lives, for a moment or for long; nothing else goes
    /// wrong.
    Flaps,
    /// Nothing but one gentle rolling restart on a fast network: how old do proofs get?
    Calm,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 21] = [
        Kind::Aliases,
        Kind::Names,
        Kind::Moves,
        Kind::Floats,
        Kind::Strangers,
        Kind::OneWay,
        Kind::Nat,
        Kind::Twins,
        Kind::Vanishes,
        Kind::Proxies,
        Kind::Late,
        Kind::Waves,
        Kind::Loops,
        Kind::Sleeps,
        Kind::Stalls,
        Kind::Alone,
        Kind::Liars,
        Kind::Slow,
        Kind::Retires,
        Kind::Flaps,
        Kind::Calm,
    ];

    /// Worlds that take many nodes, many lives or much time are as rare as they are slow.
    fn weight(self) -> u32 {
        match self {
            Kind::Waves | Kind::Loops | Kind::Sleeps | Kind::Calm => 1,
            _ => 10,
        }
    }

    /// A strict promise is about one list of addresses that does not change, on which all are.
    fn fits_strict(self) -> bool {
        use Kind::{Alone, Flaps, Floats, Moves, Nat, Retires};
        !matches!(self, Moves | Floats | Nat | Alone | Retires | Flaps)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// Which worlds to play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worlds {
    /// One clean address for each node, and all of them friends.
    Plain,
    /// Plain ones, and ones with one to three oddities, as the seed has it.
    Mixed,
    /// Ones with this oddity.
    Only(Kind),
    /// Ones without links between nodes: each follows the log of an engine.
    Engine,
}

impl fmt::Display for Worlds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => out.write_str("plain"),
            Self::Mixed => out.write_str("mixed"),
            Self::Engine => out.write_str("engine"),
            Self::Only(kind) => kind.fmt(out),
        }
    }
}

impl FromStr for Worlds {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.to_string() == word);
        match (word, kind) {
            ("plain", _) => Ok(Self::Plain),
            ("mixed", _) => Ok(Self::Mixed),
            ("engine", _) => Ok(Self::Engine),
            (_, Some(kind)) => Ok(Self::Only(kind)),
            (_, None) => {
                let kinds: Vec<_> = Kind::ALL.iter().map(ToString::to_string).collect();
                Err(format!(
                    "no such worlds: give plain, mixed, engine or one of {}",
                    kinds.join(", ")
                ))
            }
        }
    }
}

/// The oddities of one world.
#[derive(Debug, Clone, Default)]
pub(crate) struct Odd(BTreeSet<Kind>);

impl Odd {
    pub(crate) fn draw(worlds: Worlds, is_strict: bool, rng: &mut fastrand::Rng) -> Self {
        let mut kinds = BTreeSet::new();
        match worlds {
            Worlds::Plain | Worlds::Engine => {}
            Worlds::Only(kind) => kinds.extend([kind]),
            Worlds::Mixed => {
                if rng.u8(..) >= 100 {
                    kinds = (0..rng.usize(1..=3)).map(|_| Self::some(rng)).collect();
                }
            }
        }
        if is_strict {
            kinds.retain(|kind| kind.fits_strict());
        }
        // What these are to show can only be seen where nothing else is odd.
        for kind in [Kind::Calm, Kind::Retires, Kind::Flaps] {
            if kinds.contains(&kind) {
                kinds = BTreeSet::from([kind]);
            }
        }
        Self(kinds)
    }

    fn some(rng: &mut fastrand::Rng) -> Kind {
        let all: u32 = Kind::ALL.iter().map(|kind| kind.weight()).sum();
        let mut left = rng.u32(..all);
        for kind in Kind::ALL {
            match left.checked_sub(kind.weight()) {
                Some(rest) => left = rest,
                None => return kind,
            }
        }
        Kind::Aliases
    }

    /// Does without one.
    pub(crate) fn drop(&mut self, kind: Kind) {
        self.0.remove(&kind);
    }

    pub(crate) fn is_any(&self) -> bool {
        !self.0.is_empty()
    }

    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.0.contains(&kind)
    }
}
