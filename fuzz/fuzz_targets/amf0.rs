//! Runs [`vitrine_fuzz::wire::amf0`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vitrine_fuzz::wire::amf0(data));
