//! Integration tests: the real binary on ports the system chose, real encoders, real players.
//!
//! | module | shows |
//! |-|-|
//! | [`publish`] | what ffmpeg and GStreamer push is served to the last packet |
//! | [`enhanced`] | so is what enhanced RTMP carries: HEVC, AV1, Opus, multitrack |
//! | [`keys`] | who may publish, takeover, keys read again on SIGHUP |
//! | [`limits`] | broken clients beside a good one |
//! | [`serve`] | playlists and media over HTTP: blocking, deltas, caching, ranges, transports |
//! | [`control`] | the control door |
//! | [`restart`] | SIGTERM saves, a start within grace goes on, a crash begins anew, grace ends lists |
//! | [`logs`] | no secret in anything that was written |
//! | [`browser`] | half a minute of hls.js in Chromium |
//! | [`conf`] | the configuration file |
//! | [`floors`] | the house keeps its floors |
//!
//! The tools: [`daemon`] runs the binary, [`sources`] makes broadcasts, [`publisher`] speaks RTMP in any tongue, [`viewer`]
//! follows a stream as players do, [`probe`] asks independent witnesses. No test asserts how long something took.

mod browser;
mod conf;
mod control;
mod daemon;
mod enhanced;
mod floors;
mod keys;
mod limits;
mod logs;
mod probe;
mod publish;
mod publisher;
mod restart;
mod serve;
mod sources;
mod viewer;
