//! The last epoch of every stream, kept on disk so that a URI never means two things (design, section 7 "Epoch").
//!
//! One small file per stream, replaced by a rename. A disk that fails is no reason to refuse a broadcast: seconds since
//! 1970 rise by themselves, so the file only matters when an epoch begins within a second of another, was named by a
//! verdict, or when the clock was set back.

use std::{io, path::PathBuf, sync::Arc};

use vitrine_core::{limits, media::WallTime};

use super::StreamId;

/// The newest epoch a stream knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Its number.
    pub number: u64,
    /// Whether it has not ended yet, so that a publish may go on with it.
    pub running: bool,
}

/// Why an epoch cannot be what somebody named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Its URIs have had a meaning already.
    #[error(
        "epoch {named} cannot begin: {last} was begun before, and a number is never used twice"
    )]
    Begun {
        /// As named.
        named: u64,
        /// The last one begun.
        last: u64,
    },
    /// Not about now.
    #[error("epoch {named} cannot begin: it must be a time in Unix seconds, within an hour of now")]
    Far {
        /// As named.
        named: u64,
    },
}

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

    /// The epoch that a publish accepted at `now` may begin or go on with: the one that was named for it, else seconds
    /// since 1970 or what is beyond the last one begun. `newest` is the newest epoch that the stream itself knows of.
    ///
    /// # Errors
    /// [`Unfit`] when the named one cannot be had: another in its place would tell two origins apart in silence.
    pub async fn next(
        &self,
        stream: &StreamId,
        now: WallTime,
        named: Option<u64>,
        newest: Option<Newest>,
    ) -> Result<u64, Unfit> {
        let known = newest.map(|newest| newest.number);
        let last = match self.read(stream).await {
            Ok(last) => last.max(known),
            Err(error) => {
                tracing::warn!(%stream, %error, "last epoch cannot be read");
                known
            }
        };
        let seconds = u64::try_from(now.0 / 1000).unwrap_or(0);
        let Some(named) = named else {
            let beyond = last.map_or(0, |last| last.saturating_add(1));
            return Ok(seconds.max(beyond));
        };
        if newest.is_some_and(|newest| newest.running && newest.number == named) {
            return Ok(named);
        }
        if let Some(last) = last.filter(|last| named <= *last) {
            return Err(Unfit::Begun { named, last });
        }
        if named.abs_diff(seconds) > limits::EPOCH_SLACK.as_secs() {
            return Err(Unfit::Far { named });
        }
        Ok(named)
    }

    /// Remembers an epoch that has begun, or goes on; a later one that is known stays known.
    pub async fn remember(&self, stream: &StreamId, epoch: u64) {
        if matches!(self.read(stream).await, Ok(Some(known)) if known >= epoch) {
            return;
        }
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
    async fn begin(
        folder: &std::path::Path,
        publishes: &[(i64, Option<u64>)],
    ) -> Vec<Result<u64, Unfit>> {
        let mut begun = Vec::new();
        for (after_ms, named) in publishes {
            let store = EpochStore::in_folder(folder.join("epochs"));
            let epoch = store
                .next(&stream(), WallTime(NOON.0 + after_ms), *named, None)
                .await;
            if let Ok(epoch) = epoch {
                store.remember(&stream(), epoch).await;
            }
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
            [1_767_268_800, 1_767_268_801, 1_767_268_802, 1_767_268_810].map(Ok)
        );
    }

    #[tokio::test]
    async fn an_older_epoch_that_goes_on_lets_no_number_be_given_again() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = EpochStore::in_folder(folder.path().join("epochs"));
        store.remember(&stream(), 1_767_268_900).await;
        store.remember(&stream(), 1_767_268_800).await;
        let next = store.next(&stream(), NOON, None, None).await;
        assert_eq!(next, Ok(1_767_268_901));
    }

    #[tokio::test]
    async fn a_named_epoch_is_had_or_refused_never_replaced() {
        let folder = tempfile::tempdir().expect("temporary folder");
        const SECOND: u64 = 1_767_268_800;
        let publishes = [
            (0, Some(SECOND - 3601)),
            (0, Some(SECOND - 3600)),
            (0, Some(SECOND - 10)),
            (0, Some(SECOND - 10)),
            (0, Some(SECOND - 11)),
            (0, Some(SECOND + 3601)),
            (0, Some(SECOND + 3600)),
            (0, None),
        ];
        let begun = begin(folder.path(), &publishes).await;
        let last = SECOND - 10;
        let wanted = [
            Err(Unfit::Far {
                named: SECOND - 3601,
            }),
            Ok(SECOND - 3600),
            Ok(last),
            Err(Unfit::Begun { named: last, last }),
            Err(Unfit::Begun {
                named: last - 1,
                last,
            }),
            Err(Unfit::Far {
                named: SECOND + 3601,
            }),
            Ok(SECOND + 3600),
            Ok(SECOND + 3601),
        ];
        assert_eq!(begun, wanted);
    }

    #[tokio::test]
    async fn the_running_epoch_is_gone_on_with_however_old_it_is() {
        let store = EpochStore::forgetful();
        for (running, wanted) in [
            (true, Ok(7)),
            (false, Err(Unfit::Begun { named: 7, last: 7 })),
        ] {
            let newest = Some(Newest { number: 7, running });
            assert_eq!(store.next(&stream(), NOON, Some(7), newest).await, wanted);
        }
    }

    #[tokio::test]
    async fn an_epoch_that_never_began_is_not_used_up() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = EpochStore::in_folder(folder.path());
        for _ in 0..2 {
            let named = Some(1_767_268_807);
            let epoch = store.next(&stream(), NOON, named, None).await;
            assert_eq!(epoch, Ok(1_767_268_807));
        }
    }

    #[tokio::test]
    async fn a_stream_knows_more_than_its_file() {
        let store = EpochStore::forgetful();
        let newest = Some(Newest {
            number: 2_000_000_000,
            running: true,
        });
        assert_eq!(
            store.next(&stream(), NOON, None, newest).await,
            Ok(2_000_000_001)
        );
    }

    #[tokio::test]
    async fn a_failing_disk_refuses_no_broadcast() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "in the way").expect("written");
        let store = EpochStore::in_folder(&path);
        let epoch = store.next(&stream(), NOON, None, None).await;
        assert_eq!(epoch, Ok(1_767_268_800));
        std::fs::write(folder.path().join("shop42"), "not a number").expect("written");
        let store = EpochStore::in_folder(folder.path());
        let epoch = store.next(&stream(), NOON, None, None).await;
        assert_eq!(epoch, Ok(1_767_268_800));
    }
}
