//! Owns the words of strangers: frames of few lives, places and numbers, and of the largest there are.

use std::net::SocketAddr;

use flushcast_core::wire::{
    END_OF_WORDS, Flush, Frame, Grant, Heard, Hello, Incarnation, Linked, MAX_NAMED, Position,
    Reject, Renew, Scope, Seq, VERSION, Versions, Welcome,
};

use crate::script::Said;

/// Who is who among the lives that are talked of.
pub(crate) const HONEST: usize = 3;
pub(crate) const OWN: usize = 5;
/// Whoever says to be the honest node is taken for it, as lives are no secrets and nobody signs. So
/// strangers are somebody else.
const STRANGER: usize = 4;
/// The largest number that a log may come to.
pub(crate) const LARGEST: u64 = u64::MAX / 2;

pub(crate) fn life(number: usize) -> Incarnation {
    Incarnation(((number as u128) << 64).to_be_bytes())
}

/// Where a node of that life says to be; others say so, too.
pub(crate) fn address(number: usize) -> SocketAddr {
    match number {
        6 => "[fe80::1%3]:7400".parse().expect("an address"),
        7 => "[::ffff:10.0.0.2]:7400".parse().expect("an address"),
        _ => SocketAddr::from(([10, 0, 0, number as u8], 7400)),
    }
}

/// The life that a stranger says to have.
pub(crate) fn said_to_be(number: usize) -> usize {
    if number == HONEST { STRANGER } else { number }
}

pub(crate) fn hello(number: usize, claims: Vec<SocketAddr>) -> Hello<'static> {
    Hello {
        versions: Versions::OURS,
        cluster: "fuzz",
        node: ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"][number % 8],
        life: life(number),
        claims,
        labels: Vec::new(),
        fixed: Vec::new(),
        end: END_OF_WORDS,
    }
}

/// A flush that no copy of the honest node's flushes is named by.
pub(crate) fn flush(seq: u64, inherited: Option<Position>) -> Frame<'static> {
    Frame::Flush(Flush { seq: Seq(seq), cache: "c", scopes: vec![Scope::Key("k")], inherited })
}

/// What somebody says; `numbers` are those that it means.
pub(crate) fn frame(said: &Said, [first, second, third]: [u64; 3]) -> Frame<'static> {
    let Said { flag, odd, .. } = *said;
    let (about, place) = (life(said.life), address(said.place));
    let of = Position { life: about, seq: Seq(second) };
    // A list of this, mostly of one.
    let count = match odd {
        28 => 0,
        29 => 20,
        30 => MAX_NAMED,
        31 => MAX_NAMED + 1,
        _ => 1,
    };
    let others = move || (1..count).map(|number| life(1000 + number));
    let lives = || others().chain((count > 0).then_some(about));
    match said.kind {
        0 => Frame::Hello(oddly(hello(said_to_be(said.life), vec![place]), odd)),
        1 => {
            let Hello { node, life, claims, labels, fixed, .. } =
                oddly(hello(said_to_be(said.life), vec![place]), odd);
            let version = if odd == 27 { VERSION + 1 } else { VERSION };
            let resume = Seq(first);
            Frame::Welcome(Welcome { version, node, life, claims, labels, fixed, resume })
        }
        2 => Frame::Reject(match odd & 3 {
            0 => Reject::OtherCluster { cluster: "other" },
            1 => Reject::NoCommonVersion { versions: Versions { oldest: 9, newest: 7 } },
            2 => Reject::Yourself,
            _ => Reject::Full,
        }),
        3 => {
            let Frame::Flush(flush) = flush(first, Some(of).filter(|_| flag)) else {
                unreachable!("it is a flush")
            };
            Frame::Flush(of_scopes(flush, odd))
        }
        4 => Frame::Ack { applied: Seq(first) },
        5 => Frame::Reset { head: Seq(first) },
        6 => Frame::Bye { head: Seq(first) },
        7..9 => Frame::Renew(Renew {
            nonce: first,
            places: lives().map(|_| place).collect(),
            lives: lives().collect(),
            want: lives().map(|life| Position { life, seq: Seq(second) }).collect(),
        }),
        9..12 => Frame::Grant(Grant {
            nonce: first,
            head: Seq(second),
            lost: lives().map(|life| Heard { life, upto: Seq(third), from: Seq(second) }).collect(),
            linked: lives()
                .map(|life| Linked { life, place: Some(place).filter(|_| flag) })
                .collect(),
        }),
        12 => Frame::Go { resume: Seq(first), is_evidence: flag },
        _ => Frame::Over { seq: Seq(first), of, quiet_ms: third },
    }
}

fn oddly(hello: Hello<'static>, odd: usize) -> Hello<'static> {
    let ports = |count: u16| (1..=count).map(|port| SocketAddr::from(([10, 0, 9, 9], port)));
    match odd {
        16 => Hello { claims: ports(16).chain(hello.claims).take(16).collect(), ..hello },
        17 => Hello { claims: ports(17).collect(), ..hello },
        18 => Hello { claims: Vec::new(), ..hello },
        19 => Hello { claims: vec![([0, 0, 0, 0], 0).into()], ..hello },
        20 => Hello { cluster: "other", ..hello },
        21 => Hello { versions: Versions { oldest: 0, newest: 1 }, ..hello },
        22 => Hello { node: "", ..hello },
        23 => Hello { node: "a\nb", ..hello },
        24 => Hello { labels: vec![("a", "b"); 17], ..hello },
        25 => Hello { fixed: ports(256).collect(), ..hello },
        26 => Hello { fixed: ports(257).collect(), ..hello },
        _ => hello,
    }
}

fn of_scopes(flush: Flush<'static>, odd: usize) -> Flush<'static> {
    match odd {
        20 => Flush { cache: "d", scopes: vec![Scope::All], ..flush },
        21 => Flush { cache: "d", scopes: vec![Scope::Tag("t"), Scope::Prefix("")], ..flush },
        22 => Flush { scopes: vec![Scope::Key("k"); 33], ..flush },
        23 => Flush { scopes: Vec::new(), ..flush },
        24 => Flush { cache: "none of this node's", ..flush },
        _ => flush,
    }
}
