//! Owns what the engine does with what arrives there, and what of that comes back.

use flushcast_core::Time;
use flushcast_core::shared_log::{Membership, Row};
use flushcast_core::wire::Incarnation;

use super::adapter::Kind;
use super::instance::{Request, Response, Told};
use super::server::{Logged, Server};
use super::{Commit, Event, MS, World};

impl World {
    /// Who leads the log, as far as an instance can see.
    fn leader(&mut self, slot: usize) -> &mut Server {
        match &mut self.deposed {
            Some(deposed) if deposed.heard_by[slot] => &mut deposed.server,
            _ => &mut self.server,
        }
    }

    fn is_deposed(&self, slot: usize) -> bool {
        self.deposed.as_ref().is_some_and(|it| it.heard_by[slot])
    }

    pub(super) fn serve(&mut self, slot: usize, life: Incarnation, conn: u64, request: Request) {
        let now = self.now.get();
        if self.leader(slot).down_until > now {
            return;
        }
        let registers = self.rules.membership == Membership::Registered;
        let response = match request {
            Request::Append { numbers, said } => {
                let said = said.into_iter().map(|(by, key, version)| (Some(by), key, version));
                let leader = self.leader(slot);
                let logged: Vec<_> =
                    said.map(|(by, key, version)| leader.append(by, key, version)).collect();
                let epoch = leader.epoch;
                let places: Vec<_> = logged.iter().map(|it| it.place).collect();
                let is_slow = self.is_faulty() && self.rng.u8(0..6) == 0;
                let commit = Commit { epoch, numbers, places };
                if self.kind == Kind::Polled {
                    // Its transaction is a long one, at times.
                    self.leader(slot).hide(&commit.places);
                    let length = if is_slow { MS * self.rng.u32(100..3000) } else { MS };
                    self.after(length, Event::Commit(slot, life, conn, commit));
                    return;
                }
                self.push(slot, &logged);
                if self.is_dirty && is_slow {
                    let length = MS * self.rng.u32(5..100);
                    self.after(length, Event::Commit(slot, life, conn, commit));
                    return;
                }
                self.has_appended(slot, &logged);
                let Commit { epoch, numbers, places } = commit;
                Response::Appended { epoch, numbers, places }
            }
            Request::Ask { question, at, applied } => {
                let kind = self.kind;
                let is_pushed = self.follows[slot] == Some(conn) || question.after.is_none();
                let leader = self.leader(slot);
                let row = match &applied {
                    _ if !registers || kind == Kind::Polled => leader.row(life),
                    // Nothing is applied yet: its row is behind everybody's flushes.
                    None => {
                        leader.refresh(
                            now,
                            life,
                            leader.epoch,
                            &super::server::Snapshot::default(),
                        );
                        Row::Refreshed
                    }
                    Some((epoch, at)) => match leader.refresh(now, life, *epoch, at) {
                        true => Row::Refreshed,
                        false => Row::Missing,
                    },
                };
                let holds =
                    at.as_ref().is_some_and(|(at, anchor)| leader.reaches_back(at, *anchor));
                let polled = match &at {
                    Some((at, _)) if kind == Kind::Polled => leader.behind(at),
                    _ => Vec::new(),
                };
                let (epoch, head) = (leader.epoch, leader.snapshot());
                let told = Told { asked: question.asked, epoch, head, holds, row, polled };
                if kind == Kind::Echoed {
                    // It comes back among the entries, or not at all.
                    if is_pushed {
                        self.deliver(slot, life, conn, Response::Told(told));
                    }
                    return;
                }
                Response::Told(told)
            }
            Request::Refresh { .. } if self.unheard[slot] > now => return,
            Request::Refresh { sent, epoch, at } => {
                match self.leader(slot).refresh(now, life, epoch, &at) {
                    true => Response::Refreshed { epoch, sent },
                    false => return,
                }
            }
            Request::Registry { sent } => {
                let leader = self.leader(slot);
                Response::Registry { sent, epoch: leader.epoch, rows: leader.rows() }
            }
            Request::Follow { at, anchor } => {
                if self.is_alive(slot, life) {
                    self.follows[slot] = Some(conn);
                    let leader = self.leader(slot);
                    let is_whole = leader.reaches_back(&at, anchor);
                    let (epoch, rest) = (leader.epoch, leader.behind(&at));
                    self.deliver(slot, life, conn, Response::Begins { is_whole });
                    for logged in rest {
                        self.deliver(slot, life, conn, Response::Entry(epoch, logged));
                    }
                }
                return;
            }
        };
        self.answer(slot, life, conn, response);
    }

