//! The segmenter at rest: what one process leaves to the next ([`saved::Cuts`]).

use super::{Lead, Segmenter, Sound};
use crate::{
    engine::{plan::Plan, saved},
    limits,
    media::{MediaTime, Timescale},
};

impl Segmenter {
    /// Where it stands after [`Self::flush`], without what the next session brings anew; `None` before the first segment.
    pub(in crate::engine) fn save(&self) -> Option<saved::Cuts> {
        Some(saved::Cuts {
            segment_start: self.lead.segment_start?,
            part_start: self.lead.part_start,
            next: self.lead_end(),
            sound_next: self.sound.next,
            media: self.lead.media,
            broke_independence: self.broke_independence,
        })
    }

    /// A segmenter that stands where [`Self::save`] left one; the open part of the sound began at `sound_start`.
    ///
    /// # Errors
    /// What in it cannot be.
    pub(in crate::engine) fn restore(
        plan: Plan,
        saved: &saved::Cuts,
        sound_start: Option<i64>,
    ) -> Result<Self, saved::Error> {
        let fresh = Self::new(plan);
        let lead = saved::number(saved.part_start)?;
        let near = |time: MediaTime| {
            let skew = MediaTime::from_ms(limits::STATE_SKEW_MS).ticks_at(Timescale::VIDEO);
            (time.ticks_at(Timescale::VIDEO) - lead).abs() <= skew
        };
        let sound_next = saved::number(saved.sound_next)?;
        let together = near(Timescale::VIDEO.at(saved::number(saved.next)?))
            && sound_start.is_none_or(|start| {
                near(fresh.sound.scale.at(start)) && near(fresh.sound.scale.at(sound_next))
            });
        saved::hold(together, "tracks that stand far apart")?;
        saved::hold(
            (0..=lead).contains(&saved.segment_start)
                && sound_start.is_none_or(|start| start <= sound_next),
            "a part before its segment",
        )?;
        Ok(Self {
            broke_independence: saved.broke_independence,
            lead: Lead {
                segment_start: Some(saved.segment_start),
                part_start: lead,
                next: saved.next,
                media: saved.media,
                missing: true,
                ..Lead::default()
            },
            sound: Sound {
                part_start: sound_start,
                next: sound_next,
                ..fresh.sound
            },
            ..fresh
        })
    }
}
