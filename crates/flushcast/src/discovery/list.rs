//! Owns what is fit to be told to the core: each entry checked, what is wrong said in words.
//! It must never leave out anything without a word.

use std::collections::BTreeSet;

use flushcast_core::peers::{Listed, canonical};

use super::address;

/// Most addresses of one entry, which is one node. Each is dialled until one answers.
const MAX_ADDRESSES: usize = 16;
/// Most problems that are told one by one.
const MAX_TOLD: usize = 3;

/// A list as a source has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct List {
    pub(super) listed: Vec<Listed>,
    /// Something is missing: nobody is taken off.
    pub(super) partly: bool,
    /// What is wrong with it, and what to do.
    pub(super) problems: Vec<String>,
}

impl List {
    /// Gives addresses their one form. Leaves out what cannot be a place, and says so.
    pub(super) fn check(self) -> Self {
        let Self { listed, mut partly, mut problems } = self;
        let mut names = BTreeSet::new();
        let mut checked = Vec::new();
        for Listed { name, addresses } in listed {
            let before = problems.len();
            let mut places = BTreeSet::new();
            if addresses.is_empty() {
                problems.push(format!("{name:?} has no address: list it when it has one"));
            }
            for address in addresses.into_iter().map(canonical) {
                match address::unusable(address) {
                    None => drop(places.insert(address)),
                    Some(why) => problems.push(format!("{name:?} cannot be a node: {why}")),
                }
            }
            if places.len() > MAX_ADDRESSES {
                problems.push(format!(
                    "{name:?} has {} addresses, of which {MAX_ADDRESSES} are tried for one node: \
                     if it stands for many nodes, use discovery::Dns for it",
                    places.len()
                ));
            }
            partly |= problems.len() > before;
            let addresses: Vec<_> = places.into_iter().take(MAX_ADDRESSES).collect();
            if !addresses.is_empty() && names.insert(std::sync::Arc::clone(&name)) {
                checked.push(Listed { name, addresses });
            }
        }
        Self { listed: checked, partly, problems }
    }

    /// All that is wrong in one text.
    pub(super) fn problem(&self) -> Option<String> {
        let (first, more) = self.problems.split_at(self.problems.len().min(MAX_TOLD));
        let mut text = first.join("; ");
        if !more.is_empty() {
            text += &format!("; and {} more", more.len());
        }
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, addresses: &[&str]) -> Listed {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Listed { name: name.into(), addresses }
    }

    #[test]
    fn what_is_no_place_is_said_and_the_rest_stays() {
        let listed = vec![
            entry("0.0.0.0:0", &["0.0.0.0:0"]),
            entry("one", &["[::ffff:10.0.0.1]:1", "10.0.0.1:1", "[::]:1", "[fe80::1%3]:1"]),
            entry("none", &[]),
            entry("one", &["10.0.0.9:1"]),
            entry("two", &["10.0.0.2:1"]),
        ];
        let list = List { listed, ..List::default() }.check();
        let kept = [entry("one", &["10.0.0.1:1", "[fe80::1%3]:1"]), entry("two", &["10.0.0.2:1"])];
        assert_eq!(list.listed, kept);
        assert!(list.partly);
        assert_eq!(list.problems.len(), 3, "{list:?}");
        let problem = list.problem().unwrap();
        assert!(problem.starts_with("\"0.0.0.0:0\" cannot be a node: write the port"), "{problem}");
    }

    #[test]
    fn one_node_has_a_few_addresses_and_many_nodes_may_be_listed() {
        let address = |number: u16| std::net::SocketAddr::from(([10, 0, 0, 7], number));
        let many: Vec<_> = (1..=300).map(address).collect();
        let listed = vec![Listed { name: "shop:7400".into(), addresses: many.clone() }];
        let list = List { listed, ..List::default() }.check();
        assert_eq!(list.listed[0].addresses.len(), MAX_ADDRESSES);
        assert!(list.partly);
        assert!(list.problem().unwrap().contains("300 addresses"), "{list:?}");
        assert!(list.problem().unwrap().contains("discovery::Dns"), "{list:?}");

        let listed: Vec<_> = (1..=2000).map(address).map(Listed::from).collect();
        let list = List { listed: listed.clone(), ..List::default() };
        assert_eq!(list.clone().check(), list);
    }

    #[test]
    fn of_many_problems_some_are_told_and_the_rest_is_counted() {
        let problems = (0..9).map(|number| format!("p{number}")).collect();
        let list = List { problems, ..List::default() };
        assert_eq!(list.problem().unwrap(), "p0; p1; p2; and 6 more");
        assert_eq!(List::default().problem(), None);
    }
}
