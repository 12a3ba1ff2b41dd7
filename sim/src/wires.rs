//! Owns how bytes get from one process to another: dials, windows, arrivals, ends.

use std::net::SocketAddr;
use std::time::Duration;

use flushcast_core::node::{ConnId, Input, Transmit};

use crate::member::{address_of, slot_of};
use crate::network::{End, LinkId, delay};
use crate::world::{Event, World};

/// Longest time a dial waits for an answer.
const DIAL_WITHIN: Duration = Duration::from_secs(3);

impl World {
    pub(crate) fn dial(&mut self, from: End, address: SocketAddr) {
        let to = slot_of(address);
        let through = self.network.passable_at(from.slot, to, self.now);
        let back = self.network.passable_at(to, from.slot, self.now);
        if through.max(back).since(self.now) > DIAL_WITHIN {
            return self.after(DIAL_WITHIN, Event::DialFails { from, refused: false });
        }
        let arrives = through.max(back) + delay(&mut self.rng);
        self.at(arrives, Event::DialArrives { from, to });
    }

    pub(crate) fn on_dial_arrives(&mut self, from: End, to: usize) {
        let now = self.now;
        let Some(member) = &mut self.slots[to] else {
            let refused = !self.vanished.contains(&to);
            let pause = if refused { delay(&mut self.rng) } else { DIAL_WITHIN };
            return self.after(pause, Event::DialFails { from, refused });
        };
        let (conn, life, resumed) = (member.core.next_conn(), member.life, member.paused_until);
        if self.living(from.slot, from.life).is_none() {
            return;
        }
        let link = self.network.connect(from, End { slot: to, life, conn });
        self.at(resumed.max(now), Event::Accept { link });
        self.feed(from.slot, Input::Connected { conn: from.conn });
        self.pump(from.slot, from.life, from.conn);
    }

    pub(crate) fn on_accept(&mut self, link: LinkId) {
        let Some(link) = self.network.links.get(&link) else { return };
        let ([from, to], open) = (link.ends, link.open[1]);
        if open && self.living(to.slot, to.life).is_some() {
            let conn = to.conn;
            self.feed(to.slot, Input::Accepted { conn, from: address_of(from.slot) });
            self.pump(to.slot, to.life, conn);
        }
    }

    /// Takes what a connection has to send, as far as the window to the other end has room.
    pub(crate) fn pump(&mut self, slot: usize, life: u64, conn: ConnId) {
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

    fn send(&mut self, id: LinkId, side: usize, bytes: Vec<u8>) {
        let pause = delay(&mut self.rng);
        let Some(link) = self.network.links.get_mut(&id) else { return };
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
                let pause = delay(&mut self.rng);
                self.after(pause, Event::Arrive { link: id, side });
            }
            if let Some(member) = &mut self.slots[end.slot] {
                member.hears = Some((other.slot, other.life));
            }
            self.feed(end.slot, Input::Received { conn: end.conn, bytes: first });
        }
        self.pump(other.slot, other.life, other.conn);
    }

    /// One end learns that the connection is over.
    pub(crate) fn on_breaks(&mut self, id: LinkId, side: usize) {
        let Some(link) = self.network.links.get_mut(&id) else { return };
        let (end, was_open) = (link.ends[side], link.open[side]);
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
        let Some((id, side)) = self.network.find(slot, life, conn) else { return };
        let pause = delay(&mut self.rng);
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
