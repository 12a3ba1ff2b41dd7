//! Owns the settling between survivors: when a death is in evidence, every other listed node is
//! asked how far it had applied the lives at that address, and the tails are handed over.
//! It must never count a death before all have answered.
//!
//! Why it is enough: a flush of a dead life that a living node holds came there over a chain of
//! logs. The first of the chain had it from the dead life itself. If it lives, it is asked, after
//! the death; if not, it is one of the dead whose logs are settled in the same inquest, and what it
//! had handed on stands there. Nobody at a dead address can have heard it and live: the refusals
//! that count are asked for again after the last death came up.

use std::net::SocketAddr;
use std::time::Duration;

use super::{ConnId, Node, Output, Phase, Report};
use crate::Time;
use crate::cache::Guarantee;
use crate::peers::{Entry, Link};
use crate::planted::{Fault, planted};
use crate::repair::{Goal, Subjects, Witness};
use crate::wire::{
    self, About, Frame, FrameReader, Incarnation, Inquire, MAX_CONTROL_BYTES, MAX_LIVES_NAMED,
    MAX_PEERS, Position, Seq, Testify,
};

/// How long others that came up at the same time are waited for before anybody is asked.
const GATHER: Duration = Duration::from_millis(20);

impl Node {
    /// Nobody of this cluster listened at `address` when it was dialled last: a proof that whoever
    /// was there can flush no more, once all others are heard.
    pub(super) fn found_dead(&mut self, now: Time, address: SocketAddr) {
        let Some(entry) = self.roster.get_mut(address) else { return };
        if !self.config.trust_refusals {
            return;
        }
        let dialled = entry.dialled;
        entry.refused = Some(dialled);
        if planted(Fault::RefusalTrustedWithoutInquest) {
            entry.proven = entry.proven.max(dialled);
        }
        match self.inquest.goal(address) {
            // What is under way is not begun anew, or it would never end.
            Some(Goal::Refusal { .. } | Goal::Drop { .. }) => self.go_on(now),
            Some(Goal::NewLife(_)) | None => {
                self.inquire(now, address, Goal::Refusal { dialled });
            }
        }
    }

    /// Has everybody asked about the lives at `address`.
    pub(super) fn inquire(&mut self, now: Time, address: SocketAddr, goal: Goal) {
        self.inquest.add(now, address, goal);
        self.go_on(now);
    }

    /// Whoever was thought dead at `address` is not, or nobody cares any more.
    pub(super) fn close_case(&mut self, now: Time, address: SocketAddr) {
        if self.inquest.subjects.remove(&address).is_some() {
            self.go_on(now);
        }
    }

    /// When there is something to ask, if nothing else happens.
    pub(super) fn next_question(&self) -> Option<Time> {
        let waits = !self.inquest.subjects.is_empty() && !self.inquest.asked;
        let due = self.inquest.since + GATHER;
        (waits && self.all_dead_are_looked_at()).then_some(due)
    }

    /// Asks whoever can be asked, and concludes if all have answered.
    pub(super) fn go_on(&mut self, now: Time) {
        let (roster, mut subjects) = (&self.roster, std::mem::take(&mut self.inquest.subjects));
        subjects.retain(|&address, goal| {
            let entry = roster.get(address);
            // Who is listed again, or linked after all, is not dropped.
            let dropped = || entry.is_some_and(|entry| self.is_gone(now, entry));
            entry.is_some() && (!matches!(goal, Goal::Drop { .. }) || dropped())
        });
        self.inquest.subjects = subjects;
        if self.inquest.subjects.is_empty() {
            return;
        }
        if self.next_question().is_some_and(|due| due <= now) {
            self.inquest.asked = true;
        }
        if self.inquest.asked {
            self.ask_all();
            if self.is_settled() {
                self.conclude(now);
            }
        }
    }

