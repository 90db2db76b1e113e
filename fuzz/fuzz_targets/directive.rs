//! Any bytes as the query of a playlist request; the body is `vitrine_fuzz::hls::directive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vitrine_fuzz::hls::directive(data));
