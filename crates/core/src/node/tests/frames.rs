//! Owns the words of the scripts: frames of peers that are called by a number.

use super::*;

pub(super) fn heard(number: u16, from: u64, upto: u64) -> Heard {
    Heard { life: life(number), from: Seq(from), upto: Seq(upto) }
}

pub(super) fn at(number: u16, seq: u64) -> Position {
    Position { life: life(number), seq: Seq(seq) }
}

pub(super) fn hello(number: u16, claims: Vec<SocketAddr>) -> Frame<'static> {
    Frame::Hello(Hello {
        versions: Versions::OURS,
        cluster: "test",
        node: name(number),
        life: life(number),
        claims,
        labels: Vec::new(),
        fixed: Vec::new(),
        end: crate::wire::END_OF_WORDS,
    })
}

pub(super) fn welcome(
    number: u16,
    claims: Vec<SocketAddr>,
    fixed: Vec<SocketAddr>,
) -> Frame<'static> {
    Frame::Welcome(Welcome {
        version: wire::VERSION,
        node: name(number),
        life: life(number),
        claims,
        labels: Vec::new(),
        fixed,
        resume: Seq::START,
    })
}

fn name(number: u16) -> &'static str {
    const NAMES: [&str; 10] = ["n0", "n1", "n2", "n3", "n4", "me", "n6", "n7", "n8", "n9"];
    NAMES.get(usize::from(number)).copied().unwrap_or("many")
}

/// The same question as ever, where nothing is open.
pub(super) fn renew(nonce: u64) -> Renew {
    Renew { nonce, places: Vec::new(), lives: Vec::new(), want: Vec::new() }
}

pub(super) fn flush(seq: u64) -> Frame<'static> {
    flush_of(seq, None)
}

/// A flush that is handed over from where it stood in another log.
pub(super) fn flush_of(seq: u64, inherited: Option<Position>) -> Frame<'static> {
    let scopes = vec![Scope::Key("k")];
    Frame::Flush(Flush { seq: Seq(seq), cache: "c", scopes, inherited })
}
