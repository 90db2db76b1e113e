//! A small table that outlives the process: one JSON file, read at the start and replaced as a whole by a rename.
//!
//! What is in memory rules; a disk that fails costs what the next process would have known, and a line in the log.
//! Writers take turns, and each writes what holds in its turn, so the file never goes back. Only its owner may read it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::Mutex, task::spawn_blocking};
use tracing::error;

/// The file of one table.
#[derive(Debug)]
pub(super) struct Ledger {
    path: Option<PathBuf>,
    turn: Mutex<()>,
}

impl Ledger {
    /// Keeps in the file at `path`, or nothing without one.
    pub(super) fn at(path: Option<PathBuf>) -> Self {
        Self {
            path,
            turn: Mutex::default(),
        }
    }

    /// What the process before has left. Blocks. A file that cannot be read is put aside, for people.
    pub(super) fn read<T: DeserializeOwned + Default>(&self) -> T {
        let Some(path) = &self.path else {
            return T::default();
        };
        let read = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return T::default(),
            Err(error) => Err(error),
        };
        read.unwrap_or_else(|error| {
            let aside = path.with_extension("damaged");
            error!(path = %path.display(), aside = %aside.display(), %error, "cannot be read: begun anew");
            let _ = fs::rename(path, aside);
            T::default()
        })
    }

    /// Writes what `table` answers when it is this writer's turn.
    pub(super) async fn write<T: Serialize>(&self, table: impl FnOnce() -> T) {
        let Some(path) = self.path.clone() else {
            return;
        };
        let _turn = self.turn.lock().await;
        let written = match serde_json::to_vec_pretty(&table()) {
            Ok(bytes) => spawn_blocking(move || replace(&path, &bytes)).await,
            Err(error) => Ok(Err(error.into())),
        };
        if let Err(error) = written.unwrap_or_else(|panic| Err(panic.into())) {
            let path = self.path.as_deref().unwrap_or(Path::new(""));
            error!(path = %path.display(), %error, "cannot be written: the next process will not know of it");
        }
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let fresh = path.with_extension("new");
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true);
    let mut file = options.mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_table_is_kept_for_its_owner_alone_and_replaced_as_a_whole() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("data/table.json");
        let ledger = Ledger::at(Some(path.clone()));
        assert!(ledger.read::<Vec<u8>>().is_empty());
        ledger.write(|| vec![1, 2, 3]).await;
        ledger.write(|| vec![4]).await;
        assert_eq!(Ledger::at(Some(path.clone())).read::<Vec<u8>>(), [4]);
        let mode = fs::metadata(&path).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let beside = fs::read_dir(folder.path().join("data")).expect("a folder");
        assert_eq!(beside.count(), 1);
    }

    #[tokio::test]
    async fn a_damaged_file_is_put_aside_and_a_failing_disk_is_survived() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("table.json");
        fs::write(&path, "[1,").expect("written");
        let ledger = Ledger::at(Some(path));
        assert!(ledger.read::<Vec<u8>>().is_empty());
        let aside = fs::read_to_string(folder.path().join("table.damaged"));
        assert_eq!(aside.expect("put aside"), "[1,");
        fs::write(folder.path().join("file"), "in the way").expect("written");
        let ledger = Ledger::at(Some(folder.path().join("file/table.json")));
        ledger.write(|| vec![1]).await;
        assert!(ledger.read::<Vec<u8>>().is_empty());
    }
}
