//! Owns what is remembered of copies that made room: that they did, not long ago.

/// Parts of the hashes of their keys, each in the one place that its hash has for it, until another with
/// the same place comes.
#[derive(Debug, Default)]
pub(super) struct Ghosts(Box<[u32]>);

impl Ghosts {
    /// A copy with this hash has made room beside so many that are held. Begins anew when they have
    /// become more than it was made for: once to twice as many are remembered, or some less, by chance.
    pub(super) fn add(&mut self, hash: u64, held: usize) {
        if self.0.len() <= held {
            self.0 = vec![0; 2 * (held + 1)].into();
        }
        if let Some(place) = self.place(hash)
            && let Some(ghost) = self.0.get_mut(place)
        {
            *ghost = part(hash);
        }
    }

    /// Whether one is remembered with this hash; in one of four thousand million, another.
    pub(super) fn has(&self, hash: u64) -> bool {
        self.place(hash).and_then(|place| self.0.get(place)) == Some(&part(hash))
    }

    /// By other bits than those that are kept.
    fn place(&self, hash: u64) -> Option<usize> {
        usize::try_from(((hash >> 32) * self.0.len() as u64) >> 32).ok()
    }
}

fn part(hash: u64) -> u32 {
    hash as u32
}
