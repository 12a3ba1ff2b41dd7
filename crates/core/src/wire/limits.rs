//! Owns the limits of what travels. A limit that a user can meet is named in an error.

use std::time::Duration;

/// The protocol version this code speaks. It goes up when an older node could not follow.
pub const VERSION: u16 = 1;
/// Longest frame, in bytes, without its length prefix.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;
/// Longest key as text, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// Most tags of a copy.
pub const MAX_TAGS: usize = 64;
/// Longest tag, in bytes.
pub const MAX_TAG_BYTES: usize = 256;
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
/// How often a follower asks each origin for a new proof of being in step.
pub const RENEW_EVERY: Duration = Duration::from_millis(500);
/// Most renewals under way to one origin; beyond it the latest is given up for the next.
pub const MAX_RENEWALS: usize = 32;
/// After how long without a byte an open connection counts as dead: ten renewals. Without it, a
/// link whose other end has vanished would look open for as long as nothing is sent over it.
pub const SILENT_AFTER: Duration = Duration::from_secs(5);
/// Most bytes of control frames that wait for a peer to read them.
pub const MAX_CONTROL_BYTES: usize = 32 * 1024;
/// How long a fresh connection may take to say who it is.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Most addresses of a fixed list that nodes compare with each other.
pub const MAX_FIXED: usize = 256;
/// Most lives that are over of which a node remembers what they told it.
pub const MAX_LIVES_OVER: usize = 256;
/// How much a node keeps of what each life told it, to hand it over when that life has died.
pub const TAIL: crate::flush::LogLimits =
    crate::flush::LogLimits { entries: 512, bytes: 16 * 1024 };
/// Most lives that one question, or answer, may name.
pub const MAX_LIVES_NAMED: usize = 2 * MAX_LIVES_OVER;
