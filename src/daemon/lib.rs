//! The daemon.

pub mod live;
