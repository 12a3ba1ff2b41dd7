//! A life that was lost links again: it speaks for itself from there on, and of where it is now.

use super::*;

impl Bench {
    /// A life has dialled, and says to be there and nowhere else.
    fn back(&mut self, number: u16, place: u16) {
        let conn = self.accept(&hello(number, vec![address(place)]));
        self.hear(conn, &Frame::Go { resume: Seq::START, is_evidence: false });
        self.told.insert(conn, Told::default());
    }
}

#[test]
fn a_life_that_is_back_elsewhere_does_not_stand_for_its_former_place() {
    let mut bench = Bench::among(&[2, 3]);
    bench.there.remove(&address(2));
    let lost = bench.now;
    bench.lose(2);
    bench.back(2, 12);
    bench.run(3 * SECOND);
    assert!(bench.proof() <= lost, "somebody else may be there");
}

#[test]
fn a_life_that_is_lost_again_is_looked_for_where_it_was_last() {
    let mut bench = Bench::among(&[2, 3]);
    bench.kill(2);
    bench.back(2, 12);
    bench.run(2 * SECOND);
    assert!(bench.is_fresh());
    let lost = bench.now;
    bench.lose(2);
    bench.run(10 * SECOND);
    assert!(bench.proof() <= lost, "at its former place nobody can tell that it is dead");
}

/// No output shows it: each answer that helps to settle the life later ends the touch as well.
#[test]
fn the_word_that_others_are_in_touch_with_a_lost_life_ends_once_it_is_back() {
    let mut bench = Bench::among(&[2, 3]);
    let touch = Linked { life: life(2), place: None };
    bench.tell(3, Told { linked: vec![touch], ..Told::default() });
    let is_touched = |bench: &Bench| {
        let touched_by = &bench.node.lives.get(life(2)).unwrap().touched_by;
        !touched_by.is_empty()
    };
    bench.there.remove(&address(2));
    bench.lose(2);
    bench.run(SECOND);
    assert!(is_touched(&bench));
    bench.back(2, 2);
    assert!(!is_touched(&bench));
}

#[test]
fn a_life_that_is_back_goes_on_behind_its_own_word_and_not_behind_that_of_others() {
    for is_dialled in [false, true] {
        let mut bench = Bench::among(&[2, 3]);
        let (conn, witness) = (bench.conn_to(2), bench.conn_to(3));
        bench.hear(conn, &flush(1));
        bench.lose(2);
        bench.hear(witness, &flush_of(1, Some(at(2, 2))));
        match is_dialled {
            true => bench.run(SECOND),
            false => bench.back(2, 2),
        }
        let conn = bench.conn_to(2);
        let sent = bench.take_sent(conn);
        let resume = sent.iter().find_map(|frame| match frame {
            Frame::Welcome(welcome) => Some(welcome.resume),
            Frame::Go { resume, .. } => Some(*resume),
            _ => None,
        });
        assert_eq!(resume, Some(Seq(1)));
        assert!(sent.contains(&Frame::Ack { applied: Seq(1) }), "{sent:?}");
        bench.hold();
        bench.hear(conn, &flush(2));
        assert!(!bench.holds(), "what others said of it may be wrong");
        bench.expect_sent(conn, &[Frame::Ack { applied: Seq(2) }]);
    }
}
