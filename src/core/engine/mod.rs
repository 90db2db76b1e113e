//! The state machines of a broadcast: Input in, Output out, time an argument.
//!
//! **The one usage law**: push one input (or call `expire` once `deadline` has come), then drain `poll` until it
//! returns `None`, carrying out each output in order.
//!
//! | machine | in | out |
//! |-|-|-|
//! | [`publish`] | RTMP bytes, a verdict | bytes to send, a publish request, frames |
//! | [`timeline`] | frames on the publisher's clock | samples on the epoch's media time |
//! | [`probe`] | the first samples of an epoch | what they are |
//! | [`plan`] | what a probe found, the wanted ladder | the constants that never change in an epoch |
//! | [`ladder`] | a source's size and rate | the targets of its encoders |
//! | [`sound`] | the sound's configuration | what it is encoded into, where not every player takes it |
//! | [`segmenter`] | samples | the same samples, marked where segments and parts begin and end |
//! | [`cues`] | events of the shop | the same, each at its place |
//! | [`packager`] | marked samples of one rendition | parts |
//! | [`window`] | parts | immutable snapshots of a sliding list |
//! | [`gate`] | a snapshot and a directive | serve, wait or reject |
//! | [`stream`] | what one publisher after another sends | the snapshots of every rendition |
//!
//! [`saved`] is a stream between two processes.

pub mod cues;
mod epoch;
pub mod gate;
pub mod ladder;
pub mod lifecycle;
mod lockstep;
mod output;
pub mod packager;
pub mod plan;
#[cfg(test)]
pub(crate) mod player;
mod presentation;
pub mod probe;
pub mod publish;
mod rung;
mod rungs;
pub mod saved;
pub mod segmenter;
mod slate;
pub mod sound;
pub mod stream;
pub mod timeline;
pub mod window;
