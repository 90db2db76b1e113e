//! The daemon.

pub mod app;
pub mod control;
pub mod ingest;
pub mod live;
pub mod origin;
