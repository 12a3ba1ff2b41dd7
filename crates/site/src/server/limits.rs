//! What clients may take of a process, all in one place. What a save may hold is in `../limits.rs`.

use std::time::Duration;

/// How long a client may take to send the head of a request, in seconds. A connection on which no
/// request comes is closed after as long.
pub const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a client may take to send the body of a request, all of it, in seconds.
pub const BODY_WITHIN: Duration = Duration::from_secs(10);
/// How long a client may leave what it is sent unread, in seconds.
pub const READS_WITHIN: Duration = Duration::from_secs(10);
/// How long a closing connection is still read, in milliseconds: a client in the middle of sending
/// would lose its answer otherwise.
pub const LINGER: Duration = Duration::from_millis(500);
/// How long the demo and the instances keep an unused connection to an instance, in seconds. Less
/// than `HEAD_WITHIN`, so that no request goes out on a connection that is being closed.
pub const UNUSED_WITHIN: Duration = Duration::from_secs(5);
/// The largest head of a request, in bytes.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How much the request bodies in memory may add up to, in bytes.
pub const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;
/// The most open connections of a port, a count. Fewer if the process may open few files.
pub const MAX_CONNECTIONS: usize = 128;
/// The most open event streams of a port, a count. Never more than half of the connections.
pub const MAX_STREAMS: usize = 48;
/// How many of the files a process may open there are for each connection, a count. The demo's port
/// needs up to three: the connection, one to an instance, and a try whether that takes connections.
/// The rest is for links, pipes and the store.
const FILES_PER_CONNECTION: usize = 4;

/// What clients may take of one port.
#[derive(Debug, Clone)]
pub struct Limits {
    /// See [`HEAD_WITHIN`].
    pub head_within: Duration,
    /// See [`BODY_WITHIN`].
    pub body_within: Duration,
    /// See [`READS_WITHIN`].
    pub reads_within: Duration,
    /// See [`MAX_HELD_BYTES`].
    pub held_bytes: usize,
    /// See [`MAX_CONNECTIONS`].
    pub connections: usize,
    /// See [`MAX_STREAMS`].
    pub streams: usize,
}

impl Default for Limits {
    /// The constants of this module, or less if this process may open few files.
    fn default() -> Limits {
        let connections = connections(most_files());
        Limits {
            head_within: HEAD_WITHIN,
            body_within: BODY_WITHIN,
            reads_within: READS_WITHIN,
            held_bytes: MAX_HELD_BYTES,
            connections,
            streams: MAX_STREAMS.min(connections / 2),
        }
    }
}

fn connections(most_files: Option<u64>) -> usize {
    let most_files = most_files.and_then(|it| usize::try_from(it).ok()).unwrap_or(usize::MAX);
    (most_files / FILES_PER_CONNECTION).clamp(1, MAX_CONNECTIONS)
}

/// How many files this process may have open, if there is a limit.
fn most_files() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    return None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_most_files_of_a_process_to_others() {
        assert_eq!(connections(None), MAX_CONNECTIONS);
        assert_eq!(connections(Some(u64::MAX)), MAX_CONNECTIONS);
        assert_eq!(connections(Some(1024)), MAX_CONNECTIONS);
        assert_eq!(connections(Some(256)), 64);
        assert_eq!(connections(Some(0)), 1);
    }

    #[test]
    fn event_streams_leave_connections_to_others() {
        let limits = Limits::default();
        assert!(limits.streams <= limits.connections / 2, "{limits:?}");
    }
}
