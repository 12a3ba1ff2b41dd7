//! Owns what an instance tells of its own state: in sync, or cut off from whom and for how long,
//! and what it last healed from.

use std::time::Duration;

use flushcast::{CutOff, Event, Node};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

/// More than so many instances are counted, not named, in words.
const MOST_NAMED: usize = 3;

/// Follows the events of a node, to remember what it last healed from.
#[derive(Debug)]
pub(crate) struct Healing {
    last: watch::Receiver<Option<Healed>>,
}

#[derive(Debug, Clone)]
struct Healed {
    at: Instant,
    node: String,
    replayed: u64,
    reset: bool,
}

impl Healing {
    /// Has to be called on a runtime; what it starts there ends with the node.
    pub(crate) fn follow(node: &Node) -> Healing {
        let (heals, last) = watch::channel(None);
        let mut events = node.events();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let Event::Healed { node, replayed, reset } = event {
                    heals.send_replace(Some(Healed { at: Instant::now(), node, replayed, reset }));
                }
            }
        });
        Healing { last }
    }
}

/// What an instance tells of its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReport {
    /// Whether it can prove that its copies are within the bound.
    pub in_sync: bool,
    /// The same in words.
    pub text: String,
    /// Whom it cannot prove to be in step with; nobody while it is in sync.
    pub cut_off: Vec<CutOffReport>,
    /// What it last healed from, if it ever did.
    pub healed: Option<HealedReport>,
}

/// An instance that another is cut off from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOffReport {
    /// Its name, or its node's address while it never said one.
    pub node: String,
    /// How long ago the other was last provably in step with it.
    pub for_seconds: u64,
}

/// How a link that was lost came to work again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealedReport {
    /// The instance at its other end.
    pub node: String,
    /// What it took.
    pub by: HealedBy,
    /// How many flushes were replayed.
    pub replayed: u64,
    /// When.
    pub seconds_ago: u64,
    /// The same in words.
    pub text: String,
}

/// How missed flushes were made good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealedBy {
    /// Each of them was sent again: copies that none of them names are still served.
    Replay,
    /// Too many were missed: every copy is distrusted until it is loaded anew.
    Reset,
}

impl StateReport {
    pub(crate) fn new(node: &Node, healing: &Healing) -> StateReport {
        let in_sync = node.in_sync();
        // It may have changed since.
        let cut_off = if in_sync { Vec::new() } else { node.cut_off() };
        let healed = healing.last.borrow().as_ref().map(HealedReport::new);
        StateReport {
            in_sync,
            text: in_words(in_sync, &cut_off),
            cut_off: cut_off.iter().map(CutOffReport::new).collect(),
            healed,
        }
    }
}

fn in_words(in_sync: bool, cut_off: &[CutOff]) -> String {
    let Some(longest) = cut_off.iter().map(|peer| peer.since).max() else {
        return if in_sync { "in sync" } else { "not in sync yet" }.to_owned();
    };
    let whom = match cut_off.len() {
        ..=MOST_NAMED => cut_off.iter().map(|peer| &*peer.node).collect::<Vec<_>>().join(", "),
        many => format!("{many} instances"),
    };
    format!("cut off from {whom} for {}", seconds(longest))
}

fn seconds(duration: Duration) -> String {
    // Unbreakable: a unit alone on a line reads badly.
    format!("{}\u{a0}s", duration.as_secs())
}

impl CutOffReport {
    fn new(peer: &CutOff) -> CutOffReport {
        CutOffReport { node: peer.node.clone(), for_seconds: peer.since.as_secs() }
    }
}

impl HealedReport {
    fn new(healed: &Healed) -> HealedReport {
        let Healed { at, ref node, replayed, reset } = *healed;
        let by = if reset { HealedBy::Reset } else { HealedBy::Replay };
        let how = match (by, replayed) {
            (HealedBy::Reset, _) => "by reset".to_owned(),
            (HealedBy::Replay, 0) => "with nothing missed".to_owned(),
            (HealedBy::Replay, 1) => "by replay of 1 flush".to_owned(),
            (HealedBy::Replay, many) => format!("by replay of {many} flushes"),
        };
        let ago = at.elapsed();
        HealedReport {
            node: node.clone(),
            by,
            replayed,
            seconds_ago: ago.as_secs(),
            text: format!("in step with {node} again {how}, {} ago", seconds(ago)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healed(replayed: u64, reset: bool) -> String {
        let node = "instance-2".to_owned();
        HealedReport::new(&Healed { at: Instant::now(), node, replayed, reset }).text
    }

    #[test]
    fn a_heal_is_told_as_people_say_it() {
        assert_eq!(
            healed(1, false),
            "in step with instance-2 again by replay of 1 flush, 0\u{a0}s ago"
        );
        assert_eq!(
            healed(0, false),
            "in step with instance-2 again with nothing missed, 0\u{a0}s ago"
        );
        assert_eq!(healed(7, true), "in step with instance-2 again by reset, 0\u{a0}s ago");
    }
}
