//! Owns the limits of what travels. A limit that a user can meet is named in an error.

use std::time::Duration;

/// The protocol version this code speaks. It goes up when an older node could not follow.
pub const VERSION: u16 = 3;
/// Longest frame, in bytes, without its length prefix.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;
/// Longest key as text, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// Most tags of a copy.
pub const MAX_TAGS: usize = 64;
/// Longest tag, in bytes.
pub const MAX_TAG_BYTES: usize = 256;
/// The name, in a flush, of every cache that its receiver has: no cache has it.
pub const EVERY_CACHE: &str = "";
/// Longest name of a cache, a node or a cluster, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Most labels of a node.
pub const MAX_LABELS: usize = 16;
/// Longest name or value of a label, in bytes.
pub const MAX_LABEL_BYTES: usize = 256;
/// Most scopes in one flush frame.
pub const MAX_SCOPES: usize = 32;
/// Most places on a roster, and most lives that a node is linked with. A node that has to leave
/// out a listed place is not in sync, and says why.
pub const MAX_PEERS: usize = 1024;
/// Most connections a node holds open; further ones are closed at once.
pub const MAX_CONNECTIONS: usize = 4 * MAX_PEERS;
/// Most connections that other ends have made of one life. An honest one has some for each address at
/// which it is listed, and for each that is not known to be broken yet.
pub const MAX_CONNECTIONS_OF_LIFE: usize = 4 * MAX_CLAIMS;
/// Most places that a node says to be at.
pub const MAX_CLAIMS: usize = 16;
/// How often a node asks each peer for a new proof of being in step.
pub const RENEW_EVERY: Duration = Duration::from_millis(500);
/// How soon a peer is asked again while something is open that its answer may settle.
pub const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Most renewals under way on one connection; beyond it the latest is given up for the next.
pub const MAX_RENEWALS: usize = 32;
/// After how long without a byte an open connection counts as dead: ten renewals. Without it, a
/// link whose other end has vanished would look open for as long as nothing is sent over it.
pub const SILENT_AFTER: Duration = Duration::from_secs(5);
/// Most bytes of control frames that wait for a peer to read them.
pub const MAX_CONTROL_BYTES: usize = 32 * 1024;
/// How long a handshake may take.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Most addresses of a fixed list that nodes compare with each other.
pub const MAX_FIXED: usize = 256;
/// Most lives, and most places, that one question or answer names.
pub const MAX_NAMED: usize = 1024;
