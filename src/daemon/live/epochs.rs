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

    /// The epoch that a publish accepted at `now` may begin: the one its verdict names, else seconds since 1970, but
    /// always beyond the last one begun. `running` is the newest epoch that the stream itself knows of.
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
        let wanted = named.unwrap_or(seconds);
        match last {
            Some(last) if wanted <= last => seconds.max(last.saturating_add(1)),
            _ => wanted,
        }
    }

    /// Remembers an epoch that has begun.
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

    /// Begins epochs in `folder` as (milliseconds after noon, named) says, by a new process each, and tells their numbers.
    async fn begin(folder: &std::path::Path, publishes: &[(i64, Option<u64>)]) -> Vec<u64> {
        let mut begun = Vec::new();
        for (after_ms, named) in publishes {
            let store = EpochStore::in_folder(folder.join("epochs"));
            let epoch = store
                .next(&stream(), WallTime(NOON.0 + after_ms), *named, None)
                .await;
            store.remember(&stream(), epoch).await;
            begun.push(epoch);
        }
        begun
    }

    #[tokio::test]
    async fn an_epoch_is_the_second_it_was_accepted_in_and_never_given_twice() {
        let folder = tempfile::tempdir().expect("temporary folder");
        // Again within the same second, then with the clock set back by an hour.
        let publishes = [(0, None), (0, None), (-3_600_000, None), (10_000, None)];
        let begun = begin(folder.path(), &publishes).await;
        assert_eq!(
            begun,
            [1_767_268_800, 1_767_268_801, 1_767_268_802, 1_767_268_810]
        );
    }

    #[tokio::test]
    async fn a_verdict_names_the_epoch_unless_it_was_begun_before() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let publishes = [
            (0, Some(7)),
            (0, Some(8)),
            (0, Some(8)),
            (0, Some(4_000_000_000)),
            (0, None),
        ];
        let begun = begin(folder.path(), &publishes).await;
        assert_eq!(begun, [7, 8, 1_767_268_800, 4_000_000_000, 4_000_000_001]);
    }

    #[tokio::test]
    async fn an_epoch_that_never_began_is_not_used_up() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = EpochStore::in_folder(folder.path());
        for _ in 0..2 {
            assert_eq!(store.next(&stream(), NOON, Some(7), None).await, 7);
        }
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
