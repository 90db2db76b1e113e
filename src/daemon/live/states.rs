//! Streams between two processes, on disk: one file per stream, written when the daemon ends and consumed when the next
//! one begins.
//!
//! A file is written beside its place, synced and renamed, so that it is whole or not there; only its owner may read
//! it, for it holds media. It is removed before its stream lives again: whatever happens to that process later, nothing
//! can resurrect what players have meanwhile seen go on. No fault of a file or of the disk keeps the daemon from
//! starting. What is in the bytes is `vitrine_core::engine::saved`'s to know. Beside it lies what has been told of its
//! life, `<stream>.life`, and the events of its epoch, `<stream>.timeline`, without which the stream goes on all the same.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tracing::warn;
use vitrine_core::{
    engine::saved::{self, Saved},
    limits,
};

use super::StreamId;
pub use super::chronicle::Story;

/// What a stream leaves to the next process.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    /// The stream itself.
    pub saved: Saved,
    /// What has been told of its life; nothing goes on to be told without it.
    pub story: Option<Story>,
    /// The events of its epoch; they are listed no more without it.
    pub timeline: Option<String>,
}

/// What a process finds of the one before.
#[derive(Debug, Default)]
pub struct Taken {
    /// Streams that may go on.
    pub streams: Vec<(StreamId, Left)>,
    /// What has been told of others, which cannot.
    pub stories: Vec<(StreamId, Story)>,
}

