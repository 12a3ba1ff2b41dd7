//! Owns nodes that live in this process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use flushcast::Node;
use flushcast::discovery::Fixed;

use crate::error::BenchError;

/// Between two looks at what cannot be awaited.
pub const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Addresses on loopback that nobody listens at, all different.
///
/// # Errors
/// The system's, if it has none.
pub fn free_addresses<const COUNT: usize>() -> Result<[SocketAddr; COUNT], BenchError> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    // All are held until the last is there.
    let listeners: Vec<_> =
        (0..COUNT).map(bind).collect::<Result<_, _>>().map_err(BenchError::Addresses)?;
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); COUNT];
    for (address, listener) in addresses.iter_mut().zip(&listeners) {
        *address = listener.local_addr().map_err(BenchError::Addresses)?;
    }
    Ok(addresses)
}

/// A node of the cluster of all nodes in this process.
///
/// # Errors
/// [`BenchError::Start`].
pub async fn node(name: &str, listen: SocketAddr, list: Fixed) -> Result<Node, BenchError> {
    Ok(Node::builder("bench").name(name).listen(listen).discovery(list).start().await?)
}
