//! Any bytes as a backend's answer about a publish; the body is `vitrine_fuzz::hook::hook`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vitrine_fuzz::hook::hook(data));
