//! The daemon.

pub mod live;
pub mod origin;
