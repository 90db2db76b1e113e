//! The deterministic core of Vitrine: bytes of a broadcast in, low-latency HLS out.
//!
//! Nothing here reads a clock, opens a socket, spawns a thread or rolls a die: time is an argument ([`media::Now`]),
//! bytes come in, outputs come out. An hour of broadcast is therefore tested in a blink, every parser is fuzzed, and
//! two origins fed the same input answer alike, byte for byte.
//!
//! The floors, lowest first; imports go down only:
//!
//! | module | holds |
//! |-|-|
//! | [`limits`] | every upper bound, with its unit and its reason |
//! | [`media`] | the nouns: time, sample, track, codec configurations |
//! | [`wire`] | bytes to nouns and back: RTMP chunks, AMF0, FLV, ISO BMFF, M3U8, directives |
//! | [`engine`] | the state machines: publish session, timeline, probe, segmenter, packager, window, gate, stream |
//!
//! **The one usage law of the engine**: push one input, then drain `poll` until it returns `None`; call `expire` when
//! `deadline` has come. See [`engine`].

pub mod engine;
pub mod limits;
pub mod media;
pub mod wire;
