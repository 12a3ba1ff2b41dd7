//! A member that lies about others, or breaks the protocol: it is ignored or dropped, and named.
//! What honest nodes hold, prove and confirm to each other does not suffer by it.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster::hostile::{GO, Honest, Hostile, Posing, flush_of, peer_named, start_honest};
use cluster::told::Told;
use cluster::{Cluster, free, load, numbers, until};
use flushcast::{Event, FlushError, Peer};
use flushcast_core::wire::{
    Frame, Grant, Heard, Linked, MAX_CONNECTIONS_OF_LIFE, Position, Reject, Renew, Seq,
};
use tokio::net::TcpListener;

/// The largest number that a log may have.
const LARGEST: u64 = u64::MAX / 2;

/// It is not dropped for that: an honest node that has lost its link to one that others are linked
/// with hands over what it has heard of it, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_handed_over_from_one_that_lives_moves_nothing() {
    let honest = Honest::of(2, &[]).await;
    let caches = honest.bounded();
    load(&caches[0], "k", 1).await;
    let mut hostile = Posing::of(1).link(honest.nodes[0].local_address()).await;
    let next = Position { life: honest.life("honest-1"), seq: Seq(1) };
    hostile.say(&flush_of("another", 1, Some(next))).await;
    let is_applied = |frame: &Frame<'_>| (*frame == Frame::Ack { applied: Seq(1) }).then_some(());
    hostile.wait_for(is_applied).await;
    let obeying = hostile.obeys(1);
    assert!(caches[1].flush("k").await.unwrap().applied_by().contains(&"honest-0"));
    assert_eq!(caches[0].get("k"), None);
    honest.assert_well(&caches).await;
    assert!(!obeying.is_finished());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_in_the_name_of_one_that_lives_ends_only_the_connection_that_it_came_over() {
    let honest = Honest::of(2, &[]).await;
    let caches = honest.strict();
    honest.in_sync().await;
    let at = honest.nodes[0].local_address();
    let posing = Posing::as_life(honest.life("honest-1"), "honest-1").given(&honest.list);
    for head in [0, 1, LARGEST] {
        let mut greeted = posing.greet(at).await;
        greeted.say(&Frame::Bye { head: Seq(head) }).await;
        greeted.is_dropped().await;
        let mut linked = posing.link(at).await;
        linked.say(&Frame::Bye { head: Seq(head) }).await;
        linked.is_dropped().await;
        honest.assert_well(&caches).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn testimony_about_one_that_lives_counts_for_nothing() {
    let honest = Honest::of(2, &[]).await;
    let caches = honest.bounded();
    honest.in_sync().await;
    let (at, life) = (honest.nodes[0].local_address(), honest.life("honest-1"));
    for (number, most) in [(1, LARGEST), (2, u64::MAX)] {
        let mut hostile = Posing::of(number).link(at).await;
        let heard = Heard { life, upto: Seq(most), from: Seq::START };
        let nonce = hostile.wait_for(|frame| match frame {
            Frame::Renew(renew) => Some(renew.nonce),
            _ => None,
        });
        let nonce = nonce.await;
        let place = Some(honest.nodes[1].local_address());
        let linked = vec![Linked { life, place }, Linked { life, place: None }];
        let lost = vec![heard; 2];
        hostile.say(&Frame::Grant(Grant { nonce, head: Seq::START, lost, linked })).await;
        let want = vec![Position { life, seq: Seq(most) }, Position { life, seq: Seq::START }];
        let asked =
            Renew { nonce: most, places: place.into_iter().collect(), lives: vec![life], want };
        hostile.say(&Frame::Renew(asked)).await;
        let is_answer = |frame: &Frame<'_>| match frame {
            Frame::Grant(grant) => Some(grant.nonce),
            _ => None,
        };
        assert_eq!(hostile.wait_for(is_answer).await, most);
        let of = Position { life, seq: Seq(most) };
        hostile.say(&Frame::Over { seq: Seq(1), of, quiet_ms: 0 }).await;
        let from = hostile.address();
        let obeying = hostile.obeys(1);
        honest.assert_well(&caches).await;
        match most > LARGEST {
            true => assert!(honest.offence(from).await.contains("no log has")),
            false => assert!(!obeying.is_finished(), "{}", honest.told[0].text()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_one_that_is_not_listed_stops_no_strict_cache() {
    let honest = Honest::of(2, &[]).await;
    let caches = honest.strict();
    honest.in_sync().await;
    let at = honest.nodes[0].local_address();
    let [elsewhere] = free();
    let lists = [vec![], vec![elsewhere], vec![at, elsewhere]];
    for (number, list) in lists.iter().enumerate() {
        let hostile = Posing::of(number as u64).given(list).at(elsewhere).link(at).await;
        let _obeying = hostile.obeys(0);
        until(&honest.nodes[0], |peers| {
            peers.iter().filter(|it| it.is_linked()).count() == 2 + number
        })
        .await;
        honest.assert_well(&caches).await;
    }
    // Nor does another list in the name of one that is listed: it has told its own already.
    let posing = Posing::as_life(honest.life("honest-1"), "honest-1").given(&[elsewhere]);
    let mut hostile = posing.greet(at).await;
    let why = honest.offence(hostile.address()).await;
    assert!(why.contains("something else of itself"), "{why}");
    hostile.is_dropped().await;
    honest.assert_well(&caches).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_one_that_is_listed_stops_strict_caches_and_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let [elsewhere] = free();
    let own = free::<1>()[0];
    let node = start_honest(0, own, &[own, at]).await;
    let told = Told::by(&node);
    let cache = node.cache::<String, u64>("numbers").guarantee(flushcast::Guarantee::Strict);
    let cache = cache.build().unwrap();
    let mut hostile = Hostile::dialled_at(&listener).await;
    hostile.wait_for(|frame| matches!(frame, Frame::Hello(_)).then_some(())).await;
    hostile.say(&Posing::of(1).at(at).given(&[elsewhere]).welcome()).await;
    let _obeying = hostile.obeys(0);
    until(&node, |peers| peers.iter().any(Peer::is_linked)).await;
    let why = cache.flush("k").await.unwrap_err();
    assert!(matches!(why, FlushError::ListsDiffer(_)), "{why}");
    assert!(!node.in_sync());
    let differs = |event: &Event| matches!(event, Event::ListsDiffer(_)).then(|| event.to_string());
    let differs = told.wait_for(differs).await;
    assert!(differs.contains("that of hostile-1"), "{differs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_listed_is_linked_however_many_strangers_are() {
    const STRANGERS: u64 = 1100;
    let [later] = free();
    let honest = Honest::of(1, &[later]).await;
    let at = honest.nodes[0].local_address();
    let mut obeying = Vec::new();
    for number in 0..STRANGERS {
        let mut hostile = Posing::of(number).greet(at).await;
        let answer = hostile.wait_for(|frame| match frame {
            Frame::Welcome(_) => Some(true),
            Frame::Reject(reject) => Some(*reject != Reject::Full),
            _ => None,
        });
        if !answer.await {
            break;
        }
        hostile.say(&GO).await;
        hostile.wait_for(|frame| matches!(frame, Frame::Renew(_)).then_some(())).await;
        obeying.push(hostile.obeys(0));
    }
    assert!((500..STRANGERS as usize).contains(&obeying.len()), "{}", obeying.len());
    let late = start_honest(1, later, &honest.list).await;
    let caches = [cluster::bounded(&honest.nodes[0]), cluster::bounded(&late)];
    until(&late, |peers| peer_named(peers, "honest-0").is_some_and(Peer::is_linked)).await;
    for [reader, writer] in [[0, 1], [1, 0]] {
        load(&caches[reader], "k", 1).await;
        let outcome = caches[writer].flush("k").await.unwrap();
        let name = ["honest-0", "honest-1"][reader];
        assert!(outcome.applied_by().contains(&name), "{outcome:?}");
        assert_eq!(caches[reader].get("k"), None);
    }
    until(&honest.nodes[0], |_| honest.nodes[0].in_sync()).await;
    assert!(obeying.iter().all(|it| !it.is_finished()), "those who obey stay");
}

/// Whether people can read it in a log: a line, and no longer than a screen.
fn is_readable(line: &str) -> bool {
    line.len() < 1024 && !line.chars().any(char::is_control)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_too_long_or_garbles_the_log_is_cut_and_escaped() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let honest = Honest::of(2, &[at]).await;
    let node = honest.nodes[0].local_address();
    let long = "\u{1b}[2J\r\nhonest-0 WARN ".repeat(3000);
    let postings = [
        Posing { cluster: long.clone(), ..Posing::of(1) },
        Posing { cluster: "\u{202e}\0".to_owned(), ..Posing::of(1) },
        Posing { name: long.clone(), ..Posing::of(2) },
        Posing { name: "two\nlines".to_owned(), ..Posing::of(3) },
    ];
    for posing in postings {
        let mut hostile = posing.greet(node).await;
        let why = honest.offence(hostile.address()).await;
        assert!(is_readable(&why), "{} bytes: {why:?}", why.len());
        hostile.is_dropped().await;
    }
    let mut dialled = Hostile::dialled_at(&listener).await;
    dialled.wait_for(|frame| matches!(frame, Frame::Hello(_)).then_some(())).await;
    dialled.say(&Frame::Reject(Reject::OtherCluster { cluster: &long })).await;
    let all = honest.told.iter().map(Told::text).collect::<String>();
    let long: Vec<_> = all.lines().filter(|line| !is_readable(line)).collect();
    assert!(long.is_empty(), "{long:?}");
    honest.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_out_of_place_ends_its_connection_and_is_named() {
    let honest = Honest::of(2, &[]).await;
    let caches = honest.bounded();
    honest.in_sync().await;
    let at = honest.nodes[0].local_address();
    let posing = Posing::of(1);
    let (hello, welcome) = (posing.hello(), posing.welcome());
    let flush = |seq| flush_of("another", seq, None);
    let unheard = Frame::Grant(Grant {
        nonce: u64::MAX,
        head: Seq::START,
        lost: Vec::new(),
        linked: Vec::new(),
    });
    let wrong: [(&[Frame<'_>], &str); 12] = [
        (&[flush(1)], "before any hello"),
        (&[GO], "before any hello"),
        (std::slice::from_ref(&welcome), "before any hello"),
        (&[hello.clone(), flush(1)], "before go"),
        (&[hello.clone(), hello.clone()], "handshake"),
        (&[hello.clone(), GO, hello.clone()], "handshake"),
        (&[hello.clone(), GO, welcome.clone()], "handshake"),
        (&[hello.clone(), GO, GO], "go twice"),
        (&[hello.clone(), GO, Frame::Ack { applied: Seq(u64::MAX) }], "never sent"),
        (&[hello.clone(), GO, unheard], "never sent"),
        (&[hello.clone(), GO, flush(3)], "flush 3 came where 1 is the next"),
        (&[hello.clone(), GO, flush(1), flush(u64::MAX)], "no log has"),
    ];
    for (frames, why) in wrong {
        let mut hostile = Hostile::dial(at).await;
        for frame in frames {
            hostile.say(frame).await;
        }
        let told = honest.offence(hostile.address()).await;
        assert!(told.contains(why), "{told:?} instead of {why:?}");
        hostile.is_dropped().await;
    }
    // What comes behind a goodbye is not read.
    let mut hostile = posing.link(at).await;
    hostile.say(&Frame::Bye { head: Seq(1) }).await;
    hostile.say(&flush_of("numbers", 2, None)).await;
    hostile.is_dropped().await;
    honest.assert_well(&caches).await;
}

/// The same in the name of one that lives: only the connection that it came over ends.
#[tokio::test(flavor = "multi_thread")]
async fn an_offence_in_the_name_of_one_that_lives_ends_no_connection_of_that_one() {
    let honest = Honest::of(2, &[]).await;
    let caches = honest.bounded();
    honest.in_sync().await;
    let posing = Posing::as_life(honest.life("honest-1"), "honest-1").given(&honest.list);
    for frame in [flush_of("another", 9, None), Frame::Ack { applied: Seq(99) }, posing.hello()] {
        let mut hostile = posing.link(honest.nodes[0].local_address()).await;
        hostile.say(&frame).await;
        // Where the honest link is the one that stays of two, it is not even read.
        hostile.is_dropped().await;
        honest.assert_well(&caches).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_lives_that_say_to_be_where_another_one_lives_are_a_conflict_while_they_do() {
    let honest = Honest::of(2, &[]).await;
    let caches = honest.bounded();
    honest.in_sync().await;
    let at = honest.nodes[0].local_address();
    let claimed = honest.nodes[1].local_address();
    for number in 1..=4 {
        let hostile = Posing::of(number).at(claimed).link(at).await;
        let obeying = hostile.obeys(0);
        let named = format!("hostile-{number}");
        let is_told = |event: &Event| match event {
            Event::Conflict { nodes, .. } => {
                let is_named = |name: &str| nodes.iter().any(|node| node == name);
                (is_named(&named) && is_named("honest-1")).then_some(())
            }
            _ => None,
        };
        honest.told[0].wait_for(is_told).await;
        // Nobody is cut off from what the other one announces.
        load(&caches[0], "k", 1).await;
        assert!(caches[1].flush("k").await.unwrap().applied_by().contains(&"honest-0"));
        assert_eq!(caches[0].get("k"), None);
        obeying.abort();
        let is_over = |peers: &[Peer]| peer_named(peers, "honest-1").is_some_and(Peer::is_linked);
        until(&honest.nodes[0], is_over).await;
    }
    until(&honest.nodes[0], |_| honest.nodes[0].in_sync()).await;
    honest.assert_well(&caches).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_life_has_so_many_connections_at_most() {
    let honest = Honest::of(2, &[]).await;
    let caches = honest.bounded();
    honest.in_sync().await;
    let at = honest.nodes[0].local_address();
    let mut obeying = Vec::new();
    for _ in 0..MAX_CONNECTIONS_OF_LIFE {
        let mut hostile = Posing::of(1).link(at).await;
        hostile.wait_for(|frame| matches!(frame, Frame::Renew(_)).then_some(())).await;
        obeying.push(hostile.obeys(0));
    }
    let mut further = Posing::of(1).greet(at).await;
    let why = honest.offence(further.address()).await;
    assert!(why.contains("connections"), "{why}");
    further.is_dropped().await;
    assert!(obeying.iter().all(|it| !it.is_finished()));
    honest.assert_well(&caches).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_floods_takes_the_copies_of_no_other_cache_and_no_flush_of_others() {
    let cluster = Cluster::of(3).await;
    let [honest, other, floods] = &cluster.nodes[..] else { panic!("{:?}", cluster.nodes) };
    let kept = honest.cache::<String, u64>("kept").build().unwrap();
    let (own, _other, flooded) = (numbers(honest), numbers(other), numbers(floods));
    load(&kept, "key", 1).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let flood = tokio::spawn({
        let is_over = Arc::clone(&is_over);
        async move {
            let mut flushes = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                (0..1000).for_each(|_| drop(flooded.flush_all()));
                // No further ahead than its log reaches back: beyond, others distrust all they hold.
                flooded.flush_all().await.unwrap();
                flushes += 1001;
            }
            flushes
        }
    });
    for number in 0..200 {
        let outcome = own.flush(&number.to_string()).await.unwrap();
        assert_eq!(outcome.applied_by(), [other.name(), floods.name()]);
        assert_eq!(kept.get("key"), Some(1));
        assert!(honest.in_sync());
    }
    is_over.store(true, Ordering::Relaxed);
    assert!(flood.await.unwrap() > 1000);
}
