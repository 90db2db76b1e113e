//! Integration tests: the real binary on ports the system chose, real encoders, real players.
//!
//! | module | shows |
//! |-|-|
//! | [`publish`] | what ffmpeg and GStreamer push is served to the last packet |
//! | [`enhanced`] | so is what enhanced RTMP carries: HEVC, AV1, Opus, multitrack |
//! | `ladder` | every source becomes renditions between which players switch at will, at the bitrates that were set |
//! | [`admission`] | who may publish by the word of a backend, in four dialects, and what becomes of one that misbehaves |
//! | [`keys`] | who may publish, takeover, keys read again on SIGHUP |
//! | [`limits`] | broken clients beside a good one |
//! | [`balancers`] | PROXY protocol and forwarded addresses, publishers lost without a word |
//! | [`hostile`] | floods of strangers beside a live stream, and what is left of them |
//! | [`serve`] | playlists and media over HTTP: blocking, deltas, caching, ranges, transports |
//! | [`conformance`] | the rules that only sockets show, and that `docs/conformance.md` tells the truth |
//! | [`oracle`] | other people's readers of low-latency playlists find nothing wrong |
//! | [`edge`] | behind Varnish and nginx: collapsing, keys, lifetimes; two origins alike, one of them lost |
//! | [`backends`] | the backends of `examples/` |
//! | [`outbox`] | callbacks arrive signed and in order, whatever becomes of the endpoint or of us |
//! | [`control`] | the control door |
//! | `thumbnail` | stills, and what is told of each rendition |
//! | [`metrics`] | the page, the rules and the board say what a running daemon says |
//! | [`package`] | the unit, the .deb and what systemd is told |
//! | [`tokens`] | who may watch: tokens by either algorithm, keys that come and go |
//! | [`restart`] | SIGTERM saves, a start within grace goes on, a crash begins anew, grace ends lists |
//! | [`lifecycle`] | a backend is told each thing once, whatever ends a stream; what is taken down is gone |
//! | [`events`] | what becomes of events at the doors: answers, callbacks, commands, metrics |
//! | [`timed`] | events of the shop land once and are told truly, whatever becomes of publishers and processes |
//! | [`amf`] | what an encoder tells between its media stands at its own timestamp |
//! | [`logs`] | no secret in anything that was written |
//! | [`browser`] | half a minute of hls.js in Chromium |
//! | [`conf`] | the configuration file |
//! | [`cli`] | the commands for people |
//! | `passthrough` | the daemon that is built without FFmpeg |
//! | [`floors`] | the house keeps its floors |
//!
//! The tools: [`daemon`] runs the binary, [`sources`] makes broadcasts, [`captions`] put into some, [`publisher`] speaks RTMP in any tongue, [`splitter`] to several, [`backend`] is asked by hooks, [`edges`] runs Varnish and nginx, [`receiver`] takes callbacks, [`shop`] posts events, [`viewer`]
//! follows a stream as players do, [`probe`] asks independent witnesses, [`boxes`] and [`ranges`] read the events. No test asserts how long something took.

mod admission;
mod amf;
mod backend;
mod backends;
mod balancers;
mod boxes;
mod browser;
mod captions;
mod cli;
mod conf;
mod conformance;
mod control;
mod daemon;
mod edge;
mod edges;
mod enhanced;
mod events;
mod floors;
mod hostile;
mod judge;
mod keys;
#[cfg(feature = "transcode")]
mod ladder;
mod lifecycle;
mod limits;
mod logs;
mod metrics;
mod oracle;
mod outbox;
mod package;
#[cfg(not(feature = "transcode"))]
mod passthrough;
mod probe;
mod publish;
mod publisher;
mod ranges;
mod receiver;
mod restart;
mod serve;
mod shop;
mod sources;
mod splitter;
#[cfg(feature = "transcode")]
mod thumbnail;
mod timed;
mod tokens;
mod viewer;
