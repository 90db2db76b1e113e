//! What the task of a stream notes for backends: whether what its publisher sends can be played, and in which renditions
//! it cannot.
//!
//! The chronicle sees to it that each thing is told once; here is looked, after every input, whether there is anything.

use std::collections::BTreeSet;

use vitrine_core::{
    engine::{stream::Source, window::Snapshot},
    media::Rendition,
};

use super::Task;

impl Task {
    /// Notes for backends what has become of the publish and, where that may have changed, of its renditions; those in
    /// `back` have media again.
    pub(super) fn note(&mut self, changed: bool, back: &BTreeSet<Rendition>) {
        let now = self.clock.now().wall;
        if let Some((held, _)) = &self.held {
            let session = held.session;
            let plays = self.publication.ready() && self.stream.flows();
            let silent = self.stream.stopgap().is_some();
            let noted = Some((session, plays));
            if (plays || silent) && self.noted != noted {
                self.noted = noted;
                let mut chronicle = self.shared.chronicle();
                match plays {
                    true => chronicle.playable(now, session, &self.publication.renditions()),
                    false => chronicle.silent(now, session),
                }
            }
        }
        if changed {
            let sources = self.stream.sources().map(|(_, sources)| sources);
            let sources = sources.unwrap_or_default();
            self.lost
                .retain(|lost| sources.contains_key(lost) && !back.contains(lost));
            let failed = |source: &Source| matches!(source, Source::Encoded { lost: Some(_), .. });
            let failed = sources.iter().filter(|(_, source)| failed(source));
            self.lost.extend(failed.map(|(rendition, _)| *rendition));
            self.tell_losses();
        }
    }

    pub(super) fn tell_losses(&self) {
        let sound = matches!(self.shared.status().sound, Some((_, true)));
        let mut lost = self.lost.clone();
        lost.extend(sound.then_some(Rendition::Audio));
        let now = self.clock.now().wall;
        self.shared.chronicle().lost(now, &lost);
    }
}

/// Whether the newest part of a version is no gap.
pub(super) fn has_media(snapshot: &Snapshot) -> bool {
    let newest = snapshot.open.as_ref().or(snapshot.listed.last());
    let part = newest.and_then(|segment| segment.parts.last());
    part.is_some_and(|part| part.data.is_some())
}
