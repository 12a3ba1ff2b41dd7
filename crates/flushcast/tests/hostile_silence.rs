//! A member that goes silent, never reads, or comes again and again under new names: it makes nothing
//! grow, and what honest nodes hold, prove and confirm to each other does not suffer by it.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::time::Duration;

use cluster::hostile::{GO, Honest, Hostile, Mute, Posing, flush_of};
use cluster::{BOUND, Cluster, PATIENCE, bounded, load, until};
use flushcast::{Cache, Reason};
use flushcast_core::wire::{Frame, Seq};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// What a member costs that does something again and again for some time, under a new name each time.
#[derive(Debug)]
struct Cost {
    /// Reads that found no copy, and all.
    misses: (usize, usize),
    /// Looks at which the node was not in sync.
    out_of_sync: usize,
}

/// How far it goes before it says nothing any more; its connections stay open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Silent {
    Connected,
    SaidHello,
    Welcomed,
}

/// How long a flush that waits for somebody silent is awaited.
const CONFIRM_WITHIN: Duration = Duration::from_secs(1);
/// From one silent member to the next.
const NEXT_AFTER: Duration = Duration::from_millis(200);

/// Runs two honest nodes for a few times the bound of their caches, beside such members.
async fn cost_of(silent: Silent) -> Cost {
    let honest = Honest::of(2, &[]).await;
    let mute = Mute::new().await;
    let caches: Vec<Cache<String, u64>> = honest.nodes.iter().map(bounded).collect();
    cluster::in_sync_beyond_the_bound(&honest.nodes.iter().collect::<Vec<_>>()).await;
    for cache in &caches {
        load(cache, "kept", 1).await;
    }
    let (node, at) = (&honest.nodes[0], honest.nodes[0].local_address());
    let mut cost = Cost { misses: (0, 0), out_of_sync: 0 };
    let (began, mut next, mut held) = (Instant::now(), Instant::now(), Vec::new());
    while began.elapsed() < BOUND * 4 {
        if Instant::now() >= next {
            next += NEXT_AFTER;
            let posing = Posing::of(held.len() as u64).at(mute.address);
            let mut hostile = Hostile::dial(at).await;
            if silent >= Silent::SaidHello {
                hostile.say(&posing.hello()).await;
            }
            if silent >= Silent::Welcomed {
                hostile.wait_for(|it| matches!(it, Frame::Welcome(_)).then_some(())).await;
            }
            held.push(hostile);
        }
        cost.misses.0 += usize::from(caches[0].get("kept").is_none());
        cost.misses.1 += 1;
        cost.out_of_sync += usize::from(!node.in_sync());
        let outcome = caches[0].flush("another").await.unwrap();
        // Where a silent one was waited for, it would be named.
        assert!(outcome.is_complete(), "{silent:?}: {outcome}");
        assert_eq!(outcome.applied_by(), ["honest-1"]);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    honest.assert_untouched();
    cost
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_silent_before_it_is_linked_costs_nothing() {
    for silent in [Silent::Connected, Silent::SaidHello, Silent::Welcomed] {
        let cost = cost_of(silent).await;
        assert_eq!((cost.misses.0, cost.out_of_sync), (0, 0), "{silent:?}: {cost:?}");
    }
}

/// What a list has, and what can be connected to, may be a node: it is named, and waited for as long as it
/// is listed.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_listed_and_goes_silent_when_it_is_dialled_is_named_until_no_list_has_it() {
    for welcomes in [false, true] {
        let mut cluster = Cluster::new();
        for _ in 0..2 {
            cluster.join_with(|builder| builder.confirm_within(CONFIRM_WITHIN)).await;
        }
        cluster.all_linked().await;
        let nodes: Vec<_> = cluster.nodes.clone();
        let caches: Vec<Cache<String, u64>> = nodes.iter().map(bounded).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = tokio::spawn(async move {
            let (posing, mut held) = (Posing::of(1).at(address), Vec::new());
            loop {
                let mut dialled = Hostile::dialled_at(&listener).await;
                if welcomes {
                    dialled.hear(|it| matches!(it, Frame::Hello(_)).then_some(())).await;
                    dialled.say(&posing.welcome()).await;
                }
                held.push(dialled);
            }
        });
        cluster.list(address);
        for (node, cache) in nodes.iter().zip(&caches) {
            until(node, |_| !node.in_sync()).await;
            let outcome = cache.flush("k").await.unwrap();
            assert_eq!(outcome.applied.len(), 1, "{outcome}");
            assert_eq!(outcome.unconfirmed[0].address, address, "{outcome}");
        }
        cluster.unlist(address);
        silent.abort();
        for node in &nodes {
            until(node, |_| node.in_sync()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reconnects_thousands_of_times_is_forgotten_and_costs_no_copy() {
    const TIMES: u64 = 3000;
    let honest = Honest::of(2, &[]).await;
    let mute = Mute::new().await;
    let caches: Vec<Cache<String, u64>> = honest.nodes.iter().map(bounded).collect();
    cluster::in_sync_beyond_the_bound(&honest.nodes.iter().collect::<Vec<_>>()).await;
    load(&caches[0], "kept", 1).await;
    let (node, at) = (&honest.nodes[0], honest.nodes[0].local_address());
    for number in 0..TIMES {
        let mut hostile = Posing::of(number).at(mute.address).greet(at).await;
        // Each third ends at once, each third is welcomed, each third is an offence.
        match number % 3 {
            0 => {}
            1 => {
                hostile.wait_for(|it| matches!(it, Frame::Welcome(_)).then_some(())).await;
            }
            _ => {
                hostile.say(&GO).await;
                hostile.say(&Frame::Ack { applied: Seq(u64::MAX) }).await;
                hostile.is_dropped().await;
            }
        }
        if number % 100 == 0 {
            assert!(node.in_sync(), "{:#?}", node.cut_off());
            assert_eq!(caches[0].get("kept"), Some(1));
        }
    }
    let peers = until(node, |peers| peers.len() == 1).await;
    assert_eq!(peers[0].name.as_deref(), Some("honest-1"));
    honest.assert_well(&caches).await;
}

/// Links that are made and given up as fast as they can be. Who is lost is looked for, and meanwhile the
/// node says that it cannot prove anything; but it does not come to distrust what it holds.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_links_thousands_of_times_finds_no_room_and_costs_no_copy() {
    const TIMES: u64 = 3000;
    let honest = Honest::of(2, &[]).await;
    let eventual = |node: &flushcast::Node| {
        let cache = node.cache::<String, u64>("numbers");
        cache.guarantee(flushcast::Guarantee::Eventual).build().unwrap()
    };
    let caches: Vec<_> = honest.nodes.iter().map(eventual).collect();
    load(&caches[0], "kept", 1).await;
    let (mut linked, mut full) = (0, 0);
    for number in 0..TIMES {
        let mut hostile = Posing::of(number).greet(honest.nodes[0].local_address()).await;
        let is_full = hostile.wait_for(|frame| match frame {
            Frame::Welcome(_) => Some(false),
            Frame::Reject(_) => Some(true),
            _ => None,
        });
        match is_full.await {
            true => full += 1,
            false => {
                hostile.say(&GO).await;
                let is_linked = |it: &Frame<'_>| matches!(it, Frame::Renew(_)).then_some(());
                hostile.wait_for(is_linked).await;
                linked += 1;
            }
        }
    }
    assert!((500..600).contains(&linked) && linked + full == TIMES, "{linked} {full}");
    assert!(honest.nodes[0].peers().len() < 600);
    load(&caches[1], "k", 1).await;
    caches[0].flush("k");
    let is_gone = async {
        while caches[1].get("k").is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, is_gone).await.unwrap();
    assert_eq!(caches[0].get("kept"), Some(1));
    honest.assert_untouched();
}

/// It goes on sending, so that its connection is not taken for a dead one.
#[tokio::test(flavor = "multi_thread")]
async fn who_never_acknowledges_holds_up_one_flush_and_is_named_by_the_others() {
    let mut cluster = Cluster::new();
    let node = cluster.join_with(|builder| builder.confirm_within(CONFIRM_WITHIN)).await;
    let cache = bounded(&node);
    let mut hostile = Posing::of(1).link(node.local_address()).await;
    until(&node, |peers| peers.iter().any(|it| it.follows)).await;
    for number in 1..=100 {
        hostile.say(&flush_of("another", number, None)).await;
        let outcome = cache.flush("k").await.unwrap();
        assert_eq!(outcome.unconfirmed[0].node, "hostile-1");
        let is_suspected = matches!(outcome.unconfirmed[0].reason, Reason::Suspected { .. });
        assert_eq!(is_suspected, number > 1, "{outcome}");
    }
}

/// More than what the sockets between two ends take.
const MANY: usize = 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_holds_up_nobody_and_makes_nothing_grow() {
    let honest = Honest::of(2, &[]).await;
    let caches: Vec<Cache<String, u64>> = honest.nodes.iter().map(bounded).collect();
    let mut deaf = Posing::of(1).link(honest.nodes[0].local_address()).await;
    let key = |number: usize| format!("{number}-{}", "k".repeat(500));
    for number in 0..MANY {
        drop(caches[0].flush(&key(number)));
        if number % 100 == 0 {
            // It lives, as far as can be seen from what it says.
            deaf.say(&flush_of("another", 1 + number as u64 / 100, None)).await;
            tokio::task::yield_now().await;
        }
    }
    load(&caches[1], "last", 1).await;
    drop(caches[0].flush("last"));
    let is_gone = async {
        while caches[1].get("last").is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, is_gone).await.expect("the honest one waits for the deaf one");
    assert!(honest.nodes[0].flush_log_bytes() <= 16 << 20);
    honest.assert_untouched();
    // It is dropped for that it answers nothing, and named.
    honest.offence(deaf.address()).await;
}
