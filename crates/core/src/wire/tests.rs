use std::net::SocketAddr;

use super::*;
use proptest::prelude::*;

const LIFE: Incarnation = Incarnation(*b"0123456789abcdef");

fn every_frame() -> Vec<(&'static str, Frame<'static>)> {
    let resume_after = Some(Position { incarnation: LIFE, seq: Seq(300) });
    let labels = vec![("web", "http://127.0.0.1:8081")];
    let hello = Hello {
        versions: Versions { oldest: 1, newest: 1 },
        cluster: "shop",
        node: "a",
        incarnation: LIFE,
        address: "10.0.0.7:7400".parse().unwrap(),
        labels: labels.clone(),
        resume_after,
        fixed: Vec::new(),
    };
    let fixed: Vec<SocketAddr> =
        vec!["10.0.0.7:7400".parse().unwrap(), "10.0.0.8:7400".parse().unwrap()];
    let lives = vec![Position { incarnation: LIFE, seq: Seq(300) }];
    let first =
        Hello { address: "[::1]:7400".parse().unwrap(), resume_after: None, ..hello.clone() };
    let listed = Hello { fixed: fixed.clone(), ..hello.clone() };
    let versions = Versions { oldest: 2, newest: 3 };
    let scopes = vec![Scope::Key("orders/eu/7"), Scope::All];
    vec![
        ("hello", Frame::Hello(hello)),
        ("hello-first", Frame::Hello(first)),
        ("hello-listed", Frame::Hello(listed)),
        (
            "welcome",
            Frame::Welcome(Welcome {
                version: 1,
                node: "b",
                incarnation: LIFE,
                labels,
                first: Seq(1),
                head: Seq(300),
                fixed,
            }),
        ),
        ("reject-cluster", Frame::Reject(Reject::OtherCluster { cluster: "bank" })),
        ("reject-version", Frame::Reject(Reject::NoCommonVersion { versions })),
        ("reject-yourself", Frame::Reject(Reject::Yourself)),
        ("reject-full", Frame::Reject(Reject::Full)),
        ("flush", Frame::Flush(Flush { seq: Seq(301), cache: "orders", scopes, inherited: None })),
        (
            "flush-inherited",
            Frame::Flush(Flush {
                seq: Seq(302),
                cache: "orders",
                scopes: vec![Scope::All],
                inherited: resume_after,
            }),
        ),
        (
            "flush-scopes",
            Frame::Flush(Flush {
                seq: Seq(303),
                cache: "orders",
                scopes: vec![Scope::Tag("eu"), Scope::Prefix("orders/eu/")],
                inherited: None,
            }),
        ),
        ("ack", Frame::Ack { applied: Seq(301) }),
        ("reset", Frame::Reset { head: Seq(90_000) }),
        ("bye", Frame::Bye),
        ("renew", Frame::Renew { nonce: 1_000_000_007 }),
        ("grant", Frame::Grant { nonce: 1_000_000_007, head: Seq(301) }),
        (
            "inquire",
            Frame::Inquire(Inquire {
                nonce: 7,
                tails: true,
                about: vec![About {
                    address: "10.0.0.7:7400".parse().unwrap(),
                    alive: Some(LIFE),
                    lives: lives.clone(),
                }],
            }),
        ),
        (
            "testify",
            Frame::Testify(Testify {
                nonce: 7,
                in_touch: false,
                forgotten: 1,
                head: Seq(302),
                lives: vec![("10.0.0.7:7400".parse().unwrap(), lives[0])],
            }),
        ),
    ]
}

/// `FLUSHCAST_BLESS=1` writes the files anew: only for a new version of the protocol.
#[test]
fn every_frame_is_encoded_as_its_golden_file() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    for (name, frame) in every_frame() {
        let mut bytes = Vec::new();
        encode(&frame, &mut bytes).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
        let path = format!("{folder}/{name}.hex");
        if std::env::var_os("FLUSHCAST_BLESS").is_some() {
            std::fs::write(&path, &hex).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{path}: {why}"));
        assert_eq!(hex, golden, "{name}");
        let mut reader = FrameReader::default();
        reader.push(&bytes);
        assert_eq!(decode(reader.next_body().unwrap().unwrap()), Ok(frame), "{name}");
    }
}

#[test]
fn a_frame_is_read_whole_however_the_bytes_are_cut() {
    let mut bytes = Vec::new();
    for (_, frame) in every_frame() {
        encode(&frame, &mut bytes).unwrap();
    }
    for cut in 1..bytes.len() {
        let mut reader = FrameReader::default();
        let mut seen = Vec::new();
        for piece in bytes.chunks(cut) {
            reader.push(piece);
            while let Some(body) = reader.next_body().unwrap() {
                seen.push(body.to_vec());
            }
        }
        assert_eq!(seen.len(), every_frame().len(), "cut at {cut}");
        for (body, (name, frame)) in seen.iter().zip(every_frame()) {
            assert_eq!(decode(body), Ok(frame), "{name} cut at {cut}");
        }
    }
}

#[test]
fn the_versions_of_a_later_hello_can_be_read() {
    let later = [super::frame::HELLO_TAG, 7, 9, 255, 255, 255, 255, 255];
    assert_eq!(peek_versions(&later), Ok(Versions { oldest: 7, newest: 9 }));
    assert_eq!(Versions::OURS.common(Versions { oldest: 7, newest: 9 }), None);
    assert_eq!(Versions::OURS.common(Versions { oldest: 0, newest: 9 }), Some(VERSION));
}

#[test]
fn fields_that_a_later_version_appends_are_passed_over() {
    let mut bytes = Vec::new();
    encode(&Frame::Ack { applied: Seq(5) }, &mut bytes).unwrap();
    bytes.extend_from_slice(b"later");
    assert_eq!(decode(&bytes[LENGTH_BYTES..]), Ok(Frame::Ack { applied: Seq(5) }));
}

#[test]
fn a_frame_over_the_limit_is_refused_at_both_ends() {
    let long = "k".repeat(MAX_FRAME_BYTES);
    let flush = Flush { seq: Seq(1), cache: "c", scopes: vec![Scope::Key(&long)], inherited: None };
    let mut out = b"before".to_vec();
    let refused = encode(&Frame::Flush(flush), &mut out);
    assert!(matches!(refused, Err(FrameError::TooLong { .. })), "{refused:?}");
    assert_eq!(out, b"before");
    let mut reader = FrameReader::default();
    reader.push(b"GET / HTTP/1.1\r\n");
    assert!(matches!(reader.next_body(), Err(FrameError::TooLong { .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
        let _ = peek_versions(&bytes);
        let mut reader = FrameReader::default();
        reader.push(&bytes);
        while let Ok(Some(body)) = reader.next_body() {
            let _ = decode(body);
        }
    }
}
