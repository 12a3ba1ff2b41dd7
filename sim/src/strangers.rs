//! Owns what answers where no node of the cluster is: another program, another cluster, or
//! something that accepts and is silent or closes.

use flushcast_core::node::{Input, Transmit};
use flushcast_core::wire::{self, Frame, Reject};

use crate::network::{End, delay};
use crate::places::Stranger;
use crate::world::{Event, World};

impl World {
    /// A dial comes to something that is not of the cluster.
    pub(crate) fn meet_stranger(&mut self, from: End, stranger: Stranger) {
        self.counts.strangers += 1;
        self.strange.insert(from, stranger);
        self.feed(from.slot, Input::Connected { conn: from.conn, local: None });
        self.pump_to_stranger(from);
        if stranger != Stranger::Silent {
            let answers = delay(&mut self.rng);
            self.after(answers, Event::StrangerAnswers { from });
        }
    }

    /// It reads what it is sent, and makes nothing of it. False if the connection is a node's.
    pub(crate) fn pump_to_stranger(&mut self, from: End) -> bool {
        if !self.strange.contains_key(&from) {
            return false;
        }
        let mut unread = Vec::new();
        while let Some(member) = self.living(from.slot, from.life) {
            match member.core.transmit(from.conn, usize::MAX, &mut unread) {
                Transmit::Data => {}
                Transmit::Idle => break,
                Transmit::Finished => {
                    self.strange.remove(&from);
                    let why = "ended".to_owned();
                    self.feed(from.slot, Input::Closed { conn: from.conn, why });
                    break;
                }
            }
        }
        true
    }

    pub(crate) fn on_stranger_answers(&mut self, from: End) {
        let (slot, conn) = (from.slot, from.conn);
        if self.living(slot, from.life).is_none() {
            self.strange.remove(&from);
        }
        let Some(stranger) = self.strange.get(&from).copied() else { return };
        let bytes = match stranger {
            Stranger::Garbage => b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            Stranger::OtherCluster => refusal_of_another_cluster(),
            Stranger::Silent | Stranger::Closes => Vec::new(),
        };
        if !bytes.is_empty() {
            self.receive(from, None, &bytes);
        }
        // The node may have ended it because of what it read.
        if self.strange.remove(&from).is_some() {
            self.feed(slot, Input::Closed { conn, why: "closed by the other end".to_owned() });
        }
    }
}

fn refusal_of_another_cluster() -> Vec<u8> {
    let mut bytes = Vec::new();
    let reject = Frame::Reject(Reject::OtherCluster { cluster: "another" });
    let Ok(()) = wire::encode(&reject, &mut bytes) else { unreachable!("a short frame") };
    bytes
}
