//! Owns the numbered ring of encoded flush frames.
//!
//! Frames lie one behind the other in chunks, so that a follower's cursor is just a number and
//! what it has not seen yet is handed over with a few large copies. The oldest chunk is dropped
//! whole when the ring is over a limit. A follower costs no memory here, however slow it is.

use std::collections::VecDeque;
use std::time::Duration;

use crate::planted::{Fault, planted};
use crate::wire::{self, Flush, Frame, FrameError, Position, Scope, Seq};

/// How much a flush log keeps for followers that are behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Most flushes. More of them heal longer breaks by replay.
    pub entries: usize,
    /// Most bytes of encoded frames.
    pub bytes: usize,
}

impl Default for LogLimits {
    /// 262,144 flushes and 16 MiB, whichever is reached first.
    fn default() -> Self {
        Self { entries: 256 * 1024, bytes: 16 * 1024 * 1024 }
    }
}

/// Most bytes of a chunk: what is dropped at once is at most this share of the limit.
const CHUNK_SHARE: usize = 16;
/// Nor is it more than this and a frame, whatever the limit: it grows by copying, and places in it are
/// counted in 32 bits.
const MOST_OF_A_CHUNK: usize = 16 * 1024 * 1024;

const _: () = assert!(MOST_OF_A_CHUNK + 2 * wire::MAX_FRAME_BYTES <= u32::MAX as usize);

/// The log no longer holds what comes after the asked place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// The newest number.
    pub head: Seq,
}

/// The flushes of one node, in order, as many of the last ones as the limits allow.
#[derive(Debug)]
pub struct FlushLog {
    limits: LogLimits,
    chunks: VecDeque<Chunk>,
    head: Seq,
    entries: usize,
    bytes: usize,
    /// The memory of the chunk that was dropped last, for the next one: a log that is full allocates
    /// nothing.
    spare: Option<Chunk>,
}

#[derive(Debug)]
struct Chunk {
    /// The number of its first flush.
    first: Seq,
    frames: Vec<u8>,
    /// Where each frame ends in `frames`.
    ends: Vec<u32>,
}

impl FlushLog {
    /// An empty log. Limits of zero still keep the newest flush.
    pub fn new(limits: LogLimits) -> Self {
        Self {
            limits,
            chunks: VecDeque::new(),
            head: Seq::START,
            entries: 0,
            bytes: 0,
            spare: None,
        }
    }

    /// Numbers a flush and keeps its frame. Cost: one encoding into memory that grows by chunks.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] if it does not fit in a frame; then nothing is numbered.
    pub fn append(&mut self, cache: &str, scopes: Vec<Scope<'_>>) -> Result<Seq, FrameError> {
        self.push(Flush { seq: self.head.next(), cache, scopes, inherited: None })
    }

    /// Appends a flush of a log that is gone, with its place there; otherwise like
    /// [`append`](Self::append).
    ///
    /// # Errors
    /// Those of [`append`](Self::append).
    pub fn inherit(&mut self, of: Position, flush: &Flush<'_>) -> Result<Seq, FrameError> {
        let Flush { cache, scopes, .. } = flush.clone();
        self.push(Flush { seq: self.head.next(), cache, scopes, inherited: Some(of) })
    }

    /// Appends that a life is over and forgotten, how far it was heard, and how long ago the last of it
    /// was.
    pub(crate) fn append_over(&mut self, of: Position, quiet: Duration) {
        let seq = self.head.next();
        let quiet_ms = u64::try_from(quiet.as_millis()).unwrap_or(u64::MAX);
        // It is a few bytes long, so that it always fits.
        let pushed = self.push_frame(seq, &Frame::Over { seq, of, quiet_ms });
        debug_assert!(pushed.is_ok());
    }

    /// Keeps a flush of somebody else's log, whose number must be the next one.
    pub(crate) fn copy(&mut self, flush: &Flush<'_>) {
        let Flush { cache, scopes, .. } = flush.clone();
        let next = Flush { seq: self.head.next(), cache, scopes, inherited: None };
        if self.push(next).is_err() {
            // It came in a frame of the same limit, so this does not happen; a gap is told.
            self.skip_to(self.head.next());
        }
    }

