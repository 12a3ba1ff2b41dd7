//! Owns what is done to a cache, and which bytes stand for it. It must never know what comes of it.

use super::{KEYS, PREFIXES, TAGS};

/// Loads under way that a step can mean.
const LOADS: usize = 4;

/// What is done to a cache.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A read that leads if nobody else does.
    Read(usize),
    /// A load of what may be held.
    Refresh(usize),
    /// A write of the application's own, which goes on whoever waits for it.
    Put(usize),
    /// The first, second, ... load or write that is under way ends with a value.
    End {
        load: usize,
        tags: Vec<usize>,
        time_to_live: Option<u64>,
        time_to_idle: Option<u64>,
        weight: u64,
        stored: bool,
    },
    /// It ends with the news that there is none.
    EndWithoutValue(usize),
    /// It fails, for a reason for which there is a fallback or not.
    Fail {
        load: usize,
        falls_back: bool,
    },
    /// It does not come to an end: what runs it is dropped.
    GiveUp(usize),
    Insert {
        key: usize,
        tags: Vec<usize>,
        stored: bool,
    },
    Evict(usize),
    FlushKey(usize),
    FlushTag(usize),
    /// Flushes of many tags that no copy has.
    FlushOtherTags,
    FlushPrefix(usize),
    FlushAll,
    ExpireKey(usize),
    ExpireTag(usize),
    ExpirePrefix(usize),
    ExpireAll,
    Distrust,
    /// What is over is taken out.
    EvictExpired,
    Wait(u64),
}

/// What bytes stand for, one after the other; any are some steps.
pub(super) struct Script<'b>(pub(super) std::slice::Iter<'b, u8>);

impl Script<'_> {
    pub(super) fn below(&mut self, count: usize) -> Option<usize> {
        self.0.next().map(|&byte| usize::from(byte) % count)
    }

    fn tags(&mut self) -> Option<Vec<usize>> {
        let set = self.below(1 << TAGS.len())?;
        Some((0..TAGS.len()).filter(|tag| set >> tag & 1 == 1).collect())
    }

    /// In half of the cases, none.
    fn length(&mut self) -> Option<Option<u64>> {
        self.below(40).map(|length| (length >= 20).then(|| length as u64 - 20))
    }

    pub(super) fn step(&mut self) -> Option<Step> {
        Some(match self.below(40)? {
            0..6 => Step::Read(self.below(KEYS.len())?),
            6..8 => Step::Refresh(self.below(KEYS.len())?),
            8..14 => Step::End {
                load: self.below(LOADS)?,
                tags: self.tags()?,
                time_to_live: self.length()?,
                time_to_idle: self.length()?,
                weight: [1, 1, 1, 2, 3, 5][self.below(6)?],
                stored: self.below(4)? > 0,
            },
            14 => Step::GiveUp(self.below(LOADS)?),
            15 => Step::Insert {
                key: self.below(KEYS.len())?,
                tags: self.tags()?,
                stored: self.below(4)? > 0,
            },
            16 => Step::Evict(self.below(KEYS.len())?),
            17..19 => Step::FlushKey(self.below(KEYS.len())?),
            19..21 => Step::FlushTag(self.below(TAGS.len())?),
            21 => Step::FlushPrefix(self.below(PREFIXES.len())?),
            22 => Step::FlushAll,
            23 => Step::Distrust,
            24 => Step::FlushOtherTags,
            25 => Step::EndWithoutValue(self.below(LOADS)?),
            26 => Step::ExpireKey(self.below(KEYS.len())?),
            27..29 => Step::ExpireTag(self.below(TAGS.len())?),
            29 => Step::ExpirePrefix(self.below(PREFIXES.len())?),
            30 => Step::ExpireAll,
            31 => Step::EvictExpired,
            32..35 => Step::Fail { load: self.below(LOADS)?, falls_back: self.below(3)? > 0 },
            35..38 => Step::Put(self.below(KEYS.len())?),
            _ => Step::Wait(1 + self.below(5)? as u64),
        })
    }
}
