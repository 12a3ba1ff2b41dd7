//! What it costs that a list drops somebody who was not seen to be gone.

use super::*;

fn missed(report: &Report) -> bool {
    matches!(report, Report::Missed { .. })
}

/// It may live, and have announced something that nobody heard.
#[test]
fn a_silent_place_that_is_listed_no_more_costs_the_copies_and_an_empty_one_does_not() {
    for (there, holds) in [(None, false), (Some(There::Refuses), true)] {
        let mut bench = Bench::among(&[2, 3]);
        bench.hold();
        bench.there.remove(&address(2));
        bench.there.extend(there.map(|there| (address(2), there)));
        bench.lose(2);
        bench.run(2 * SECOND);
        bench.list(&[address(3)]);
        bench.run(2 * SECOND);
        assert_eq!((bench.holds(), bench.reports(missed)), (holds, !holds));
        assert!(bench.is_fresh());
    }
}

/// Whose connection is closed is taken for dead once no list has it, and who was silent is not.
#[test]
fn one_that_no_list_has_any_more_costs_the_copies_if_it_was_silent_before_it_was_lost() {
    for (silent, holds) in [(Duration::ZERO, true), (4 * SECOND, false)] {
        let mut bench = Bench::among(&[2, 3]);
        bench.hold();
        bench.list(&[address(3)]);
        bench.mute(2);
        bench.run(silent);
        bench.lose(2);
        bench.run(SECOND);
        assert_eq!((bench.holds(), bench.reports(missed)), (holds, !holds), "{silent:?}");
        assert!(bench.is_fresh());
    }
}