    /// Keeps the next flush of somebody else's log as its frame came, which has its number in it.
    pub(crate) fn copy_body(&mut self, body: &[u8]) {
        let pushed = self.push_encoded(self.head.next(), |frames| {
            wire::put_body(body, frames);
            Ok(())
        });
        debug_assert!(pushed.is_ok());
    }

    /// Goes on behind `head` and holds nothing from before.
    pub(crate) fn skip_to(&mut self, head: Seq) {
        *self = Self { head, ..Self::new(self.limits) };
    }

    fn push(&mut self, flush: Flush<'_>) -> Result<Seq, FrameError> {
        self.push_frame(flush.seq, &Frame::Flush(flush))
    }

    fn push_frame(&mut self, seq: Seq, frame: &Frame<'_>) -> Result<Seq, FrameError> {
        self.push_encoded(seq, |frames| wire::encode(frame, frames))
    }

    fn push_encoded(
        &mut self,
        seq: Seq,
        append: impl FnOnce(&mut Vec<u8>) -> Result<(), FrameError>,
    ) -> Result<Seq, FrameError> {
        let room = (self.limits.bytes / CHUNK_SHARE).min(MOST_OF_A_CHUNK);
        let most = self.limits.entries / CHUNK_SHARE;
        let full = |chunk: &Chunk| chunk.frames.len() >= room || chunk.ends.len() >= most;
        if self.chunks.back().is_none_or(full) {
            if let Some(Chunk { frames, ends, .. }) = self.chunks.back_mut() {
                // The rest is for a frame or two more, when it is used again.
                frames.shrink_to(frames.len() + frames.len() / CHUNK_SHARE);
                ends.shrink_to(ends.len() + ends.len() / CHUNK_SHARE);
            }
            let new = || Chunk { first: seq, frames: Vec::new(), ends: Vec::new() };
            let spare = self.spare.take().map(|spare| Chunk { first: seq, ..spare });
            let chunk = spare.unwrap_or_else(new);
            self.chunks.push_back(chunk);
        }
        let Some(chunk) = self.chunks.back_mut() else {
            return Err(FrameError::Garbled);
        };
        let start = chunk.frames.len();
        if let Err(error) = append(&mut chunk.frames) {
            // A chunk without a flush has no last one.
            self.chunks.pop_back_if(|chunk| chunk.ends.is_empty());
            return Err(error);
        }
        let end = chunk.frames.len();
        chunk.ends.push(u32::try_from(end).map_err(|_| FrameError::Garbled)?);
        self.head = seq;
        self.entries += 1;
        self.bytes += end - start;
        self.drop_oldest();
        Ok(seq)
    }

    /// The newest number; [`Seq::START`] while nothing was flushed.
    pub fn head(&self) -> Seq {
        self.head
    }

    /// The oldest number that is still held; one more than the head if none is.
    pub fn first(&self) -> Seq {
        self.chunks.front().map_or(self.head.next(), |chunk| chunk.first)
    }

    /// Bytes of the frames that are held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies frames that come after `after` to `out`, until at least `enough` bytes are there or
    /// the head is reached. Gives back the last number that was copied.
    ///
    /// # Errors
    /// [`Gone`] if the flush after `after` is no longer held, or `after` lies in the future.
    pub fn read(&self, after: Seq, enough: usize, out: &mut Vec<u8>) -> Result<Seq, Gone> {
        let after = match planted(Fault::OverflowUnreported) {
            true => after.max(Seq(self.first().0 - 1)),
            false => after,
        };
        if after > self.head || after.next() < self.first() {
            return Err(Gone { head: self.head });
        }
        let from = self.chunks.partition_point(|chunk| chunk.last() <= after);
        let mut reached = after;
        let stop = out.len() + enough;
        for chunk in self.chunks.range(from..) {
            if out.len() >= stop {
                break;
            }
            let skip = (reached.0 + 1 - chunk.first.0) as usize;
            let start = if skip == 0 { 0 } else { chunk.ends[skip - 1] as usize };
            let want = start + (stop - out.len());
            let last = chunk.ends.partition_point(|&end| (end as usize) < want);
            let last = last.min(chunk.ends.len() - 1).max(skip);
            out.extend_from_slice(&chunk.frames[start..chunk.ends[last] as usize]);
            reached = Seq(chunk.first.0 + last as u64);
        }
        Ok(reached)
    }

