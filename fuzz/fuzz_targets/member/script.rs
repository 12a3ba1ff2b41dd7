//! Owns what bytes stand for: steps, one after the other; any bytes are some.

use std::time::Duration;

use crate::world::STRANGERS;

/// More make nothing likelier to be found, and take time.
const MOST_STEPS: usize = 160;
/// How long a wait is, in milliseconds: in the order of what nodes wait for, in this world.
const WAITS: [u64; 8] = [1, 30, 110, 250, 510, 1100, 2500, 5500];

/// What kind of world it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// The node has a strict cache, and both have the same fixed list.
    pub(crate) is_strict: bool,
    /// Refusals prove nothing.
    pub(crate) distrusts_refusals: bool,
    /// The node finds the honest one by its list as well.
    pub(crate) lists_honest: bool,
    /// It listens on all addresses.
    pub(crate) is_anywhere: bool,
    /// Its log holds a few flushes only.
    pub(crate) has_short_log: bool,
    /// In the end all strangers go, and everything has to be well again.
    pub(crate) heals: bool,
}

/// A frame of a stranger, by what it says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said {
    pub(crate) kind: usize,
    pub(crate) numbers: [usize; 3],
    pub(crate) life: usize,
    pub(crate) place: usize,
    /// Which oddity of its lists or words it has; mostly none.
    pub(crate) odd: usize,
    pub(crate) flag: bool,
}

/// What comes of a dial.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Connected { knows_local: bool },
    Refused,
    Foreign,
    Unreachable,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'b> {
    Accept,
    /// The same, up to where flushes travel.
    Meet {
        life: usize,
        place: usize,
        is_evidence: bool,
    },
    Dialled {
        which: usize,
        answer: Answer,
    },
    /// Of a share of the frame's bytes the rest comes before the next words.
    Say {
        who: usize,
        said: Said,
        share: usize,
    },
    /// So many flushes in one piece, as the log goes on, of its own or of another life.
    Burst {
        who: usize,
        count: usize,
        of: Option<(usize, usize)>,
    },
    Raw {
        who: usize,
        bytes: &'b [u8],
    },
    Read {
        who: usize,
    },
    Close {
        who: usize,
    },
    Wait(Duration),
    /// Neither node runs.
    Pause(Duration),
    /// From here on, what is to be applied takes its time.
    Hold,
    Apply,
    HonestFlush {
        count: usize,
    },
    /// So many, of which the last may be awaited, as a strict one or not.
    OwnFlush {
        count: usize,
        awaited: Option<bool>,
    },
    List {
        source: usize,
        places: u8,
        is_complete: bool,
        is_one: bool,
    },
    /// The network between the honest node and the other one.
    Break,
    Mend,
    Leave,
}

pub(crate) struct Script<'b>(&'b [u8]);

impl<'b> Script<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn below(&mut self, count: usize) -> Option<usize> {
        self.byte().map(|byte| usize::from(byte) % count)
    }

    fn take(&mut self, count: usize) -> &'b [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn plan(&mut self) -> Option<Plan> {
        let bits = self.byte()?;
        let is = |bit: u8| bits >> bit & 1 == 1;
        Some(Plan {
            is_strict: is(0),
            distrusts_refusals: is(1),
            lists_honest: is(2),
            is_anywhere: is(3),
            has_short_log: is(4),
            heals: is(5),
        })
    }

    pub(crate) fn steps(mut self) -> impl Iterator<Item = Step<'b>> {
        std::iter::from_fn(move || self.step()).take(MOST_STEPS)
    }

    fn said(&mut self) -> Option<Said> {
        let kind = self.below(16)?;
        let (both, last) = (self.below(256)?, self.below(256)?);
        let (who, odd) = (self.below(256)?, self.below(32)?);
        Some(Said {
            kind,
            numbers: [both & 15, both >> 4, last & 15],
            life: who & 7,
            place: who >> 3 & 7,
            odd,
            flag: last & 16 > 0,
        })
    }

    fn step(&mut self) -> Option<Step<'b>> {
        Some(match self.below(40)? {
            0 => Step::Accept,
            1..4 => {
                let who = self.below(256)?;
                let (life, place) = (who & 7, who >> 3 & 7);
                Step::Meet { life, place, is_evidence: who & 64 > 0 }
            }
            4..7 => {
                let how = self.below(256)?;
                let answer = match how & 7 {
                    0 => Answer::Unreachable,
                    1 => Answer::Foreign,
                    2 | 3 => Answer::Refused,
                    4 => Answer::Connected { knows_local: true },
                    _ => Answer::Connected { knows_local: false },
                };
                Step::Dialled { which: how >> 3, answer }
            }
            7..19 => {
                let (who, share) = (self.below(STRANGERS)?, self.below(64)?);
                Step::Say { who, said: self.said()?, share }
            }
            19..21 => {
                let (who, count, of) = (self.below(STRANGERS)?, self.below(48)?, self.below(256)?);
                let of = (of & 128 > 0).then_some((of & 7, of >> 3 & 15));
                Step::Burst { who, count: count + 1, of }
            }
            21 => {
                let (who, count) = (self.below(STRANGERS)?, self.below(64)?);
                Step::Raw { who, bytes: self.take(count) }
            }
            22 | 23 => Step::Read { who: self.below(STRANGERS)? },
            24 => Step::Close { who: self.below(STRANGERS)? },
            25..29 => Step::Wait(Duration::from_millis(WAITS[self.below(WAITS.len())?])),
            29 => Step::Pause(Duration::from_secs([2, 60, 3600, 100_000][self.below(4)?])),
            30 => Step::Hold,
            31 => Step::Apply,
            32 | 33 => Step::HonestFlush { count: [1, 1, 3, 20][self.below(4)?] },
            34 => {
                let how = self.below(12)?;
                let awaited = [None, Some(false), Some(true)][how % 3];
                Step::OwnFlush { count: [1, 2, 20, 60][how / 3], awaited }
            }
            35 | 36 => {
                let (how, places) = (self.below(16)?, self.byte()?);
                let (is_complete, is_one) = (how & 2 > 0, how & 12 == 12);
                Step::List { source: how & 1, places, is_complete, is_one }
            }
            37 => Step::Break,
            38 => Step::Mend,
            _ if self.below(16)? == 0 => Step::Leave,
            _ => Step::Apply,
        })
    }
}
