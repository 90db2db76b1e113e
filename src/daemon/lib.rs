//! The daemon.
pub mod app;
