use std::net::SocketAddr;

use super::*;
use proptest::prelude::*;

const LIFE: Incarnation = Incarnation(*b"0123456789abcdef");

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn every_frame() -> Vec<(&'static str, Frame<'static>)> {
    let labels = vec![("web", "http://127.0.0.1:8081")];
    let fixed = vec![address("10.0.0.7:7400"), address("10.0.0.8:7400")];
    let at = Position { life: LIFE, seq: Seq(300) };
    let flush = |seq, scopes, inherited| {
        Frame::Flush(Flush { seq: Seq(seq), cache: "orders", scopes, inherited })
    };
    let expiries = [
        Scope::ExpireKey("orders/eu/7"),
        Scope::ExpireAll,
        Scope::ExpireTag("eu"),
        Scope::ExpirePrefix("orders/eu/"),
    ];
    [
        introductions(labels, fixed.clone()),
        vec![
            ("go", Frame::Go { resume: Seq(300), is_evidence: false }),
            ("go-evidence", Frame::Go { resume: Seq(0), is_evidence: true }),
            ("flush", flush(301, vec![Scope::Key("orders/eu/7"), Scope::All], None)),
            ("flush-inherited", flush(302, vec![Scope::All], Some(at))),
            ("flush-scopes", flush(303, vec![Scope::Tag("eu"), Scope::Prefix("orders/eu/")], None)),
            ("flush-expires", flush(305, expiries.to_vec(), None)),
            ("over", Frame::Over { seq: Seq(304), of: at, quiet_ms: 5_000 }),
            ("ack", Frame::Ack { applied: Seq(301) }),
            ("reset", Frame::Reset { head: Seq(90_000) }),
            ("bye", Frame::Bye { head: Seq(304) }),
        ],
        questions(fixed[0], at),
    ]
    .concat()
}

fn introductions(
    labels: Vec<(&'static str, &'static str)>,
    fixed: Vec<SocketAddr>,
) -> Vec<(&'static str, Frame<'static>)> {
    let hello = Hello {
        versions: Versions { oldest: 2, newest: 2 },
        cluster: "shop",
        node: "a",
        life: LIFE,
        claims: vec![fixed[0], address("[fe80::1]:7400")],
        labels: labels.clone(),
        fixed: Vec::new(),
        end: END_OF_WORDS,
    };
    let listed = Hello { claims: Vec::new(), fixed: fixed.clone(), ..hello.clone() };
    let welcome = Welcome {
        version: 2,
        node: "b",
        life: LIFE,
        claims: vec![fixed[1]],
        labels,
        fixed,
        resume: Seq(300),
    };
    let versions = Versions { oldest: 2, newest: 3 };
    vec![
        ("hello", Frame::Hello(hello)),
        ("hello-listed", Frame::Hello(listed)),
        ("welcome", Frame::Welcome(welcome)),
        ("reject-cluster", Frame::Reject(Reject::OtherCluster { cluster: "bank" })),
        ("reject-version", Frame::Reject(Reject::NoCommonVersion { versions })),
        ("reject-yourself", Frame::Reject(Reject::Yourself)),
        ("reject-full", Frame::Reject(Reject::Full)),
    ]
}

fn questions(place: SocketAddr, at: Position) -> Vec<(&'static str, Frame<'static>)> {
    let nonce = 1_000_000_007;
    let other = Incarnation(*b"fedcba9876543210");
    let renew = Renew { nonce, places: Vec::new(), lives: Vec::new(), want: Vec::new() };
    let open = Renew {
        places: vec![place, address("[::1]:7400")],
        lives: vec![LIFE, other],
        want: vec![at],
        ..renew.clone()
    };
    let grant = Grant { nonce, head: Seq(301), lost: Vec::new(), linked: Vec::new() };
    let known = Grant {
        lost: vec![
            Heard { life: LIFE, upto: Seq(300), from: Seq(290) },
            Heard { life: other, upto: Seq(7), from: Seq(8) },
        ],
        linked: vec![
            Linked { life: LIFE, place: None },
            Linked { life: other, place: Some(place) },
        ],
        ..grant.clone()
    };
    vec![
        ("renew", Frame::Renew(renew)),
        ("renew-open", Frame::Renew(open)),
        ("grant", Frame::Grant(grant)),
        ("grant-known", Frame::Grant(known)),
    ]
}

fn hex_of(frame: &Frame<'_>) -> String {
    let mut bytes = Vec::new();
    encode(frame, &mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n"
}

/// `FLUSHCAST_BLESS=1` writes the files anew: only for a new version of the protocol.
#[test]
fn every_frame_is_encoded_as_its_golden_file() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    for (name, frame) in every_frame() {
        let hex = hex_of(&frame);
        let path = format!("{folder}/{name}.hex");
        if std::env::var_os("FLUSHCAST_BLESS").is_some() {
            std::fs::write(&path, &hex).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{path}: {why}"));
        assert_eq!(hex, golden, "{name}");
        let mut bytes = Vec::new();
        encode(&frame, &mut bytes).unwrap();
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
fn every_golden_file_is_of_a_frame_or_of_what_version_1_said() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        found.push(name.strip_suffix(".hex").unwrap().to_owned());
    }
    let frames = every_frame().into_iter().map(|(name, _)| name.to_owned());
    let mut known: Vec<_> =
        frames.chain(["v1-hello", "v1-reject-version"].map(str::to_owned)).collect();
    found.sort();
    known.sort();
    assert_eq!(found, known);
}

#[test]
fn a_hello_of_version_1_says_so_and_the_answer_is_one_that_version_1_can_read() {
    let hello = unhex(include_str!("../../tests/golden/v1-hello.hex"));
    let theirs = Versions { oldest: 1, newest: 1 };
    assert_eq!(peek_versions(&hello[LENGTH_BYTES..]), Ok(theirs));
    assert_eq!(Versions::OURS.common(theirs), None);
    // The same words, byte for byte, as version 1 had for it.
    let versions = Versions { oldest: 2, newest: 3 };
    let answer = Frame::Reject(Reject::NoCommonVersion { versions });
    assert_eq!(hex_of(&answer), include_str!("../../tests/golden/v1-reject-version.hex"));
}

/// The bytes of a golden file.
pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    let digits = hex.trim().as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
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
