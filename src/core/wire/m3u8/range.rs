//! Date ranges: what lasts in the shop, as players see it in a playlist (draft-pantos-hls-rfc8216bis, 4.4.5.1).
//!
//! The event's JSON text rides whole in the one attribute `X-VITRINE`, for players make a cue of every `X-` attribute. Of
//! what is written for an id nothing ever changes but that an end appears: `DURATION` is the event's own, `END-DATE` is
//! told by the event that closes it. Which ranges are listed, and for how long, is the engine's to know.

use std::fmt;

use base64::{display::Base64Display, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{media::WallTime, wire::event::Placed};

/// One `EXT-X-DATERANGE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// `ID`: the event's; letters, digits, `-` and `_`.
    pub id: String,
    /// The event's type: `CLASS` is `vitrine.` and this.
    pub kind: &'static str,
    /// `START-DATE`: the program date-time of the event.
    pub start: WallTime,
    /// `DURATION`, in milliseconds, if the event told it: then nothing may end it.
    pub duration_ms: Option<u32>,
    /// `END-DATE`, once an event closed it; not before `start`.
    pub end: Option<WallTime>,
    /// The event's JSON text: `X-VITRINE` is its base64url without padding.
    pub value: String,
}

impl Range {
    /// The range of an event that lasts; `None` of one that does not.
    pub fn of(placed: &Placed) -> Option<Self> {
        placed.event.is_range().then(|| Self {
            id: placed.event.id.clone(),
            kind: placed.event.kind.name,
            start: placed.place.program_date_time,
            duration_ms: placed.event.duration_ms,
            end: None,
            value: placed.value().to_owned(),
        })
    }

    /// When it ends, as far as that is known.
    pub fn ends(&self) -> Option<WallTime> {
        let lasts = |duration_ms: u32| WallTime(self.start.0.saturating_add(duration_ms.into()));
        self.duration_ms.map(lasts).or(self.end)
    }

    /// Most bytes of its line in a playlist, with its end and the end of the line.
    pub fn line_bytes_max(&self) -> usize {
        const REST: usize = 160;
        let value = base64::encoded_len(self.value.len(), false).unwrap_or(usize::MAX);
        REST.saturating_add(self.id.len() + self.kind.len())
            .saturating_add(value)
    }
}

/// The line of a playlist, without its end.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id, kind, start, ..
        } = self;
        write!(
            f,
            r#"#EXT-X-DATERANGE:ID="{id}",CLASS="vitrine.{kind}",START-DATE="{start}""#
        )?;
        if let Some(ms) = self.duration_ms {
            write!(f, ",DURATION={}.{:03}", ms / 1000, ms % 1000)?;
        } else if let Some(end) = self.end {
            write!(f, r#",END-DATE="{end}""#)?;
        }
        let value = Base64Display::new(self.value.as_bytes(), &BASE64_URL_SAFE_NO_PAD);
        write!(f, r#",X-VITRINE="{value}""#)
    }
}
