//! The live streams of this process: who publishes, what has been published, and the task between the two.
//!
//! | module | holds |
//! |-|-|
//! | [`registry`] | the map of streams; the only file that names `dashmap` |
//! | [`publisher`] | the write side of one accepted publish, fenced when another takes over |
//! | [`task`] | one tokio task per stream: the sole owner of its `engine::stream::Stream` |
//! | [`published`] | the read side: what requests are answered from |
//! | `encoders` | the way of one stream's pictures to its encoders and back |
//! | `sound` | the same for sound that not every player takes |
//! | [`contest`] | whether a takeover is a reconnect or a quarrel |
//! | [`operations`] | what an operator can do to a live stream |
//! | `orders` | the same on its way to the stream's task |
//! | `chronicle` | what backends are told of a stream's life, each thing once |
//! | [`bans`] | stream keys that are refused for a while, on disk |
//! | [`takedowns`] | what was taken down and is never served again, on disk |
//! | [`events`] | events of the shop on their way to a live stream, and its clock |
//! | [`timeline`] | the events of an epoch, as players get them |
//! | `text` | bodies of answers, named after their content |
//! | [`ledger`], [`stores`] | a small table in a file; all of them |
//! | [`epochs`] | the last epoch of every stream, on disk |
//! | [`states`] | streams between two processes, on disk |
//! | [`status`] | what the control API tells about a stream |
//! | `meters` | what is counted for the metrics |
//!
//! Hand-off A (media in) is a bounded channel: when it is full the publisher's socket is not read. Hand-off B (snapshots
//! out) is a watch per rendition: each waiting request wakes once per version. There is no lock between viewers.

pub mod bans;
mod chronicle;
pub mod claim;
mod contest;
#[cfg(feature = "transcode")]
mod encoders;
#[cfg(not(feature = "transcode"))]
#[path = "passthrough.rs"]
mod encoders;
pub mod epochs;
pub mod events;
#[cfg(test)]
pub(crate) mod fixture;
mod id;
pub mod ledger;
mod meters;
pub mod operations;
mod orders;
mod publication;
pub mod published;
pub mod publisher;
pub mod registry;
#[cfg(feature = "transcode")]
mod sound;
pub mod states;
pub mod status;
pub mod stores;
pub mod takedowns;
mod task;
#[cfg(test)]
mod tests;
mod text;
pub mod timeline;

pub use chronicle::Herald;
pub use claim::{Busy, Claim, Terms};
pub use encoders::Encoding;
pub use events::Unplaced;
pub use id::{InvalidStreamId, SessionId, StreamId};
pub use published::Live;
pub use publisher::{Fence, Gone, Publisher};
pub use registry::Registry;
pub use stores::Stores;
