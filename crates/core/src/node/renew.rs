//! Owns the questions that prove something: every peer is asked, again and again, how far its log
//! is, whom it has heard and lost, and whom it is in touch with at places that are in question.
//! It must never count an answer for something that came up after the question.

use std::collections::{BTreeMap, BTreeSet};

use super::conn::{Conn, Role};
use super::{ConnId, Node, Phase};
use crate::Time;
use crate::peers::{Granted, Subject};
use crate::planted::{Fault, planted};
use crate::repair::Pursuit;
use crate::wire::{
    ASK_AGAIN_AFTER, Frame, Grant, Heard, Incarnation, Linked, MAX_CONTROL_BYTES, MAX_NAMED,
    Position, RENEW_EVERY, Renew, Seq, bodies, decode,
};

impl Node {
    /// Asks everybody if it is time to, and ends connections that went silent.
    pub(super) fn renew_due(&mut self, now: Time) {
        if now < self.next_renewal() {
            return;
        }
        self.last_renewal = Some(now);
        self.end_silent(now);
        if self.phase != Phase::Running {
            return;
        }
        for id in self.conns.keys().copied().collect::<Vec<_>>() {
            self.ask(now, id);
        }
    }

    /// Asks over one connection, if anything is proven by it. What is decided now is sent no earlier:
    /// the proof is on the safe side.
    pub(super) fn ask(&mut self, now: Time, id: ConnId) {
        let Some(linked) = self.conns.get_mut(&id).and_then(Conn::linked_mut) else { return };
        let is_main = self.lives.get(linked.life).is_some_and(|it| it.main() == Some(id));
        if !is_main && linked.place.is_none() {
            return;
        }
        // One that the socket has not taken yet is replaced: nothing piles up.
        if linked.renew_due.replace(now).is_none() {
            self.wake(id);
        }
    }

    /// When all are asked again: sooner while something is open that answers may settle.
    pub(super) fn next_renewal(&self) -> Time {
        let Some(last) = self.last_renewal else { return Time::ZERO };
        let next = last + RENEW_EVERY;
        if self.open.is_empty() && self.recovery.is_empty() || self.open.len() > FEW {
            return next;
        }
        // That a place is found empty is renewed all the time, and needs no answers ahead of time while
        // the proof is as young as ever.
        let is_routine =
            self.recovery.is_empty() && self.open.subjects().all(|it| self.is_empty_place(it));
        let from = match is_routine {
            true => last.max(self.proven() + RENEW_EVERY),
            false => last,
        };
        next.min(from + ASK_AGAIN_AFTER)
    }

    /// Whether it is open that nobody is at a place.
    pub(super) fn is_empty_place(&self, subject: Subject) -> bool {
        match subject {
            Subject::Place(place) => {
                self.roster.get(place).is_some_and(|place| place.candidate.is_some())
            }
            _ => false,
        }
    }

    /// The question that is due on a connection, with what is open at this moment.
    pub(super) fn renewal_for(&mut self, id: ConnId) -> Option<Renew> {
        let linked = self.conns.get_mut(&id).and_then(Conn::linked_mut)?;
        let asked = linked.renew_due.take()?;
        linked.step.ask(asked);
        let life = linked.life;
        self.last_question = self.last_question.max(asked);
        let mut renew = Renew {
            nonce: asked.as_nanos(),
            places: Vec::new(),
            lives: Vec::new(),
            want: Vec::new(),
        };
        let mut left_out = Vec::new();
        let (bounded, strict) = (self.open.asking(), self.strict_open.asking());
        let subjects: BTreeSet<_> = bounded.chain(strict.map(Subject::Place)).collect();
        for subject in subjects {
            let (mut places, mut lives) = (&[][..], None);
            match subject {
                Subject::Place(place) => {
                    places = self.roster.get(place).map_or(places, |it| &it.addresses);
                }
                Subject::Life(life) => lives = Some(life),
            }
            let room =
                renew.places.len() + places.len() <= MAX_NAMED && renew.lives.len() < MAX_NAMED;
            if room {
                renew.places.extend(places);
                renew.lives.extend(lives);
            } else {
                left_out.push(subject);
            }
        }
        // Of whom nothing is asked, the answer does not say that nobody is in touch there.
        self.note_touching(life, asked, left_out);
        for wanted in self.recovery.lives() {
            let seq = self.lives.heard(wanted);
            if self.recovery.pursue(wanted, seq) == Some(Pursuit::Ask { witness: life }) {
                renew.want.push(Position { life: wanted, seq });
            }
        }
        renew.want.truncate(MAX_NAMED);
        Some(renew)
    }

