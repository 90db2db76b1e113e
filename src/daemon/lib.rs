//! Vitrine, the media daemon: RTMP in, low-latency HLS out.
//!
//! This page is the map. Three crates, of which this is the upper one:
//!
//! | crate | holds | never |
//! |-|-|-|
//! | `vitrine_core` | formats, codecs and the state machines of a broadcast | reads a clock, does I/O, spawns, rolls dice |
//! | `vitrine_runtime` | configuration, listeners, TLS, telemetry, clocks | knows what a broadcast is |
//! | `vitrine` (here) | the doors, the live streams, the wiring | decides anything about media |
//!
//! # The floors of this crate, lowest first; imports go down only
//!
//! | module | holds |
//! |-|-|
//! | `transcode` | decoding, scaling and encoding of the ladder (feature `transcode`); the only place that names `ffmpeg_next` |
//! | [`live`] | the registry of streams and the task of each; the only place that names `dashmap` |
//! | [`hooks`] | asking a backend who may publish, and telling it what became of that |
//! | [`ingest`], [`origin`], [`control`] | the doors: RTMP, playback over HTTP, the control API; none knows another |
//! | [`app`] | the wiring: configuration in, listeners out, the order of a shutdown |
//! | [`cli`] | beside the daemon: commands for people, which call a running one by HTTP and know nothing of its inside |
//!
//! # The way of a sample: three owners, two hand-offs
//!
//! 1. `ingest` owns the socket and `engine::publish`: bytes become configurations and frames, each frame a slice of the
//!    message it came in.
//! 2. **Hand-off A**, a channel bounded in messages and bytes ([`live::publisher`]). When it is full, the socket is not
//!    read and TCP pushes back on the encoder; nothing is dropped. The stream's task owns `engine::stream`: it pushes one
//!    input and drains all outputs, always in one place.
//!    Pictures that are to be encoded make one round trip from here through `transcode`, a thread to decode and one per
//!    rendition: cuts stay behind in the engine (`engine::rung`), and are carried out on what comes back.
//!    Sound that not every player takes is encoded in front of the engine, which sees only what becomes of it.
//! 3. **Hand-off B**, a watch per rendition ([`live::published`]). A version is an immutable snapshot whose playlist
//!    texts are written at most once, when first asked for. Each waiting request wakes once per version and clones
//!    `Bytes`: no lock and no copy per viewer.
//!
//! # The way of an event
//!
//! It is posted to `control`, or sent by the encoder between its media, and enters the stream's inbox like a frame
//! ([`live::events`]): its order against media is total. The engine binds it to a media time before the renditions part
//! ways; where it stands then is told by `live::chronicle` and listed by [`live::timeline`].
//!
//! # What holds everywhere
//!
//! - **A URI never means two things.** Every media URI begins with the epoch, and no epoch is given twice
//!   ([`live::epochs`]). Media may be cached for a year.
//! - **What a playlist lists can be fetched**, for media and playlist are one snapshot, and stay fetchable by time.
//! - **A restart is an outage, not an end**: SIGTERM saves the streams ([`live::states`]), a start within their grace goes
//!   on with them. A saved stream is consumed before it lives again, so that it never does twice.
//! - **One publisher per stream**, the latest that was accepted; all others are fenced by session ([`live::publisher`]).
//! - **Every wait and every queue is bounded**, in time and in number; the bounds stand in `vitrine_core::limits`.
//! - **An error has one table per door**: RTMP statuses in `ingest`, playback in [`origin::answer`], problems in
//!   [`control`]. A panic is ours: it ends one stream at the boundary of its task and is counted.
//! - **Secrets never travel upwards**: a stream key is read in `ingest`, judged there or by `hooks`, and is in no type of
//!   this crate's other floors, so no log line, metric or URL can hold one. Its digest goes with a publish, for bans, and is
//!   shown to nobody.
//! - **Each thing that happens to a stream is told once**, whatever sees it, however often (`live::chronicle`).

pub mod app;
pub mod cli;
pub mod control;
pub mod hooks;
pub mod ingest;
pub mod live;
pub mod origin;
#[cfg(feature = "transcode")]
pub mod transcode;
