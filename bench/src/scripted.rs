//! Owns what a played peer says over one connection with the measured node: the handshake, and
//! what a healthy node answers to each frame. It must never measure: only the core's own time
//! counts.
//!
//! All that depends on the wire format stands here: today each of two nodes dials the other, and a
//! connection carries the flushes of the one that was dialled.

use std::net::{Ipv4Addr, SocketAddr};

use flushcast_core::wire::{
    self, Frame, FrameError, FrameReader, Hello, Incarnation, Seq, Testify, Versions, Welcome,
};

use crate::words::CLUSTER;

/// Whether a peer that was dialled dials the node, too.
pub const DIALS_AS_WELL: bool = true;

/// Where a peer listens.
pub fn place(peer: u16) -> SocketAddr {
    let [high, low] = peer.to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, 0, high, low), 7400))
}

/// One end of a connection.
#[derive(Debug)]
pub struct Scripted {
    peer: u16,
    reader: FrameReader,
    /// Whether a flush is acknowledged as soon as it is read.
    pub acknowledges: bool,
    /// The last flush that was read.
    applied: Seq,
    /// The last one that was acknowledged.
    acknowledged: Seq,
    asked: u64,
}

impl Scripted {
    /// The end of this peer.
    pub fn new(peer: u16) -> Self {
        Self {
            peer,
            reader: FrameReader::default(),
            acknowledges: true,
            applied: Seq::START,
            acknowledged: Seq::START,
            asked: 0,
        }
    }

    /// The first words of a peer that has dialled.
    pub fn greet(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let hello = Hello {
            versions: Versions::OURS,
            cluster: CLUSTER,
            node: &name(self.peer),
            incarnation: life(self.peer),
            address: place(self.peer),
            labels: Vec::new(),
            resume_after: None,
            fixed: Vec::new(),
        };
        wire::encode(&Frame::Hello(hello), out)
    }

    /// Asks how far the node's log is, as each follower does again and again.
    pub fn renew(&mut self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        self.asked += 1;
        wire::encode(&Frame::Renew { nonce: self.asked }, out)
    }

    /// Acknowledges what was read and not acknowledged.
    pub fn acknowledge(&mut self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        if self.applied > self.acknowledged {
            self.acknowledged = self.applied;
            wire::encode(&Frame::Ack { applied: self.applied }, out)?;
        }
        Ok(())
    }

    /// Reads what the node says, and appends to `out` what is to be said to it.
    pub fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        self.reader.push(bytes);
        while let Some(body) = self.reader.next_body()? {
            let name = name(self.peer);
            let answer = match wire::decode(body)? {
                Frame::Hello(_) => Frame::Welcome(Welcome {
                    version: wire::VERSION,
                    node: &name,
                    incarnation: life(self.peer),
                    labels: Vec::new(),
                    first: Seq::START.next(),
                    head: Seq::START,
                    fixed: Vec::new(),
                }),
                Frame::Renew { nonce } => Frame::Grant { nonce, head: Seq::START },
                Frame::Inquire(asked) => Frame::Testify(Testify {
                    nonce: asked.nonce,
                    in_touch: false,
                    forgotten: 0,
                    head: Seq::START,
                    lives: Vec::new(),
                }),
                Frame::Flush(flush) => {
                    self.applied = flush.seq;
                    continue;
                }
                _ => continue,
            };
            wire::encode(&answer, out)?;
        }
        if self.acknowledges { self.acknowledge(out) } else { Ok(()) }
    }
}

fn name(peer: u16) -> String {
    format!("peer {peer}")
}

fn life(peer: u16) -> Incarnation {
    Incarnation((u128::from(peer) + 1).to_be_bytes())
}
