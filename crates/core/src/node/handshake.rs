//! Owns the handshake: who is at the other end of a connection, and which connections link two
//! lives. It must never trust an address for a name: what counts is what was said over the
//! connection, and only for the life that said it.
//!
//! The dialler says `Hello`, the other end `Welcome`, the dialler `Go`. The dialler takes the other for
//! linked from `Welcome` on, the other end the dialler from `Go` on, and both send flushes behind that:
//! so whoever has heard a flush of a life was in touch with it before, and who says hello and no more is
//! nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::conn::{Conn, Introduction, Linked, Role};
use super::{ConnId, Node, Output, Phase, Report};
use crate::Time;
use crate::ack::Reason;
use crate::peers::{Identity, Life, PlaceId, Step, bare, canonical};
use crate::planted::{Fault, planted};
use crate::wire::{
    END_OF_WORDS, Frame, Hello, Incarnation, MAX_CLAIMS, MAX_CONNECTIONS, MAX_CONNECTIONS_OF_LIFE,
    MAX_LABEL_BYTES, MAX_LABELS, MAX_NAME_BYTES, Reject, Seq, VERSION, Versions, Welcome,
};

impl Node {
    pub(super) fn on_accepted(&mut self, now: Time, id: ConnId, from: SocketAddr) {
        if self.phase != Phase::Running || self.conns.len() >= MAX_CONNECTIONS {
            self.outputs.push_back(Output::Close { conn: id });
            return;
        }
        self.conns.insert(id, Conn::new(now, from, Role::Fresh));
    }

    pub(super) fn on_connected(&mut self, now: Time, id: ConnId, local: Option<SocketAddr>) {
        let claims = self.claims(local);
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let Role::Dialling { place } = conn.role else {
            return;
        };
        conn.role = Role::Greeting { place };
        conn.heard = now;
        let labels = self.config.labels.iter();
        let hello = Hello {
            versions: Versions::OURS,
            cluster: &self.config.cluster,
            node: &self.config.name,
            life: self.config.incarnation,
            claims,
            labels: labels.map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            fixed: self.config.fixed.clone().unwrap_or_default(),
            end: END_OF_WORDS,
        };
        conn.say(&Frame::Hello(hello));
        self.wake(id);
    }

    /// Where this node is. One that listens on all addresses says so of the one that it dials from:
    /// not of those at which it is dialled, which may be another machine's next. A loopback address
    /// tells nothing to anybody but this machine.
    fn claims(&self, local: Option<SocketAddr>) -> Vec<SocketAddr> {
        let own = self.config.address;
        if !own.ip().is_unspecified() {
            return vec![own];
        }
        let local = local.map(canonical).filter(|it| !it.ip().is_loopback());
        local.map(|local| SocketAddr::new(local.ip(), own.port())).into_iter().collect()
    }