    /// A peer asks. The answer may overtake entries of this node's log up to its head: whoever asks
    /// waits for them, not for the answer.
    pub(super) fn on_renew(&mut self, now: Time, id: ConnId, life: Incarnation, renew: &Renew) {
        let Some(conn) = self.conns.get(&id) else { return };
        let named = [renew.places.len(), renew.lives.len(), renew.want.len()];
        if conn.control.len() > MAX_CONTROL_BYTES || named.into_iter().any(|it| it > MAX_NAMED) {
            self.break_off(now, id, "it asks for more than it reads, or names too many");
            return;
        }
        if !planted(Fault::TailNotHandedOver) {
            // One place for each life: what comes behind the lowest is all that is wanted.
            let mut wanted = BTreeMap::new();
            for after in &renew.want {
                let lowest = wanted.entry(after.life).or_insert(after.seq);
                *lowest = after.seq.min(*lowest);
            }
            for (of, seq) in wanted {
                self.hand_over(now, life, Position { life: of, seq });
            }
        }
        let head = match planted(Fault::HeadLeftOutOfGrant) {
            true => Seq::START,
            false => self.log.head(),
        };
        let grant = Grant {
            nonce: renew.nonce,
            head,
            lost: self.heard_of_lost(life, renew),
            linked: self.in_touch(life, renew),
        };
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.say(&Frame::Grant(grant));
        }
        self.wake(id);
        if let Some(it) = self.lives.get_mut(life) {
            it.granted = now;
        }
    }

    /// What this node has heard of all that it is not linked with.
    fn heard_of_lost(&self, asker: Incarnation, renew: &Renew) -> Vec<Heard> {
        let asked: BTreeSet<_> = renew.lives.iter().copied().collect();
        // What is asked about comes first, where there is more than an answer may tell.
        let first = asked.iter().filter_map(|&id| Some((id, self.lives.get(id)?)));
        let known_only = planted(Fault::OnlyKnownLivesAskedFor);
        let rest = self.lives.apart().filter(|(id, _)| !known_only && !asked.contains(id));
        let lost = first
            .chain(rest)
            .filter(|(id, it)| it.books.told() > Seq::START && *id != asker && !it.is_linked());
        let heard = |(id, it): (Incarnation, &crate::peers::Life)| Heard {
            life: id,
            upto: it.books.told(),
            from: it.books.held_from(),
        };
        lost.map(heard).take(MAX_TOLD).collect()
    }

    /// Who of those that are asked about is linked with this node, or takes it for linked: who was welcomed
    /// may have sent flushes by now, behind a `Go` that is not here yet.
    fn in_touch(&self, asker: Incarnation, renew: &Renew) -> Vec<Linked> {
        let asked: BTreeSet<_> = renew.places.iter().copied().collect();
        // They are looked at once, not for each address: anybody may say hello, and ask, very often.
        let (mut greeted, mut greeted_at) = (BTreeSet::new(), BTreeSet::new());
        for conn in self.conns.values() {
            if let Role::Welcomed { life, said } = &conn.role {
                greeted.insert(*life);
                let claims = said.claims.iter().filter(|it| asked.contains(it));
                greeted_at.extend(claims.map(|&address| (address, *life)));
            }
        }
        let linked = |life: &Incarnation| {
            let is_linked = || self.lives.get(*life).is_some_and(|it| it.is_linked());
            *life != asker && (greeted.contains(life) || is_linked())
        };
        let lives = renew.lives.iter().copied().filter(linked);
        let mut found: BTreeSet<_> = lives.map(|life| (None, life)).collect();
        // Each address once, however often it is asked about.
        for &address in &asked {
            if found.len() >= MAX_TOLD {
                break;
            }
            for place in self.roster.near(address).filter_map(|place| self.roster.get(place)) {
                let seen = place.evidence.map(|(_, life)| life);
                let there = place.claimants.iter().copied().chain(seen).filter(|it| linked(it));
                found.extend(there.map(|life| (Some(address), life)));
            }
            // Whoever was there has told this node what it announced there, and may be unknown to the
            // asker, wherever it is now.
            let met = self.lives.met_at(address);
            let greeted = (address, Incarnation([0; 16]))..=(address, Incarnation([u8::MAX; 16]));
            let greeted = greeted_at.range(greeted).map(|&(_, life)| life);
            let there = met.chain(self.lives.claiming(address)).chain(greeted).filter(linked);
            found.extend(there.map(|life| (Some(address), life)));
        }
        let found = found.into_iter().map(|(place, life)| Linked { life, place });
        found.take(MAX_TOLD).collect()
    }

    /// Puts what a life told behind a place in this node's own log. If it is not held that far
    /// back, nothing is: the answer tells how far it went, and the asker sees the gap. Everybody reads
    /// it, so that it is put there again at most once in an interval for one asker.
    fn hand_over(&mut self, now: Time, asker: Incarnation, after: Position) {
        if self.phase != Phase::Running {
            return;
        }
        if self.lives.get(after.life).is_none_or(|it| it.is_linked()) {
            return;
        }
        let Some(peer) = self.lives.get_mut(asker) else { return };
        let (acked, may_have) = (peer.acked, peer.may_have(now, after.life));
        let Some(it) = self.lives.get_mut(after.life) else { return };
        if may_have {
            it.books.is_asked_again(acked);
        }
        let stands = it.books.stands(after.seq);
        if !stands && !may_have {
            return;
        }
        let Some(frames) = it.books.hand_over(after.seq) else { return };
        if !stands && let Some(peer) = self.lives.get_mut(asker) {
            peer.handed.insert(after.life, now);
        }
        for body in bodies(&frames) {
            if let Ok(Frame::Flush(flush)) = decode(body) {
                let of = Position { life: after.life, seq: flush.seq };
                // It came in a frame; with its origin it may be over the limit. Then there is a
                // gap, which the asker sees.
                if self.log.inherit(of, &flush).is_err() {
                    break;
                }
            }
        }
        let head = self.log.head();
        if let Some(it) = self.lives.get_mut(after.life) {
            it.books.note_handed_over(head);
        }
        self.wake_idle();
    }

    pub(super) fn on_grant(&mut self, now: Time, id: ConnId, life: Incarnation, grant: Grant) {
        let too_many = grant.lost.len() > MAX_NAMED || grant.linked.len() > MAX_NAMED;
        let Some(linked) = self.linked_mut(id) else { return };
        let asked = linked.step.answered(now, grant.nonce);
        if too_many || asked.is_none() && !linked.step.is_answerable(grant.nonce) {
            self.offend(now, id, "it answered a renewal that was never sent, or names too many");
            return;
        }
        let Some(asked) = asked else { return };
        if life == self.config.incarnation {
            self.recount_own(id, asked);
            return;
        }
        let lacking = self.hear_of_lost(now, life, &grant.lost);
        if let Some(linked) = self.linked_mut(id) {
            linked.step.grant(Granted { asked, head: grant.head, lacking });
        }
        let is_whole = grant.lost.len() < MAX_TOLD && grant.linked.len() < MAX_TOLD;
        self.note_touches(life, asked, &grant.linked, is_whole);
        if let Some(it) = self.lives.get_mut(life) {
            it.note_answer(asked, grant.head);
        }
        self.recount(now, life);
        if !self.recovery.is_empty() {
            self.pursue(now);
        }
    }

    /// Who a peer is in touch with where this node is not: of these places and lives nothing is
    /// settled until an answer counts that says otherwise.
    fn note_touches(
        &mut self,
        witness: Incarnation,
        asked: Time,
        linked: &[Linked],
        is_whole: bool,
    ) {
        let mut touching = Vec::new();
        for touch in linked {
            if self.is_spoken_for(touch.life) || planted(Fault::InTouchIgnored) {
                continue;
            }
            touching.push(Subject::Life(touch.life));
            let places = touch.place.into_iter().flat_map(|address| self.roster.near(address));
            touching.extend(places.map(Subject::Place));
        }
        if !is_whole {
            // There may be more of them, or more that it has heard and lost, than an answer names.
            touching.extend(self.open.subjects());
            touching.extend(self.strict_open.subjects().map(Subject::Place));
        }
        self.note_touching(witness, asked, touching);
    }

    fn note_touching(&mut self, witness: Incarnation, asked: Time, mut touching: Vec<Subject>) {
        if self.lives.get(witness).is_none() {
            return;
        }
        // Of what is not known here nothing is to be settled.
        touching.retain(|&subject| {
            let Some(touched_by) = self.touched_by(subject) else { return false };
            let newest = touched_by.entry(witness).or_insert(asked);
            *newest = asked.max(*newest);
            true
        });
        let Some(it) = self.lives.get_mut(witness) else { return };
        it.touching.extend(touching);
        if it.touching.len() > MAX_TOUCHING {
            // Places and lives come and go while its answers do not count.
            let mut touching = std::mem::take(&mut it.touching);
            touching.retain(|&subject| self.touched_by(subject).is_some());
            if let Some(it) = self.lives.get_mut(witness) {
                it.touching = touching;
            }
        }
    }

    fn touched_by(&mut self, subject: Subject) -> Option<&mut BTreeMap<Incarnation, Time>> {
        match subject {
            Subject::Place(place) => self.roster.get_mut(place).map(|it| &mut it.touched_by),
            Subject::Life(life) => self.lives.get_mut(life).map(|it| &mut it.touched_by),
        }
    }

    /// What a life was in touch with counts no more where its answers from after that count, up to
    /// `proven`.
    pub(super) fn drop_touches(&mut self, witness: Incarnation, proven: Time) {
        let Some(it) = self.lives.get_mut(witness).filter(|it| !it.touching.is_empty()) else {
            return;
        };
        for subject in std::mem::take(&mut it.touching) {
            let Some(touched_by) = self.touched_by(subject) else { continue };
            match touched_by.get(&witness) {
                Some(&asked) if asked >= proven => {
                    if let Some(it) = self.lives.get_mut(witness) {
                        it.touching.insert(subject);
                    }
                }
                _ => {
                    touched_by.remove(&witness);
                }
            }
        }
    }
}

/// Most lives, and most linked ones, that an answer tells of. One that tells of so many may have had
/// no room for more: it says nothing of what is open.
pub(super) const MAX_TOLD: usize = 880;

/// What an answer takes without its lists, and what each entry of them takes at most.
const GRANT_BYTES: usize = 32;
const HEARD_BYTES: usize = 16 + 10 + 10;
const LINKED_BYTES: usize = 16 + 1 + 1 + 16 + 3;
const _: () =
    assert!(GRANT_BYTES + MAX_TOLD * (HEARD_BYTES + LINKED_BYTES) <= crate::wire::MAX_FRAME_BYTES);

/// With more subjects than this that a peer is in touch with, those that are not known any more are
/// left out: more than are known are never kept by that.
const MAX_TOUCHING: usize = 4 * MAX_NAMED;

/// With more that is open than this, nobody is asked ahead of time: the questions are long.
const FEW: usize = 64;
