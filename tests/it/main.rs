//! The integration tests: one binary.

mod conf;
mod floors;
