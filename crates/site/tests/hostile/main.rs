//! Hostile clients, over real sockets: none of them takes the port from the others.

#![allow(clippy::unwrap_used, reason = "an unwrap in a test is how it fails")]

mod errors;
mod raw;
mod takes;
