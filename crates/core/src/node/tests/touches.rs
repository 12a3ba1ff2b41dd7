//! Somebody else is in touch with whom this node has lost: nothing is settled there.

use super::*;

#[test]
fn nothing_is_settled_of_a_life_or_place_that_somebody_is_in_touch_with() {
    let linked = [
        Linked { life: life(2), place: None },
        Linked { life: life(2), place: Some(address(2)) },
        Linked { life: life(9), place: Some(address(2)) },
    ];
    for touch in linked {
        let mut bench = Bench::among(&[2, 3]);
        let died = bench.now;
        bench.tell(3, Told { linked: vec![touch], ..Told::default() });
        bench.kill(2);
        bench.run(3 * SECOND);
        assert!(bench.proof() <= died, "{touch:?}");
        bench.tell(3, Told::default());
        bench.run(SECOND);
        assert!(bench.is_fresh(), "{touch:?}");
    }
}

#[test]
fn an_answer_that_does_not_count_yet_ends_no_touch() {
    let mut bench = Bench::among(&[2, 3]);
    let touch = Linked { life: life(2), place: Some(address(2)) };
    let died = bench.now;
    bench.tell(3, Told { linked: vec![touch], ..Told::default() });
    bench.kill(2);
    bench.run(SECOND);
    // It is out of touch by now, and has told more before, which has not come yet.
    bench.tell(3, Told { head: 1, ..Told::default() });
    bench.run(2 * SECOND);
    assert!(bench.proof() <= died);
    let witness = bench.conn_to(3);
    bench.hear(witness, &flush_of(1, Some(at(2, 1))));
    bench.run(SECOND);
    assert!(bench.is_fresh());
}

#[test]
fn whoever_asks_is_told_who_is_linked_here_of_those_it_asks_for() {
    let mut bench = Bench::among(&[2, 3]);
    let asker = bench.conn_to(3);
    let asked = Renew { places: vec![address(2)], lives: vec![life(2), life(9)], ..renew(7) };
    bench.hear(asker, &Frame::Renew(asked));
    let sent = bench.take_sent(asker);
    let [Frame::Grant(grant)] = &sent[..] else { panic!("{sent:?}") };
    assert!(grant.linked.contains(&Linked { life: life(2), place: None }));
    assert!(grant.linked.contains(&Linked { life: life(2), place: Some(address(2)) }));
    assert!(grant.linked.iter().all(|it| it.life == life(2)));
}

/// Its `Go`, and flushes behind it, may be under way, though it has ended since.
#[test]
fn so_it_is_of_who_was_welcomed_here_and_takes_this_node_for_linked() {
    let mut bench = Bench::among(&[2, 3]);
    let greeted = bench.accept(&hello(4, vec![address(4)]));
    let asker = bench.conn_to(3);
    let ask = |bench: &mut Bench| {
        let asked = Renew { places: vec![address(4)], lives: vec![life(4)], ..renew(7) };
        bench.hear(asker, &Frame::Renew(asked));
        let sent = bench.take_sent(asker);
        let [Frame::Grant(grant)] = &sent[..] else { panic!("{sent:?}") };
        grant.linked.clone()
    };
    let touches = [None, Some(address(4))].map(|place| Linked { life: life(4), place });
    assert_eq!(ask(&mut bench), touches);
    bench.feed(Input::Closed { conn: greeted, why: "reset".to_owned() });
    assert_eq!(ask(&mut bench), []);
}
