//! Owns who is a member: what a node has to show before anything that it says counts.
//! It must never let anybody in whose connection did not prove it.

mod authority;
mod secret;
mod sparing;

pub use authority::SecurityError;
pub(crate) use authority::{Authority, Refused};
pub use secret::{Secret, SecretError, Secrets};
