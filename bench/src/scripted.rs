//! Owns what a played peer says over its connection with the measured node: the handshake, and
//! what a healthy node answers to each frame. It must never measure: only the core's own time
//! counts.
//!
//! All that depends on the wire format stands here.

use std::net::{Ipv4Addr, SocketAddr};

use flushcast_core::wire::{
    self, Frame, FrameError, FrameReader, Grant, Hello, Incarnation, Renew, Seq, Versions, Welcome,
};

use crate::words::CLUSTER;

/// Where a peer listens.
pub fn place(peer: u16) -> SocketAddr {
    let [high, low] = peer.to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, 0, high, low), 7400))
}

/// One end of a connection.
#[derive(Debug)]
pub struct Scripted {
    peer: u16,
    /// The fixed list that all nodes were given.
    fixed: Vec<SocketAddr>,
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
    pub fn new(peer: u16, fixed: Vec<SocketAddr>) -> Self {
        Self {
            peer,
            fixed,
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
            life: life(self.peer),
            claims: vec![place(self.peer)],
            labels: Vec::new(),
            fixed: self.fixed.clone(),
        };
        wire::encode(&Frame::Hello(hello), out)
    }

    /// Asks how far the node's log is, as each peer does again and again, and who is at `places`.
    pub fn renew(&mut self, places: &[SocketAddr], out: &mut Vec<u8>) -> Result<(), FrameError> {
        self.asked += 1;
        let (lives, want) = (Vec::new(), Vec::new());
        let renew = Renew { nonce: self.asked, places: places.to_vec(), lives, want };
        wire::encode(&Frame::Renew(renew), out)
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
                    life: life(self.peer),
                    claims: vec![place(self.peer)],
                    labels: Vec::new(),
                    fixed: self.fixed.clone(),
                    resume: Seq::START,
                }),
                Frame::Welcome(_) => Frame::Go { resume: Seq::START, is_evidence: false },
                Frame::Renew(Renew { nonce, .. }) => {
                    let (lost, linked) = (Vec::new(), Vec::new());
                    Frame::Grant(Grant { nonce, head: Seq::START, lost, linked })
                }
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
