//! The metrics of the daemon: what each means, and the gauges, which are measured when they are asked for and so can never
//! drift from the truth. `docs/metrics.md` is their page; a test holds it against a running daemon.
//!
//! No metric is labelled by stream, session or address: the number of time series does not depend on who comes. Where a
//! sum would hide one bad stream among many, the worst one's value is told (`_busiest`, `_age`, `_lag`), and
//! `GET /v1/streams` says which it is.

use std::time::Duration;

use metrics::{describe_counter, describe_gauge, describe_histogram, gauge};
use vitrine_core::{engine::stream::Stopgap, limits};

use crate::live::{Live, Registry, status::State};

/// Name and meaning, unit included.
const COUNTERS: &[(&str, &str)] = &[
    (
        "vitrine_accept_errors_total",
        "Connections that accept(2) could not give us, by listener",
    ),
    (
        "vitrine_admission_ends_total",
        "Ends of publishes to be told to a backend in another server's words, by outcome",
    ),
    (
        "vitrine_admission_known_total",
        "Keys that were let in because they were allowed lately, for want of a verdict",
    ),
    (
        "vitrine_admission_requests_total",
        "Questions to the admission backend, by outcome: repeated, full and resting were not put to it",
    ),
    (
        "vitrine_amf_events_total",
        "Events that encoders sent, by outcome: taken is handed to the stream",
    ),
    (
        "vitrine_bans_total",
        "Stream keys banned by operators, those of ended and taken down streams included",
    ),
    (
        "vitrine_connection_panics_total",
        "Connections that ended by a fault of ours, by listener",
    ),
    (
        "vitrine_connections_refused_total",
        "Connections closed at once, by listener and by the bound that was reached",
    ),
    (
        "vitrine_control_denied_total",
        "Requests to the control API that were not let in, by reason",
    ),
    (
        "vitrine_discontinuities_total",
        "Segments that begin with a discontinuity, by rendition",
    ),
    (
        "vitrine_event_copies_missing_total",
        "Events that a rendition does not carry, because it has no media where they are, by rendition",
    ),
    (
        "vitrine_events_total",
        "Events of the shop, by what became of them: placed, or why not",
    ),
    (
        "vitrine_gap_seconds_total",
        "Seconds of missing media that playlists list as gaps, by rendition",
    ),
    (
        "vitrine_http_body_bytes_total",
        "Bytes of the bodies of playback answers, by kind; one cut short counts whole",
    ),
    (
        "vitrine_http_refusals_total",
        "Playback requests not answered with what they asked for, by reason",
    ),
    (
        "vitrine_http_requests_total",
        "Playback requests answered, by kind and class of status",
    ),
    (
        "vitrine_ingest_media_bytes_total",
        "Bytes of coded frames that streams took in",
    ),
    (
        "vitrine_kicks_total",
        "Publishers disconnected by operators",
    ),
    (
        "vitrine_lifecycle_ends_total",
        "Streams that ended, by cause; those of the process before whose end this one told included",
    ),
    (
        "vitrine_lifecycle_events_total",
        "Events of the lives of streams, by type; whether anybody is told of them or not",
    ),
    (
        "vitrine_parts_total",
        "Parts published, by rendition and content (media or gap)",
    ),
    (
        "vitrine_publishes_delayed_total",
        "Publish requests that waited because their address was refused too often",
    ),
    (
        "vitrine_publishes_refused_total",
        "Publishes refused, by reason",
    ),
    (
        "vitrine_resumes_total",
        "Streams saved by the process before, by outcome (resumed or refused)",
    ),
    (
        "vitrine_rtmp_received_bytes_total",
        "Bytes received from publishers, handshakes excluded",
    ),
    (
        "vitrine_sessions_accepted_total",
        "Publishes accepted, by protocol",
    ),
    (
        "vitrine_sessions_ended_total",
        "Publishes that ended, by cause",
    ),
    (
        "vitrine_starvations_total",
        "Times that a stream's playlists had to go on without media",
    ),
    (
        "vitrine_stream_panics_total",
        "Streams that ended by a fault of ours",
    ),
    ("vitrine_takedowns_total", "Streams taken down by operators"),
    (
        "vitrine_takeovers_total",
        "Publishes that took a stream from another",
    ),
    (
        "vitrine_transcode_cpu_seconds_total",
        "Seconds of CPU used by the ladder, by stage",
    ),
    (
        "vitrine_transcode_frames_shed_total",
        "Pictures left out because encoders were behind, by rendition, and access units of sound as `audio`; of `source`, before they were decoded",
    ),
    (
        "vitrine_transcode_frames_total",
        "Pictures encoded, by rendition, and frames of sound as `audio`",
    ),
    (
        "vitrine_transcode_rungs_lost_total",
        "Renditions, and sound, that encoding was given up for until the next source or attempt, by reason",
    ),
    (
        "vitrine_transcode_undecodable_total",
        "Access units and pictures that could not be decoded for the ladder",
    ),
];

