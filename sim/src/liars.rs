//! Owns a member that says false things: it stands between a real core and the network, and rewrites
//! what that core sends. It must never touch what others send.

use std::collections::BTreeMap;

use flushcast_core::wire::{self, Frame, FrameReader, Heard, Linked, Position, Seq};

use crate::kinds::{Kind, Odd};
use crate::member::incarnation_of;
use crate::network::LinkId;

/// The slot whose node lies, and what it is in the middle of saying on each of its connections.
#[derive(Debug)]
pub(crate) struct Liar {
    slot: usize,
    /// Each life of it has connections of its own.
    saying: BTreeMap<(LinkId, usize), FrameReader>,
}

impl Liar {
    pub(crate) fn draw(odd: &Odd, nodes: usize, rng: &mut fastrand::Rng) -> Option<Self> {
        let lies = odd.has(Kind::Liars).then(|| rng.usize(..nodes))?;
        Some(Self { slot: lies, saying: BTreeMap::new() })
    }

    pub(crate) fn is(&self, slot: usize) -> bool {
        self.slot == slot
    }

    /// Rewrites what is sent on one of its connections; `lives` have begun so far, or it lies no
    /// more. Gives back what goes out, and how often it lied in it.
    pub(crate) fn rewrite(
        &mut self,
        link: (LinkId, usize),
        bytes: &[u8],
        lives: Option<u64>,
        rng: &mut fastrand::Rng,
    ) -> (Vec<u8>, u64) {
        let reader = self.saying.entry(link).or_default();
        reader.push(bytes);
        let (mut out, mut lies) = (Vec::new(), 0);
        while let Ok(Some(body)) = reader.next_body() {
            let Ok(mut frame) = wire::decode(body) else { continue };
            if let Some(lives) = lives
                && rng.u8(..) < 64
            {
                lies += u64::from(lie(&mut frame, lives, rng));
            }
            // A lie that is too long for a frame is not told.
            let told = wire::encode(&frame, &mut out);
            debug_assert!(told.is_ok(), "lies are short");
        }
        (out, lies)
    }
}

/// Says something false of others. False if there is nothing in the frame to lie about.
fn lie(frame: &mut Frame<'_>, lives: u64, rng: &mut fastrand::Rng) -> bool {
    let somebody = |rng: &mut fastrand::Rng| incarnation_of(rng.u64(1..=lives.max(1)));
    let of_somebody =
        |rng: &mut fastrand::Rng| Position { life: somebody(rng), seq: Seq(rng.u64(1..100)) };
    match frame {
        Frame::Grant(said) => match rng.u8(..5) {
            0 => said.lost.clear(),
            1 => said.linked.clear(),
            2 => said.linked.push(Linked { life: somebody(rng), place: None }),
            3 => said.head = Seq(u64::MAX),
            _ => {
                let Position { life, seq } = of_somebody(rng);
                said.lost.push(Heard { life, upto: seq, from: Seq(rng.u64(1..100)) });
            }
        },
        Frame::Over { of, quiet_ms, .. } => {
            *of = of_somebody(rng);
            *quiet_ms = rng.u64(..) >> rng.u32(..64);
        }
        Frame::Flush(flush) => flush.inherited = Some(of_somebody(rng)),
        _ => return false,
    }
    true
}
