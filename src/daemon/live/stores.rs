//! What the live streams keep in `data_dir` while they live: last epochs, bans, takedowns.
//!
//! Streams between two processes are not among it: [`states`](super::states) are the wiring's to write and take.

use std::path::Path;

use super::{bans::Bans, epochs::EpochStore, ledger, takedowns::Takedowns};

/// All of it. A cheap handle.
#[derive(Clone, Debug)]
pub struct Stores {
    pub(super) epochs: EpochStore,
    pub(super) bans: Bans,
    pub(super) takedowns: Takedowns,
}

impl Stores {
    /// In `folder`, with what the process before has left there. Blocks.
    ///
    /// # Errors
    /// [`ledger::Error`].
    pub fn in_folder(folder: &Path) -> Result<Self, ledger::Error> {
        Ok(Self {
            epochs: EpochStore::in_folder(folder.join("epochs")),
            bans: Bans::at(Some(folder.join("bans.json")))?,
            takedowns: Takedowns::at(Some(folder.join("takedowns.json")))?,
        })
    }

    /// Nowhere: for tests.
    pub fn forgetful() -> Self {
        Self {
            epochs: EpochStore::forgetful(),
            bans: Bans::at(None).expect("nothing to read"),
            takedowns: Takedowns::at(None).expect("nothing to read"),
        }
    }
}
