//! The last epoch of every stream, kept on disk so that a URI never means two things (design, section 7 "Epoch").
//!
//! One small file per stream, replaced by a rename. A disk that fails is no reason to refuse a broadcast: seconds since
//! 1970 rise by themselves, so the file only matters when an epoch begins within a second of another, was named by a
//! verdict, or when the clock was set back.

use std::{io, path::PathBuf, sync::Arc};

use vitrine_core::media::WallTime;

use super::StreamId;

/// Where epochs are remembered. A cheap handle.
#[derive(Clone, Debug)]
pub struct EpochStore {
    folder: Option<Arc<PathBuf>>,
}

impl EpochStore {
    /// Remembers in `folder`, which is created when needed.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: Some(Arc::new(folder.into())),
        }
    }

    /// Remembers nothing: for tests.
    pub fn forgetful() -> Self {
        Self { folder: None }
    }

    /// The epoch a publish accepted at `now` may begin: the one the verdict names, else seconds since 1970, but beyond
    /// every epoch remembered. `running` is the newest epoch the stream itself knows of. Remembers it.
    pub async fn next(
        &self,
        stream: &StreamId,
        now: WallTime,
        named: Option<u64>,
        running: Option<u64>,
    ) -> u64 {
        let last = match self.read(stream).await {
            Ok(last) => last.max(running),
            Err(error) => {
                tracing::warn!(%stream, %error, "last epoch cannot be read");
                running
            }
        };
        let seconds = u64::try_from(now.0 / 1000).unwrap_or(0);
        let epoch = named.unwrap_or_else(|| last.map_or(seconds, |last| seconds.max(last + 1)));
        if last.is_none_or(|last| last < epoch) {
            self.remember(stream, epoch).await;
        }
        epoch
    }

    /// Remembers an epoch that the stream has begun by itself.
    pub async fn remember(&self, stream: &StreamId, epoch: u64) {
        if let Err(error) = self.write(stream, epoch).await {
            tracing::warn!(%stream, epoch, %error, "epoch cannot be remembered");
        }
    }

    async fn read(&self, stream: &StreamId) -> io::Result<Option<u64>> {
        let Some(folder) = &self.folder else {
            return Ok(None);
        };
        match tokio::fs::read_to_string(folder.join(stream.as_str())).await {
            Ok(text) => (text.trim().parse().map(Some))
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, stream: &StreamId, epoch: u64) -> io::Result<()> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        tokio::fs::create_dir_all(folder.as_path()).await?;
        // No stream id contains a dot, so this is no stream's file.
        let fresh = folder.join(format!("{stream}.new"));
        tokio::fs::write(&fresh, format!("{epoch}\n")).await?;
        tokio::fs::rename(&fresh, folder.join(stream.as_str())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: WallTime = WallTime(1_767_268_800_123);

    fn stream() -> StreamId {
        "shop42".parse().expect("valid")
    }

    #[tokio::test]
    async fn an_epoch_is_the_second_it_was_accepted_in_and_never_given_twice() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("epochs");
        let store = EpochStore::in_folder(&path);
        assert_eq!(store.next(&stream(), NOON, None, None).await, 1_767_268_800);
        // A restart within the same second, then one with the clock set back by an hour.
        let store = EpochStore::in_folder(&path);
        assert_eq!(store.next(&stream(), NOON, None, None).await, 1_767_268_801);
        let earlier = WallTime(NOON.0 - 3_600_000);
        assert_eq!(
            store.next(&stream(), earlier, None, None).await,
            1_767_268_802
        );
        let later = WallTime(NOON.0 + 10_000);
        assert_eq!(
            store.next(&stream(), later, None, None).await,
            1_767_268_810
        );
    }

    #[tokio::test]
    async fn a_verdict_names_the_epoch_and_later_ones_go_beyond_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = EpochStore::in_folder(folder.path());
        assert_eq!(
            store.next(&stream(), NOON, Some(4_000_000_000), None).await,
            4_000_000_000
        );
        assert_eq!(store.next(&stream(), NOON, None, None).await, 4_000_000_001);
        // The same broadcast at a second origin: named again, given again.
        assert_eq!(store.next(&stream(), NOON, Some(7), None).await, 7);
        assert_eq!(store.next(&stream(), NOON, None, None).await, 4_000_000_002);
    }

    #[tokio::test]
    async fn a_stream_knows_more_than_its_file() {
        let store = EpochStore::forgetful();
        assert_eq!(
            store.next(&stream(), NOON, None, Some(2_000_000_000)).await,
            2_000_000_001
        );
    }

    #[tokio::test]
    async fn a_failing_disk_refuses_no_broadcast() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "in the way").expect("written");
        let store = EpochStore::in_folder(&path);
        assert_eq!(store.next(&stream(), NOON, None, None).await, 1_767_268_800);
        std::fs::write(folder.path().join("shop42"), "not a number").expect("written");
        let store = EpochStore::in_folder(folder.path());
        assert_eq!(store.next(&stream(), NOON, None, None).await, 1_767_268_800);
    }
}
