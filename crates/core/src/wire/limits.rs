//! Owns the limits of what travels. A limit that a user can meet is named in an error.

use std::time::Duration;

/// The protocol version this code speaks. It goes up when an older node could not follow.
pub const VERSION: u16 = 1;
/// Longest frame, in bytes, without its length prefix.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;
/// Longest key as text, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// Longest name of a cache, a node or a cluster, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Most labels of a node.
pub const MAX_LABELS: usize = 16;
/// Longest name or value of a label, in bytes.
pub const MAX_LABEL_BYTES: usize = 256;
/// Most scopes in one flush frame.
pub const MAX_SCOPES: usize = 32;
/// Most peers on a roster; further addresses are reported and left out.
pub const MAX_PEERS: usize = 1024;
/// Most connections a node holds open; further ones are closed at once.
pub const MAX_CONNECTIONS: usize = 4 * MAX_PEERS;
/// How long a fresh connection may take to say who it is.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
