//! No members file makes a node panic, and what it tells the core is a list of places: each entry has
//! addresses where a node can be, or it is said why not.
#![no_main]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use flushcast::discovery::fuzzed::{Read, read};
use flushcast_core::peers::canonical;
use tokio::runtime::{Builder, Runtime};

/// What names may resolve to: places, and what is none.
const ADDRESSES: [&str; 8] = [
    "10.0.0.7:7400",
    "[::ffff:10.0.0.7]:7400",
    "[fd00::7]:7400",
    "[fe80::1%3]:7400",
    "[fe80::1]:7400",
    "0.0.0.0:7400",
    "10.0.0.8:0",
    "224.0.0.1:7400",
];
/// Where the node says to be.
const OWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7400);
/// Most addresses of an entry.
const MOST_ADDRESSES: usize = 16;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

// The last byte says what names resolve to, so that the rest is a file as people write it.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((set, text)) = bytes.split_last() else { return };
    let named = ADDRESSES.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1);
    let found: Vec<_> = named.map(|(_, text)| text.parse().expect("an address")).collect();
    match RUNTIME.block_on(read(text, &found, OWN)) {
        Ok(read) => check(&read),
        Err(why) => assert!(why.contains("it is malformed"), "{why}"),
    }
});

fn check(read: &Read) {
    let texts: BTreeSet<_> = read.texts.iter().map(String::as_str).collect();
    let names: BTreeSet<_> = read.listed.iter().map(|it| &*it.name).collect();
    assert_eq!(names.len(), read.listed.len(), "a name is told twice");
    assert!(names.is_subset(&texts));
    for listed in &read.listed {
        let addresses: BTreeSet<_> = listed.addresses.iter().copied().map(canonical).collect();
        assert_eq!(addresses.len(), listed.addresses.len(), "{listed:?}");
        assert!((1..=MOST_ADDRESSES).contains(&addresses.len()), "{listed:?}");
        let is_place = |it: &SocketAddr| !it.ip().is_unspecified() && it.port() != 0;
        assert!(addresses.iter().all(is_place), "{listed:?}");
    }
    let is_whole = names == texts;
    assert!(is_whole || read.partly, "somebody would be taken off");
    assert!(is_whole || read.problem.as_ref().is_some_and(|it| !it.is_empty()), "{read:?}");
    match &read.fixed {
        Ok(list) => assert!(list.contains(&OWN) && list.is_sorted(), "{list:?}"),
        Err(why) => assert!(!why.is_empty()),
    }
}
