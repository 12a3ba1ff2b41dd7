//! A node among members that say anything, in any order: it does not panic, holds no more than its limits,
//! and what an honest peer announces reaches it.
#![no_main]

mod judge;
mod play;
mod script;
mod stranger;
mod words;
mod world;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| play::play(bytes));
