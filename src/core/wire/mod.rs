//! Bytes to nouns and back. Every parser here meets a stranger's bytes: bounded, total, fuzzed.

pub mod amf0;
pub mod bmff;
pub mod chunk;
pub mod directive;
pub mod event;
pub mod flv;
pub mod hook;
pub mod id3;
pub mod m3u8;
pub mod sign;
pub mod token;
