//! What lies on disk where a saved stream should.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vitrine_fuzz::saved::saved(data));
