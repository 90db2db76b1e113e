//! Runs [`vitrine_fuzz::wire::publish`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vitrine_fuzz::wire::publish(data));
