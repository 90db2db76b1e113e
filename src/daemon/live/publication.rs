//! The write half of what requests are answered from: turns a stream's outputs into watches.
//!
//! The multivariant playlist appears when every rendition it lists has a part, never earlier (a player that finds a
//! listed playlist missing or empty gives up or starts slowly), and makes way when a new epoch is on its way. Ended
//! epochs stay fetchable for their retention, but never more than a few at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::watch, time::Instant};
use vitrine_core::{
    engine::window::Snapshot,
    limits,
    media::Rendition,
    wire::{event::Placed, m3u8::multivariant::Multivariant},
};

use super::{
    epochs::Newest,
    published::{Body, Epoch, Master, Rendered, Shared, Text},
    timeline::Timeline,
};

/// The sending ends of everything a stream has published.
pub(super) struct Publication {
    shared: Arc<Shared>,
    master: watch::Sender<Option<Arc<Master>>>,
    /// The newest multivariant playlist while a rendition of it has no part yet.
    pending: Option<Arc<Multivariant>>,
    /// Oldest first.
    epochs: Vec<Run>,
    /// Number of the newest that was cleared away.
    cleared: Option<u64>,
    retention: Duration,
}

struct Run {
    number: u64,
    renditions: BTreeMap<Rendition, watch::Sender<Arc<Rendered>>>,
    timeline: Arc<Timeline>,
    /// When it may be dropped, once ended.
    until: Option<Instant>,
}

impl Run {
    fn playable(&self, rendition: Rendition) -> bool {
        self.renditions
            .get(&rendition)
            .is_some_and(|versions| versions.borrow().snapshot().edge().is_some())
    }
}

impl Publication {
    /// Nothing published yet. A list longer than the usual retention keeps its ended epochs as long as it is.
    pub(super) fn new(
        shared: Arc<Shared>,
        master: watch::Sender<Option<Arc<Master>>>,
        window: Duration,
    ) -> Self {
        Self {
            shared,
            master,
            pending: None,
            epochs: Vec::new(),
            cleared: None,
            retention: limits::ENDED_RETENTION.max(2 * window),
        }
    }

    /// The newest epoch.
    pub(super) fn newest(&self) -> Option<Newest> {
        let cleared = self.cleared.map(|number| Newest {
            number,
            running: false,
        });
        let newest = self.epochs.last().map(|run| Newest {
            number: run.number,
            running: run.until.is_none(),
        });
        newest.or(cleared)
    }

    /// Numbers of the epochs that can be fetched, oldest first.
    pub(super) fn epochs(&self) -> Vec<u64> {
        self.epochs.iter().map(|run| run.number).collect()
    }

    /// The renditions of the newest epoch.
    pub(super) fn renditions(&self) -> Vec<Rendition> {
        let newest = self.epochs.last();
        newest.map_or(Vec::new(), |run| run.renditions.keys().copied().collect())
    }

    /// Nothing can be fetched any more; whoever waits for anything is woken.
    pub(super) fn clear(&mut self) {
        self.cleared = self.newest().map(|newest| newest.number);
        self.epochs.clear();
        self.pending = None;
        self.share();
        self.shared.thumbnail.store(None);
        self.master.send_replace(None);
    }

    /// Whether the multivariant playlist is served.
    pub(super) fn ready(&self) -> bool {
        self.master.borrow().is_some()
    }

    /// A publisher has come: whoever asks now waits for its epoch unless the former one goes on.
    pub(super) fn opened(&mut self) {
        if self.epochs.last().is_some_and(|run| run.until.is_some()) {
            self.master.send_replace(None);
            self.shared.thumbnail.store(None);
        }
    }

    /// Takes a still, a JPEG. It stays until the next, or another broadcast.
    pub(super) fn thumbnail(&mut self, still: Bytes) {
        self.shared
            .thumbnail
            .store(Some(Arc::new(Body::new(still))));
    }

    /// Takes the multivariant playlist of an epoch.
    pub(super) fn presentation(&mut self, presentation: Arc<Multivariant>) {
        self.pending = Some(presentation);
        self.publish_master();
    }

