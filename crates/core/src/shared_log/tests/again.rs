use super::{ONE, RULES, TWO, acknowledged, append, at, standing};
use crate::cache::Guarantee;
use crate::shared_log::{Appends, Confirmed, Epoch, Overlap, Rules};
use crate::wire::Seq;

#[test]
fn nothing_is_appended_before_the_first_answer_and_all_behind_it() {
    let mut appends = Appends::default();
    appends.announce();
    assert_eq!(appends.to_append(), None);
    appends.stand(standing(ONE, 1000, 900));
    assert_eq!(append(&mut appends, 1100, ONE), Some((1, 1)));
}

#[test]
fn what_may_not_have_arrived_is_appended_again_in_order() {
    let mut appends = Appends::default();
    appends.stand(standing(ONE, 0, 0));
    for _ in 0..3 {
        appends.announce();
    }
    let first = appends.to_append().unwrap();
    assert_eq!(first.numbers, Seq(1)..=Seq(3));
    appends.announce();
    assert_eq!(appends.to_append(), None, "one is under way");
    appends.give_up();
    assert_eq!(append(&mut appends, 10_100, ONE), Some((1, 4)));
    assert_eq!(appends.to_append(), None);
}

#[test]
fn a_new_epoch_gets_again_what_was_acknowledged_shortly_before_the_last_one_was_heard_of() {
    let mut appends = Appends::default();
    appends.stand(standing(ONE, 0, 0));
    for seconds in [10_u64, 20, 45] {
        appends.announce();
        append(&mut appends, seconds * 1000, ONE);
    }
    appends.stand(standing(ONE, 0, 45_000));
    // It was stopped meanwhile: what its clock shows now says nothing of when that epoch ended.
    appends.stand(standing(TWO, 200_000, 199_900));
    assert_eq!(append(&mut appends, 200_100, TWO), Some((2, 3)));
}

#[test]
fn what_was_announced_long_before_it_was_acknowledged_is_appended_again_too() {
    let mut appends = Appends::default();
    appends.stand(standing(ONE, 0, 0));
    appends.announce();
    appends.stand(standing(ONE, 0, 50_000));
    append(&mut appends, 50_100, ONE);
    appends.stand(standing(TWO, 51_000, 50_900));
    assert_eq!(append(&mut appends, 51_100, TWO), Some((1, 1)));
}

#[test]
fn a_writer_that_appends_a_thousand_times_a_second_appends_thirty_seconds_of_them_again() {
    let mut appends = Appends::default();
    appends.stand(standing(ONE, 0, 0));
    for millis in 0..100_000 {
        appends.announce();
        append(&mut appends, millis, ONE);
    }
    appends.stand(standing(ONE, 0, 99_900));
    appends.stand(standing(TWO, 101_000, 100_900));
    let (first, last) = append(&mut appends, 101_100, TWO).unwrap();
    assert_eq!(last, 100_000);
    // All of the last 30 s, and less than a second more.
    assert!((69_000..=69_901).contains(&first), "{first}");
}

#[test]
fn what_another_epoch_acknowledges_or_what_leaves_a_number_out_moves_nothing() {
    let mut appends = acknowledged(ONE, Guarantee::STRICT_LEASE);
    appends.stand(standing(TWO, 11_000, 10_900));
    appends.acknowledged(at(11_100), ONE, &(Seq(1)..=Seq(1)));
    let again = appends.to_append().unwrap();
    assert_eq!(again.numbers, Seq(1)..=Seq(1), "the one before has acknowledged it late");
    appends.announce();
    appends.acknowledged(at(11_200), TWO, &(Seq(2)..=Seq(2)));
    appends.give_up();
    assert_eq!(append(&mut appends, 11_300, TWO), Some((1, 2)));
}

#[test]
fn what_is_awaited_is_appended_again_and_confirmed_by_the_new_epoch_only() {
    let mut appends = acknowledged(ONE, Guarantee::STRICT_LEASE);
    appends.stand(standing(TWO, 11_000, 10_900));
    assert_eq!(appends.due(at(12_500)), [], "the receipt was of the one before");
    assert_eq!(append(&mut appends, 12_500, TWO), Some((1, 1)));
    assert_eq!(appends.due(at(14_501)), []);
    assert_eq!(appends.due(at(14_503)), [(1, Confirmed::ByTime)]);
}

#[test]
fn where_leaders_overlap_so_much_more_is_appended_again() {
    let overlap = Overlap::AtMost(std::time::Duration::from_secs(5));
    let one = Epoch { id: 1, rules: Rules { overlap, ..RULES } };
    let mut appends = Appends::default();
    appends.stand(standing(one, 0, 0));
    for seconds in [10_u64, 20] {
        appends.announce();
        append(&mut appends, seconds * 1000, one);
    }
    appends.stand(standing(one, 0, 54_000));
    appends.stand(standing(Epoch { id: 2, ..one }, 55_000, 54_900));
    assert_eq!(append(&mut appends, 55_100, Epoch { id: 2, ..one }), Some((2, 2)));
}
