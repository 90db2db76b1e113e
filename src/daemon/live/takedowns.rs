//! What was taken down and is never served again: epochs by number, and the stable addresses of a stream until another
//! publish begins.
//!
//! Every request asks here, after whatever it waited for; without a takedown that is one look at an empty map. Bounded,
//! and kept in `data_dir`, so that a restart brings nothing back.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use vitrine_core::{limits, media::WallTime};
use vitrine_runtime::clock;

use super::{
    StreamId,
    ledger::{self, Ledger},
};

/// The takedowns of this process and those before. A cheap handle.
#[derive(Clone, Debug)]
pub struct Takedowns(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    streams: ArcSwap<Table>,
    ledger: Ledger,
}

/// By stream id.
type Table = BTreeMap<String, Takedown>;

/// What was taken down of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Takedown {
    pub(super) epochs: BTreeSet<u64>,
    /// Whether nothing has been published since: then its stable addresses are gone as well.
    hidden: bool,
    /// Of the latest.
    pub(super) reason: String,
    pub(super) at: WallTime,
}

impl Takedowns {
    /// Those that are kept in the file at `path`; without one, none. Blocks.
    ///
    /// # Errors
    /// [`ledger::Error`].
    pub(super) fn at(path: Option<PathBuf>) -> Result<Self, ledger::Error> {
        let ledger = Ledger::at(path);
        let streams = ArcSwap::from_pointee(ledger.read()?);
        Ok(Self(Arc::new(Inner { streams, ledger })))
    }

    /// Whether nothing of this epoch is served; without one, nothing at the stable addresses of the stream.
    pub fn cover(&self, stream: &str, epoch: Option<u64>) -> bool {
        let streams = self.0.streams.load();
        streams.get(stream).is_some_and(|takedown| match epoch {
            Some(epoch) => takedown.epochs.contains(&epoch),
            None => takedown.hidden,
        })
    }

    /// What was taken down of a stream, if this epoch was.
    pub(super) fn find(&self, stream: &StreamId, epoch: u64) -> Option<Takedown> {
        let streams = self.0.streams.load();
        let takedown = streams.get(stream.as_str())?;
        Some(takedown.clone()).filter(|it| it.epochs.contains(&epoch))
    }

    /// From now on nothing of these epochs is served, nor anything at the stable addresses. [`Self::keep`] follows.
    pub(super) fn add(
        &self,
        stream: &StreamId,
        epochs: impl IntoIterator<Item = u64>,
        reason: &str,
    ) {
        let epochs: BTreeSet<_> = epochs.into_iter().collect();
        let at = clock::wall();
        self.0.streams.rcu(|streams| {
            let mut streams = Table::clone(streams);
            enter(&mut streams, stream.as_str(), &epochs, reason, at);
            streams
        });
    }

    /// Somebody publishes again: the stable addresses are the new broadcast's. [`Self::keep`] follows where that answers
    /// that anything has changed.
    pub(super) fn reopen(&self, stream: &StreamId) -> bool {
        if !self.cover(stream.as_str(), None) {
            return false;
        }
        self.0.streams.rcu(|streams| {
            let mut streams = Table::clone(streams);
            if let Some(takedown) = streams.get_mut(stream.as_str()) {
                takedown.hidden = false;
            }
            streams
        });
        true
    }

    /// Writes what holds.
    pub(super) async fn keep(&self) {
        let table = || self.0.streams.load_full();
        self.0.ledger.write(|| Table::clone(&table())).await;
    }
}

fn enter(streams: &mut Table, stream: &str, epochs: &BTreeSet<u64>, reason: &str, at: WallTime) {
    if streams.len() >= limits::TAKEDOWNS_MAX && !streams.contains_key(stream) {
        let oldest = streams.iter().min_by_key(|(_, takedown)| takedown.at);
        let oldest = oldest.map(|(stream, _)| stream.clone());
        oldest.map(|stream| streams.remove(&stream));
    }
    let takedown = streams.entry(stream.to_owned()).or_insert(Takedown {
        epochs: BTreeSet::new(),
        hidden: true,
        reason: String::new(),
        at,
    });
    takedown.epochs.extend(epochs);
    while takedown.epochs.len() > limits::TAKEDOWN_EPOCHS_MAX {
        takedown.epochs.pop_first();
    }
    takedown.reason = reason.chars().take(limits::REASON_CHARS_MAX).collect();
    (takedown.hidden, takedown.at) = (true, at);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> StreamId {
        "shop42".parse().expect("valid")
    }

    #[tokio::test]
    async fn what_was_taken_down_stays_down_over_a_restart_and_its_address_returns_with_a_publish()
    {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = Some(folder.path().join("takedowns.json"));
        let takedowns = Takedowns::at(path.clone()).expect("read");
        assert!(!takedowns.cover("shop42", None));
        takedowns.add(&stream(), [7, 8], "stolen goods");
        takedowns.add(&stream(), [9], "again");
        takedowns.keep().await;
        for takedowns in [&takedowns, &Takedowns::at(path.clone()).expect("read")] {
            for epoch in [None, Some(7), Some(8), Some(9)] {
                assert!(takedowns.cover("shop42", epoch), "{epoch:?}");
            }
            assert!(!takedowns.cover("shop42", Some(10)));
            assert!(!takedowns.cover("shop4", None));
        }
        takedowns.reopen(&stream());
        takedowns.keep().await;
        for takedowns in [&takedowns, &Takedowns::at(path).expect("read")] {
            assert!(!takedowns.cover("shop42", None));
            assert!(takedowns.cover("shop42", Some(7)));
        }
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let mut table = Table::new();
        for number in 0..=limits::TAKEDOWNS_MAX {
            let epochs = (0..=limits::TAKEDOWN_EPOCHS_MAX as u64).collect();
            let at = WallTime(number as i64);
            enter(&mut table, &number.to_string(), &epochs, "", at);
        }
        assert_eq!(table.len(), limits::TAKEDOWNS_MAX);
        assert!(!table.contains_key("0"));
        let kept = &table["1"].epochs;
        assert_eq!(kept.len(), limits::TAKEDOWN_EPOCHS_MAX);
        assert!(!kept.contains(&0), "the oldest went");
    }
}
