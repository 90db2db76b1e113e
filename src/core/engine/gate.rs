//! Whether a request can be answered from a snapshot now, must wait for a later one, or is refused
//! (draft-pantos-hls-rfc8216bis, 6.2.5.2 and 6.2.6).
//!
//! Pure: the same snapshot and request give the same verdict, and a later snapshot of the same rendition never turns
//! `Serve` into `Wait`. How long a wait may last (three target durations, then 503) and how many may wait is the
//! origin's to bound.

use super::window::Snapshot;
use crate::{
    limits,
    wire::{directive::Directive, m3u8::media::Form},
};

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

/// Judges a request for the media playlist. Nothing is served before the first part: players give up on an empty list.
pub fn playlist(snapshot: &Snapshot, directive: Directive) -> Playlist {
    if snapshot.ended {
        return Playlist::Serve(Form::Full);
    }
    if snapshot.edge().is_none() {
        return Playlist::Wait;
    }
    let form = if directive.skip {
        Form::Delta
    } else {
        Form::Full
    };
    let Some((msn, part)) = directive.at_least else {
        return Playlist::Serve(form);
    };
    // Where the list grows: the open segment, or the one that will begin next.
    let (growing, parts) = match &snapshot.open {
        Some(open) => (open.msn, open.parts.len() as u64),
        None => (snapshot.next_msn, 0),
    };
    if msn.saturating_sub(growing) >= limits::BLOCK_AHEAD_SEGMENTS {
        return Playlist::TooFar;
    }
    // How many parts the list must still grow by; at least so many, for a segment not yet begun.
    let ahead = match part {
        None if msn < growing => 0,
        None => return Playlist::Wait,
        Some(part) if msn > growing => part.saturating_add(1),
        Some(part) if msn == growing => part.saturating_add(1).saturating_sub(parts),
        // A part past the end of a complete segment is the first part of the one after it.
        Some(part) if msn + 1 == growing && part >= parts_of(snapshot, msn) => {
            1_u64.saturating_sub(parts)
        }
        Some(_) => 0,
    };
    if ahead == 0 {
        Playlist::Serve(form)
    } else if beyond_advance_limit(snapshot, ahead) {
        Playlist::TooFar
    } else {
        Playlist::Wait
    }
}

/// Parts of the complete segment `msn`; none once it is forgotten, which the newest never is.
fn parts_of(snapshot: &Snapshot, msn: u64) -> u64 {
    snapshot
        .segment(msn)
        .map_or(0, |segment| segment.parts.len() as u64)
}

/// Whether a part this many ahead of the newest is refused: more than three seconds of parts, or more than three parts
/// when they last a second or longer.
fn beyond_advance_limit(snapshot: &Snapshot, ahead: u64) -> bool {
    let part_target_ms = u64::from(snapshot.constants.part_target_ms).min(1000);
    ahead.saturating_mul(part_target_ms) > limits::ADVANCE_PART_LIMIT_MS
}

/// Judges a request for part `number`.
pub fn part(snapshot: &Snapshot, number: u64) -> Media {
    if snapshot.part(number).is_some() {
        Media::Serve
    } else if number == snapshot.next_part && !snapshot.ended {
        Media::Wait
    } else {
        Media::Missing
    }
}

/// Judges a request for segment `msn`.
pub fn segment(snapshot: &Snapshot, msn: u64) -> Media {
    match snapshot.segment(msn) {
        Some(segment) if !segment.gap() => Media::Serve,
        Some(_) | None => Media::Missing,
    }
}

#[cfg(test)]
mod tests;
