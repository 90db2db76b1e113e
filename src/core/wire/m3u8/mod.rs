//! Playlists (draft-pantos-hls-rfc8216bis): the media playlist is ours, the multivariant one is written by `m3u8-rs`.

pub mod media;
pub mod multivariant;
pub mod range;
