use std::time::Duration;

use super::{ONE, RULES, TWO, acknowledged, append, at, standing};
use crate::cache::Guarantee;
use crate::shared_log::{
    Appends, Behind, Confirmed, EARLY_LEASE, Epoch, Membership, Overlap, PromiseRefused,
    RegistryRead, RegistryRow, Rules,
};
use crate::wire::{Incarnation, Seq};

const STRICT: Duration = Guarantee::STRICT_LEASE;
const OVERLAP: Duration = Duration::from_secs(3);
const OVERLAPPING: Epoch =
    Epoch { id: 1, rules: Rules { overlap: Overlap::AtMost(OVERLAP), ..RULES } };

fn row(name: &str, epoch: Epoch, applied: u64) -> RegistryRow {
    let life = Incarnation([name.as_bytes()[1]; 16]);
    RegistryRow { name: name.to_owned(), life, epoch, applied: Seq(applied) }
}

fn read(sent: u64, rows: &[RegistryRow]) -> RegistryRead {
    RegistryRead { sent: at(sent), epoch: ONE, rows: rows.to_vec() }
}

fn due(appends: &mut Appends, now: u64) -> Option<Confirmed> {
    appends.due(at(now)).pop().map(|(_, confirmed)| confirmed)
}

#[test]
fn a_flush_is_confirmed_a_lease_behind_the_receipt_of_its_acknowledgement() {
    for (lease, early, late) in [(STRICT, 12_101, 12_103), (Duration::from_secs(9), 19_108, 19_110)]
    {
        let mut appends = acknowledged(ONE, lease);
        assert_eq!(due(&mut appends, early), None, "{lease:?}");
        let ends = appends.next_deadline().unwrap();
        assert!(at(early) < ends && ends < at(late));
        assert_eq!(due(&mut appends, late), Some(Confirmed::ByTime));
    }
}

#[test]
fn nothing_is_confirmed_that_the_engine_has_not_acknowledged() {
    let mut appends = Appends::default();
    appends.stand(standing(ONE, 0, 9_900));
    let seq = appends.announce();
    appends.await_applied(seq, at(15_000), STRICT);
    appends.read(read(10_200, &[]));
    assert_eq!(due(&mut appends, 14_999), None);
    let not = Confirmed::Not(Behind::NotAppended);
    assert_eq!(due(&mut appends, 15_000), Some(not));
}

#[test]
fn one_that_is_awaited_behind_its_acknowledgement_is_confirmed_by_it() {
    let mut appends = acknowledged(ONE, STRICT);
    appends.await_applied(Seq(1), at(20_000), STRICT);
    let confirmed = [(1, Confirmed::ByTime), (2, Confirmed::ByTime)];
    assert_eq!(appends.due(at(12_200)), confirmed);
    appends.await_applied(Seq(1), at(20_000), STRICT);
    assert_eq!(appends.due(at(12_200)), [(3, Confirmed::ByTime)], "even if its time is over");
}

#[test]
fn a_registry_counts_that_was_asked_behind_the_receipt_in_one_epoch_that_is_settled() {
    let mut appends = acknowledged(ONE, STRICT);
    assert!(appends.wants_registry());
    appends.read(read(10_099, &[]));
    assert_eq!(due(&mut appends, 10_200), None, "it was asked before the receipt");
    appends.read(RegistryRead { epoch: TWO, ..read(10_200, &[]) });
    assert_eq!(due(&mut appends, 10_200), None, "it is another log's");
    appends.read(read(10_200, &[row("n1", ONE, 1), row("n2", ONE, 0)]));
    assert_eq!(due(&mut appends, 10_300), None, "one is behind");
    appends.read(read(10_250, &[row("n1", ONE, 1), row("n2", TWO, 1)]));
    assert_eq!(due(&mut appends, 10_300), None, "one follows another log");
    appends.read(read(10_300, &[row("n1", ONE, 1), row("n2", ONE, 1)]));
    assert_eq!(due(&mut appends, 10_400), Some(Confirmed::ByAll));
}

#[test]
fn a_registry_counts_a_lease_behind_the_beginning_of_its_epoch() {
    let mut appends = Appends::default();
    appends.stand(standing(ONE, 9_900, 9_800));
    let seq = appends.announce();
    appends.await_applied(seq, at(25_000), STRICT);
    append(&mut appends, 10_000, ONE);
    appends.read(read(10_100, &[row("n1", ONE, 1)]));
    assert_eq!(due(&mut appends, 11_901), None, "others may follow the log before it");
    assert!(appends.next_deadline().unwrap() < at(11_903), "it is woken then");
    assert_eq!(due(&mut appends, 11_903), Some(Confirmed::ByAll));
}