/// Name and meaning, unit included.
const GAUGES: &[(&str, &str)] = &[
    ("vitrine_bans", "Stream keys that are banned"),
    (
        "vitrine_admission_breaker",
        "1 for the state in which the circuit breaker of the admission backend is, else 0",
    ),
    (
        "vitrine_admission_waiting",
        "Questions that wait for a place among those put to the admission backend at once",
    ),
    (
        "vitrine_build_info",
        "Always 1; the label tells the version",
    ),
    ("vitrine_connections", "Connections open, by listener"),
    ("vitrine_draining", "1 from SIGTERM on, else 0"),
    (
        "vitrine_event_ranges",
        "Ranges that the playlists of a stream list, of all streams the most",
    ),
    (
        "vitrine_inbox_age_seconds",
        "Seconds since the oldest message that a stream has not dealt with was received, of all streams the most",
    ),
    (
        "vitrine_inbox_messages",
        "Messages that wait for the tasks of streams",
    ),
    (
        "vitrine_media_lag_seconds",
        "Seconds of wall time that the newest media is behind its program date-time: of live streams the least (negative: ahead) and the most",
    ),
    (
        "vitrine_media_retained_bytes",
        "Bytes of media that can be fetched, each counted once",
    ),
    ("vitrine_sessions", "Publishes that are listened to"),
    ("vitrine_streams", "Streams, by state"),
    (
        "vitrine_streams_slate",
        "Streams whose playlists go on with the last picture and silence, of those that starve",
    ),
    (
        "vitrine_streams_starving",
        "Streams that receive nothing, whose playlists go on without their publisher",
    ),
    ("vitrine_waiters", "Playback requests that wait"),
    (
        "vitrine_waiters_busiest",
        "Playback requests that wait for one stream, of all streams the most",
    ),
    (
        "vitrine_waiters_limit",
        "Playback requests that may wait for one stream; beyond, 503",
    ),
];

/// Name and meaning, unit included.
const HISTOGRAMS: &[(&str, &str)] = &[
    (
        "vitrine_admission_seconds",
        "Seconds from a question put to the admission backend to its answer, or to giving up",
    ),
    (
        "vitrine_event_place_seconds",
        "Seconds from an event that was posted and read to its answer",
    ),
    (
        "vitrine_http_answer_seconds",
        "Seconds from a playback request read to its answer, by kind; of requests that were not held",
    ),
    (
        "vitrine_http_wake_seconds",
        "Seconds from the publication of what a held request waited for to its answer, by kind",
    ),
    (
        "vitrine_part_lag_seconds",
        "Seconds of wall time that a part's end was behind its program date-time when published, by rendition; early counts as 0",
    ),
    (
        "vitrine_part_publish_seconds",
        "Seconds from the receipt of a part's last frame to the part's publication",
    ),
    (
        "vitrine_transcode_queue_seconds",
        "Seconds that an access unit or a picture waited, by the stage it waited for",
    ),
    (
        "vitrine_transcode_work_seconds",
        "Seconds that an access unit or a picture was worked on, by stage and rendition; waits excluded, but for a processor",
    ),
];

/// Says what each metric means.
pub(super) fn describe() {
    for (name, meaning) in COUNTERS {
        describe_counter!(*name, *meaning);
    }
    for (name, meaning) in GAUGES {
        describe_gauge!(*name, *meaning);
    }
    for (name, meaning) in HISTOGRAMS {
        describe_histogram!(*name, *meaning);
    }
    gauge!("vitrine_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("vitrine_waiters_limit").set(limits::WAITERS_PER_STREAM_MAX as f64);
}

/// Sets the gauges.
pub(super) fn measure(registry: &Registry) {
    let streams = registry.streams();
    let statuses: Vec<_> = streams.iter().map(|live| live.status()).collect();
    for state in [State::Connecting, State::Live, State::Grace, State::Ended] {
        let count = statuses
            .iter()
            .filter(|status| status.state == state)
            .count();
        gauge!("vitrine_streams", "state" => state.name()).set(count as f64);
    }
    let sessions = statuses.iter().filter(|status| status.session.is_some());
    gauge!("vitrine_sessions").set(sessions.count() as f64);
    let starving = statuses
        .iter()
        .filter(|status| matches!(status.state, State::Live | State::Grace))
        .filter_map(|status| status.stopgap);
    let slates = starving.clone().filter(|it| *it == Stopgap::Slate);
    gauge!("vitrine_streams_starving").set(starving.count() as f64);
    gauge!("vitrine_streams_slate").set(slates.count() as f64);
    let lags = statuses
        .iter()
        .filter(|status| status.state == State::Live && status.stopgap.is_none())
        .filter_map(|status| status.media_lag_ms);
    for (of, lag_ms) in [("least", lags.clone().min()), ("most", lags.max())] {
        gauge!("vitrine_media_lag_seconds", "of" => of).set(lag_ms.unwrap_or(0) as f64 / 1000.0);
    }
    let waiters = streams.iter().map(Live::waiters);
    gauge!("vitrine_waiters").set(waiters.clone().sum::<usize>() as f64);
    gauge!("vitrine_waiters_busiest").set(waiters.max().unwrap_or(0) as f64);
    let inbox: usize = streams.iter().map(Live::inbox_depth).sum();
    gauge!("vitrine_inbox_messages").set(inbox as f64);
    let now = registry.clock().now().mono;
    let ages = streams.iter().map(|live| live.inbox_age(now));
    gauge!("vitrine_inbox_age_seconds").set(ages.max().unwrap_or(Duration::ZERO));
    let renditions: Vec<_> = (streams.iter())
        .flat_map(|live| live.renditions())
        .map(|(_, _, version)| version)
        .collect();
    let ranges = { renditions.iter() }.map(|version| version.snapshot().ranges.len());
    gauge!("vitrine_event_ranges").set(ranges.max().unwrap_or(0) as f64);
    let retained: usize = { renditions.iter() }
        .map(|version| version.bytes_retained())
        .sum();
    gauge!("vitrine_media_retained_bytes").set(retained as f64);
    gauge!("vitrine_bans").set(registry.bans().list().len() as f64);
    gauge!("vitrine_draining").set(f64::from(registry.draining()));
}
