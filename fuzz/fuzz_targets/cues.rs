//! What publishers do to one stream.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vitrine_fuzz::cues::cues(data));
