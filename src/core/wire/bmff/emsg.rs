//! Event message boxes (ISO/IEC 23009-1, 5.10.3.3; AOM "Carriage of ID3 Timed Metadata in CMAF"), version 1: the time is the
//! epoch's, not the segment's, so the same bytes serve every rendition.

use bytes::Bytes;
use mp4::{EmsgBox, WriteBox as _};

/// Which scheme the messages of these boxes follow.
const SCHEME: &str = "https://aomedia.org/emsg/ID3";

/// A moment that players are to notice.
#[derive(Clone, Copy, Debug)]
pub struct Cue<'a> {
    /// Tells it from other cues: players act once per scheme and number.
    pub number: u32,
    /// Milliseconds since the epoch's first sample.
    pub media_time_ms: u64,
    /// Milliseconds that it lasts; not 0, and not all ones: players take both for "unknown", and hls.js then ends it where
    /// the next one begins.
    pub duration_ms: u32,
    /// A whole ID3v2 tag.
    pub id3: &'a [u8],
}

/// Writes the box of `cue`.
pub fn emsg(cue: &Cue<'_>) -> Bytes {
    let message = EmsgBox {
        version: 1,
        timescale: 1000,
        presentation_time: Some(cue.media_time_ms),
        event_duration: cue.duration_ms,
        id: cue.number,
        scheme_id_uri: SCHEME.to_owned(),
        message_data: cue.id3.to_vec(),
        ..EmsgBox::default()
    };
    let mut bytes = Vec::new();
    message
        .write_box(&mut bytes)
        .expect("memory takes every byte, and version 1 has its time");
    bytes.into()
}
