//! Owns the rival: what is left of a fan-out when one leaves away all that Flushcast is for.
//!
//! One task writes an encoded frame to every socket, one after the other; a follower decodes,
//! stamps, and answers one byte. No log, no resume, no roster, no caches.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::stamps::Stamps;
use crate::words::CACHE;

/// Frames that are written at once in a burst.
pub const FRAMES_PER_WRITE: usize = 256;
/// Most bytes read at once.
const READ_BYTES: usize = 64 * 1024;
const LENGTH_BYTES: usize = 4;

/// One announcement, as it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its number in the round, from 0.
    pub number: u64,
    /// Whether the follower is to answer it.
    pub wants_ack: bool,
    /// The cache by name.
    pub cache: &'a str,
    /// The key as text.
    pub key: &'a str,
}

impl<'a> Frame<'a> {
    /// Appends it with its length in front. Names and keys here are short.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH_BYTES]);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.push(u8::from(self.wants_ack));
        for text in [self.cache, self.key] {
            out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        let length = u32::try_from(out.len() - start - LENGTH_BYTES).unwrap_or(u32::MAX);
        out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    }

    /// Reads a frame, with what is behind it; `None` while a part of it is missing.
    ///
    /// # Errors
    /// If the bytes are no frame.
    pub fn decode(bytes: &'a [u8]) -> io::Result<Option<(Frame<'a>, &'a [u8])>> {
        let Some((length, rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        let Some((body, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else {
            return Ok(None);
        };
        let frame = Self::decode_body(body).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some((frame, rest)))
    }

    fn decode_body(body: &'a [u8]) -> Option<Self> {
        let (number, body) = body.split_first_chunk()?;
        let (&wants_ack, body) = body.split_first()?;
        let (cache, body) = text(body)?;
        let (key, _) = text(body)?;
        Some(Self { number: u64::from_le_bytes(*number), wants_ack: wants_ack != 0, cache, key })
    }
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// The publishing end, before its followers have come.
#[derive(Debug)]
pub struct Origin {
    listener: TcpListener,
}

impl Origin {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// The system's.
    pub async fn bind() -> io::Result<Origin> {
        Ok(Origin { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await? })
    }

    /// Where followers connect to.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Lets the next follower in.
    ///
    /// # Errors
    /// The system's.
    pub async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// The publishing end.
#[derive(Debug)]
pub struct Publisher {
    followers: Vec<TcpStream>,
    out: Vec<u8>,
}

impl Publisher {
    /// A publisher to these followers.
    pub fn new(followers: Vec<TcpStream>) -> Self {
        Self { followers, out: Vec::new() }
    }

    /// Sends one frame to all and waits until each has answered.
    ///
    /// # Errors
    /// The system's; a follower that has gone.
    pub async fn announce(&mut self, number: usize, key: &str) -> io::Result<()> {
        self.put(number, true, key);
        self.send().await?;
        self.acknowledged().await
    }

    /// Sends a frame for each key to all, many of them in each write, and waits until each
    /// follower has answered the last one.
    ///
    /// # Errors
    /// The system's; a follower that has gone.
    pub async fn announce_all(&mut self, keys: &[String]) -> io::Result<()> {
        for (part, chunk) in keys.chunks(FRAMES_PER_WRITE).enumerate() {
            for (place, key) in chunk.iter().enumerate() {
                let number = part * FRAMES_PER_WRITE + place;
                self.put(number, number + 1 == keys.len(), key);
            }
            self.send().await?;
        }
        self.acknowledged().await
    }

    fn put(&mut self, number: usize, wants_ack: bool, key: &str) {
        Frame { number: number as u64, wants_ack, cache: CACHE, key }.encode(&mut self.out);
    }

    async fn send(&mut self) -> io::Result<()> {
        for follower in &mut self.followers {
            follower.write_all(&self.out).await?;
        }
        self.out.clear();
        Ok(())
    }

    async fn acknowledged(&mut self) -> io::Result<()> {
        for follower in &mut self.followers {
            follower.read_u8().await?;
        }
        Ok(())
    }
}

/// What a follower has heard.
#[derive(Debug, Clone)]
pub struct Heard {
    stamps: Arc<Mutex<Arc<Stamps>>>,
}

impl Heard {
    /// Begins a round of `count` frames.
    pub fn expect(&self, count: usize) {
        *self.stamps.lock().unwrap_or_else(PoisonError::into_inner) = Stamps::new(count);
    }

    /// The stamps of this round.
    pub fn stamps(&self) -> Arc<Stamps> {
        Arc::clone(&self.stamps.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Connects to the first of `origins` that lets it. What is given back follows it when polled,
/// until the origin goes.
///
/// # Errors
/// The system's.
pub async fn follow(
    origins: &[SocketAddr],
) -> io::Result<(Heard, impl Future<Output = io::Result<()>> + use<>)> {
    let stream = TcpStream::connect(origins).await?;
    stream.set_nodelay(true)?;
    let heard = Heard { stamps: Arc::new(Mutex::new(Stamps::new(0))) };
    Ok((heard.clone(), hear(stream, heard)))
}

async fn hear(mut stream: TcpStream, heard: Heard) -> io::Result<()> {
    let (mut bytes, mut filled) = (vec![0; READ_BYTES], 0);
    let mut acks = Vec::new();
    loop {
        let count = stream.read(&mut bytes[filled..]).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let stamps = heard.stamps();
        let mut rest = &bytes[..filled];
        while let Some((frame, behind)) = Frame::decode(rest)? {
            if frame.cache == CACHE && !frame.key.is_empty() {
                stamps.stamp(usize::try_from(frame.number).unwrap_or(usize::MAX));
            }
            if frame.wants_ack {
                acks.push(1);
            }
            rest = behind;
        }
        let left = rest.len();
        bytes.copy_within(filled - left..filled, 0);
        filled = left;
        if !acks.is_empty() {
            stream.write_all(&acks).await?;
            acks.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_arrive_in_pieces_are_read_whole() {
        let frames = [("k0", true), ("customers/eu/k1", false)].map(|(key, wants_ack)| Frame {
            number: 7,
            wants_ack,
            cache: CACHE,
            key,
        });
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        let (first, rest) = Frame::decode(&bytes).unwrap().unwrap();
        let first_ends = bytes.len() - rest.len();
        let (second, rest) = Frame::decode(rest).unwrap().unwrap();
        assert_eq!(([first, second], rest.len()), (frames, 0));
        for end in 0..first_ends {
            assert_eq!(Frame::decode(&bytes[..end]).unwrap(), None, "{end} bytes are a frame");
        }
        assert!(Frame::decode(b"\x02\0\0\0ab").is_err());
    }
}
