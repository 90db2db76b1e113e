//! Any bytes as a data message of an encoder; the body is `vitrine_fuzz::event::amf_event`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vitrine_fuzz::event::amf_event(data));
