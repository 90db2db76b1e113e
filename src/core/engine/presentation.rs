//! What the multivariant playlist says of each variant: a rendition of pictures and the sound beside it.

use super::{packager::Packager, plan::Plan, saved};
use crate::{
    media::{Config, Kind, Rendition},
    wire::m3u8::multivariant::{Multivariant, Variant},
};

/// What was promised of each variant.
#[derive(Debug, Default)]
pub(super) struct Promises {
    variants: Vec<(Rendition, Bitrate)>,
    /// Bits per second of events, beside that.
    events: u64,
}

impl Promises {
    /// The promises at rest.
    pub(super) fn save(&self) -> Vec<saved::Bitrate> {
        let saved = |(rendition, rate): &(Rendition, Bitrate)| saved::Bitrate {
            rendition: saved::index(*rendition),
            bandwidth: rate.bandwidth,
            average: rate.average,
            measured_msn: rate.measured_msn,
        };
        self.variants.iter().map(saved).collect()
    }

    /// Bits per second promised for events.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// A publish may carry `events` bits per second of those: what was promised once stays.
    pub(super) fn allow(&mut self, events: u64) {
        self.events = self.events.max(events);
    }

    /// The promises that [`Self::save`] left, and [`Self::events`].
    ///
    /// # Errors
    /// A rendition that is none, or more events than may be.
    pub(super) fn restore(saved: &[saved::Bitrate], events: u64) -> Result<Self, saved::Error> {
        let promise = |saved: &saved::Bitrate| {
            let rate = Bitrate {
                bandwidth: saved.bandwidth,
                average: saved.average,
                told: false,
                measured_msn: saved.measured_msn,
            };
            Ok((saved::rendition(saved.rendition)?, rate))
        };
        Ok(Self {
            variants: saved.iter().map(promise).collect::<Result<_, _>>()?,
            events: saved::count(events)?,
        })
    }

    /// The playlist of an epoch that carries `packagers`; `independent` is whether every segment begins with a sync
    /// sample. Measures what is new in them.
    pub(super) fn multivariant<'a>(
        &mut self,
        epoch: u64,
        plan: &Plan,
        packagers: impl Iterator<Item = &'a Packager> + Clone,
        independent: bool,
    ) -> Multivariant {
        let audio = packagers.clone().find(|it| it.kind() == Kind::Audio);
        let mut videos: Vec<_> = packagers.filter(|it| it.kind() == Kind::Video).collect();
        videos.sort_by_key(|video| video.rendition());
        // What was promised once stays, whatever a session to come asks for.
        let promised = { self.variants.iter() }.any(|(known, _)| *known == Rendition::Audio);
        let alone = promised || plan.ladder.is_some_and(|ladder| ladder.audio_only);
        let mut mains: Vec<_> = videos.iter().map(|video| (*video, audio)).collect();
        mains.extend(
            { audio }
                .filter(|_| alone || videos.is_empty())
                .map(|audio| (audio, None)),
        );
        let variants = { mains.into_iter() }
            .map(|(main, audio)| self.variant(plan, main, audio))
            .collect();
        let sound = audio.map(Packager::config).filter(|_| !videos.is_empty());
        Multivariant {
            epoch,
            variants,
            audio_channels: sound.and_then(Config::channels),
            captions: plan.captions,
            independent_segments: independent,
        }
    }

    fn variant(&mut self, plan: &Plan, main: &Packager, audio: Option<&Packager>) -> Variant {
        let rendition = main.rendition();
        let rung = plan.rungs.iter().find(|rung| rung.rendition == rendition);
        let known = self
            .variants
            .iter()
            .position(|(known, _)| *known == rendition);
        let known = known.unwrap_or_else(|| {
            let sound = audio.map_or(0, |audio| rate(audio, None));
            let promise = rung.map(|rung| Bitrate::promised(rung.bitrate, sound));
            self.variants.push((rendition, promise.unwrap_or_default()));
            self.variants.len() - 1
        });
        let rate = &mut self.variants[known].1;
        rate.observe(main, audio);
        let pictures = main.kind() == Kind::Video;
        let carries = pictures || plan.video.is_none();
        let events = if carries { self.events } else { 0 };
        let frame_rate = rung.map_or(plan.frame_rate, |rung| Some(rung.frame_rate));
        Variant {
            rendition,
            bandwidth: rate.bandwidth + events,
            average_bandwidth: rate.average,
            codecs: [Some(main), audio]
                .into_iter()
                .flatten()
                .map(|packager| packager.config().codecs())
                .collect(),
            resolution: main.config().display_resolution(),
            frame_rate: frame_rate.filter(|_| pictures),
            hdr: main.config().hdr(),
        }
    }
}

/// `BANDWIDTH` and `AVERAGE-BANDWIDTH`: fixed by what the encoder was told or by the first media, raised when exceeded,
/// never lowered.
#[derive(Debug, Default)]
struct Bitrate {
    bandwidth: u64,
    average: u64,
    /// Whether the average is what the encoder was told.
    told: bool,
    /// Complete segments up to here are measured.
    measured_msn: Option<u64>,
}

impl Bitrate {
    /// Of an encoder that was told its average, beside `sound` bits per second.
    fn promised(average: u32, sound: u64) -> Self {
        let average = u64::from(average);
        Self {
            bandwidth: average + average / 4 + sound,
            average: average + sound,
            told: true,
            measured_msn: None,
        }
    }

    /// Measures the newest segment that is complete in both.
    fn observe(&mut self, main: &Packager, audio: Option<&Packager>) {
        let both = || [Some(main), audio].into_iter().flatten();
        let complete = both().map(|it| it.window().newest_complete().map(|segment| segment.msn));
        let newest = complete.min().flatten();
        let unknown = self.bandwidth == 0;
        if newest == self.measured_msn && !unknown {
            return;
        }
        self.measured_msn = newest;
        let peak: u64 = both().map(|packager| rate(packager, newest)).sum();
        if peak > self.bandwidth {
            self.bandwidth = peak + peak / 4;
            if !self.told {
                self.average = peak;
            }
        }
    }
}

/// Bits per second of segment `msn` of one rendition; of all media held before a first one is complete.
fn rate(packager: &Packager, msn: Option<u64>) -> u64 {
    let window = packager.window();
    let (bytes, length) = match msn.and_then(|msn| window.segment(msn)) {
        Some(segment) => (segment.bytes(), segment.duration),
        None => (window.retained_bytes(), window.end_time()),
    };
    let seconds = packager.config().timescale().at(length.max(1)).seconds();
    (bytes as f64 * 8.0 / seconds) as u64
}
