//! Owns the roster: the places where nodes are said to be, by name and by address.
//! It must never drop a listed place because nobody can be reached there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Listed, Place, PlaceId, Source, bare};
use crate::Time;

#[derive(Debug, Default)]
pub(crate) struct Roster {
    drawn: u32,
    places: BTreeMap<PlaceId, Place>,
    by_name: BTreeMap<Arc<str>, PlaceId>,
    /// By each address without its scope.
    by_address: BTreeMap<SocketAddr, BTreeSet<PlaceId>>,
}

impl Roster {
    pub(crate) fn get(&self, id: PlaceId) -> Option<&Place> {
        self.places.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: PlaceId) -> Option<&mut Place> {
        self.places.get_mut(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PlaceId, &Place)> {
        self.places.iter().map(|(&id, place)| (id, place))
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn named(&self, name: &str) -> Option<PlaceId> {
        self.by_name.get(name).copied()
    }

    /// The places at an address.
    pub(crate) fn at(&self, address: SocketAddr) -> impl Iterator<Item = PlaceId> {
        self.near(address).filter(move |id| {
            self.places.get(id).is_some_and(|place| place.addresses.contains(&address))
        })
    }

    /// The places at an address whose scope is not known, because it comes from another machine.
    pub(crate) fn near(&self, address: SocketAddr) -> impl Iterator<Item = PlaceId> {
        self.by_address.get(&bare(address)).into_iter().flatten().copied()
    }

    /// Puts a place on the roster, or gives the one of that name its addresses of now. Tells which it
    /// is, and whether its addresses are others.
    pub(crate) fn put(&mut self, listed: &Listed, source: Source, now: Time) -> (PlaceId, bool) {
        let id = match self.by_name.get(&listed.name) {
            Some(&id) => id,
            None => {
                self.drawn += 1;
                let id = PlaceId(self.drawn);
                self.by_name.insert(Arc::clone(&listed.name), id);
                let place = Place::new(Arc::clone(&listed.name), Vec::new(), now);
                self.places.insert(id, place);
                id
            }
        };
        let Some(place) = self.places.get_mut(&id) else { return (id, false) };
        place.sources.insert(source);
        let moved = place.addresses != listed.addresses;
        if moved {
            let before = std::mem::replace(&mut place.addresses, listed.addresses.clone());
            // What was learnt at other addresses says nothing of these.
            place.round.next = 0;
            self.forget_addresses(id, &before);
            for &address in &listed.addresses {
                self.by_address.entry(bare(address)).or_default().insert(id);
            }
        }
        (id, moved)
    }

    pub(crate) fn remove(&mut self, id: PlaceId) -> Option<Place> {
        let place = self.places.remove(&id)?;
        self.by_name.remove(&place.name);
        self.forget_addresses(id, &place.addresses);
        Some(place)
    }

    fn forget_addresses(&mut self, id: PlaceId, addresses: &[SocketAddr]) {
        for address in addresses.iter().copied().map(bare) {
            if let Some(there) = self.by_address.get_mut(&address) {
                there.remove(&id);
                if there.is_empty() {
                    self.by_address.remove(&address);
                }
            }
        }
    }
}
