//! The daemon.

pub mod control;
pub mod live;
pub mod origin;
