//! Owns the handshake: who comes to follow this node, and whom it has reached.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::conn::{Conn, Role};
use super::{ConnId, Node, Output, Phase, Report};
use crate::Time;
use crate::peers::{Identity, Link, Source, Trouble, canonical};
use crate::planted::{Fault, planted};
use crate::repair::Goal;
use crate::wire::{
    Frame, Hello, Incarnation, MAX_CONNECTIONS, MAX_LABEL_BYTES, MAX_LABELS, MAX_NAME_BYTES,
    MAX_PEERS, Position, Reject, Seq, VERSION, Versions, Welcome,
};

impl Node {
    pub(super) fn on_accepted(&mut self, now: Time, id: ConnId, from: SocketAddr) {
        if self.phase != Phase::Running || self.conns.len() >= MAX_CONNECTIONS {
            self.outputs.push_back(Output::Close { conn: id });
            return;
        }
        self.conns.insert(id, Conn::new(now, from, Role::Fresh { since: now }));
    }

    /// A follower says who it is.
    pub(super) fn on_hello(&mut self, now: Time, id: ConnId, hello: &Hello<'_>) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let mut address = hello.address;
        if address.ip().is_unspecified() {
            address.set_ip(conn.remote.ip());
        }
        let address = canonical(address);
        let Some(who) = identity(hello.node, hello.incarnation, &hello.labels) else {
            self.offend(now, id, "a name or label is empty or over the limit");
            return;
        };
        if hello.cluster != self.config.cluster {
            let from = conn.remote;
            let why = format!(
                "{} belongs to cluster {:?}, this node to {:?}: give both the same name, or \
                 other addresses",
                who.name, hello.cluster, self.config.cluster
            );
            self.report(Report::Offence { from, why });
            let cluster = self.config.cluster.clone();
            self.reject(id, &Reject::OtherCluster { cluster: &cluster });
        } else if who.incarnation == self.config.incarnation {
            self.reject(id, &Reject::Yourself);
        } else if self.followers.len() >= MAX_PEERS && !self.followers.knows(who.incarnation) {
            self.reject(id, &Reject::Full);
        } else {
            let ours = |at: &Position| {
                at.incarnation == self.config.incarnation || planted(Fault::NewLifeContinuesOldLog)
            };
            let resume = hello.resume_after.filter(ours);
            let resume_after = resume.map_or(Seq::START, |at| at.seq);
            let life = who.incarnation;
            if self.let_in(now, id, address, who, resume_after) {
                let theirs = self.config.fixed.as_ref().filter(|ours| **ours != hello.fixed);
                let theirs = theirs.map(|_| hello.fixed.clone());
                self.roster.of(life).for_each(|entry| entry.other_list.clone_from(&theirs));
            }
        }
    }

