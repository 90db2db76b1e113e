//! Integration tests.
mod conf;
