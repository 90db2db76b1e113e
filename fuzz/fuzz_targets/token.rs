//! Any bytes as a viewer token; the body is `vitrine_fuzz::hls::token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vitrine_fuzz::hls::token(data));
