use std::time::Duration;

use crate::Time;
use crate::cache::Guarantee;
use crate::shared_log::{Appends, Behind, Confirmed, Epoch, RegistryRead};
use crate::wire::Seq;

const ONE: Epoch = Epoch(1);
const SECOND: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

/// In this epoch for long.
const STANDING: Option<(Epoch, Time)> = Some((ONE, Time::ZERO));

fn read(sent: u64, of: u64, behind: &[&str]) -> RegistryRead {
    let behind = behind.iter().map(|&it| it.to_owned()).collect();
    RegistryRead { sent: at(sent), epoch: ONE, of: Seq(of), behind }
}

/// One flush that is awaited from 10 s to 15 s, and acknowledged at 10.1 s.
fn acknowledged(strict: bool) -> Appends {
    let mut appends = Appends::default();
    let seq = appends.announce(at(10_000));
    appends.await_applied(seq, at(15_000), strict);
    assert_eq!(appends.to_append(), Some(Seq(1)..=Seq(1)));
    appends.acknowledged(at(10_100), ONE, Seq(1));
    appends
}

fn due(appends: &mut Appends, now: u64) -> Option<Confirmed> {
    appends.due(at(now), STANDING).pop().map(|(_, confirmed)| confirmed)
}

#[test]
fn a_strict_flush_is_confirmed_a_lease_behind_the_receipt_of_its_acknowledgement() {
    let mut appends = acknowledged(true);
    let ends = at(10_100) + Guarantee::strict_wait();
    assert_eq!(appends.next_deadline(), Some(ends));
    assert_eq!(due(&mut appends, 12_101), None);
    assert_eq!(due(&mut appends, 12_103), Some(Confirmed::ByTime));
}

#[test]
fn nothing_is_confirmed_that_the_engine_has_not_acknowledged() {
    let mut appends = Appends::default();
    let seq = appends.announce(at(10_000));
    appends.await_applied(seq, at(15_000), true);
    appends.read(&read(10_200, 1, &[]));
    assert_eq!(due(&mut appends, 14_999), None);
    let not = Confirmed::Not(Behind::NotAppended);
    assert_eq!(due(&mut appends, 15_000), Some(not));
}

#[test]
fn one_that_is_not_strict_waits_for_all_and_names_who_is_behind() {
    let mut appends = acknowledged(false);
    assert_eq!(due(&mut appends, 14_000), None, "other leases are longer");
    appends.read(&read(14_000, 1, &["n2"]));
    let not = Confirmed::Not(Behind::Nodes(vec!["n2".to_owned()]));
    assert_eq!(due(&mut appends, 15_000), Some(not));
}

#[test]
fn a_registry_counts_that_was_asked_behind_the_receipt_in_one_epoch_that_is_settled() {
    let mut appends = acknowledged(true);
    appends.read(&read(10_099, 1, &[]));
    assert_eq!(due(&mut appends, 10_200), None, "it was asked before the receipt");
    appends.read(&RegistryRead { epoch: Epoch(2), ..read(10_200, 1, &[]) });
    assert_eq!(due(&mut appends, 10_200), None, "it is another log's");
    appends.read(&read(10_200, 1, &["n2"]));
    assert_eq!(due(&mut appends, 10_300), None, "one is behind");
    appends.read(&read(10_300, 1, &[]));
    let young = Some((ONE, at(8_400)));
    assert_eq!(appends.due(at(10_400), young), [], "others may follow the log before it");
    let other = Some((Epoch(2), Time::ZERO));
    assert_eq!(appends.due(at(10_400), other), [], "this node follows another one");
    assert_eq!(due(&mut appends, 10_400), Some(Confirmed::ByAll));
}

#[test]
fn what_may_have_been_lost_is_appended_again_in_order() {
    let mut appends = Appends::default();
    for _ in 0..3 {
        appends.announce(at(10_000));
    }
    assert_eq!(appends.to_append(), Some(Seq(1)..=Seq(3)));
    appends.announce(at(10_000));
    assert_eq!(appends.to_append(), None, "one is under way");
    appends.give_up();
    assert_eq!(appends.to_append(), Some(Seq(1)..=Seq(4)));
    appends.acknowledged(at(10_100), ONE, Seq(4));
    assert_eq!(appends.to_append(), None);
}

#[test]
fn a_new_epoch_gets_again_what_was_announced_shortly_before() {
    let mut appends = Appends::default();
    for seconds in [10_u64, 20, 45] {
        appends.announce(at(seconds * 1000));
    }
    appends.to_append();
    appends.acknowledged(at(45_100), ONE, Seq(3));
    appends.begin_epoch(at(45_200) + SECOND);
    assert_eq!(appends.to_append(), Some(Seq(2)..=Seq(3)));
}