/// Why a stream cannot be kept or had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk does not do its part.
    #[error("{0}")]
    Disk(#[from] io::Error),
    /// The bytes are no stream that can be resumed.
    #[error("{0}")]
    State(#[from] saved::Error),
    /// More than a stream may take.
    #[error("{bytes} bytes, at most {} are kept", limits::STATE_BYTES_MAX)]
    TooLarge {
        /// What it takes.
        bytes: u64,
    },
}

/// The folder of saved streams. All calls block.
#[derive(Clone, Debug)]
pub struct StateStore {
    folder: PathBuf,
}

impl StateStore {
    /// Keeps in `folder`, which is created when needed.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Writes one stream, to be found by the next process.
    ///
    /// # Errors
    /// What the disk said, or that it is too large; nothing is left behind then.
    pub fn save(&self, stream: &StreamId, left: &Left) -> Result<(), Error> {
        let chunks = left.saved.encode();
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        if bytes > limits::STATE_BYTES_MAX {
            return Err(Error::TooLarge { bytes });
        }
        fs::create_dir_all(&self.folder)?;
        // No stream id contains a dot, so this is no stream's file.
        let fresh = self.folder.join(format!("{stream}.new"));
        let [life, timeline] = BESIDE.map(|kind| self.folder.join(format!("{stream}.{kind}")));
        let told = left.story.as_ref().map(serde_json::to_vec);
        let told = told.transpose().map_err(io::Error::from)?;
        let placed = left.timeline.clone();
        let written = told
            .map_or(Ok(()), |told| write(&life, &[told.into()]))
            .and_then(|()| placed.map_or(Ok(()), |placed| write(&timeline, &[placed.into()])))
            .and_then(|()| write(&fresh, &chunks))
            .and_then(|()| fs::rename(&fresh, self.folder.join(stream.as_str())))
            .and_then(|()| self.sync());
        if written.is_err() {
            // What cannot be removed either is removed by the next start.
            let stream = self.folder.join(stream.as_str());
            for path in [&fresh, &stream, &life, &timeline] {
                let _ = fs::remove_file(path);
            }
        }
        Ok(written?)
    }

    /// Takes every stream that was saved out of the folder; what is none is removed, with a line in the log.
    pub fn take(&self) -> Taken {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Taken::default(),
            Err(error) => {
                warn!(folder = %self.folder.display(), %error, "saved streams cannot be read");
                return Taken::default();
            }
        };
        let mut paths: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        paths.sort();
        let mut taken = Taken::default();
        for path in paths {
            let id = |name: Option<&OsStr>| name?.to_str()?.parse::<StreamId>().ok();
            let [life, timeline] = BESIDE.map(|kind| path.with_extension(kind));
            let story = fs::read(&life).ok();
            let story = story.and_then(|told| serde_json::from_slice(&told).ok());
            let placed = fs::read_to_string(&timeline).ok();
            // With their stream, whose name comes first.
            for beside in [&life, &timeline] {
                let _ = fs::remove_file(beside);
            }
            if path == life {
                // Its stream was not written: the process was cut.
                taken.stories.extend(id(path.file_stem()).zip(story));
                continue;
            }
            if path == timeline {
                continue;
            }
            let id = id(path.file_name());
            let read = read(&path);
            if let Err(error) = fs::remove_file(&path) {
                // Its stream would come back a second time.
                warn!(path = %path.display(), %error, "saved stream cannot be removed: not resumed");
                taken.stories.extend(id.zip(story));
                continue;
            }
            match (id, read) {
                (Some(id), Ok(saved)) => {
                    let timeline = placed;
                    let left = Left {
                        saved,
                        story,
                        timeline,
                    };
                    taken.streams.push((id, left));
                }
                (Some(stream), Err(error)) => {
                    refused(&stream, &error);
                    taken.stories.extend(story.map(|story| (stream, story)));
                }
                // Left by a process that was cut while it wrote.
                (None, _) => {
                    warn!(path = %path.display(), "unfinished file of a saved stream removed")
                }
            }
        }
        if !taken.streams.is_empty()
            && let Err(error) = self.sync()
        {
            warn!(folder = %self.folder.display(), %error, "folder of saved streams cannot be synced");
        }
        taken
    }

    /// Makes what was renamed or removed in the folder outlive the machine.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

/// Extensions of the files that hold what has been told of a life, and the events of an epoch.
const BESIDE: [&str; 2] = ["life", "timeline"];

/// Tells that a saved stream does not go on.
pub fn refused(stream: &StreamId, error: &dyn std::error::Error) {
    metrics::counter!("vitrine_resumes_total", "outcome" => "refused").increment(1);
    warn!(%stream, error = %error, "saved stream not resumed");
}

fn write(path: &Path, chunks: &[Bytes]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    for chunk in chunks {
        file.write_all(chunk)?;
    }
    file.sync_all()
}

fn read(path: &Path) -> Result<Saved, Error> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    if bytes > limits::STATE_BYTES_MAX {
        return Err(Error::TooLarge { bytes });
    }
    let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    file.take(bytes).read_to_end(&mut content)?;
    Ok(Saved::decode(&content.into())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::live::fixture;

    fn id() -> StreamId {
        "shop42".parse().expect("valid")
    }

    fn store() -> (tempfile::TempDir, StateStore) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = StateStore::in_folder(folder.path().join("streams"));
        (folder, store)
    }

    fn files(store: &StateStore) -> usize {
        fs::read_dir(&store.folder).map_or(0, Iterator::count)
    }

    #[test]
    fn a_stream_is_kept_for_its_owner_alone_and_taken_once() {
        let (_folder, store) = store();
        assert!(store.take().streams.is_empty(), "no folder is no fault");
        let saved = fixture::saved();
        store.save(&id(), &saved).expect("a disk");
        assert_eq!(files(&store), 1, "nothing beside it");
        let saved = Left {
            timeline: Some("{}".to_owned()),
            ..saved
        };
        store.save(&id(), &saved).expect("a disk");
        for name in ["shop42", "shop42.timeline"] {
            let path = store.folder.join(name);
            let mode = fs::metadata(&path).expect("written").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert_eq!(store.take().streams, [(id(), saved)]);
        assert_eq!(files(&store), 0);
        assert!(store.take().streams.is_empty());
    }

    #[test]
    fn a_file_that_is_no_saved_stream_is_refused_and_removed() {
        let (_folder, store) = store();
        store.save(&id(), &fixture::saved()).expect("a disk");
        let path = store.folder.join("shop42");
        let whole = fs::read(&path).expect("written");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        let mut newer = whole.clone();
        newer[8] += 1;
        for damaged in [&whole[..whole.len() - 1], &flipped, &newer, b"", b"garbage"] {
            fs::write(&path, damaged).expect("written");
            assert!(store.take().streams.is_empty());
            assert_eq!(files(&store), 0, "it is not read again");
        }
        fs::write(store.folder.join("shop42.new"), &whole).expect("written");
        assert!(
            store.take().streams.is_empty(),
            "a file that was not finished"
        );
        assert_eq!(files(&store), 0);
    }

    #[test]
    fn what_was_told_of_a_stream_that_cannot_go_on_is_found_once() {
        let (_folder, store) = store();
        let left = Left {
            story: Some(fixture::story()),
            ..fixture::saved()
        };
        let path = store.folder.join("shop42");
        let spoil: [fn(&Path); 2] = [
            |path| fs::write(path, "garbage").expect("written"),
            |path| fs::rename(path, path.with_extension("new")).expect("renamed"),
        ];
        for spoil in spoil {
            store.save(&id(), &left).expect("a disk");
            spoil(&path);
            let taken = store.take();
            assert!(taken.streams.is_empty());
            assert_eq!(taken.stories, [(id(), fixture::story())]);
            assert_eq!(files(&store), 0);
        }
        store.save(&id(), &left).expect("a disk");
        let taken = store.take();
        assert_eq!(
            (taken.streams, taken.stories.len()),
            (vec![(id(), left)], 0)
        );
    }

    #[test]
    fn a_disk_that_fails_says_so() {
        let (folder, store) = store();
        fs::write(folder.path().join("streams"), "in the way").expect("written");
        let saved = store.save(&id(), &fixture::saved());
        assert!(matches!(saved, Err(Error::Disk(_))), "{saved:?}");
        assert!(store.take().streams.is_empty());
    }
}
