//! Audio and video messages of one publisher.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vitrine_fuzz::codec::flv(data));
