//! The daemon.
pub mod ingest;