    fn drop_oldest(&mut self) {
        while self.entries > self.limits.entries || self.bytes > self.limits.bytes {
            if self.chunks.len() < 2 {
                return;
            }
            if let Some(mut oldest) = self.chunks.pop_front() {
                self.entries -= oldest.ends.len();
                self.bytes -= oldest.frames.len();
                oldest.frames.clear();
                oldest.ends.clear();
                self.spare = Some(oldest);
            }
        }
    }
}

impl Chunk {
    fn last(&self) -> Seq {
        Seq((self.first.0 + self.ends.len() as u64).saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{FrameReader, decode};
    use proptest::prelude::*;

    fn numbers(bytes: &[u8]) -> Vec<u64> {
        let mut reader = FrameReader::default();
        reader.push(bytes);
        let mut seen = Vec::new();
        while let Some(body) = reader.next_body().unwrap() {
            match decode(body).unwrap() {
                Frame::Flush(flush) => seen.push(flush.seq.0),
                other => panic!("not a flush: {other:?}"),
            }
        }
        seen
    }

    #[test]
    fn an_empty_log_has_nothing_to_replay() {
        let log = FlushLog::new(LogLimits::default());
        let mut out = Vec::new();
        assert_eq!(log.read(Seq::START, 1000, &mut out), Ok(Seq::START));
        assert_eq!((out.len(), log.first(), log.head()), (0, Seq(1), Seq(0)));
    }

    #[test]
    fn a_place_in_the_future_is_gone_not_followed() {
        let log = FlushLog::new(LogLimits::default());
        assert_eq!(log.read(Seq(3), 1000, &mut Vec::new()), Err(Gone { head: Seq(0) }));
    }

    #[test]
    fn a_flush_that_does_not_fit_in_a_frame_takes_no_number() {
        let mut log = FlushLog::new(LogLimits::default());
        let long = "k".repeat(wire::MAX_FRAME_BYTES);
        assert!(log.append("c", vec![Scope::Key(&long)]).is_err());
        assert_eq!(log.read(Seq::START, 1, &mut Vec::new()), Ok(Seq::START));
        assert_eq!(log.append("c", vec![Scope::Key("k")]), Ok(Seq(1)));
        let mut out = Vec::new();
        assert_eq!(log.read(Seq::START, 1, &mut out), Ok(Seq(1)));
        assert_eq!(numbers(&out), [1]);
    }

    #[test]
    fn however_much_a_log_may_hold_a_chunk_stays_small() {
        let mut log = FlushLog::new(LogLimits { entries: usize::MAX, bytes: usize::MAX });
        let long = "k".repeat(wire::MAX_FRAME_BYTES / 2);
        while log.bytes() < 64 * 1024 * 1024 {
            log.append("c", vec![Scope::Key(&long)]).unwrap();
        }
        let largest = log.chunks.iter().map(|chunk| chunk.frames.len()).max();
        assert!(largest < Some(log.bytes() / 2), "all of {} bytes is one chunk", log.bytes());
    }

    proptest! {
        /// Whatever the limits, the place and the cut: what is read is exactly what comes next,
        /// without a gap, or the log says that it is gone; and the log stays within its limits.
        #[test]
        fn a_follower_reads_on_without_a_gap_or_is_told_so(
            entries in 1usize..80, bytes in 1usize..2000, count in 0u64..200,
            after in 0u64..220, enough in 1usize..300,
        ) {
            let mut log = FlushLog::new(LogLimits { entries, bytes });
            for number in 1..=count {
                let seq = log.append("cache", vec![Scope::Key(&format!("key-{number}"))]).unwrap();
                prop_assert_eq!(seq, Seq(number));
                prop_assert!(log.entries <= entries.max(1) && log.bytes() <= bytes.max(64));
            }
            let mut at = Seq(after);
            loop {
                let mut out = Vec::new();
                match log.read(at, enough, &mut out) {
                    Ok(reached) => {
                        let expected: Vec<u64> = (at.0 + 1..=reached.0).collect();
                        prop_assert_eq!(numbers(&out), expected);
                        if reached == at { break; }
                        prop_assert!(out.len() < enough + 64, "one frame more than enough at most");
                        at = reached;
                    }
                    Err(Gone { head }) => {
                        prop_assert_eq!(head, Seq(count));
                        prop_assert!(at.next() < log.first() || at.0 > count);
                        return Ok(());
                    }
                }
            }
            prop_assert_eq!(at, Seq(count));
        }
    }
}
