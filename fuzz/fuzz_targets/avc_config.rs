//! AVCDecoderConfigurationRecords.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vitrine_fuzz::codec::avc_config(data));
