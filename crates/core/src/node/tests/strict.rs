//! What a node with a strict cache asks for before it serves a copy, and what makes it give all up.

use super::*;

const MS: Duration = Duration::from_millis(1);

impl Bench {
    /// A node with a strict cache, whose list is itself and 10.0.0.2; it follows life 2 there.
    fn strict() -> (Self, ConnId) {
        let mut bench = Self::with(Guarantee::Strict);
        bench.node.config.fixed = Some(vec![address(1), address(2)]);
        bench.members(vec![address(1), address(2)]);
        let conn = bench.dialled();
        bench.feed(Input::Connected { conn });
        bench.hear(conn, &listing(life(2), vec![address(1), address(2)]));
        (bench, conn)
    }

    /// Its question about who was there before is answered, and so is a renewal.
    fn prove(&mut self, conn: ConnId) {
        self.wait(20 * MS);
        if let Some(nonce) = self.nonce_asked_of(conn) {
            self.hear(conn, &testify(nonce, 0, vec![]));
        }
        self.wait(500 * MS);
        let asked = self.now;
        self.said(conn);
        self.hear(conn, &Frame::Grant { nonce: asked.as_nanos(), head: Seq(0) });
    }

    fn serves(&self) -> bool {
        self.cache.get("k", self.now).is_some()
    }
}

fn listing(incarnation: Incarnation, fixed: Vec<SocketAddr>) -> Frame<'static> {
    let Frame::Welcome(welcome) = welcome(incarnation, 1, 0) else { unreachable!() };
    Frame::Welcome(Welcome { fixed, ..welcome })
}

#[test]
fn what_was_loaded_before_the_first_proof_is_not_kept() {
    let (mut bench, conn) = Bench::strict();
    bench.hold(1);
    assert!(!bench.serves(), "nothing is proven yet");
    bench.prove(conn);
    assert!(!bench.serves(), "a flush that names it may have been confirmed before");
    bench.hold(2);
    assert!(bench.serves());
}

#[test]
fn what_is_held_is_not_served_without_a_proof_and_is_once_there_is_one_again() {
    let (mut bench, conn) = Bench::strict();
    bench.prove(conn);
    bench.hold(1);
    bench.now = bench.now + Guarantee::Strict.lease(STEP).unwrap();
    assert!(bench.serves());
    bench.wait(1 * MS);
    assert!(!bench.serves());
    bench.prove(conn);
    assert!(bench.serves(), "by the next proof it has missed nothing");
}

#[test]
fn a_new_life_behind_a_lapsed_lease_costs_all_that_was_held() {
    let (mut bench, conn) = Bench::strict();
    bench.prove(conn);
    bench.hold(1);
    // The former life may have confirmed a flush because this node's lease was over, and died.
    bench.feed(Input::Closed { conn, why: "reset".into() });
    bench.wait(5_000 * MS);
    let conn = bench.dialled();
    bench.feed(Input::Connected { conn });
    bench.hear(conn, &listing(life(4), vec![address(1), address(2)]));
    bench.prove(conn);
    assert!(!bench.serves());
    bench.hold(2);
    assert!(bench.serves());
}

#[test]
fn a_new_life_within_the_lease_costs_nothing() {
    let (mut bench, conn) = Bench::strict();
    bench.prove(conn);
    bench.hold(1);
    bench.feed(Input::Closed { conn, why: "reset".into() });
    bench.wait(100 * MS);
    let conn = bench.dialled();
    bench.feed(Input::Connected { conn });
    bench.hear(conn, &listing(life(4), vec![address(1), address(2)]));
    bench.prove(conn);
    assert!(bench.serves());
}

#[test]
fn lists_that_differ_prove_nothing_and_are_both_told() {
    let (mut bench, conn) = Bench::strict();
    bench.prove(conn);
    bench.hold(1);
    bench.feed(Input::Closed { conn, why: "reset".into() });
    bench.wait(100 * MS);
    let conn = bench.dialled();
    bench.feed(Input::Connected { conn });
    bench.hear(conn, &listing(life(2), vec![address(2), address(3)]));
    bench.prove(conn);
    assert!(!bench.serves());
    let told = bench.node.lists_differ().unwrap();
    assert_eq!(told.ours, [address(1), address(2)]);
    assert_eq!(told.theirs, [address(2), address(3)]);
    assert!(bench.reported(|report| matches!(report, Report::ListsDiffer(_))));
}
