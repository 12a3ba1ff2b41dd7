//! Each rule by itself. `sim/src/engine/` plays them together.

mod appends;
mod follower;
