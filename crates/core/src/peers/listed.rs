//! Owns what a discovery list says: entries, each of which is one node at any of its addresses.
//! It must never say what answers at an address.

use std::net::{SocketAddr, SocketAddrV6};
use std::sync::Arc;

/// One entry of a discovery list: a place where one node is, at any of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What was written in the list, such as `db-1:7400`. It tells entries of one source apart.
    pub name: Arc<str>,
    /// Where the node may be. All are tried.
    pub addresses: Vec<SocketAddr>,
}

impl From<SocketAddr> for Listed {
    /// An entry of its own, named like its address.
    fn from(address: SocketAddr) -> Self {
        let address = canonical(address);
        Self { name: address.to_string().into(), addresses: vec![address] }
    }
}

/// One address has one form: an IPv4 address inside IPv6 is that address, and a flow label is no
/// part of it. The scope is: `fe80::1` on one interface is another place than on the next.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(six) => match six.ip().to_ipv4_mapped() {
            Some(four) => SocketAddr::from((four, six.port())),
            None => SocketAddrV6::new(*six.ip(), six.port(), 0, six.scope_id()).into(),
        },
    }
}

/// An address as it travels: a scope means something on one machine only.
pub(crate) fn bare(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_form_and_keeps_its_scope() {
        for (written, one) in [
            ("[::ffff:10.0.0.7]:7400", "10.0.0.7:7400"),
            ("10.0.0.7:7400", "10.0.0.7:7400"),
            ("[fe80::1%3]:7400", "[fe80::1%3]:7400"),
            ("[2001:db8::1]:7400", "[2001:db8::1]:7400"),
        ] {
            let address = canonical(written.parse().unwrap());
            assert_eq!(address.to_string(), one);
            assert_eq!(Listed::from(address).name.as_ref(), one);
        }
        let flowing = SocketAddrV6::new("fe80::1".parse().unwrap(), 7400, 9, 3);
        assert_eq!(canonical(flowing.into()), "[fe80::1%3]:7400".parse().unwrap());
    }
}