    fn all_dead_are_looked_at(&self) -> bool {
        let again = self.inquest.needs_second_look();
        self.inquest.subjects.iter().all(|(&address, goal)| {
            let refused = self.roster.get(address).and_then(|entry| entry.refused);
            let looked_at = !again || refused.is_some_and(|dialled| dialled > self.inquest.since);
            !matches!(goal, Goal::Refusal { .. }) || looked_at
        })
    }

    /// Asks everybody who can be asked and was not, all of them the same.
    fn ask_all(&mut self) {
        let open = self.roster.iter().filter_map(|(witness, entry)| match entry.link {
            Link::Open(id) => Some((witness, id)),
            _ => None,
        });
        let is_to_be_asked = |&(witness, id): &(SocketAddr, ConnId)| {
            let conn = self.conns.get(&id);
            !self.inquest.witnesses.contains_key(&witness)
                && conn.is_some_and(|conn| conn.control.len() <= MAX_CONTROL_BYTES)
        };
        let witnesses: Vec<_> = open.filter(is_to_be_asked).collect();
        if witnesses.is_empty() {
            return;
        }
        let mut about = self.questions();
        // One that names more would be an offence.
        let mut named = 0;
        for it in &mut about {
            it.lives.truncate(MAX_LIVES_NAMED - named);
            named += it.lives.len();
        }
        let (nonce, tails) = (self.inquest.nonce, self.sync.warm);
        let question = Frame::Inquire(Inquire { nonce, tails, about });
        for (witness, id) in witnesses {
            self.inquest.witnesses.insert(witness, Witness::Asked { conn: id });
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.say(&question);
                self.wake(id);
            }
        }
    }

    /// What is to be settled, with all that is known of it.
    fn questions(&self) -> Vec<About> {
        let subjects = self.inquest.subjects.iter();
        let about = subjects.map(|(&address, goal)| {
            let alive = goal.alive();
            About { address, alive, lives: self.known_of(address, alive) }
        });
        about.collect()
    }

    /// All that is known of an address, and of whoever was met there last.
    fn known_of(&self, address: SocketAddr, alive: Option<Incarnation>) -> Vec<Position> {
        let met = self.roster.get(address).and_then(Entry::life).filter(|&it| Some(it) != alive);
        let mut lives = self.lives.at(address, &[], alive);
        if let Some(incarnation) = met
            && lives.iter().all(|at| at.incarnation != incarnation)
        {
            lives.push(Position { incarnation, seq: self.lives.applied(incarnation) });
        }
        lives
    }

    /// A follower asks what this node was told by lives that are over. What the follower lacks of
    /// them is put in this node's own log, in front of the answer.
    pub(super) fn on_inquire(&mut self, now: Time, id: ConnId, life: Incarnation, asked: &Inquire) {
        let Some(conn) = self.conns.get(&id) else { return };
        let named: usize = asked.about.iter().map(|about| about.lives.len()).sum();
        let too_many = asked.about.len() > MAX_PEERS || named > MAX_LIVES_NAMED;
        if conn.control.len() > MAX_CONTROL_BYTES || too_many {
            self.offend(now, id, "it asks for more than it reads, or names too many lives");
            return;
        }
        if self.phase != Phase::Running {
            return;
        }
        let in_touch = self.is_in_touch(&asked.about);
        let mut told = Vec::new();
        if !in_touch && !planted(Fault::TailNotHandedOver) {
            for about in &asked.about {
                self.testify_about(about, life, asked.tails, &mut told);
            }
        }
        told.truncate(MAX_LIVES_NAMED);
        let testimony = Testify {
            nonce: asked.nonce,
            in_touch,
            forgotten: self.lives.forgotten(),
            head: self.log.head(),
            lives: told,
        };
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.say(&Frame::Testify(testimony));
            self.wake(id);
        }
    }

    fn testify_about(
        &mut self,
        about: &About,
        asker: Incarnation,
        tails: bool,
        told: &mut Vec<(SocketAddr, Position)>,
    ) {
        let mut lives = self.lives.at(about.address, &about.lives, about.alive);
        lives.retain(|at| at.incarnation != asker && at.incarnation != self.config.incarnation);
        if planted(Fault::InquestOfKnownLifeOnly) {
            lives.retain(|at| about.lives.iter().any(|it| it.incarnation == at.incarnation));
        }
        for at in lives {
            let theirs = about.lives.iter().find(|it| it.incarnation == at.incarnation);
            let theirs = theirs.map_or(Seq::START, |it| it.seq);
            if tails && theirs < at.seq {
                self.hand_over(Position { incarnation: at.incarnation, seq: theirs });
            }
            told.push((about.address, at));
        }
    }

    /// Puts what a life told behind a place in this node's own log. If it is not held that far
    /// back, nothing is: the answer tells how far it went, and the asker sees the gap.
    fn hand_over(&mut self, after: Position) {
        let Some(frames) = self.lives.hand_over(after) else { return };
        let mut reader = FrameReader::default();
        reader.push(&frames);
        while let Ok(Some(body)) = reader.next_body() {
            if let Ok(Frame::Flush(flush)) = wire::decode(body) {
                let of = Position { incarnation: after.incarnation, seq: flush.seq };
                // It came in a frame; with its origin it may be over the limit. Then there is a
                // gap, which the asker sees.
                if self.log.inherit(of, &flush).is_err() {
                    break;
                }
            }
        }
        self.wake_idle();
    }

    /// Whether this node may still be told more by one of the lives that are asked about: it follows
    /// one, or has said `Hello` to somebody who may be one and whose answer may be on its way.
    fn is_in_touch(&self, asked: &[About]) -> bool {
        let subjects = Subjects::of(asked);
        let concerned = |at, life| subjects.concerning(at, life, &self.lives);
        self.roster.iter().any(|(at, entry)| match (entry.link, entry.life()) {
            (Link::Open(_), None) | (Link::Waiting { .. } | Link::Dialling(_), _) => false,
            (Link::Open(_), Some(life)) => {
                concerned(at, life).any(|about| about.alive != Some(life))
            }
            (Link::Greeting(_), _) if planted(Fault::GreetingOutOfTouch) => false,
            (Link::Greeting(_), None) => !asked.is_empty(),
            (Link::Greeting(_), Some(life)) => concerned(at, life).next().is_some(),
        })
    }

    /// Somebody who was asked answers.
    pub(super) fn on_testify(&mut self, now: Time, id: ConnId, from: SocketAddr, said: Testify) {
        let asked = self.inquest.witnesses.get(&from) == Some(&Witness::Asked { conn: id });
        if !asked || said.nonce != self.inquest.nonce {
            return;
        }
        if said.in_touch {
            // To be asked again: what it hears from the one in question is not at its end.
            self.inquest.witnesses.remove(&from);
            return;
        }
        let Testify { head, mut lives, forgotten, .. } = said;
        lives.truncate(MAX_LIVES_NAMED);
        // Others may ask this node about that address, for what is on its way from the witness.
        lives.iter().for_each(|&(address, at)| self.lives.note(at.incarnation, address));
        self.inquest.witnesses.insert(from, Witness::Testified { head, lives, forgotten });
        self.hear_out(now, from);
    }

    /// Counts the answer of a witness once its log is applied far enough.
    pub(super) fn hear_out(&mut self, now: Time, witness: SocketAddr) {
        let Some(heard) = self.inquest.witnesses.get_mut(&witness) else { return };
        let Witness::Testified { head, lives, forgotten } = heard else { return };
        let Some(life) = self.roster.get(witness).and_then(Entry::life) else { return };
        if *head <= self.lives.applied(life) {
            let (lives, forgotten) = (std::mem::take(lives), *forgotten);
            *heard = Witness::Heard { by: life, lives, forgotten };
            self.go_on(now);
        }
    }

    /// Compares what all witnesses had applied with what is applied here. Where their logs did not
    /// bring this node up to that, nobody can, and everything loaded before is distrusted.
    fn weigh(&mut self) {
        let (mut gap, mut forgot) = (false, false);
        let mut reached = Vec::new();
        for witness in self.inquest.witnesses.values() {
            let Witness::Heard { by, lives, forgotten } = witness else { continue };
            forgot |= self.lives.has_forgotten(*by, *forgotten);
            reached.extend(lives.iter().map(|&(_, at)| at));
        }
        for at in reached {
            gap |= self.lives.applied(at.incarnation) < at.seq;
            self.lives.cover(at.incarnation, at.seq);
        }
        if !gap && !forgot {
            return;
        }
        self.caches.distrust();
        let dead = self.inquest.subjects.keys();
        let name = |&at: &SocketAddr| self.roster.get(at).map(|entry| entry.name_or(at));
        let node = dead.filter_map(name).collect::<Vec<_>>().join(", ");
        self.report(match self.sync.warm {
            true => Report::Missed { node },
            false => Report::Behind { node },
        });
    }

    fn is_settled(&self) -> bool {
        self.roster.iter().all(|(address, entry)| self.is_heard(address, entry))
            && !self.is_in_touch(&self.questions())
    }

    /// Whether there is nothing more to be learnt from a node.
    fn is_heard(&self, address: SocketAddr, entry: &Entry) -> bool {
        let follows = entry.life().and_then(|life| self.followers.get(life));
        let linked = entry.is_open() || follows.is_some_and(|follower| follower.conn.is_some());
        let dead = match self.inquest.goal(address) {
            Some(Goal::Refusal { .. } | Goal::Drop { .. }) => !entry.is_open(),
            Some(Goal::NewLife(_)) | None => false,
        };
        dead || self.inquest.has_heard(address)
            || self.is_exempt(address, entry)
            || !(entry.is_listed() || linked)
    }

    /// All have answered: what was open counts.
    fn conclude(&mut self, now: Time) {
        self.weigh();
        let lease = Guarantee::Strict.lease(Duration::ZERO).unwrap_or_default();
        let again = self.inquest.needs_second_look();
        let began = self.inquest.since;
        for (address, goal) in std::mem::take(&mut self.inquest.subjects) {
            let Some(entry) = self.roster.get_mut(address) else { continue };
            if began > entry.proven + lease {
                // Those who were there may have confirmed flushes because this node's lease had
                // run out, and told nobody who lives.
                self.caches.distrust_strict();
            }
            match goal {
                Goal::Refusal { dialled } => {
                    entry.proven = entry.proven.max(dialled);
                    // The look that confirmed it is the evidence of the next round.
                    if let Some(dialled) = entry.refused.filter(|_| again) {
                        self.inquest.subjects.insert(address, Goal::Refusal { dialled });
                    }
                }
                Goal::NewLife(life) => {
                    entry.settled = Some(life);
                    self.count_grants(address);
                }
                Goal::Drop { .. } => {
                    self.take_off(address);
                    self.settle(now);
                }
            }
        }
        self.inquest.begin(now);
        if !self.inquest.needs_second_look() {
            // Alone, it is asked about when it is refused the next time.
            self.inquest.subjects.clear();
        }
    }

    /// Takes an address off the roster, with what hangs on it.
    pub(super) fn take_off(&mut self, address: SocketAddr) {
        let Some(entry) = self.roster.get(address) else { return };
        let (life, link) = (entry.life(), entry.link);
        if let Some(conn) = link.conn() {
            self.drop_conn(conn);
        }
        // It may say to listen elsewhere than where it was listed.
        if let Some(life) = life
            && !self.roster.met_elsewhere(life, address)
        {
            self.followers.remove(life);
        }
        // Not the one that is followed at another address and only says to listen here.
        let lives_on = |life| self.roster.met_elsewhere(life, address);
        let over = self.followers.forget(address, lives_on);
        over.into_iter().for_each(|conn| self.drop_conn(conn));
        self.roster.remove(address);
        self.inquest.subjects.remove(&address);
        self.inquest.witnesses.remove(&address);
        self.outputs.push_back(Output::PeersChanged);
    }
}
