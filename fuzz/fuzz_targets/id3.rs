//! Any text through a tag and back by another reader; the body is `vitrine_fuzz::event::id3`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vitrine_fuzz::event::id3(data));
