//! What streams count for the metrics; what each metric means is said by the control floor, in one list.
//!
//! Everything here runs per message or per part of a publisher, never per viewer. No label names a stream or a session;
//! renditions are four. Series that alerts ask the rate of exist at zero from the start.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use metrics::{counter, histogram};
use vitrine_core::{
    engine::window::Snapshot,
    media::{Rendition, WallTime},
};

/// The renditions that every broadcast may have.
const COMMON: [Rendition; 2] = [Rendition::High, Rendition::Audio];

/// Milliseconds of gaps written, by rendition: counters are whole, and a gap part is shorter than a second.
static GAPS_MS: [AtomicU64; Rendition::ALL.len()] = [const { AtomicU64::new(0) }; 4];

/// Brings the series into being.
pub(super) fn register() {
    for rendition in COMMON.map(Rendition::name) {
        for content in ["media", "gap"] {
            counter!("vitrine_parts_total", "rendition" => rendition, "content" => content)
                .increment(0);
        }
        counter!("vitrine_gap_seconds_total", "rendition" => rendition).increment(0);
        counter!("vitrine_discontinuities_total", "rendition" => rendition).increment(0);
        let _ = histogram!("vitrine_part_lag_seconds", "rendition" => rendition);
    }
    let _ = histogram!("vitrine_part_publish_seconds");
    for protocol in ["rtmp", "rtmps"] {
        counter!("vitrine_sessions_accepted_total", "protocol" => protocol).increment(0);
    }
    for outcome in ["resumed", "refused"] {
        counter!("vitrine_resumes_total", "outcome" => outcome).increment(0);
    }
    register_ladder();
    register_events();
    counter!("vitrine_ingest_media_bytes_total").increment(0);
    counter!("vitrine_starvations_total").increment(0);
    counter!("vitrine_stream_panics_total").increment(0);
    counter!("vitrine_takeovers_total").increment(0);
    counter!("vitrine_kicks_total").increment(0);
    counter!("vitrine_takedowns_total").increment(0);
    counter!("vitrine_bans_total").increment(0);
}

fn register_events() {
    for outcome in EVENT_OUTCOMES {
        counter!("vitrine_events_total", "outcome" => outcome).increment(0);
    }
    for rendition in COMMON.map(Rendition::name) {
        counter!("vitrine_event_copies_missing_total", "rendition" => rendition).increment(0);
    }
    let _ = histogram!("vitrine_event_place_seconds");
}

/// What may become of an event; the last two are said by the doors.
const EVENT_OUTCOMES: [&str; 11] = [
    "placed",
    "not_live",
    "starving",
    "stale",
    "too_far_ahead",
    "too_many",
    "ranges_full",
    "ranges_too_large",
    "busy",
    "invalid",
    "too_large",
];

/// An event stands in the stream, but not in those renditions.
pub(super) fn event_placed(missing: &[Rendition]) {
    counter!("vitrine_events_total", "outcome" => "placed").increment(1);
    for rendition in missing {
        counter!("vitrine_event_copies_missing_total", "rendition" => rendition.name())
            .increment(1);
    }
}

/// An event was posted and has no place: why.
pub(super) fn event_refused(outcome: &'static str) {
    debug_assert!(EVENT_OUTCOMES.contains(&outcome), "{outcome} has a series");
    counter!("vitrine_events_total", "outcome" => outcome).increment(1);
}

/// Those of the ladder, which exist also where it is not built.
fn register_ladder() {
    for rendition in Rendition::ALL.map(Rendition::name) {
        counter!("vitrine_transcode_frames_total", "rendition" => rendition).increment(0);
        counter!("vitrine_transcode_frames_shed_total", "rendition" => rendition).increment(0);
        for stage in ["scale", "encode"] {
            let _ = histogram!("vitrine_transcode_work_seconds", "stage" => stage, "rendition" => rendition);
        }
    }
    let _ =
        histogram!("vitrine_transcode_work_seconds", "stage" => "decode", "rendition" => "source");
    counter!("vitrine_transcode_frames_shed_total", "rendition" => "source").increment(0);
    for stage in ["decode", "encode", "sound"] {
        counter!("vitrine_transcode_cpu_seconds_total", "stage" => stage).increment(0);
        let _ = histogram!("vitrine_transcode_queue_seconds", "stage" => stage);
    }
    for reason in ["decoder", "encoder", "late"] {
        counter!("vitrine_transcode_rungs_lost_total", "reason" => reason).increment(0);
    }
    counter!("vitrine_transcode_undecodable_total").increment(0);
}

/// A publish was accepted.
pub(super) fn accepted(protocol: &'static str) {
    counter!("vitrine_sessions_accepted_total", "protocol" => protocol).increment(1);
}

/// A version has `new` parts more than the one before it.
pub(super) fn published(rendition: Rendition, snapshot: &Snapshot, new: u64) {
    let (mut media, mut gaps, mut discontinuities) = (0, 0, 0);
    let mut gap_ticks = 0_i64;
    let first_new = snapshot.next_part - new;
    let newest_first = snapshot.open.iter().chain(snapshot.listed.iter().rev());
    for segment in newest_first {
        let fresh = segment.parts.iter().filter(|part| part.number >= first_new);
        for part in fresh.clone() {
            match part.data {
                Some(_) => media += 1,
                None => {
                    gaps += 1;
                    gap_ticks += i64::from(part.duration);
                }
            }
        }
        // A segment is new with its first part.
        let whole = fresh.count() == segment.parts.len();
        discontinuities += u64::from(whole && segment.discontinuity);
        if !whole {
            break;
        }
    }
    let name = rendition.name();
    let parts =
        |content| counter!("vitrine_parts_total", "rendition" => name, "content" => content);
    parts("media").increment(media);
    if gaps > 0 {
        parts("gap").increment(gaps);
        let gap_ms = u64::try_from(snapshot.timescale.at(gap_ticks).ms()).unwrap_or(0);
        let known_ms = GAPS_MS[rendition as usize].fetch_add(gap_ms, Ordering::Relaxed);
        counter!("vitrine_gap_seconds_total", "rendition" => name)
            .absolute((known_ms + gap_ms) / 1000);
    }
    if discontinuities > 0 {
        counter!("vitrine_discontinuities_total", "rendition" => name).increment(discontinuities);
    }
}

/// How far the newest media is behind its own clock: wall time `now` less the program date-time at which it ends, in
/// milliseconds. Counted as never less than nothing: media that is early keeps nobody waiting.
pub(super) fn lag_ms(rendition: Rendition, snapshot: &Snapshot, now: WallTime) -> Option<i64> {
    let newest = snapshot.open.as_ref().or(snapshot.listed.last())?;
    let length_ms = snapshot.timescale.at(newest.duration).ms();
    let lag_ms = now.0 - (newest.program_date_time.0 + length_ms);
    let lag = Duration::from_millis(u64::try_from(lag_ms).unwrap_or(0));
    histogram!("vitrine_part_lag_seconds", "rendition" => rendition.name()).record(lag);
    Some(lag_ms)
}

/// The last frame of a part was received so long before the part could be fetched.
pub(super) fn part_latency(latency: Duration) {
    histogram!("vitrine_part_publish_seconds").record(latency);
}
