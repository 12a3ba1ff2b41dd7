//! Owns the dials: whom to look for when, and what it means that nobody answers.
//! It must never take for dead what only did not answer.

use std::time::Duration;

use super::conn::{Conn, Role};
use super::{ConnId, Node, Output, Phase, Report};
use crate::Time;
use crate::ack::Reason;
use crate::peers::{Dial, Holder, PlaceId, Refusal};
use crate::planted::{Fault, planted};

impl Node {
    /// Dials where it is time to.
    pub(super) fn dial_due(&mut self, now: Time) {
        if self.phase != Phase::Running {
            return;
        }
        for (_, id) in self.minima.dials.up_to(now).collect::<Vec<_>>() {
            let conn = self.next_conn();
            let Some(place) = self.roster.get_mut(id) else { continue };
            let Some(&address) = place.addresses.get(place.round.next) else {
                place.round.next = 0;
                continue;
            };
            if place.round.next == 0 {
                place.round.began = now;
                place.round.all_empty = true;
            }
            place.dial = Dial::Trying(conn);
            self.conns.insert(conn, Conn::new(now, address, Role::Dialling { place: id }));
            self.refresh_place(id);
            self.outputs.push_back(Output::Dial { conn, address });
        }
    }

    pub(super) fn on_dial_failed(&mut self, now: Time, id: ConnId, why: Reason) {
        match self.conns.get(&id).map(|conn| &conn.role) {
            Some(&(Role::Dialling { place } | Role::Greeting { place })) => {
                self.conns.remove(&id);
                self.dial_ended(now, place, Some(why));
            }
            _ => self.on_closed(now, id, why.to_string()),
        }
    }

    /// A dial of one of a place's addresses has come to this: somebody of this cluster, or trouble.
    /// All addresses are tried before anything follows from that.
    pub(super) fn dial_ended(&mut self, now: Time, id: PlaceId, trouble: Option<Reason>) {
        let trusts = self.config.trust_refusals != Some(false);
        let Some(place) = self.roster.get_mut(id) else { return };
        let Some(trouble) = trouble else {
            place.round.next = 0;
            place.trouble = None;
            place.dial = Dial::Waiting { until: now };
            return;
        };
        // A proxy may refuse, or answer by itself, in the name of a living node: not as another cluster's.
        let is_elsewhere = matches!(trouble, Reason::OtherCluster(_));
        let counts = trouble.is_empty() && (trusts || is_elsewhere);
        place.round.all_empty &= counts;
        // Whoever left this place in order, somebody else is there now.
        place.is_vacant &= !trouble.is_somebody();
        place.round.next += 1;
        let is_last = place.round.next >= place.addresses.len() || planted(Fault::OneAddressTried);
        let pause = match &trouble {
            _ if !is_last => Duration::ZERO,
            _ if place.is_own && !place.is_contested => place.backoff.rejected(&mut self.rng),
            it if it.is_empty() => place.backoff.empty(&mut self.rng),
            Reason::Unreachable(_) | Reason::Unproven(_) => place.backoff.failed(&mut self.rng),
            _ => place.backoff.rejected(&mut self.rng),
        };
        // Of several addresses, what tells most is told: not that one of them refuses.
        let is_told = trouble != Reason::Refused || place.trouble.is_none() || is_last;
        let is_news = is_told && place.trouble.as_ref() != Some(&trouble);
        let why = trouble.to_string();
        if is_told {
            place.trouble = Some(trouble);
        }
        place.dial = Dial::Waiting { until: now + pause };
        let (round, was_vacant) = (place.round, place.is_vacant);
        if is_last {
            place.round.next = 0;
        }
        let (name, address) = (place.name.to_string(), place.address());
        let last = place.last;
        let is_awaited = place.holder == Holder::Nobody && !was_vacant;
        if is_news && place.is_listed() {
            self.outputs.push_back(Output::PeersChanged);
            if is_awaited {
                let node = last.map_or(name, |life| self.name_of(life));
                self.report(Report::NotReached { node, address, why });
            }
        }
        self.look_at(now, id);
        if is_last && round.all_empty {
            self.found_empty(id, Refusal { sent: round.began, received: now });
        }
        self.dial_due(now);
        self.settle();
    }
}
