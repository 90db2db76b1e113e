//! The metrics of the daemon's streams: what each means, and the gauges, which are measured when they are asked for and
//! so can never drift from the truth.
//!
//! No metric is labelled by stream, session or address: the number of time series does not depend on who comes.

use metrics::{describe_counter, describe_gauge, describe_histogram, gauge};

use crate::live::{Registry, status::State};

/// Says what each metric means.
pub(super) fn describe() {
    describe_counter!(
        "vitrine_connections_refused_total",
        "Connections closed before a word was spoken, by listener and reason"
    );
    describe_counter!(
        "vitrine_http_body_bytes_total",
        "Bytes of playback answers, by kind"
    );
    describe_counter!(
        "vitrine_http_requests_total",
        "Playback requests answered, by kind and status"
    );
    describe_counter!(
        "vitrine_ingest_media_bytes_total",
        "Bytes of coded frames received"
    );
    describe_counter!(
        "vitrine_parts_total",
        "Versions of renditions published with new parts"
    );
    describe_counter!(
        "vitrine_publishes_delayed_total",
        "Publish requests that waited because their address was refused too often"
    );
    describe_counter!(
        "vitrine_publishes_refused_total",
        "Publish requests refused, by reason"
    );
    describe_counter!(
        "vitrine_resumes_total",
        "Streams saved by the process before, by outcome: resumed, refused"
    );
    describe_counter!(
        "vitrine_stream_panics_total",
        "Streams that ended by a fault of ours"
    );
    describe_counter!(
        "vitrine_takeovers_total",
        "Publishes that took a stream from another"
    );
    describe_histogram!(
        "vitrine_part_publish_seconds",
        "From the receipt of a part's last frame to the part's publication"
    );
    describe_gauge!(
        "vitrine_inbox_messages",
        "Messages that wait for the tasks of streams"
    );
    describe_gauge!("vitrine_media_retained_bytes", "Media that can be fetched");
    describe_gauge!("vitrine_sessions", "Publishes that are listened to");
    describe_gauge!("vitrine_streams", "Streams, by state");
    describe_gauge!("vitrine_waiters", "Playback requests that wait");
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
    let sessions = statuses
        .iter()
        .filter(|status| status.session.is_some())
        .count();
    gauge!("vitrine_sessions").set(sessions as f64);
    let waiters: usize = streams.iter().map(|live| live.waiters()).sum();
    gauge!("vitrine_waiters").set(waiters as f64);
    let inbox: usize = streams.iter().map(|live| live.inbox_depth()).sum();
    gauge!("vitrine_inbox_messages").set(inbox as f64);
    let renditions = streams.iter().flat_map(|live| live.renditions());
    let retained: usize = renditions
        .map(|(_, _, version)| version.bytes_retained())
        .sum();
    gauge!("vitrine_media_retained_bytes").set(retained as f64);
}
