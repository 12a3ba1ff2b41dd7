//! Owns what is remembered of a connection of the node with somebody who says anything.

use flushcast_core::Time;
use flushcast_core::node::ConnId;
use flushcast_core::wire::{self, Frame, FrameReader};

pub(crate) struct Stranger {
    pub(crate) conn: ConnId,
    /// Since when it is dialled, while it is.
    pub(crate) dialled: Option<Time>,
    /// The rest of a frame that was cut.
    pub(crate) rest: Vec<u8>,
    reader: FrameReader,
    /// The last question's.
    pub(crate) nonce: u64,
    /// The last number of its log.
    pub(crate) told: u64,
}

impl Stranger {
    pub(crate) fn new(conn: ConnId, dialled: Option<Time>) -> Self {
        let (rest, reader) = (Vec::new(), FrameReader::default());
        Self { conn, dialled, rest, reader, nonce: 0, told: 0 }
    }

    /// Reads what a node says, all of which makes sense.
    pub(crate) fn listen(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
        while let Some(body) = self.reader.next_body().expect("a node's own frames") {
            let frame = wire::decode(body).expect("a node's own frame");
            if let Frame::Renew(renew) = frame {
                self.nonce = renew.nonce;
            }
        }
    }
}
