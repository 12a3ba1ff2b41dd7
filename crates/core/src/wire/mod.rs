//! Owns what travels between two nodes: frames, their limits and their encoding.
//! It must never decide anything: what a frame means for a node stands in [`crate::node`].
//!
//! A frame is a little-endian `u32` length followed by that many bytes of postcard-encoded
//! [`Frame`]. Bytes behind the last known field are ignored, so that a later version may append.
//! Every frame has a golden file in `tests/golden/`: a byte that changes there breaks clusters.

mod frame;
mod limits;
mod reader;

pub use frame::{
    END_OF_WORDS, Flush, Frame, Grant, Heard, Hello, Incarnation, Linked, Position, Reject, Renew,
    Scope, Seq, Versions, Welcome,
};
pub use limits::*;
pub use reader::{FrameError, FrameReader, TLS_ALERT};

/// Bytes in front of each frame that tell its length.
pub(crate) const LENGTH_BYTES: usize = 4;

/// Appends `frame` with its length in front.
///
/// # Errors
/// [`FrameError::TooLong`] if the frame would be over [`MAX_FRAME_BYTES`]; `out` is as before then.
pub fn encode(frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    let taken = std::mem::take(out);
    // Postcard fails here only when out of memory or on a map of unknown length; frames have none.
    let mut bytes = postcard::to_extend(frame, taken).map_err(|_| FrameError::Garbled)?;
    let body = bytes.len() - start - LENGTH_BYTES;
    let fits = body <= MAX_FRAME_BYTES;
    if fits {
        let length = u32::try_from(body).map_err(|_| FrameError::Garbled)?;
        bytes[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    } else {
        bytes.truncate(start);
    }
    *out = bytes;
    if fits { Ok(()) } else { Err(FrameError::TooLong { bytes: body }) }
}

/// Appends the body of a frame that was read, with its length in front.
pub(crate) fn put_body(body: &[u8], out: &mut Vec<u8>) {
    debug_assert!(body.len() <= MAX_FRAME_BYTES);
    // It was read with a length of that many bytes.
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(body);
}

/// The bodies of frames that lie whole behind each other.
pub(crate) fn bodies(mut frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&prefix, rest) = frames.split_first_chunk::<LENGTH_BYTES>()?;
        let (body, rest) = rest.split_at_checked(u32::from_le_bytes(prefix) as usize)?;
        frames = rest;
        Some(body)
    })
}

/// Reads the body of one frame.
///
/// # Errors
/// [`FrameError::Garbled`] if the bytes are no frame of this version.
pub fn decode(body: &[u8]) -> Result<Frame<'_>, FrameError> {
    match postcard::take_from_bytes::<Frame<'_>>(body) {
        Ok((frame, _later_fields)) => Ok(frame),
        Err(_) => Err(FrameError::Garbled),
    }
}

/// The versions that a `Hello` offers, readable even when the rest of it is of a later layout.
///
/// # Errors
/// [`FrameError::Garbled`] if the body does not start like a `Hello`.
pub fn peek_versions(body: &[u8]) -> Result<Versions, FrameError> {
    let Some((&frame::HELLO_TAG, rest)) = body.split_first() else {
        return Err(FrameError::Garbled);
    };
    match postcard::take_from_bytes::<Versions>(rest) {
        Ok((versions, _)) => Ok(versions),
        Err(_) => Err(FrameError::Garbled),
    }
}

#[cfg(test)]
pub(crate) mod tests;
