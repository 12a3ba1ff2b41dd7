//! Measures of Flushcast over real processes, next to the plainest thing that could do its work.
//!
//! One process publishes, others follow: each of them is this same program, started with the
//! hidden `follower` command ([`follower`] is its side, [`process`] the side of who started it,
//! [`words`] what the two say). [`fanout`] and [`sustained`] measure; [`raw`] is the rival.
//! [`hit`], [`idle`] and [`apply`] measure nodes of this process; [`core_scale`] the core alone,
//! between peers that are [`scripted`]. [`siege`] measures what an [`attacker`]'s process costs.
//! Nothing here judges a figure.

pub mod apply;
pub mod attacker;
pub mod cluster;
pub mod core_scale;
pub mod error;
pub mod fanout;
pub mod figures;
pub mod follower;
pub mod hit;
pub mod idle;
pub mod memory;
pub mod process;
pub mod raw;
pub mod scripted;
pub mod sides;
pub mod siege;
pub mod stamps;
pub mod sustained;
pub mod words;
pub mod zipf;
