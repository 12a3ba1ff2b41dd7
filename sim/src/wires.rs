//! Owns how bytes get from one process to another: dials, windows, arrivals, ends.

use std::net::SocketAddr;
use std::time::Duration;

use flushcast_core::node::{ConnId, Input, Transmit};

use crate::history::Teller;
use crate::kinds::Kind;
use crate::network::{End, LinkId, delay};
use crate::places::Leads;
use crate::world::{Event, World};

/// Longest time a dial waits for an answer.
const DIAL_WITHIN: Duration = Duration::from_secs(3);
/// How late a dial or a first message may be, where they are.
const LATE_WITHIN: Duration = Duration::from_secs(4);

impl World {
    pub(crate) fn dial(&mut self, from: End, address: SocketAddr) {
        let mut sets_out = self.now;
        if let Some(to) = self.places.holder(address) {
            let through = self.network.passable_at(from.slot, to, self.now);
            sets_out = through.max(self.network.passable_at(to, from.slot, self.now));
        }
        if sets_out.since(self.now) > DIAL_WITHIN {
            return self.after(DIAL_WITHIN, Event::DialFails { from, refused: false });
        }
        let arrives = sets_out + self.delay() + self.lateness();
        self.at(arrives, Event::DialArrives { from, address });
    }

    pub(crate) fn on_dial_arrives(&mut self, from: End, address: SocketAddr) {
        if self.living(from.slot, from.life).is_none() {
            return;
        }
        let leads = self.places.leads(from.slot, address, self.now);
        match (leads, self.places.holder(address)) {
            (Leads::Slot(to), _) if self.slots[to].is_some() => self.connect(from, to, address),
            (Leads::Slot(to), _) => self.dial_fails(from, !self.vanished.contains(&to)),
            (Leads::Stranger(stranger), _) => self.meet_stranger(from, stranger),
            (Leads::Refused | Leads::Nowhere, Some(to)) if self.slots[to].is_some() => {
                self.counts.walled += 1;
                self.dial_fails(from, leads == Leads::Refused);
            }
            // What refuses in the name of a host answers nothing when that host has vanished.
            (Leads::Refused, to) => {
                let vanished = to.is_some_and(|to| self.vanished.contains(&to));
                self.dial_fails(from, !vanished);
            }
            (Leads::Nowhere, _) => self.dial_fails(from, false),
        }
    }

    fn dial_fails(&mut self, from: End, refused: bool) {
        let pause = if refused { self.delay() + self.lateness() } else { DIAL_WITHIN };
        self.after(pause, Event::DialFails { from, refused });
    }

    fn connect(&mut self, from: End, to: usize, address: SocketAddr) {
        let now = self.now;
        let late = self.lateness();
        let Some(member) = &mut self.slots[to] else { return };
        let (conn, life, resumed) = (member.core.next_conn(), member.life, member.paused_until);
        let link = self.network.connect(from, End { slot: to, life, conn }, address);
        self.at(resumed.max(now), Event::Accept { link });
        if late.is_zero() {
            return self.on_connected(from);
        }
        // It was taken there, and is told of here when somebody else may be there already.
        if let Some(link) = self.network.links.get_mut(&link) {
            link.last_arrival[0] = now + late;
        }
        self.after(late, Event::Connected { from });
    }

    pub(crate) fn on_connected(&mut self, from: End) {
        if self.living(from.slot, from.life).is_some() {
            let local = Some(self.places.inside(from.slot));
            self.feed(from.slot, Input::Connected { conn: from.conn, local });
            self.pump(from.slot, from.life, from.conn);
        }
    }

    pub(crate) fn on_accept(&mut self, link: LinkId) {
        let Some(link) = self.network.links.get(&link) else { return };
        let ([from, to], open) = (link.ends, link.open[1]);
        if open && self.living(to.slot, to.life).is_some() {
            let (conn, from) = (to.conn, self.places.source(from.slot));
            self.feed(to.slot, Input::Accepted { conn, from });
            self.pump(to.slot, to.life, conn);
        }
    }

    /// How much longer a dial takes, or a message on a connection that is fresh.
    fn lateness(&mut self) -> Duration {
        let is_late = self.odd.has(Kind::Late) && self.now < self.faults_end;
        if is_late && self.rng.u8(..8) == 0 {
            return LATE_WITHIN.mul_f64(self.rng.f64());
        }
        Duration::ZERO
    }

    /// How long a message takes here.
    pub(crate) fn delay(&mut self) -> Duration {
        if self.odd.has(Kind::Calm) {
            return Duration::from_micros(self.rng.u64(20..2_000));
        }
        delay(&mut self.rng)
    }

    /// One way in for bytes: who takes work out of a core, to do it later, does it here.
    pub(crate) fn receive(&mut self, end: End, teller: Option<Teller>, bytes: &[u8]) {
        if let Some(member) = &mut self.slots[end.slot] {
            member.hears = teller;
        }
        self.feed(end.slot, Input::Received { conn: end.conn, bytes });
    }

