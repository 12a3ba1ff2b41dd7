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
mod engine;
mod history;
mod invariants;
mod kinds;
mod liars;
mod member;
mod moves;
mod network;
mod places;
mod plan;
mod queue;
mod reads;
mod run;
pub mod simple;
pub mod small;
mod strangers;
mod tap;
mod trace;
mod waves;
mod what;
mod wires;
mod world;

pub use engine::{EngineFault, run_engine};
pub use kinds::{Kind, Worlds};
pub use run::{Counts, Run, Violation, run, run_in, run_plain};
