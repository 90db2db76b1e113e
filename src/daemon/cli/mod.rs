//! The commands for people.

pub mod token;
