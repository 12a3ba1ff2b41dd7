//! Owns the ways to origins: whom to dial when, and what a failed one means.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::conn::{Conn, Role};
use super::{ConnId, Node, Output, Phase, Report};
use crate::Time;
use crate::peers::{Entry, Link, Source, Trouble, canonical};
use crate::wire::{Frame, Hello, Versions};

/// A timer that is this late was not late: the process was stopped.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a peer that no discovery source lists stays on the roster without a link.
const FORGET_UNLISTED_AFTER: Duration = Duration::from_secs(60);

impl Node {
    /// Replaces what one discovery source knows.
    pub(super) fn on_members(
        &mut self,
        now: Time,
        source: &Arc<str>,
        addresses: &[SocketAddr],
        complete: bool,
    ) {
        let listed: BTreeSet<_> = addresses.iter().copied().map(canonical).collect();
        let source = Source::Discovery(Arc::clone(source));
        if complete {
            self.roster.unlist(&source, &listed);
        }
        let add = |&&address: &&SocketAddr| self.roster.add(address, source.clone(), now).is_err();
        let left_out = listed.iter().filter(add).count();
        if left_out > 0 {
            self.report(Report::RosterFull { left_out });
        }
        self.outputs.push_back(Output::PeersChanged);
        self.forget_unlisted(now);
        self.dial_due(now);
        self.settle();
    }

    pub(super) fn on_tick(&mut self, now: Time) {
        self.excuse_pause(now);
        if self.forget_unlisted(now) {
            self.settle();
        }
        self.dial_due(now);
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
            resume_after: entry.position,
        };
        conn.say(&Frame::Hello(hello));
    }

    pub(super) fn on_dial_failed(&mut self, now: Time, id: ConnId, refused: bool, why: String) {
        let Some(conn) = self.conns.remove(&id) else {
            return;
        };
        if let Role::Dialling { address } = conn.role {
            let trouble = if refused { Trouble::Refused } else { Trouble::Unreachable(why) };
            self.lose_link(now, address, id, trouble);
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
        let rejected = !matches!(trouble, Trouble::Refused | Trouble::Unreachable(_));
        let pause = match rejected {
            true => entry.backoff.rejected(&mut self.rng),
            false => entry.backoff.failed(&mut self.rng),
        };
        let news = matches!(entry.link, Link::Open(_)) || entry.trouble.as_ref() != Some(&trouble);
        if matches!(entry.link, Link::Open(_)) {
            entry.lost_since = now;
            entry.step.break_off();
        }
        entry.link = Link::Waiting { until: now + pause };
        let reason = trouble.reason().filter(|_| news && !entry.left);
        let node = entry.name_or(address);
        entry.trouble = Some(trouble);
        if let Some(reason) = reason {
            self.report(Report::Lost { node, address, why: reason.to_string() });
        }
        self.outputs.push_back(Output::PeersChanged);
        self.settle();
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
        let others = self.tickets.next_deadline().into_iter().chain(self.next_renewal());
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
            }
            self.outputs.push_back(Output::Dial { conn, address });
        }
    }

    /// Another way to a node that is followed already would replace the one that works: it is not
    /// tried while that one does.
    fn postpone_alias(&mut self, now: Time, address: SocketAddr) -> bool {
        let Some(entry) = self.roster.get(address) else { return false };
        let life = entry.life().filter(|_| entry.trouble == Some(Trouble::Alias));
        let works = life.is_some_and(|life| {
            let mut others = self.roster.iter().filter(|(other, _)| *other != address);
            others.any(|(_, it)| it.life() == Some(life) && matches!(it.link, Link::Open(_)))
        });
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
        let gone = self.roster.iter().filter(|(_, entry)| {
            let follows = entry.life().and_then(|life| self.followers.get(life));
            let linked = matches!(entry.link, Link::Open(_))
                || follows.is_some_and(|follower| follower.conn.is_some());
            let said_hello = entry.sources.contains(&Source::Hello);
            let patience = entry.lost_since + FORGET_UNLISTED_AFTER;
            let kept = linked || (said_hello && !entry.left && patience > now);
            !entry.is_listed() && !kept
        });
        let gone: Vec<_> = gone.map(|(address, _)| address).collect();
        for &address in &gone {
            self.distrust_forgotten(address);
            if let Some(conn) = self.roster.get(address).and_then(|entry| entry.link.conn()) {
                self.drop_conn(conn);
            }
            // It may say to listen elsewhere than where it was listed.
            if let Some(life) = self.roster.get(address).and_then(Entry::life)
                && !self.roster.met_elsewhere(life, address)
            {
                self.followers.remove(life);
            }
            // Not the one that is followed at another address and only says to listen here.
            let lives_on = |life| self.roster.met_elsewhere(life, address);
            let over = self.followers.forget(address, lives_on);
            over.into_iter().for_each(|conn| self.drop_conn(conn));
            self.roster.remove(address);
            self.outputs.push_back(Output::PeersChanged);
        }
        !gone.is_empty()
    }

    /// Nobody can tell any more what somebody announced last who was met and went without a
    /// goodbye.
    fn distrust_forgotten(&mut self, address: SocketAddr) {
        if let Some(entry) = self.roster.get(address)
            && (entry.missed
                || (entry.who.is_some()
                    && !entry.left_complete
                    && entry.trouble != Some(Trouble::Alias)))
        {
            let node = entry.name_or(address);
            self.caches.distrust();
            self.report(Report::Forgotten { node });
        }
    }
}
