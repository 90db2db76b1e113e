//! A small table that outlives the process: one JSON file, read at the start and replaced as a whole by a rename.
//!
//! What is in memory rules; a disk that fails to write costs what the next process would have known, and a line in the log.
//! One that cannot be read keeps the process from starting: what it holds would silently hold no more. Writers take turns,
//! and each writes what holds in its turn, so the file never goes back. Only its owner may read it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::Mutex, task::spawn_blocking};
use tracing::error;
use ulid::Ulid;

/// Why what the process before has left cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system does not give it.
    #[error("{}: cannot be read ({source}): look at its permissions and its disk; without it, nothing that it holds would hold any more", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Damaged, and in the way of the next one.
    #[error("{}: damaged, and cannot be put aside ({source}): move it away and start again", path.display())]
    Immovable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The file of one table.
#[derive(Debug)]
pub(super) struct Ledger {
    path: Option<PathBuf>,
    turn: Arc<Mutex<()>>,
}

impl Ledger {
    /// Keeps in the file at `path`, or nothing without one.
    pub(super) fn at(path: Option<PathBuf>) -> Self {
        Self {
            path,
            turn: Arc::default(),
        }
    }

    /// What the process before has left. Blocks. A file that is no such table is put aside, for people.
    ///
    /// # Errors
    /// [`Error`]; what is there stays there.
    pub(super) fn read<T: DeserializeOwned + Default>(&self) -> Result<T, Error> {
        let Some(path) = &self.path else {
            return Ok(T::default());
        };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
            Err(source) => {
                let path = path.clone();
                return Err(Error::Unreadable { path, source });
            }
        };
        serde_json::from_slice(&bytes).or_else(|error| {
            // One of the time before is not lost for it.
            let aside = path.with_extension(format!("{}.damaged", Ulid::new()));
            error!(path = %path.display(), aside = %aside.display(), %error, "damaged: put aside, and begun anew");
            let moved = fs::rename(path, aside).map(|()| T::default());
            let path = path.clone();
            moved.map_err(|source| Error::Immovable { path, source })
        })
    }

    /// Writes what `table` answers when it is this writer's turn. Once begun, it is done whether anybody waits or not, and the
    /// turn lasts as long.
    pub(super) async fn write<T: Serialize>(&self, table: impl FnOnce() -> T) {
        let Some(path) = self.path.clone() else {
            return;
        };
        let turn = self.turn.clone().lock_owned().await;
        let written = match serde_json::to_vec_pretty(&table()) {
            Ok(bytes) => {
                let write = move || {
                    let _turn = turn;
                    replace(&path, &bytes)
                };
                spawn_blocking(write).await
            }
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
    use std::{
        os::unix::fs::PermissionsExt as _,
        process::Command,
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use tokio::time::timeout;

    use super::*;

    fn read(path: &Path) -> Vec<u8> {
        let ledger = Ledger::at(Some(path.to_owned()));
        ledger.read().expect("read")
    }

    #[tokio::test]
    async fn a_table_is_kept_for_its_owner_alone_and_replaced_as_a_whole() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("data/table.json");
        let ledger = Ledger::at(Some(path.clone()));
        assert!(read(&path).is_empty());
        ledger.write(|| vec![1, 2, 3]).await;
        ledger.write(|| vec![4]).await;
        assert_eq!(read(&path), [4]);
        let mode = fs::metadata(&path).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let beside = fs::read_dir(folder.path().join("data")).expect("a folder");
        assert_eq!(beside.count(), 1);
    }

    #[tokio::test]
    async fn every_damaged_file_is_put_aside_and_a_disk_that_does_not_write_is_survived() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("table.json");
        for damaged in ["[1,", "[2,"] {
            fs::write(&path, damaged).expect("written");
            assert!(read(&path).is_empty());
            assert!(!path.exists());
        }
        let aside = fs::read_dir(folder.path()).expect("a folder");
        let aside = aside.map(|it| fs::read_to_string(it.expect("read").path()).expect("text"));
        let mut aside: Vec<_> = aside.collect();
        aside.sort();
        assert_eq!(aside, ["[1,", "[2,"]);
        fs::create_dir(path.with_extension("new")).expect("in the way");
        let ledger = Ledger::at(Some(path.clone()));
        ledger.write(|| vec![1]).await;
        assert!(read(&path).is_empty());
    }

    #[test]
    fn a_file_that_the_system_does_not_give_is_an_error_and_stays_where_it_is() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("table.json");
        fs::create_dir(&path).expect("a folder in its place");
        let left = Ledger::at(Some(path.clone())).read::<Vec<u8>>();
        let error = left.expect_err("no file").to_string();
        assert!(error.contains("table.json: cannot be read"), "{error}");
        assert!(path.is_dir());
    }

    #[tokio::test]
    async fn a_turn_lasts_until_the_file_is_written_whoever_stops_waiting() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("table.json");
        // A disk that does not answer: nobody reads what is written to this.
        let fresh = path.with_extension("new");
        let made = Command::new("mkfifo").arg(&fresh).status();
        assert!(made.expect("mkfifo").success());
        let ledger = Arc::new(Ledger::at(Some(path)));
        let moment = Duration::from_millis(300);
        let first = timeout(moment, ledger.write(|| vec![1])).await;
        assert!(first.is_err(), "the disk does not answer");
        let begun = Arc::new(AtomicBool::new(false));
        let second = tokio::spawn({
            let (ledger, begun) = (ledger.clone(), begun.clone());
            async move {
                let table = || {
                    begun.store(true, Ordering::Release);
                    vec![2]
                };
                ledger.write(table).await;
            }
        });
        tokio::time::sleep(moment).await;
        let early = begun.load(Ordering::Acquire);
        let reader = OpenOptions::new().read(true).write(true).open(&fresh);
        second.await.expect("no panic");
        drop(reader);
        assert!(!early, "while the first was still being written");
        assert!(begun.load(Ordering::Acquire));
    }
}