    /// Takes what a connection has to send, as far as the window to the other end has room.
    pub(crate) fn pump(&mut self, slot: usize, life: u64, conn: ConnId) {
        if self.pump_to_stranger(End { slot, life, conn }) {
            return;
        }
        let Some((id, side)) = self.network.find(slot, life, conn) else { return };
        loop {
            let Some(link) = self.network.links.get(&id) else { return };
            if !link.open[side] || link.flying_bytes(1 - side) >= self.window {
                return;
            }
            let (now, write) = (self.now, self.window / 4);
            let Some(member) = self.living(slot, life) else { return };
            if member.paused_until > now {
                let (resumed, end) = (member.paused_until, End { slot, life, conn });
                return self.at(resumed, Event::Writable { end });
            }
            let mut bytes = Vec::new();
            match member.core.transmit(conn, write, &mut bytes) {
                Transmit::Data => self.send(id, 1 - side, bytes),
                Transmit::Idle => return,
                Transmit::Finished => {
                    self.close(slot, life, conn);
                    self.feed(slot, Input::Closed { conn, why: "ended".to_owned() });
                    return;
                }
            }
        }
    }

    fn send(&mut self, id: LinkId, side: usize, mut bytes: Vec<u8>) {
        let mut pause = self.delay();
        if self.network.is_fresh(id, side) {
            pause += self.lateness();
        }
        let Some(link) = self.network.links.get_mut(&id) else { return };
        let from = link.ends[1 - side].slot;
        let lies_still = self.now < self.faults_end;
        if let Some(liar) = self.liar.as_mut().filter(|liar| liar.is(from)) {
            let lives = lies_still.then_some(self.lives);
            let (said, lies) = liar.rewrite((id, side), &bytes, lives, &mut self.rng);
            self.counts.lies += lies;
            bytes = said;
        }
        let (from, to) = (link.ends[1 - side].slot, link.ends[side].slot);
        link.flying[side].push_back(bytes);
        let earliest = link.last_arrival[side];
        let arrival = (self.network.passable_at(from, to, self.now) + pause).max(earliest);
        if let Some(link) = self.network.links.get_mut(&id) {
            link.last_arrival[side] = arrival;
        }
        self.at(arrival, Event::Arrive { link: id, side });
    }

    pub(crate) fn on_arrive(&mut self, id: LinkId, side: usize) {
        let Some(link) = self.network.links.get_mut(&id) else { return };
        let Some(bytes) = link.flying[side].pop_front() else { return };
        let (end, other) = (link.ends[side], link.ends[1 - side]);
        let (open, broken) = (link.open[side], link.broken);
        if open && !broken && self.living(end.slot, end.life).is_some() {
            // However the network cuts it, and with a pause at the cut.
            let cut = self.rng.usize(1..=bytes.len().max(1)).min(bytes.len());
            let (first, rest) = bytes.split_at(cut);
            if let (false, Some(link)) = (rest.is_empty(), self.network.links.get_mut(&id)) {
                link.flying[side].push_front(rest.to_vec());
                let pause = self.delay();
                self.after(pause, Event::Arrive { link: id, side });
            }
            self.receive(end, Some((other.slot, other.life)), first);
        }
        self.pump(other.slot, other.life, other.conn);
    }

    /// One end learns that the connection is over.
    pub(crate) fn on_breaks(&mut self, id: LinkId, side: usize) {
        let Some(link) = self.network.links.get_mut(&id) else { return };
        let (end, was_open) = (link.ends[side], link.open[side]);
        if was_open && !link.broken && !link.flying[side].is_empty() {
            // What was sent before the end arrives before it.
            let pause = self.delay();
            return self.after(pause, Event::Breaks { link: id, side });
        }
        let told_of = link.last_arrival[0];
        if side == 0 && self.odd.has(Kind::Late) && told_of > self.now {
            // A dial comes to be told of before its end is.
            return self.at(told_of, Event::Breaks { link: id, side });
        }
        link.open[side] = false;
        link.flying[side].clear();
        self.network.sweep(id);
        if was_open && self.living(end.slot, end.life).is_some() {
            let why = "reset".to_owned();
            self.feed(end.slot, Input::Closed { conn: end.conn, why });
        }
    }

    /// This end closes; the other learns it behind what is still on its way.
    pub(crate) fn close(&mut self, slot: usize, life: u64, conn: ConnId) {
        self.strange.remove(&End { slot, life, conn });
        let Some((id, side)) = self.network.find(slot, life, conn) else { return };
        let pause = self.delay();
        if let Some(link) = self.network.links.get_mut(&id) {
            link.open[side] = false;
            link.flying[side].clear();
            let from = link.ends[side].slot;
            let (to, last) = (link.ends[1 - side].slot, link.last_arrival[1 - side]);
            let told = (self.network.passable_at(from, to, self.now) + pause).max(last);
            self.at(told, Event::Breaks { link: id, side: 1 - side });
        }
        self.network.sweep(id);
    }
}