    /// Some answers are lost, and their connection with them.
    fn answer(&mut self, slot: usize, life: Incarnation, conn: u64, response: Response) {
        let is_slow = self.unheard[slot] > self.now.get() && self.rng.bool();
        let delay = match is_slow {
            true => MS * self.rng.u32(300..690),
            false => self.delay(),
        };
        let is_lost = self.is_faulty() && self.rng.u8(..) < 3;
        let response = if is_lost { Response::Broken } else { response };
        self.after(delay, Event::Response(slot, life, conn, response));
    }

    /// What was appended is visible, and acknowledged; unless it is lost.
    pub(super) fn commit(&mut self, slot: usize, life: Incarnation, conn: u64, commit: Commit) {
        let Commit { epoch, numbers, places } = commit;
        let is_dirty = self.is_dirty;
        let leader = self.leader(slot);
        if leader.epoch != epoch {
            return;
        }
        if is_dirty {
            if leader.take_back(&places) {
                self.note(|| format!("the engine loses {places:?}"));
                self.break_all();
            }
            return;
        }
        let logged = leader.commit(&places);
        if !logged.is_empty() {
            self.has_appended(slot, &logged);
            self.answer(slot, life, conn, Response::Appended { epoch, numbers, places });
        }
    }

    fn has_appended(&mut self, slot: usize, logged: &[Logged]) {
        let now = self.now.get();
        for it in logged {
            self.note(|| format!("the engine has {it:?}"));
            // What only a deposed leader has is as good as not appended.
            if !self.is_deposed(slot) {
                self.judge.appended.push((now, it.key, it.version));
            }
        }
    }

    fn push(&mut self, by: usize, logged: &[Logged]) {
        let epoch = self.leader(by).epoch;
        for slot in 0..self.instances.len() {
            let life = self.instances[slot].life;
            if let Some(conn) = self.follows[slot]
                && self.is_deposed(slot) == self.is_deposed(by)
            {
                for it in logged {
                    self.deliver(slot, life, conn, Response::Entry(epoch, *it));
                }
            }
        }
    }

    /// In order, over one connection.
    fn deliver(&mut self, slot: usize, life: Incarnation, conn: u64, response: Response) {
        let at = (self.now.get() + self.delay()).max(self.delivered[slot]);
        self.delivered[slot] = at;
        self.at(at, Event::Response(slot, life, conn, response));
    }

    /// Something comes to an instance, if anything does.
    pub(super) fn respond(&mut self, slot: usize, life: Incarnation, conn: u64, told: Response) {
        let (is_cut, instance) = (self.cut[slot] > self.now.get(), &self.instances[slot]);
        let is_over = instance.conn != conn && told.is_of_its_connection(self.kind);
        if is_cut {
            // What comes behind that would have a hole before it.
            self.follows[slot] = None;
            return;
        }
        if instance.life == life && !is_over {
            let wishes = self.instances[slot].on_response(told);
            self.grant(slot, wishes);
        }
    }

    pub(super) fn break_all(&mut self) {
        for slot in 0..self.instances.len() {
            self.break_one(slot);
        }
    }

    pub(super) fn break_one(&mut self, slot: usize) {
        let delay = self.delay();
        let (conn, life) = (self.instances[slot].conn, self.instances[slot].life);
        self.after(delay, Event::Response(slot, life, conn, Response::Broken));
        self.follows[slot] = None;
        self.delivered[slot] = self.delivered[slot].max(Time::ZERO);
    }
}
