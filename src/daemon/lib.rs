//! The daemon.

pub mod control;
pub mod ingest;
pub mod live;
pub mod origin;