    /// Somebody who has dialled says who it is.
    pub(super) fn on_hello(&mut self, now: Time, id: ConnId, hello: &Hello<'_>) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let from = conn.remote;
        let said = introduction(hello.node, hello.life, &hello.labels, &hello.claims, &hello.fixed);
        let Some(said) = said else {
            self.offend(now, id, "a name, label or address is empty or over the limit");
            return;
        };
        let life = said.who.incarnation;
        if hello.cluster != self.config.cluster {
            let why = format!(
                "{} belongs to cluster {:?}, this node to {:?}: give both the same name, or \
                 other addresses",
                said.who.name,
                cut(hello.cluster),
                self.config.cluster
            );
            self.report(Report::Offence { from, why });
            let cluster = self.config.cluster.clone();
            self.reject(id, &Reject::OtherCluster { cluster: &cluster });
        } else if let Some(why) = self.contradicts(id, life, &said) {
            self.offend(now, id, why);
        } else if !self.has_room(life, &said.claims) {
            self.reject(id, &Reject::Full);
        } else {
            let claims = self.claims(None);
            let resume = self.lives.own_word(life);
            let labels = self.config.labels.iter();
            let welcome = Welcome {
                version: VERSION,
                node: &self.config.name,
                life: self.config.incarnation,
                claims,
                labels: labels.map(|(name, value)| (name.as_str(), value.as_str())).collect(),
                fixed: self.config.fixed.clone().unwrap_or_default(),
                resume,
            };
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.say(&Frame::Welcome(welcome));
                conn.role = Role::Welcomed { life, said: Box::new(said) };
            }
            self.wake(id);
        }
    }

    /// Whoever was dialled answers.
    pub(super) fn on_welcome(
        &mut self,
        now: Time,
        id: ConnId,
        place: PlaceId,
        welcome: &Welcome<'_>,
    ) {
        let Welcome { node, life, labels, claims, fixed, .. } = welcome;
        let said = introduction(node, *life, labels, claims, fixed);
        let Some(said) = said.filter(|_| welcome.version == VERSION) else {
            self.offend(
                now,
                id,
                "it answered with a version, name, label or address that was not asked for",
            );
            return;
        };
        let life = *life;
        if let Some(why) = self.contradicts(id, life, &said) {
            self.offend(now, id, why);
            return;
        }
        let claimed = self.roster.get(place).is_some_and(|place| {
            place.addresses.iter().any(|address| said.claims.contains(address))
        });
        let own = life == self.config.incarnation;
        let kept = self.roster.get(place).is_some_and(|it| !claimed || own && !it.is_own);
        if own && !kept {
            // It is where it says to be.
            self.dial_ended(now, place, None);
            self.rest(now, place);
            self.drop_conn(id);
            return;
        }
        let is_evidence = kept && !planted(Fault::AliasNeedsNoEvidence);
        let resume = self.lives.own_word(life);
        let linked = Linked {
            life,
            dialled: true,
            is_evidence,
            place: Some(place).filter(|_| kept),
            is_mutual: false,
            cursor: self.cursor_at(welcome.resume),
            step: Step::default(),
            renew_due: None,
        };
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.say(&Frame::Go { resume, is_evidence });
        }
        self.wake(id);
        // The connection is no dial any more: whatever becomes of the place, it stays.
        self.dial_ended(now, place, None);
        self.link(now, id, linked, said);
        if kept && let Some(place) = self.roster.get_mut(place) {
            match is_evidence {
                true => place.evidence = Some((id, life)),
                false => drop(place.claimants.insert(life)),
            }
        }
        self.look_at(now, place);
        self.close_needless(now, life);
    }

    /// Where to go on with somebody who has come so far. A number that this log never reached is
    /// answered with a reset, and counts for nothing.
    fn cursor_at(&self, resume: Seq) -> Seq {
        if planted(Fault::FirstFollowAtHead) && resume == Seq::START {
            return self.log.head();
        }
        if resume <= self.log.head() { resume } else { Seq::START }
    }

    /// The dialler is ready for flushes.
    pub(super) fn on_go(&mut self, now: Time, id: ConnId, resume: Seq, is_evidence: bool) {
        let cursor = self.cursor_at(resume);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (life, said) = match std::mem::replace(&mut conn.role, Role::Fresh) {
            Role::Welcomed { life, said } => (life, said),
            role => {
                conn.role = role;
                self.offend(now, id, "it said go twice, or did not dial");
                return;
            }
        };
        // Others may have come since it was welcomed.
        let why = self.contradicts(id, life, &said);
        let why = why.or((!self.has_room(life, &said.claims)).then_some("there is no room for it"));
        if let Some(why) = why {
            self.offend(now, id, why);
            return;
        }
        let linked = Linked {
            life,
            dialled: false,
            is_evidence,
            place: None,
            is_mutual: true,
            cursor,
            step: Step::default(),
            renew_due: None,
        };
        self.link(now, id, linked, *said);
        self.close_needless(now, life);
    }

    /// What keeps a connection from being that of this life. Where keys tell who is there, it is another's. If
    /// the life is linked: that one says of itself the same as ever, and makes no more of them than it needs.
    fn contradicts(
        &self,
        id: ConnId,
        life: Incarnation,
        said: &Introduction,
    ) -> Option<&'static str> {
        let proven = self.conns.get(&id).and_then(|conn| conn.proven);
        if proven.is_some_and(|proven| proven != life) {
            return Some("it says to be a node that has another key");
        }
        let linked = self.lives.get(life).filter(|it| it.is_linked())?;
        let ours = self.config.fixed.as_deref();
        let is_same = linked.who.as_ref() == Some(&said.who)
            && linked.other_list.as_deref() == ours.and_then(|ours| other_list(ours, &said.fixed));
        match linked.conns.len() < MAX_CONNECTIONS_OF_LIFE {
            true if is_same => None,
            true => Some("it says something else of itself than over another connection"),
            false => Some("its life has too many connections already"),
        }
    }

    /// Whoever was dialled will not talk.
    pub(super) fn on_reject(&mut self, now: Time, id: ConnId, place: PlaceId, reject: &Reject<'_>) {
        self.end(id);
        let trouble = match reject {
            Reject::OtherCluster { cluster } => Reason::OtherCluster(cut(cluster).to_owned()),
            Reject::NoCommonVersion { versions } => Reason::OtherVersion(*versions),
            Reject::Full => Reason::Full,
            // Only said by releases that this one shares no version with.
            Reject::Yourself => Reason::Unreachable("it takes this node for itself".to_owned()),
        };
        self.dial_ended(now, place, Some(trouble));
    }

    pub(super) fn reject(&mut self, id: ConnId, reject: &Reject<'_>) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.say(&Frame::Reject(reject.clone()));
        }
        self.end(id);
    }

    /// The versions of a `Hello` come first: the rest of it may be of another layout.
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

    /// A listed life never gives way to unlisted ones. Of these there are so many at most, linked or lost,
    /// as may be lost together: whoever comes and goes, under whatever name, has no copy distrusted.
    fn has_room(&self, life: Incarnation, claims: &BTreeSet<SocketAddr>) -> bool {
        let listed = || claims.iter().any(|&address| self.roster.at(address).next().is_some());
        let known = self.lives.get(life).is_some_and(|it| it.is_linked() || it.is_lost());
        let limits = &self.config.limits;
        let is_stranger = |&(id, it): &(Incarnation, &Life)| {
            (it.is_linked() || it.is_lost()) && !self.has_listed_place(id)
        };
        let has_room = || {
            self.minima.linked.len() < limits.peers
                && self.lives.iter().filter(is_stranger).count() < limits.lives_over
        };
        life == self.config.incarnation || known || listed() || has_room()
    }

    /// A connection has told who is at its other end.
    fn link(&mut self, now: Time, id: ConnId, linked: Linked, said: Introduction) {
        let life_id = linked.life;
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.role = Role::Linked(linked);
        conn.heard = now;
        if life_id == self.config.incarnation {
            // It tells who is at a place, and nothing else: a node follows no log of its own.
            self.ask(now, id);
            return;
        }
        let remote = conn.remote;
        let ours = self.config.fixed.as_deref();
        let other_list = ours.and_then(|ours| other_list(ours, &said.fixed)).map(<[_]>::to_vec);
        let life = self.lives.entry(life_id, Time::NEVER);
        let was_linked = life.is_linked();
        life.remote = Some(remote);
        life.other_list = other_list;
        life.who = Some(said.who);
        life.conns.push(id);
        if !was_linked {
            life.linked_since = now;
            // Whoever is here has not left, whatever was said in its name.
            life.bye = None;
            // Nor does it matter that it was given up where no list had it.
            life.is_dropped = false;
            life.owes = None;
            life.named = Seq::START;
            life.books.go_back_to_own_word();
            life.touched_by.clear();
            life.over = life.over.max(self.recovery.over(life_id));
            self.open.close(crate::peers::Subject::Life(life_id));
        }
        self.lives.link(life_id, &said.claims);
        self.plant_follow(life_id);
        self.choose_out(life_id);
        if !was_linked {
            self.minima.ends.set(life_id, Some(now + self.config.limits.patience));
            self.recovery.drop_life(life_id);
            self.drop_hello_places(now, life_id);
            if let Some(it) = self.lives.get_mut(life_id) {
                it.places.clear();
            }
            let was_there = self.roster.iter().filter(|(_, it)| it.last == Some(life_id));
            for id in was_there.map(|(id, _)| id).collect::<Vec<_>>() {
                self.leave_behind(id, life_id);
            }
            self.claim_places(now, life_id);
            let address = self.address_of(life_id);
            let node = self.name_of(life_id);
            self.report(Report::Following { node, address, incarnation: life_id });
            self.tell_apart(life_id, address);
            self.recount_lacking(now);
        } else {
            self.claim_places(now, life_id);
        }
        self.ask(now, id);
        self.refresh_life(life_id);
        self.outputs.push_back(Output::PeersChanged);
        self.settle();
    }

    /// Where a life is, for people.
    pub(super) fn address_of(&self, life: Incarnation) -> SocketAddr {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let Some(it) = self.lives.get(life) else { return nowhere };
        let place = it.places.iter().find_map(|&place| self.roster.get(place));
        let claimed = || it.claims.first().copied();
        place.map(|place| place.address()).or_else(claimed).or(it.remote).unwrap_or(nowhere)
    }

    /// Flushes go over the newest connection.
    pub(super) fn choose_out(&mut self, life: Incarnation) {
        let Some(it) = self.lives.get(life) else { return };
        let (before, acked) = (it.out, it.acked);
        let out = it.conns.last().copied();
        if out == before {
            return;
        }
        if let Some(linked) = out.and_then(|id| self.conns.get_mut(&id)).and_then(Conn::linked_mut)
        {
            // What was given to another connection may be lost with it.
            linked.cursor = linked.cursor.max(acked);
        }
        if let Some(it) = self.lives.get_mut(life) {
            it.out = out;
        }
        if let Some(out) = out {
            self.wake(out);
        }
    }

    /// Of two connections that link the same lives, the one dialled by the smaller id stays, and of
    /// those by the same the newest. Whoever has dialled the one that stays closes the other, once the other
    /// end is known to count it: so nobody's hello, in whoever's name, has this node close what it dialled.
    pub(super) fn close_needless(&mut self, now: Time, life: Incarnation) {
        let Some(it) = self.lives.get(life) else { return };
        let ours = self.config.incarnation;
        let linked = |id: &ConnId| self.conns.get(id).and_then(Conn::linked);
        let needless = it.conns.iter().enumerate().filter(|&(at, id)| {
            let Some(this) = linked(id).filter(|this| !this.is_evidence) else { return false };
            let mut others = it.conns.iter().enumerate().filter(|&(other_at, _)| other_at != at);
            others.any(|(other_at, other)| {
                let Some(that) = linked(other).filter(|that| that.dialled) else { return false };
                match this.dialled {
                    true => that.is_evidence || other_at > at,
                    false => that.is_mutual && (that.is_evidence || ours < life),
                }
            })
        });
        for id in needless.map(|(_, &id)| id).collect::<Vec<_>>() {
            self.part(now, id, "another connection links the two".to_owned());
            self.end(id);
        }
    }

    /// Reports what keeps people from telling who is who.
    fn tell_apart(&mut self, life: Incarnation, address: SocketAddr) {
        let name = self.name_of(life);
        let same = |(other, it): (Incarnation, &crate::peers::Life)| {
            other != life && it.is_linked() && it.who.as_ref().is_some_and(|who| who.name == name)
        };
        if name == self.config.name || self.lives.iter().any(same) {
            self.report(Report::SameName { node: name, address });
        }
    }

    /// Where bugs of following may be planted.
    fn plant_follow(&mut self, life: Incarnation) {
        if planted(Fault::WipeInsteadOfReplay) && self.lives.heard(life) > Seq::START {
            self.caches.distrust();
        }
        if planted(Fault::NewLifeContinuesOldLog) {
            let places = self.roster.iter();
            let former = places.filter_map(|(_, place)| {
                let claims = &self.lives.get(life)?.claims;
                let here = place.addresses.iter().any(|address| claims.contains(address));
                place.last.filter(|&last| here && last != life)
            });
            let most = former.map(|former| self.lives.heard(former)).max();
            if let (Some(most), Some(it)) = (most, self.lives.get_mut(life)) {
                it.books.cover(most);
            }
        }
    }
}

