//! What Vitrine's programs do with the world: settings in, listeners open, telemetry out.
//!
//! | module | holds |
//! |-|-|
//! | [`bearer`] | secrets kept as SHA-256 digests, and the tokens of an HTTP door |
//! | [`clock`] | the one place that reads the clocks |
//! | [`config`] | settings in layers: defaults, a TOML file, the environment; each value with its origin |
//! | [`deliver`] | callbacks written to disk and posted until they are taken |
//! | [`descriptors`] | how many files the process may hold open |
//! | [`network`] | networks in CIDR notation, and what counts as one address |
//! | [`problem`] | errors of an HTTP API (RFC 9457) |
//! | [`serve`] | listeners: accept, admit, TLS, HTTP/1.1 and HTTP/2, drain |
//! | [`supervisor`] | what the service manager is told: ready, reloading, stopping, alive |
//! | [`telemetry`] | logs and metrics |
//! | [`throttle`] | one log line a second for each reason |
//!
//! The modules know nothing of streams or orders: they are shared by every program of the product and name only
//! `vitrine-core`'s nouns.

pub mod bearer;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod descriptors;
pub mod network;
pub mod problem;
pub mod serve;
pub mod supervisor;
pub mod telemetry;
pub mod throttle;
