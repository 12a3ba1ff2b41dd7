//! The real cache beside a simple map, whatever is done to it.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| flushcast_sim::simple::play(script));
