//! Any bytes as an event that a backend posts; the body is `vitrine_fuzz::event::event`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vitrine_fuzz::event::event(data));
