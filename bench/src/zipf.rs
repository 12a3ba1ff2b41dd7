//! Owns the order in which keys are read: few of them often, most of them seldom.

use fastrand::Rng;

/// `reads` keys below `keys`, drawn by Zipf's law with exponent 1: the one of rank n is n times as
/// rare as the first. Which key has which rank is drawn too.
pub fn order(keys: usize, reads: usize, seed: u64) -> Vec<u32> {
    let mut up_to = 0.0;
    let up_to: Vec<f64> = (1..=keys)
        .map(|rank| {
            up_to += 1.0 / rank as f64;
            up_to
        })
        .collect();
    let mut by_rank: Vec<u32> = (0..).take(keys).collect();
    // The same for every seed: threads have favourites in common.
    Rng::with_seed(0).shuffle(&mut by_rank);
    let (mut rng, all) = (Rng::with_seed(seed), up_to.last().copied().unwrap_or_default());
    let mut draw = || {
        let at = rng.f64() * all;
        by_rank[up_to.partition_point(|&up_to| up_to <= at).min(keys - 1)]
    };
    (0..reads).map(|_| draw()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_first_is_drawn_twice_as_often_as_the_second() {
        let mut counts = BTreeMap::new();
        for key in order(1000, 200_000, 7) {
            *counts.entry(key).or_insert(0_u32) += 1;
        }
        let mut counts: Vec<_> = counts.into_values().collect();
        counts.sort_unstable_by(|one, other| other.cmp(one));
        let (first, second) = (f64::from(counts[0]), f64::from(counts[1]));
        assert!((1.8..2.2).contains(&(first / second)), "{first} {second}");
        assert!(counts.len() > 950, "the rare ones are drawn as well: {}", counts.len());
    }
}
