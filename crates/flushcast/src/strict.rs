//! Owns whether a node can keep a strict promise: every node must know every other from a list.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use flushcast_core::peers::canonical;
use flushcast_core::wire::MAX_FIXED;

use crate::discovery::unusable;

/// Why a cache of this node cannot be [`Strict`](crate::Guarantee::Strict).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotStrict {
    /// Peers are found in a way that may miss one.
    #[error(
        "a strict cache needs to know every node, and the source {source_name:?} may not: use \
         discovery::Fixed alone, with the same list on every node"
    )]
    OtherSource {
        /// The source.
        source_name: String,
    },
    /// There is no list.
    #[error(
        "a strict cache needs to know every node: give the node a discovery::Fixed with all of \
         them, the same on every node"
    )]
    NoList,
    /// The list has names, and what a name leads to may change.
    #[error(
        "a strict cache needs a list of IP addresses and ports, and what {name:?} leads to may \
         change: write its IP address"
    )]
    Name {
        /// The first one.
        name: String,
    },
    /// The list has an address at which no node can be.
    #[error(
        "a strict cache needs the address of every node, and at {address} there can be none: {hint}"
    )]
    NoPlace {
        /// The first one.
        address: SocketAddr,
        /// What to write instead.
        hint: String,
    },
    /// The node itself is not on its list.
    #[error(
        "a strict cache needs a list with the node's own address, and {own} is not on {list:?}: \
         listen at, or advertise, an address of the list, and give all nodes the same one"
    )]
    Unlisted {
        /// Where the node says to listen.
        own: SocketAddr,
        /// The list.
        list: Vec<SocketAddr>,
    },
    /// The list is over the limit.
    #[error(
        "a strict cache needs a list of at most {MAX_FIXED} nodes, this one has {count}: give the \
         cache a bound instead, or use fewer nodes"
    )]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

/// The list of all nodes, sorted, if there is one that can be relied on.
pub(crate) fn list_of(
    own: SocketAddr,
    lists: Vec<(String, Option<Vec<String>>)>,
) -> Result<Vec<SocketAddr>, NotStrict> {
    let mut addresses = BTreeSet::new();
    if lists.is_empty() {
        return Err(NotStrict::NoList);
    }
    for (source_name, list) in lists {
        let Some(list) = list else { return Err(NotStrict::OtherSource { source_name }) };
        for name in list {
            let Ok(address) = name.parse::<SocketAddr>() else {
                return Err(NotStrict::Name { name });
            };
            if let Some(hint) = unusable(address) {
                return Err(NotStrict::NoPlace { address, hint: hint.to_owned() });
            }
            addresses.insert(canonical(address));
        }
    }
    let list: Vec<_> = addresses.into_iter().collect();
    if list.len() > MAX_FIXED {
        return Err(NotStrict::TooMany { count: list.len() });
    }
    let own = canonical(own);
    if !list.contains(&own) {
        return Err(NotStrict::Unlisted { own, list });
    }
    Ok(list)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    fn fixed(list: &[&str]) -> (String, Option<Vec<String>>) {
        ("fixed".to_owned(), Some(list.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn only_a_list_of_addresses_with_the_own_one_will_do() {
        let own = "10.0.0.1:7400".parse().unwrap();
        let list = list_of(own, vec![fixed(&["10.0.0.2:7400", "10.0.0.1:7400", "10.0.0.2:7400"])]);
        assert_eq!(list.unwrap().len(), 2);
        assert_eq!(list_of(own, vec![]), Err(NotStrict::NoList));
        let dns = ("dns".to_owned(), None);
        let other = list_of(own, vec![fixed(&["10.0.0.1:7400"]), dns]);
        assert!(
            matches!(other, Err(NotStrict::OtherSource { source_name }) if source_name == "dns")
        );
        let name = list_of(own, vec![fixed(&["10.0.0.1:7400", "db-2:7400"])]);
        assert_eq!(name, Err(NotStrict::Name { name: "db-2:7400".into() }));
        let unlisted = list_of(own, vec![fixed(&["10.0.0.2:7400"])]).unwrap_err().to_string();
        assert!(unlisted.contains("10.0.0.1:7400") && unlisted.contains("10.0.0.2:7400"));
    }

    #[test]
    fn an_address_is_the_one_of_its_interface() {
        let own = "[fe80::1%3]:7400".parse().unwrap();
        let list = list_of(own, vec![fixed(&["[fe80::1%3]:7400", "[fe80::1%4]:7400"])]).unwrap();
        assert_eq!(list.len(), 2);
        let elsewhere = list_of(own, vec![fixed(&["[fe80::1%4]:7400"])]);
        assert!(matches!(elsewhere, Err(NotStrict::Unlisted { .. })), "{elsewhere:?}");
        let mapped =
            list_of("[::ffff:10.0.0.1]:7400".parse().unwrap(), vec![fixed(&["10.0.0.1:7400"])]);
        assert_eq!(mapped, Ok(vec!["10.0.0.1:7400".parse().unwrap()]));
    }

    #[test]
    fn an_address_that_nobody_can_reach_is_no_member_of_a_list_to_rely_on() {
        let own = "10.0.0.1:7400".parse().unwrap();
        for wrong in ["0.0.0.0:7400", "10.0.0.2:0", "[fe80::1]:7400", "224.0.0.1:7400"] {
            let list = list_of(own, vec![fixed(&["10.0.0.1:7400", wrong])]).unwrap_err();
            assert!(matches!(list, NotStrict::NoPlace { .. }), "{wrong}: {list}");
            assert!(list.to_string().contains("write the"), "{list}");
        }
    }
}
