//! The cache does what a simple map would, whatever is done to it. `fuzz/` looks further.

use flushcast_sim::simple::play;

#[test]
fn whatever_is_done_a_read_gets_what_a_simple_map_would_give() {
    for seed in 0..2_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let script: Vec<u8> = (0..rng.usize(..600)).map(|_| rng.u8(..)).collect();
        play(&script);
    }
}
