//! A whole cluster in virtual time: the real core, the real caches and flights, and one seeded
//! network between them. A fault phase, then a healing phase. One seed and one commit reproduce a
//! run to the last event.
//!
//! [`run`] plays one seed. Each file in `invariants/` owns one promise and the check of it; a
//! broken one ends the run with the trace that led there.

mod actions;
mod calls;
mod conditions;
mod ear;
mod history;
mod invariants;
mod member;
mod network;
mod reads;
pub mod simple;
pub mod small;
mod tap;
mod trace;
mod what;
mod wires;
mod world;

pub use world::{Counts, Run, Violation, run};