/// Another end's fixed list, if it is not this node's.
fn other_list<'l>(ours: &[SocketAddr], theirs: &'l [SocketAddr]) -> Option<&'l [SocketAddr]> {
    let is_same = ours.iter().copied().map(bare).eq(theirs.iter().copied().map(bare));
    (!is_same).then_some(theirs)
}

/// As much of what is said to be a name as a name may have, for people.
fn cut(name: &str) -> &str {
    let ends = name.char_indices().map(|(at, letter)| at + letter.len_utf8());
    let end = ends.take_while(|&end| end <= MAX_NAME_BYTES).last();
    name.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// What somebody says of itself, if it is within the limits.
fn introduction(
    name: &str,
    incarnation: Incarnation,
    labels: &[(&str, &str)],
    claims: &[SocketAddr],
    fixed: &[SocketAddr],
) -> Option<Introduction> {
    let printable = |text: &str| !text.chars().any(char::is_control);
    let name_fits = !name.is_empty() && name.len() <= MAX_NAME_BYTES && printable(name);
    let fits = |text: &str| text.len() <= MAX_LABEL_BYTES && printable(text);
    let labels_fit =
        labels.len() <= MAX_LABELS && labels.iter().all(|(name, value)| fits(name) && fits(value));
    let claims_fit = claims.len() <= MAX_CLAIMS && fixed.len() <= crate::wire::MAX_FIXED;
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let labels: BTreeMap<_, _> = labels.iter().map(own).collect();
    let is_place = |address: &SocketAddr| !address.ip().is_unspecified() && address.port() != 0;
    let claims = claims.iter().copied().map(canonical).filter(is_place).collect();
    let who = Identity { name: name.to_owned(), incarnation, labels };
    let fixed = fixed.to_vec();
    (name_fits && labels_fit && claims_fit).then_some(Introduction { who, claims, fixed })
}
