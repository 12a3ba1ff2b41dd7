//! Nothing that comes over a connection makes a node panic, or ends another connection.

use proptest::prelude::*;

use super::*;
use crate::wire::Reject;

/// Any frame, of small numbers that mean something in this world.
fn any_frame() -> impl Strategy<Value = Frame<'static>> {
    let number = prop_oneof![0..4_u64, Just(u64::MAX), Just(1_000_000_000)];
    let numbers = (number.clone(), number.clone(), number);
    let names = (0..7_u16, 0..7_u16, any::<bool>());
    (0..13_u8, numbers, names).prop_map(|(kind, (seq, head, upto), (who, place, flag))| {
        let of = Position { life: life(who), seq: Seq(head) };
        let resume = Seq(seq);
        // Whoever says to be life 3 is taken for it: lives are no secrets, and nobody signs.
        let said = if who == 3 { 4 } else { who };
        match kind {
            0 => hello(said, vec![address(place)]),
            1 => welcome(said, vec![address(place)], vec![]),
            2 => Frame::Reject(Reject::Full),
            3 => flush_of(seq, Some(of).filter(|_| flag)),
            4 => Frame::Ack { applied: Seq(seq) },
            5 => Frame::Reset { head: Seq(head) },
            6 => Frame::Bye { head: Seq(head) },
            7 | 8 => Frame::Renew(Renew {
                nonce: seq,
                places: vec![address(place)],
                lives: vec![life(who)],
                want: vec![of],
            }),
            9 | 10 => Frame::Grant(Grant {
                nonce: seq,
                head: Seq(head),
                lost: vec![Heard { life: life(who), upto: Seq(upto), from: Seq(seq) }],
                linked: vec![Linked {
                    life: life(who),
                    place: Some(address(place)).filter(|_| flag),
                }],
            }),
            11 => Frame::Go { resume, is_evidence: flag },
            _ => Frame::Over { seq: Seq(seq), of, quiet_ms: upto },
        }
    })
}

/// How far a connection has come when the frames are fed.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Fresh,
    Greeting,
    Dialled,
    Welcomed,
    Accepted,
    Left,
}

impl Bench {
    /// A connection that has come so far, and another that links life 3.
    fn at(stage: Stage) -> (Self, ConnId) {
        let mut bench = Self::among(&[3]);
        bench.list(&[address(2), address(3)]);
        let dial = bench.take_dials()[0].0;
        if let Stage::Fresh | Stage::Welcomed | Stage::Accepted = stage {
            let conn = bench.node.next_conn();
            bench.feed(Input::Accepted { conn, from: address(2) });
            if let Stage::Welcomed | Stage::Accepted = stage {
                bench.hear(conn, &hello(2, vec![address(2)]));
            }
            if let Stage::Accepted = stage {
                bench.hear(conn, &Frame::Go { resume: Seq::START, is_evidence: false });
            }
            return (bench, conn);
        }
        bench.feed(Input::Connected { conn: dial, local: None });
        if let Stage::Dialled | Stage::Left = stage {
            bench.hear(dial, &welcome(2, vec![address(2)], vec![]));
        }
        if let Stage::Left = stage {
            bench.hear(dial, &Frame::Bye { head: Seq::START });
        }
        (bench, dial)
    }
}

fn any_stage() -> impl Strategy<Value = Stage> {
    prop_oneof![
        Just(Stage::Fresh),
        Just(Stage::Greeting),
        Just(Stage::Dialled),
        Just(Stage::Welcomed),
        Just(Stage::Accepted),
        Just(Stage::Left),
    ]
}

proptest! {
    #[test]
    fn no_frames_make_a_node_panic_or_end_another_connection(
        stage in any_stage(), frames in prop::collection::vec(any_frame(), 0..30),
    ) {
        let (mut bench, conn) = Bench::at(stage);
        let other = bench.conn_to(3);
        for frame in frames {
            bench.hear(conn, &frame);
            bench.transmit(conn);
        }
        bench.run(10 * SECOND);
        prop_assert!(!bench.is_closed(other));
    }

    #[test]
    fn no_bytes_make_a_node_panic_or_end_another_connection(
        stage in any_stage(), bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (mut bench, conn) = Bench::at(stage);
        let other = bench.conn_to(3);
        bench.hear_bytes(conn, &bytes);
        let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        bench.hear_bytes(conn, &[&length[..], &bytes].concat());
        bench.transmit(conn);
        bench.run(10 * SECOND);
        prop_assert!(!bench.is_closed(other));
    }
}
