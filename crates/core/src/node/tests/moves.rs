//! A name that leads elsewhere: who was at its former address says nothing of who is at the new one.

use super::*;

impl Bench {
    /// A node that is linked with 3, and with 2 at the place `two`, where it says to be or not.
    fn with_two(claims: bool) -> Self {
        let mut bench = Self::among(&[3]);
        let claimed = if claims { vec![address(2)] } else { vec![] };
        bench.there.insert(address(2), There::Node(2, claimed, vec![]));
        bench.list_two_at(2);
        bench.run(SECOND);
        assert!(bench.is_fresh());
        bench.hold();
        bench
    }

    /// The place `two` leads there now.
    fn list_two_at(&mut self, number: u16) {
        let two = Listed { name: "two".into(), addresses: vec![address(number)] };
        self.list_named(&[address(3).into(), two]);
    }

    /// What a flush comes to that 3, and whoever else is named, acknowledge.
    fn flush_and_wait(&mut self, acking: &[u16]) -> Outcome {
        let seq = self.announce();
        self.await_for(seq, 5 * SECOND, false);
        for &number in acking {
            let conn = self.conn_to(number);
            self.hear(conn, &Frame::Ack { applied: seq });
        }
        self.run(5 * SECOND);
        self.take_outcome().unwrap()
    }

    /// Nobody was met at the place `two` since it moved, nor found to be absent.
    fn has_nothing_of_two(&mut self) {
        let moved = self.now;
        self.run(5 * SECOND);
        assert!(self.proof() <= moved, "somebody may be at its new address");
        let outcome = self.flush_and_wait(&[3]);
        assert!(!outcome.is_complete(), "{outcome}");
    }
}

/// As in each roll-out of nodes that are dialled through a port of their host.
#[test]
fn a_goodbye_of_who_answered_at_a_former_address_says_nothing_of_the_new_one() {
    for claims in [true, false] {
        let mut bench = Bench::with_two(claims);
        let conn = bench.conn_to(2);
        bench.there.remove(&address(2));
        bench.list_two_at(12);
        bench.told.remove(&conn);
        bench.hear(conn, &Frame::Bye { head: Seq::START });
        bench.has_nothing_of_two();
    }
}

#[test]
fn so_it_is_of_one_whose_last_flush_is_applied_once_the_place_has_moved() {
    let mut bench = Bench::with_two(true);
    let conn = bench.conn_to(2);
    bench.there.remove(&address(2));
    bench.applies = false;
    bench.hear(conn, &flush(1));
    bench.told.remove(&conn);
    bench.hear(conn, &Frame::Bye { head: Seq(1) });
    bench.list_two_at(12);
    bench.applies = true;
    bench.apply();
    bench.has_nothing_of_two();
}

/// As one does whose addresses take turns.
#[test]
fn a_silent_place_is_no_more_proven_for_moving() {
    let mut bench = Bench::among(&[3]);
    let listed = bench.now;
    for number in [2, 12, 2, 12] {
        bench.list_two_at(number);
        bench.run(3 * SECOND);
        assert!(bench.proof() <= listed, "somebody may have been there all the time");
    }
}

/// It is no list that was wrong.
#[test]
fn a_place_that_moves_costs_no_copies_whoever_was_there_before() {
    for is_linked in [true, false] {
        let mut bench = Bench::with_two(true);
        bench.there.remove(&address(2));
        bench.mute(2);
        if !is_linked {
            bench.lose(2);
        }
        bench.run(3 * SECOND);
        bench.there.insert(address(12), There::node(12));
        bench.list_two_at(12);
        bench.run(SECOND);
        bench.lose(2);
        bench.run(SECOND);
        assert!(bench.holds(), "{is_linked}");
    }
}

#[test]
fn the_trouble_at_a_former_address_is_none_of_the_new_one() {
    let mut bench = Bench::with_two(true);
    bench.kill(2);
    bench.run(3 * SECOND);
    bench.list_two_at(12);
    let seq = bench.announce();
    bench.await_for(seq, 5 * SECOND, false);
    let conn = bench.conn_to(3);
    bench.hear(conn, &Frame::Ack { applied: seq });
    assert_eq!(bench.take_outcome(), None, "whoever is there may be reached soon");
}

/// A life that was last at a place is linked from elsewhere, with the place as what it has been since.
fn last_elsewhere(meanwhile: impl FnOnce(&mut Bench)) -> Outcome {
    let mut bench = Bench::with_two(true);
    bench.there.remove(&address(2));
    bench.lose(2);
    meanwhile(&mut bench);
    bench.dialled_at(2, address(22));
    bench.run(SECOND);
    bench.flush_and_wait(&[2, 3])
}

fn let_dial_end(bench: &mut Bench, why: &Reason) {
    let is_dial = |(_, it): &(&ConnId, &Conn)| it.linked().is_none();
    let dials: Vec<_> = bench.node.conns.iter().filter(is_dial).map(|(&conn, _)| conn).collect();
    for conn in dials {
        bench.feed(Input::DialFailed { conn, why: why.clone() });
    }
}

#[test]
fn who_is_linked_from_elsewhere_does_not_stand_for_where_it_was() {
    let outcome = last_elsewhere(|_| {});
    assert!(!outcome.is_complete(), "{outcome}");
    // It was given up, forgotten, and is back.
    let outcome = last_elsewhere(|bench| {
        bench.there.insert(address(2), There::Refuses);
        let_dial_end(bench, &Reason::Refused);
        bench.run(10 * SECOND);
        assert!(bench.node.lives.get(life(2)).is_none());
        bench.there.remove(&address(2));
        bench.run(3 * SECOND);
        let_dial_end(bench, &Reason::Unreachable("timed out".into()));
    });
    assert!(!outcome.is_complete(), "forgotten: {outcome}");
    // This node answered there itself for a while.
    let outcome = last_elsewhere(|bench| {
        bench.there.insert(address(2), There::node(OWN));
        let_dial_end(bench, &Reason::Refused);
        bench.run(3 * SECOND);
        bench.there.remove(&address(2));
        let own = bench
            .node
            .conns
            .iter()
            .find(|(_, it)| it.linked().is_some_and(|it| it.life == life(OWN)));
        let conn = *own.unwrap().0;
        bench.told.remove(&conn);
        bench.feed(Input::Closed { conn, why: "reset".into() });
    });
    assert!(!outcome.is_complete(), "own: {outcome}");
}

/// It answered there without saying to be there, and another one does.
#[test]
fn who_is_no_more_at_a_place_where_two_were_is_not_there_though_it_is_linked() {
    let mut bench = Bench::with_two(false);
    let evidence = bench.conn_to(2);
    let other = bench.accept(&hello(2, vec![]));
    bench.hear(other, &Frame::Go { resume: Seq::START, is_evidence: true });
    bench.dialled_at(9, address(2));
    bench.there.remove(&address(2));
    bench.told.remove(&evidence);
    bench.feed(Input::Closed { conn: evidence, why: "reset".into() });
    for number in 1..=19 {
        bench.run(3 * SECOND);
        bench.hear(other, &flush(number));
    }
    assert!(!bench.is_closed(other));
    bench.run(6 * SECOND);
    assert!(bench.is_closed(other), "no list has one that answers nothing");
}
