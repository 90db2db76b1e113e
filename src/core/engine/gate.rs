//! Stub: whether a request can be answered from a snapshot now, must wait for a later one, or is refused.
use super::window::Snapshot;
use crate::wire::{directive::Directive, m3u8::media::Form};

/// What becomes of a playlist request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Playlist {
    /// Answer now, in this form.
    Serve(Form),
    /// Hold until a later snapshot.
    Wait,
    /// 400: the media sequence number is more than two beyond the last segment, or the part beyond the advance limit.
    TooFar,
}

/// What becomes of a request for a part or segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// The bytes are in the snapshot.
    Serve,
    /// It is the hinted part: hold until it is complete.
    Wait,
    /// 404.
    Missing,
}

/// Judges a request for the media playlist.
pub fn playlist(_snapshot: &Snapshot, _directive: Directive) -> Playlist {
    todo!()
}

/// Judges a request for part `number`.
pub fn part(_snapshot: &Snapshot, _number: u64) -> Media {
    todo!()
}

/// Judges a request for segment `msn`.
pub fn segment(_snapshot: &Snapshot, _msn: u64) -> Media {
    todo!()
}
