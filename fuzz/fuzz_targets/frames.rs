//! No bytes from a peer make the decoder panic, and what it understands it can write.
#![no_main]

use flushcast_core::wire;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = wire::peek_versions(bytes);
    if let Ok(frame) = wire::decode(bytes) {
        let mut written = Vec::new();
        wire::encode(&frame, &mut written).expect("what was read is within the limits");
        let mut reader = wire::FrameReader::default();
        reader.push(&written);
        let body = reader.next_body().expect("a frame of our own").expect("all of it");
        assert_eq!(wire::decode(body).expect("ours"), frame);
    }
});
