//! Owns the cut of a byte stream into frames.
//! It must never hold more than one frame and one read's worth of bytes.

use super::{LENGTH_BYTES, MAX_FRAME_BYTES};

/// What an alert, and a handshake, of TLS begin with (RFC 8446, section 5.1). As a frame's length it is
/// over the limit.
const TLS_RECORDS: [[u8; 2]; 2] = [[21, 3], [22, 3]];
/// What tells one that speaks TLS that it gets none: a fatal alert, `handshake_failure`. Silence would
/// leave it open whether anybody is there.
pub const TLS_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame is longer than the limit; nothing of it was taken.
    #[error("frame of {bytes} bytes is over the limit of {MAX_FRAME_BYTES}")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The bytes are TLS, alert or handshake.
    #[error(
        "it speaks TLS, and this node does not: give all nodes of the cluster the same .secret(..), or \
         certificates by .tls(..)"
    )]
    Tls,
    /// The bytes are no frame that this version knows.
    #[error("bytes are no flushcast frame: another program, or another version, talks here")]
    Garbled,
}

/// Collects bytes as they arrive and gives back whole frames.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
    taken: usize,
}

impl FrameReader {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        } else if self.taken >= MAX_FRAME_BYTES {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that are held, those that were taken included.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// The body of the next whole frame, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] or [`FrameError::Tls`], for good: the stream cannot be read on.
    pub fn next_body(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let waiting = &self.bytes[self.taken..];
        let Some((&prefix, rest)) = waiting.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(prefix) as usize;
        if length > MAX_FRAME_BYTES && TLS_RECORDS.contains(&[prefix[0], prefix[1]]) {
            return Err(FrameError::Tls);
        }
        if length > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong { bytes: length });
        }
        if rest.len() < length {
            return Ok(None);
        }
        let start = self.taken + LENGTH_BYTES;
        self.taken = start + length;
        Ok(Some(&self.bytes[start..self.taken]))
    }
}
