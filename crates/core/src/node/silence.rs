//! Owns silence: who has said nothing for too long, and when this node could not hear.
//! It must never take for silent one that was not listened to.

use std::time::Duration;

use super::Node;
use super::conn::Role;
use crate::Time;
use crate::peers::Life;
use crate::wire::Incarnation;

/// A timer that is this late was not late: the process was stopped. What takes this long to apply keeps
/// its author from being read.
const PAUSE: Duration = Duration::from_secs(1);

impl Node {
    /// A tick that comes late means that this process was stopped: what peers have sent meanwhile
    /// waits in its sockets, so that it is not they who were silent. They are asked at once, and have
    /// no longer than ever to be heard.
    pub(super) fn excuse_pause(&mut self, now: Time) {
        let late = now.since(self.armed);
        if late < PAUSE {
            return;
        }
        self.paused_until = now;
        for conn in self.conns.values_mut() {
            conn.heard = (conn.heard + late).min(now);
        }
    }

    /// From when on a life could be heard, if it had anything to say.
    pub(super) fn could_hear(&self, now: Time, it: &Life) -> Time {
        let heard = it.linked_since.max(it.unread_until).max(self.paused_until);
        if is_deaf_to(now, it) { now } else { heard }
    }

    /// Ends connections over which nothing has arrived for too long.
    pub(super) fn end_silent(&mut self, now: Time) {
        let silent = self.conns.iter().filter_map(|(&id, conn)| {
            let (deadline, why) = conn.deadline()?;
            // Nothing is read from one whose flushes are being applied.
            let life = conn.linked().and_then(|linked| self.lives.get(linked.life));
            if life.is_some_and(|life| life.applying.is_some()) {
                return None;
            }
            (deadline <= now).then_some((id, why))
        });
        for (id, why) in silent.collect::<Vec<_>>() {
            match self.conns.get(&id).map(|conn| &conn.role) {
                Some(Role::Ended) => self.drop_conn(id),
                _ => self.break_off(now, id, why),
            }
        }
    }

    /// Ends the links to a life that no list has, and that has made no answer good for as long as one that
    /// is lost would be waited for. All are asked about it then, as about such a one.
    pub(super) fn end_unanswering(&mut self, now: Time, life: Incarnation) {
        let patience = self.config.limits.patience;
        let Some(it) = self.lives.get(life) else { return };
        let last = match self.has_listed_place(life) {
            true => now,
            false => it.made_good().max(self.could_hear(now, it)),
        };
        if last + patience > now {
            self.minima.ends.set(life, Some(last + patience));
            return;
        }
        let what = match it.answered > last {
            true => "has not told the flushes that it has named",
            false => "has answered nothing",
        };
        let why = format!("no list has it, and it {what} for {patience:?}");
        for id in it.conns.clone() {
            self.break_off(now, id, &why);
        }
        self.drop_life(now, life);
    }
}

/// Whether nothing is read where a life's flushes come from, as those that are applied take long: what it
/// has said there since waits in the socket, whatever it says over another connection.
pub(super) fn is_deaf_to(now: Time, it: &Life) -> bool {
    it.applying.is_some_and(|since| since + PAUSE <= now)
}
