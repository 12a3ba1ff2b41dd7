//! Owns what is known of lives that are over, and the settling between those who survive them.
//! It must never take a life for over by itself: [`crate::node`] says so, on evidence.
//!
//! A node that dies may have told a flush to some and not to others. Before anybody counts on its
//! death, an *inquest* asks every other listed node what it was told; who was told more puts it in
//! its own log, so that it arrives, is acknowledged and is proven like any other flush.

mod inquest;
mod lives;
mod subjects;

pub(crate) use inquest::{Goal, Inquest, Witness};
pub(crate) use lives::Lives;
pub(crate) use subjects::Subjects;
