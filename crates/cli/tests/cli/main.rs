//! The `flushcast` command as a user runs it: real processes, real ports, real signals.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is how it fails")]

mod demo;
mod harness;
mod orders;
