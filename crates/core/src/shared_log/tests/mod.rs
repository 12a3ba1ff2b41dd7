//! Each rule by itself. `sim/src/engine/` plays them together.

mod again;
mod appends;
mod follower;

use std::time::Duration;

use crate::Time;
use crate::shared_log::{Appends, Epoch, Membership, Overlap, Rules, Standing};
use crate::wire::Seq;

const RULES: Rules = Rules { membership: Membership::Registered, overlap: Overlap::Never };
const ONE: Epoch = Epoch { id: 1, rules: RULES };
const TWO: Epoch = Epoch { id: 2, ..ONE };

fn at(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

fn standing(epoch: Epoch, since: u64, answered: u64) -> Standing {
    Standing { epoch, since: at(since), answered: at(answered) }
}

/// Appends all there is, and hears that the engine has it.
fn append(appends: &mut Appends, now: u64, epoch: Epoch) -> Option<(u64, u64)> {
    let append = appends.to_append()?;
    appends.acknowledged(at(now), epoch, &append.numbers);
    Some((append.numbers.start().0, append.numbers.end().0))
}

/// One flush that is awaited from 10 s to 25 s, and acknowledged at 10.1 s.
fn acknowledged(epoch: Epoch, lease: Duration) -> Appends {
    let mut appends = Appends::default();
    appends.stand(standing(epoch, 0, 9_900));
    let seq = appends.announce();
    appends.await_applied(seq, at(25_000), lease);
    assert_eq!(append(&mut appends, 10_100, epoch), Some((1, 1)));
    assert_eq!(seq, Seq(1));
    appends
}