    /// An origin that was dialled answers.
    pub(super) fn on_welcome(
        &mut self,
        now: Time,
        id: ConnId,
        address: SocketAddr,
        welcome: &Welcome<'_>,
    ) {
        let who = identity(welcome.node, welcome.incarnation, &welcome.labels);
        let Some(who) = who.filter(|_| welcome.version == VERSION) else {
            self.offend(
                now,
                id,
                "it answered with a version, name or label that was not asked for",
            );
            return;
        };
        let life = who.incarnation;
        let open_elsewhere = self.roster.followed_elsewhere(life, address);
        let Some(entry) = self.roster.get_mut(address) else {
            return;
        };
        let former = entry.life();
        entry.meet(who);
        if open_elsewhere {
            let settled = entry.settled == Some(life);
            self.end(id);
            self.lose_link(now, address, id, Trouble::Alias);
            if !settled {
                self.inquire(now, address, Goal::NewLife(life));
            }
            return;
        }
        let Some(entry) = self.roster.get_mut(address) else {
            return;
        };
        entry.link = Link::Open(id);
        entry.linked_since = now;
        entry.trouble = None;
        let ours = self.config.fixed.as_ref().filter(|ours| **ours != welcome.fixed);
        entry.other_list = ours.map(|_| welcome.fixed.clone());
        let settled = entry.settled == Some(life);
        let node = entry.name_or(address);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.role = Role::Following { address, ack_due: false, renew_due: None };
        }
        self.lives.note(life, address);
        self.plant_follow(former, life, welcome.head);
        self.report(Report::Following { node, address, incarnation: life });
        if !settled {
            self.inquire(now, address, Goal::NewLife(life));
        } else {
            self.close_case(now, address);
        }
        self.go_on(now);
        self.renew(now, address);
        self.tell_apart(address);
        self.outputs.push_back(Output::PeersChanged);
    }

    /// Reports what keeps people, or strict caches, from telling who is who.
    fn tell_apart(&mut self, address: SocketAddr) {
        let Some(entry) = self.roster.get(address) else { return };
        let (life, name) = (entry.life(), entry.name_or(address));
        let taken = name == self.config.name
            || self.roster.iter().any(|(_, other)| {
                let its_name = other.who.as_ref().map(|who| &who.name);
                its_name == Some(&name) && other.life() != life && other.is_open()
            });
        if taken {
            self.report(Report::SameName { node: name, address });
        }
        if self.caches.any_strict()
            && let Some(differ) = self.lists_differ()
        {
            self.report(Report::ListsDiffer(differ));
        }
    }

    /// Where bugs of following may be planted.
    fn plant_follow(&mut self, former: Option<Incarnation>, life: Incarnation, head: Seq) {
        if planted(Fault::WipeInsteadOfReplay) && former == Some(life) {
            self.caches.distrust();
        }
        if planted(Fault::FirstFollowAtHead) && self.lives.applied(life) == Seq::START {
            self.lives.cover(life, head);
        }
        if planted(Fault::NewLifeContinuesOldLog)
            && let Some(former) = former
        {
            self.lives.cover(life, self.lives.applied(former).min(head));
        }
    }

    /// An origin that was dialled does not let this node follow it.
    pub(super) fn on_reject(
        &mut self,
        now: Time,
        id: ConnId,
        address: SocketAddr,
        reject: &Reject<'_>,
    ) {
        self.end(id);
        if matches!(reject, Reject::OtherCluster { .. }) {
            // Nobody of this cluster is there.
            self.found_dead(now, address);
        }
        let trouble = match reject {
            Reject::OtherCluster { cluster } => {
                Trouble::OtherCluster(cluster.chars().take(MAX_NAME_BYTES).collect())
            }
            Reject::NoCommonVersion { versions } => Trouble::OtherVersion(*versions),
            Reject::Full => Trouble::Full,
            Reject::Yourself => {
                self.roster.own(address);
                self.close_case(now, address);
                self.outputs.push_back(Output::PeersChanged);
                self.settle(now);
                return;
            }
        };
        self.lose_link(now, address, id, trouble);
    }

    pub(super) fn reject(&mut self, id: ConnId, reject: &Reject<'_>) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.say(&Frame::Reject(reject.clone()));
        }
        self.end(id);
    }

    /// The versions of a `Hello` come first: the rest of it may be of a layout to come.
    pub(super) fn speaks_our_version(&mut self, id: ConnId, theirs: Versions) -> bool {
        if Versions::OURS.common(theirs).is_some() {
            return true;
        }
        if let Some(conn) = self.conns.get(&id) {
            let from = conn.remote;
            let why = format!(
                "it speaks protocol version {theirs}, this node {}: run releases of Flushcast \
                 that share one",
                Versions::OURS
            );
            self.report(Report::Offence { from, why });
        }
        self.reject(id, &Reject::NoCommonVersion { versions: Versions::OURS });
        false
    }

    /// Lets a follower in; false if it cannot be.
    fn let_in(
        &mut self,
        now: Time,
        id: ConnId,
        address: SocketAddr,
        who: Identity,
        resume_after: Seq,
    ) -> bool {
        let life = who.incarnation;
        if !self.roster.met_elsewhere(life, address) && !self.enlist(now, id, address, who) {
            return false;
        }
        self.lives.note(life, address);
        // A place that this log never reached is answered with a reset, and counts for nothing.
        let mut cursor = resume_after;
        if planted(Fault::NewLifeContinuesOldLog) {
            cursor = cursor.min(self.log.head());
        }
        if planted(Fault::FirstFollowAtHead) && cursor == Seq::START {
            cursor = self.log.head();
        }
        let applied = if cursor <= self.log.head() { cursor } else { Seq::START };
        for replaced in self.followers.enter(life, address, id, applied) {
            self.drop_conn(replaced);
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            let labels = self.config.labels.iter();
            let welcome = Welcome {
                version: VERSION,
                node: &self.config.name,
                incarnation: self.config.incarnation,
                labels: labels.map(|(name, value)| (name.as_str(), value.as_str())).collect(),
                first: self.log.first(),
                head: self.log.head(),
                fixed: self.config.fixed.clone().unwrap_or_default(),
            };
            conn.say(&Frame::Welcome(welcome));
            conn.role = Role::Serving { follower: life, cursor };
        }
        self.wake(id);
        self.outputs.push_back(Output::PeersChanged);
        // Dial back: it is there, whatever the last attempt to reach it came to.
        self.hurry(now, address);
        self.settle(now);
        true
    }

    /// Puts a follower on the roster; false if it cannot be.
    fn enlist(&mut self, now: Time, id: ConnId, address: SocketAddr, who: Identity) -> bool {
        let life = who.incarnation;
        let is_new = !self.roster.contains(address);
        match self.roster.add(address, Source::Hello, now) {
            Ok(Some(entry)) => {
                let replaced = entry.life().is_some_and(|before| before != life);
                let link = entry.link;
                entry.meet(who);
                if is_new {
                    // Nobody else can have been there since it is on the roster.
                    entry.settled = Some(life);
                }
                // A way to a former life leads nowhere: dial the new one.
                if let (true, Some(stale)) = (replaced, link.conn()) {
                    self.drop_conn(stale);
                    let gone = Trouble::Unreachable("it was restarted".to_owned());
                    self.lose_link(now, address, stale, gone);
                }
                true
            }
            Ok(None) => {
                self.offend(
                    now,
                    id,
                    "it says to listen where this node does: give it another address to advertise",
                );
                false
            }
            Err(_full) => {
                self.report(Report::RosterFull { left_out: 1 });
                self.reject(id, &Reject::Full);
                false
            }
        }
    }
}

/// Who somebody says to be, if it is within the limits.
fn identity(name: &str, incarnation: Incarnation, labels: &[(&str, &str)]) -> Option<Identity> {
    let printable = |text: &str| !text.chars().any(char::is_control);
    let name_fits = !name.is_empty() && name.len() <= MAX_NAME_BYTES && printable(name);
    let fits = |text: &str| text.len() <= MAX_LABEL_BYTES && printable(text);
    let labels_fit =
        labels.len() <= MAX_LABELS && labels.iter().all(|(name, value)| fits(name) && fits(value));
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let labels: BTreeMap<_, _> = labels.iter().map(own).collect();
    (name_fits && labels_fit).then(|| Identity { name: name.to_owned(), incarnation, labels })
}