    /// Takes a new version of a rendition; answers how many parts it has more than the one before.
    pub(super) fn snapshot(
        &mut self,
        epoch: u64,
        rendition: Rendition,
        snapshot: Arc<Snapshot>,
    ) -> u64 {
        let version = Arc::new(Rendered::new(snapshot));
        let run = self.run(epoch);
        let parts = version.snapshot().next_part;
        let known = match run.renditions.get(&rendition) {
            Some(versions) => {
                let known = versions.borrow().snapshot().next_part;
                let grew = version.snapshot().grew_from(versions.borrow().snapshot());
                // One that only reports on other renditions wakes nobody.
                versions.send_if_modified(|current| {
                    *current = version;
                    grew
                });
                known
            }
            None => {
                run.renditions
                    .insert(rendition, watch::Sender::new(version));
                self.share();
                0
            }
        };
        if self.pending.is_some() {
            self.publish_master();
        }
        parts - known
    }

    /// Every playlist of `epoch` has its end; `publishing` tells that another epoch may follow at once.
    pub(super) fn ended(&mut self, epoch: u64, now: Instant, publishing: bool) {
        let until = now + self.retention;
        if let Some(run) = self.epochs.iter_mut().find(|run| run.number == epoch) {
            run.until = Some(until);
            run.timeline.end();
        }
        self.pending.take_if(|pending| pending.epoch == epoch);
        if publishing {
            self.master.send_if_modified(|master| {
                master.take_if(|master| master.epoch == epoch).is_some()
            });
        }
    }

    /// Takes an event that stands in the stream.
    pub(super) fn placed(&self, placed: &Placed) {
        let epoch = placed.place.epoch;
        if let Some(run) = self.epochs.iter().find(|run| run.number == epoch) {
            run.timeline.add(placed);
        }
    }

    /// The timeline of the newest epoch, for another process; `None` without events.
    pub(super) fn leave_timeline(&self) -> Option<String> {
        self.epochs.last()?.timeline.leave()
    }

    /// Goes on with the timeline that another process left of the newest epoch.
    pub(super) fn resume_timeline(&self, left: &str) {
        if let Some(run) = self.epochs.last() {
            run.timeline.resume(left);
        }
    }

    /// How long ended epochs stay.
    pub(super) fn retention(&self) -> Duration {
        self.retention
    }

    /// When [`Publication::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.epochs.iter().filter_map(|run| run.until).min()
    }

    /// Drops the epochs whose retention is over.
    pub(super) fn expire(&mut self, now: Instant) {
        let before = self.epochs.len();
        self.epochs
            .retain(|run| run.until.is_none_or(|until| now < until));
        if self.epochs.len() < before {
            self.share();
        }
    }

    /// The run of `epoch`, begun when it is new; the oldest makes way for it.
    fn run(&mut self, epoch: u64) -> &mut Run {
        let at = match self.epochs.iter().position(|run| run.number == epoch) {
            Some(at) => at,
            None => {
                if self.epochs.len() == limits::EPOCHS_KEPT_MAX {
                    self.epochs.remove(0);
                }
                let stream = self.shared.id.clone();
                self.epochs.push(Run {
                    number: epoch,
                    renditions: BTreeMap::new(),
                    timeline: Arc::new(Timeline::new(stream, epoch)),
                    until: None,
                });
                self.epochs.len() - 1
            }
        };
        &mut self.epochs[at]
    }

    fn publish_master(&mut self) {
        let playable = self.pending.as_ref().is_some_and(|pending| {
            let run = self.epochs.iter().find(|run| run.number == pending.epoch);
            run.is_some_and(|run| renditions(pending).all(|rendition| run.playable(rendition)))
        });
        if playable && let Some(presentation) = self.pending.take() {
            self.master.send_replace(Some(Arc::new(Master {
                epoch: presentation.epoch,
                text: Text::new(presentation.write()),
            })));
        }
    }

    fn share(&self) {
        let epochs = self.epochs.iter().map(|run| Epoch {
            number: run.number,
            renditions: (run.renditions.iter())
                .map(|(name, versions)| (*name, versions.subscribe()))
                .collect(),
            timeline: run.timeline.clone(),
        });
        self.shared.epochs.store(Arc::new(epochs.collect()));
    }
}

/// Every rendition a multivariant playlist names.
fn renditions(presentation: &Multivariant) -> impl Iterator<Item = Rendition> {
    let variants = presentation
        .variants
        .iter()
        .map(|variant| variant.rendition);
    variants.chain(presentation.audio_channels.map(|_| Rendition::Audio))
}
