//! Owns what is written in a list: whether a text is an address or a name, and whether an address
//! can be a place where others reach a node. It must never ask the network.

use std::net::{IpAddr, SocketAddr};

use flushcast_core::peers::canonical;

/// A host name and a port, to be looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) host: String,
    pub(super) port: u16,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    Address(SocketAddr),
    Name(Name),
    /// Neither; with what to write instead.
    Malformed(String),
}

/// Reads `host:port`. An interface by its name, as in `[fe80::1%eth0]:7400`, makes it a name: the
/// system looks up the number, which may be another one later.
pub(super) fn read(text: &str) -> Written {
    if let Ok(address) = text.parse() {
        return Written::Address(canonical(address));
    }
    let malformed = |hint: &str| Written::Malformed(format!("{text:?} is malformed: {hint}"));
    let Some((host, port)) = text.rsplit_once(':') else {
        return malformed("write host:port");
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bracketed.is_none() && host.contains(':') {
        return malformed(
            "write host:port, and an IPv6 address in brackets, such as [fd00::7]:7400",
        );
    }
    let host = bracketed.unwrap_or(host).to_owned();
    match port.parse() {
        Ok(port) if !host.is_empty() => Written::Name(Name { host, port }),
        _ => malformed("write host:port, with a port of 1 to 65535"),
    }
}

/// Why nobody can be reached at an address, and what to write instead; `None` if somebody can.
pub(crate) fn unusable(address: SocketAddr) -> Option<&'static str> {
    if address.port() == 0 {
        return Some("write the port that the node listens at; port 0 is none");
    }
    match address.ip() {
        ip if ip.is_unspecified() => Some(
            "write the address that others reach the node at; this one means all addresses of \
             whoever listens",
        ),
        ip if ip.is_multicast() => Some("write the address of one node; this one is of a group"),
        IpAddr::V4(ip) if ip.is_broadcast() => {
            Some("write the address of one node; this one is of everybody")
        }
        IpAddr::V6(ip) if ip.is_unicast_link_local() && !has_scope(address) => {
            Some("write the interface, too, as in [fe80::1%eth0]:7400")
        }
        _ => None,
    }
}

fn has_scope(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(six) if six.scope_id() != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(host: &str, port: u16) -> Written {
        Written::Name(Name { host: host.into(), port })
    }

    #[test]
    fn a_text_is_an_address_or_a_name_or_told_what_to_be() {
        for (text, address) in [
            ("10.0.0.7:7400", "10.0.0.7:7400"),
            ("[::ffff:10.0.0.7]:7400", "10.0.0.7:7400"),
            ("[fe80::1%3]:7400", "[fe80::1%3]:7400"),
        ] {
            assert_eq!(read(text), Written::Address(address.parse().unwrap()), "{text}");
        }
        assert_eq!(read("db-1:7400"), name("db-1", 7400));
        assert_eq!(read("[fe80::1%eth0]:7400"), name("fe80::1%eth0", 7400));
        for (text, hint) in [
            ("", "host:port"),
            ("db-1", "host:port"),
            (":7400", "host:port"),
            ("db-1:http", "1 to 65535"),
            ("db-1:70000", "1 to 65535"),
            ("fe80::1:7400", "in brackets"),
            ("http://db-1:7400", "host:port"),
        ] {
            let Written::Malformed(why) = read(text) else { panic!("{text:?} is taken") };
            assert!(why.contains(hint), "{why}");
        }
    }

    #[test]
    fn an_address_that_is_no_place_is_told_what_to_be() {
        for (address, hint) in [
            ("0.0.0.0:0", "port 0"),
            ("10.0.0.7:0", "port 0"),
            ("0.0.0.0:7400", "that others reach"),
            ("[::]:7400", "that others reach"),
            ("224.0.0.1:7400", "a group"),
            ("[ff02::1%3]:7400", "a group"),
            ("255.255.255.255:7400", "everybody"),
            ("[fe80::1]:7400", "[fe80::1%eth0]:7400"),
        ] {
            let why = unusable(address.parse().unwrap()).unwrap();
            assert!(why.contains(hint), "{address}: {why}");
        }
        for address in ["10.0.0.7:7400", "[::1]:1", "[fe80::1%3]:7400", "169.254.1.2:7400"] {
            assert_eq!(unusable(address.parse().unwrap()), None);
        }
    }
}
