//! Owns what is asked of the system: the addresses of a name, and whether there is a route.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::address::Name;

/// The system, or in tests whatever plays it.
pub(super) trait System: Clone + Send + Sync + 'static {
    /// All addresses of a name. May take as long as it likes.
    fn look_up(&self, name: Name) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// Whether a packet to `address` would leave this host.
    fn has_route(&self, address: SocketAddr) -> bool;
}

/// The real one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Os;

impl System for Os {
    async fn look_up(&self, name: Name) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name.host.as_str(), name.port)).await?.collect())
    }

    /// Connecting a UDP socket sends nothing; it makes the system choose a route.
    fn has_route(&self, address: SocketAddr) -> bool {
        let any = match address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let connected = UdpSocket::bind(any).and_then(|socket| socket.connect(address));
        // An error of another kind, such as no free descriptor, says nothing about routes.
        connected.map_or_else(|error| !says_no_route(&error), |()| true)
    }
}

fn says_no_route(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) {
        return true;
    }
    let kinds =
        [ErrorKind::NetworkUnreachable, ErrorKind::HostUnreachable, ErrorKind::AddrNotAvailable];
    kinds.contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_route_to_this_host_and_none_over_an_interface_that_is_not_there() {
        assert!(Os.has_route("127.0.0.1:9".parse().unwrap()));
        #[cfg(target_os = "linux")]
        assert!(!Os.has_route("[fe80::1%4294967]:9".parse().unwrap()));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_interface_is_looked_up_by_its_name() {
        let name = |host: &str| Name { host: host.into(), port: 7400 };
        let found = Os.look_up(name("fe80::1%lo")).await.unwrap();
        assert_eq!(found, ["[fe80::1%1]:7400".parse().unwrap()]);
        Os.look_up(name("fe80::1%nosuch0")).await.unwrap_err();
    }
}
