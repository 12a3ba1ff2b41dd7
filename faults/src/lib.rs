//! Faults on real processes: what tests need to cut, stop and kill nodes, and to tell afterwards
//! which promises held meanwhile.
//!
//! Each node is a process of its own: this crate's `node`, which does what it is told by lines on
//! its stdin ([`words`]; [`process`] is the side of who started it). It holds one cache of each
//! guarantee over a [`truth`] that all nodes share, reads them in loops, and keeps a [`history`] of
//! what it read. [`namespaces`] and [`proxy`] are the network between the nodes.
//!
//! Nothing here judges: a test takes histories and changes, which are stamped by one [`clock`], and
//! compares.

pub mod clock;
pub mod history;
pub mod namespaces;
pub mod process;
pub mod proxy;
pub mod truth;
pub mod words;
