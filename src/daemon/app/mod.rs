//! Stub

pub mod config;

use std::{path::PathBuf, sync::Arc};

/// Stub
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// Stub
pub async fn run(_config: Arc<config::Config>, _config_path: Option<PathBuf>) -> Result<(), Error> {
    Ok(())
}
