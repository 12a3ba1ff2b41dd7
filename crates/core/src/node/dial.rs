//! Owns the ways to origins: whom to dial when, and what a failed one means.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::conn::{Conn, Role};
use super::{ConnId, Node, Output, Phase, Report};
use crate::Time;
use crate::peers::{Entry, Healing, Link, Listed, Source, Trouble, canonical};
use crate::repair::Goal;
use crate::wire::{Frame, Hello, Position, Seq, Versions};

/// A timer that is this late was not late: the process was stopped.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a peer that no discovery source lists stays on the roster without a link.
const FORGET_UNLISTED_AFTER: Duration = Duration::from_secs(60);
/// How long the others are asked about one that discovery has dropped; then its last flushes are
/// taken for missed.
const ASK_WITHIN: Duration = Duration::from_secs(60);

impl Node {
    /// Replaces what one discovery source knows.
    pub(super) fn on_members(
        &mut self,
        now: Time,
        source: &Arc<str>,
        listed: &[Listed],
        complete: bool,
    ) {
        let first = |entry: &Listed| entry.addresses.first().copied().map(canonical);
        let listed: BTreeSet<_> = listed.iter().filter_map(first).collect();
        let source = Source::Discovery(Arc::clone(source));
        if complete {
            self.roster.unlist(&source, &listed);
            self.whole_lists.insert(source.clone());
        }
        let add = |&&address: &&SocketAddr| self.roster.add(address, source.clone(), now).is_err();
        let left_out = listed.iter().filter(add).count();
        if left_out > 0 {
            self.report(Report::RosterFull { left_out });
        }
        self.outputs.push_back(Output::PeersChanged);
        self.forget_unlisted(now);
        self.go_on(now);
        self.dial_due(now);
        self.settle(now);
    }

    pub(super) fn on_tick(&mut self, now: Time) {
        self.excuse_pause(now);
        if self.forget_unlisted(now) {
            self.settle(now);
        }
        self.dial_due(now);
        self.go_on(now);
        self.end_silent(now);
        self.renew_due(now);
        self.settle_overdue(now);
    }

    pub(super) fn on_connected(&mut self, now: Time, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let Role::Dialling { address } = conn.role else {
            return;
        };
        conn.role = Role::Greeting { address, since: now };
        let Some(entry) = self.roster.get_mut(address) else {
            self.drop_conn(id);
            return;
        };
        entry.link = Link::Greeting(id);
        let labels = self.config.labels.iter();
        let hello = Hello {
            versions: Versions::OURS,
            cluster: &self.config.cluster,
            node: &self.config.name,
            incarnation: self.config.incarnation,
            address: self.config.address,
            labels: labels.map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            resume_after: entry
                .life()
                .map(|incarnation| Position { incarnation, seq: self.lives.applied(incarnation) }),
            fixed: self.config.fixed.clone().unwrap_or_default(),
        };
        conn.say(&Frame::Hello(hello));
        // Somebody listens there, so that an earlier refusal says nothing of who that is. Who died
        // there before is settled once that one is met, or the next dial is refused.
        if matches!(self.inquest.goal(address), Some(Goal::Refusal { .. })) {
            self.close_case(now, address);
        }
    }

    pub(super) fn on_dial_failed(&mut self, now: Time, id: ConnId, refused: bool, why: String) {
        let Some(conn) = self.conns.remove(&id) else {
            return;
        };
        if let Role::Dialling { address } = conn.role {
            let trouble = if refused { Trouble::Refused } else { Trouble::Unreachable(why) };
            self.lose_link(now, address, id, trouble);
            if refused {
                self.found_dead(now, address);
            }
        }
    }

    /// Notes that the way to an origin over `conn` came to nothing, and when to try again.
    pub(super) fn lose_link(
        &mut self,
        now: Time,
        address: SocketAddr,
        conn: ConnId,
        trouble: Trouble,
    ) {
        let Some(entry) = self.roster.get_mut(address) else {
            return;
        };
        if entry.link.conn() != Some(conn) {
            return;
        }
        let pause = match trouble {
            Trouble::Refused => entry.backoff.refused(&mut self.rng),
            Trouble::Unreachable(_) => entry.backoff.failed(&mut self.rng),
            _ => entry.backoff.rejected(&mut self.rng),
        };
        let was_open = entry.is_open();
        let news = was_open || entry.trouble.as_ref() != Some(&trouble);
        if was_open {
            entry.lost_since = now;
            entry.step.break_off();
            let applied = entry.life().map_or(Seq::START, |life| self.lives.applied(life));
            entry.healing.get_or_insert(Healing { from: applied, reset: false });
        }
        entry.link = Link::Waiting { until: now + pause };
        let reason = trouble.reason().filter(|_| news && !entry.left);
        let node = entry.name_or(address);
        entry.trouble = Some(trouble);
        if let Some(reason) = reason {
            self.report(Report::Lost { node, address, why: reason.to_string() });
        }
        if was_open {
            self.inquest.lost_touch(address);
            self.lives.sweep(|life| self.roster.is_current(life));
        }
        self.outputs.push_back(Output::PeersChanged);
        self.settle(now);
    }