#[test]
fn under_steady_load_each_flush_is_confirmed_by_what_is_told_of_its_own_number() {
    let mut appends = acknowledged(ONE, STRICT);
    for number in 2..10 {
        let seq = appends.announce();
        appends.await_applied(seq, at(25_000), STRICT);
        append(&mut appends, 10_100 + number, ONE);
    }
    appends.read(read(10_200, &[row("n1", ONE, 9), row("n2", ONE, 4)]));
    let confirmed: Vec<_> = appends.due(at(10_300)).into_iter().map(|(id, _)| id).collect();
    assert_eq!(confirmed, [1, 2, 3, 4], "though somebody is behind the newest");
}

#[test]
fn a_registry_confirms_nothing_that_is_served_for_longer_than_its_rows_live() {
    let mut appends = acknowledged(ONE, EARLY_LEASE);
    appends.read(read(10_200, &[row("n1", ONE, 1)]));
    assert_eq!(due(&mut appends, 10_300), Some(Confirmed::ByAll));
    let mut appends = acknowledged(ONE, Duration::from_secs(20));
    appends.read(read(10_200, &[row("n1", ONE, 1)]));
    assert_eq!(due(&mut appends, 24_999), None);
    assert_eq!(due(&mut appends, 25_000), Some(Confirmed::Not(Behind::Unregistered)));
}

#[test]
fn who_is_behind_is_named_at_the_deadline() {
    for (rows, behind) in
        [(None, Behind::NotKnown), (Some(row("n2", ONE, 0)), Behind::Nodes(vec!["n2".to_owned()]))]
    {
        let mut appends = acknowledged(ONE, Duration::from_secs(20));
        if let Some(row) = rows {
            appends.read(read(14_000, &[row]));
        }
        assert_eq!(due(&mut appends, 25_000), Some(Confirmed::Not(behind)));
    }
}

#[test]
fn where_leaders_overlap_an_answer_from_behind_that_has_to_show_the_same_log() {
    let mut appends = acknowledged(OVERLAPPING, STRICT);
    appends.read(RegistryRead { epoch: OVERLAPPING, ..read(10_200, &[]) });
    assert_eq!(due(&mut appends, 15_104), None, "no registry counts, and no lease alone");
    assert_eq!(appends.next_deadline(), Some(at(25_000)), "nothing else is due by itself");
    appends.stand(standing(OVERLAPPING, 0, 13_102));
    assert_eq!(due(&mut appends, 15_104), None, "who was deposed could have said so");
    appends.stand(standing(OVERLAPPING, 0, 13_104));
    assert_eq!(due(&mut appends, 15_104), None, "a lease and the overlap are not over");
    assert!(appends.next_deadline().unwrap() < at(15_106));
    assert_eq!(due(&mut appends, 15_106), Some(Confirmed::ByTime));
}

#[test]
fn where_nobody_knows_how_long_leaders_overlap_only_eventual_caches_are_allowed() {
    let rules = Rules { overlap: Overlap::Unknown, ..RULES };
    let guarantee = Guarantee::Strict;
    let refused = PromiseRefused::LeadersMayOverlap { guarantee };
    assert_eq!(rules.allow(guarantee), Err(refused));
    assert!(rules.allow(Guarantee::default()).is_err());
    assert_eq!(rules.allow(Guarantee::Eventual), Ok(()));
    assert_eq!(OVERLAPPING.rules.allow(guarantee), Ok(()));
    let mut appends = acknowledged(Epoch { id: 1, rules }, STRICT);
    assert_eq!(due(&mut appends, 24_999), None);
    assert!(matches!(due(&mut appends, 25_000), Some(Confirmed::Not(_))));
}

#[test]
fn where_nodes_need_not_register_no_registry_is_asked() {
    let epoch = Epoch { id: 1, rules: Rules { membership: Membership::Open, ..RULES } };
    let mut appends = acknowledged(epoch, STRICT);
    assert!(!appends.wants_registry());
    appends.read(RegistryRead { epoch, ..read(10_200, &[]) });
    assert_eq!(due(&mut appends, 10_300), None);
    assert_eq!(due(&mut appends, 12_103), Some(Confirmed::ByTime));
}
