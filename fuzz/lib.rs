//! The bodies of the fuzz targets, one function each, so that `make test` replays every corpus on stable.

pub mod codec;
pub mod engine;
pub mod event;
pub mod hls;
pub mod hook;
pub mod saved;
pub mod wire;
