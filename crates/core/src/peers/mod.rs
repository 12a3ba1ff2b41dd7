//! Owns who is known: the places of the roster, the lives that were met, and the books of each.
//! It must never decide anything: what follows from what happens stands in [`crate::node`].

mod backoff;
mod books;
mod life;
mod listed;
mod lives;
mod minimum;
mod open;
mod place;
mod roster;
mod step;
mod view;

pub(crate) use backoff::Backoff;
pub(crate) use books::Books;
pub use life::Identity;
pub(crate) use life::{Healing, Life, State};
pub(crate) use listed::bare;
pub use listed::{Listed, canonical};
pub(crate) use lives::Lives;
pub(crate) use minimum::Minimum;
pub(crate) use open::Open;
pub use place::Source;
pub(crate) use place::{Dial, Holder, Place, PlaceId, Refusal, Subject};
pub(crate) use roster::Roster;
pub(crate) use step::{Granted, Step};
pub use view::{CutOff, LinkState, Peer, WallTime};
