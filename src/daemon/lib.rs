//! The daemon.

pub mod ingest;
pub mod live;