    /// Dials `address` now if it was to be dialled later.
    pub(super) fn hurry(&mut self, now: Time, address: SocketAddr) {
        if let Some(entry) = self.roster.get_mut(address)
            && matches!(entry.link, Link::Waiting { .. })
        {
            entry.link = Link::Waiting { until: now };
        }
        self.dial_due(now);
    }

    pub(super) fn earliest(&self) -> Time {
        let dials = self.roster.iter().filter_map(|(_, entry)| match entry.link {
            Link::Waiting { until } => Some(until),
            _ => None,
        });
        let silences = self.conns.values().filter_map(Conn::deadline).map(|(at, _)| at);
        let dials = dials.filter(|_| self.phase == Phase::Running);
        let others = [
            self.next_settlement(),
            self.next_renewal(),
            self.next_cut_off(),
            self.next_question(),
        ];
        let others = others.into_iter().flatten();
        let earliest = dials.chain(silences).chain(others).min();
        earliest.unwrap_or(Time::NEVER)
    }

    fn dial_due(&mut self, now: Time) {
        if self.phase != Phase::Running {
            return;
        }
        let due = self.roster.iter().filter_map(|(address, entry)| match entry.link {
            Link::Waiting { until } if until <= now => Some(address),
            _ => None,
        });
        for address in due.collect::<Vec<_>>() {
            if self.postpone_alias(now, address) {
                continue;
            }
            let conn = self.next_conn();
            self.conns.insert(conn, Conn::new(now, address, Role::Dialling { address }));
            if let Some(entry) = self.roster.get_mut(address) {
                entry.link = Link::Dialling(conn);
                entry.dialled = now;
            }
            self.outputs.push_back(Output::Dial { conn, address });
        }
    }

    /// Another way to a node that is followed already would replace the one that works: it is not
    /// tried while that one does.
    fn postpone_alias(&mut self, now: Time, address: SocketAddr) -> bool {
        let Some(entry) = self.roster.get(address) else { return false };
        let life = entry.life().filter(|_| entry.trouble == Some(Trouble::Alias));
        let works = life.is_some_and(|life| self.roster.followed_elsewhere(life, address));
        if works && let Some(entry) = self.roster.get_mut(address) {
            let pause = entry.backoff.rejected(&mut self.rng);
            entry.link = Link::Waiting { until: now + pause };
        }
        works
    }

    /// A tick that comes late means that this process was stopped: what peers have sent meanwhile
    /// waits in its sockets, so that it is not they who were silent.
    fn excuse_pause(&mut self, now: Time) {
        let late = now.since(self.armed);
        if late < PAUSE {
            return;
        }
        for conn in self.conns.values_mut() {
            conn.heard = conn.heard + late;
            if let Role::Fresh { since } | Role::Greeting { since, .. } = &mut conn.role {
                *since = *since + late;
            }
        }
    }

    /// Ends connections over which nothing has arrived for too long.
    fn end_silent(&mut self, now: Time) {
        let silent = self.conns.iter().filter_map(|(&id, conn)| {
            let (deadline, why) = conn.deadline()?;
            (deadline <= now).then_some((id, why))
        });
        for (id, why) in silent.collect::<Vec<_>>() {
            match self.conns.get(&id).map(|conn| conn.role) {
                Some(Role::Ended) => self.drop_conn(id),
                _ => self.offend(now, id, why),
            }
        }
    }

    /// Takes those off the roster that are listed by nobody and linked by nothing; tells whether
    /// there were any.
    fn forget_unlisted(&mut self, now: Time) -> bool {
        let gone = self.roster.iter().filter(|(_, entry)| self.is_gone(now, entry));
        let gone: Vec<_> = gone.map(|(address, _)| address).collect();
        let mut any = false;
        for address in gone {
            let Some(entry) = self.roster.get(address) else { continue };
            let said_all = entry.left_complete || entry.trouble == Some(Trouble::Alias);
            match self.inquest.goal(address) {
                _ if said_all => {
                    self.take_off(address);
                    any = true;
                }
                // What it announced last may not have come through: ask the others first.
                Some(Goal::Drop { since }) if since + ASK_WITHIN > now => {}
                Some(Goal::Drop { .. }) => {
                    let node = entry.name_or(address);
                    self.caches.distrust();
                    self.report(Report::Missed { node });
                    self.take_off(address);
                    any = true;
                }
                _ => {
                    self.inquire(now, address, Goal::Drop { since: now });
                    // Nobody waits for it any more.
                    any = true;
                }
            }
        }
        any
    }

    /// Whether nobody lists it and nothing links it.
    pub(super) fn is_gone(&self, now: Time, entry: &Entry) -> bool {
        let follows = entry.life().and_then(|life| self.followers.get(life));
        let linked = entry.is_open() || follows.is_some_and(|follower| follower.conn.is_some());
        let said_hello = entry.sources.contains(&Source::Hello);
        let patience = entry.lost_since + FORGET_UNLISTED_AFTER;
        !(entry.is_listed() || linked || (said_hello && !entry.left && patience > now))
    }
}
