//! Where an effective value came from: what `check` prints behind it and what an error points at.

use std::{fmt, path::PathBuf, sync::Arc};

/// Where an effective value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The code.
    Default,
    /// A line of the file.
    File {
        /// The path as it was given.
        path: Arc<PathBuf>,
        /// Counted from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment {
        /// The whole name, with its prefix.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { name } => write!(f, "environment {name}"),
        }
    }
}
