//! Logs (`tracing`) and metrics (`metrics`, Prometheus text format 0.0.4).
//!
//! Logs go to standard error: for people on a terminal, as JSON otherwise. In JSON every event is one line, and the
//! fields of the spans around it (`stream`, `session`, `peer`) stand beside its own, so that `grep '"stream":"demo"'`
//! finds all that concerns a stream. Standard output stays free for the lines that scripts wait for.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    sync::OnceLock,
    time::Duration,
};

use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use tracing::{Event, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{JsonFields, Writer},
    },
    registry::LookupSpan,
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::{clock, config};

/// How log events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// [`Format::Human`] when standard error is a terminal, [`Format::Json`] otherwise.
    #[default]
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object per line.
    Json,
}

impl config::Value for Format {
    const EXPECTED: &'static str = r#""auto", "human" or "json""#;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        match value.as_str()? {
            "auto" => Some(Self::Auto),
            "human" => Some(Self::Human),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase().show()
    }
}

impl config::Value for LevelFilter {
    const EXPECTED: &'static str = r#""off", "error", "warn", "info", "debug" or "trace""#;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string().show()
    }
}

/// Starts logging for the whole process: `level` and above, unless `RUST_LOG` says otherwise.
///
/// # Errors
/// When the process logs already.
pub fn start_logs(level: LevelFilter, format: Format) -> Result<(), TryInitError> {
    let asked = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let asked = if asked.is_empty() {
        level.to_string()
    } else {
        asked
    };
    let filter = EnvFilter::builder().parse_lossy(format!("{QUIET},{asked}"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let terminal = io::stderr().is_terminal();
    if format == Format::Json || (format == Format::Auto && !terminal) {
        logs.fmt_fields(JsonFields::new())
            .event_format(FlatJson)
            .finish()
            .try_init()
    } else {
        logs.with_ansi(terminal).finish().try_init()
    }
}

/// The metrics of the whole process, recorded from the first call on; later calls return the same.
pub fn metrics() -> &'static Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .expect("there are buckets")
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("metrics go elsewhere: the process had a recorder already");
        }
        let process = metrics_process::Collector::default();
        process.describe();
        describe_gauge!("vitrine_tasks", "Tasks of the runtime that have not ended");
        Metrics { handle, process }
    })
}

/// The metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
    process: metrics_process::Collector,
}

impl Metrics {
    /// All metrics in Prometheus text format, those of the process itself (`process_*`) measured now.
    pub fn render(&self) -> String {
        self.process.collect();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            gauge!("vitrine_tasks").set(runtime.metrics().num_alive_tasks() as f64);
        }
        self.handle.render()
    }

    /// Folds new histogram samples into their buckets until `shutdown`. Without it they would pile up between two
    /// scrapes, and nobody need ever scrape.
    pub async fn maintain(&self, shutdown: CancellationToken) {
        while shutdown
            .run_until_cancelled(tokio::time::sleep(UPKEEP))
            .await
            .is_some()
        {
            self.handle.run_upkeep();
        }
    }
}

/// One flat JSON object per event. On a name given twice the innermost wins: the event's own over its spans'.
struct FlatJson;

impl<S, N> FormatEvent<S, N> for FlatJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Map::new();
        for span in ctx
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                merge(&mut line, &fields.fields);
            }
        }
        let mut own = String::new();
        ctx.field_format()
            .format_fields(Writer::new(&mut own), event)?;
        merge(&mut line, &own);
        let meta = event.metadata();
        line.insert("timestamp".to_owned(), clock::wall().to_string().into());
        line.insert("level".to_owned(), meta.level().as_str().into());
        line.insert("target".to_owned(), meta.target().into());
        writeln!(writer, "{}", Value::Object(line))
    }
}

fn merge(line: &mut Map<String, Value>, fields: &str) {
    // `JsonFields` writes an object, or nothing at all for a span without fields.
    if let Ok(Value::Object(fields)) = serde_json::from_str(fields) {
        line.extend(fields);
    }
}

/// What libraries may say unless more of them is asked for by name: h2 warns of each client that resets too much, and
/// strangers must not be able to fill a log.
const QUIET: &str = "h2=error";

/// How often histogram samples are folded.
const UPKEEP: Duration = Duration::from_secs(5);

/// Bounds of every histogram of seconds: 100 us, an answer from memory, over 15 ms, a part's budget, to 10 s, beyond which
/// only "too long" matters.
const SECONDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.010, 0.015, 0.025, 0.050, 0.1, 0.25, 0.5, 1.0,
    2.5, 10.0,
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_events_carry_the_fields_of_all_their_spans() {
        let sink = Sink::default();
        let writer = sink.clone();
        let logs = tracing_subscriber::fmt()
            .fmt_fields(JsonFields::new())
            .event_format(FlatJson)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(logs, || {
            let session = tracing::info_span!(
                "session",
                session = "ses_1",
                peer = "[::1]:5",
                stream = tracing::field::Empty
            );
            session.record("stream", "demo");
            let _session = session.enter();
            let _bare = tracing::info_span!("bare").entered();
            tracing::warn!(peer = "own", late_ms = 7, "audio is late");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let mut line: Map<String, Value> = serde_json::from_str(&text).unwrap();
        assert!(
            line.remove("timestamp")
                .is_some_and(|at| at.as_str().unwrap().ends_with('Z'))
        );
        let expect = r#"{"late_ms":7,"level":"WARN","message":"audio is late","peer":"own","session":"ses_1","stream":"demo","target":"vitrine_runtime::telemetry::tests"}"#;
        assert_eq!(Value::Object(line).to_string(), expect);
        assert!(text.ends_with("}\n") && text.contains(r#""stream":"demo""#));
    }

    #[test]
    fn metrics_render_as_prometheus_text() {
        let handle = metrics();
        metrics::counter!("vitrine_test_total").increment(3);
        metrics::histogram!("vitrine_test_seconds").record(0.004);
        let text = handle.render();
        assert!(text.contains("vitrine_test_total 3"), "{text}");
        assert!(
            text.contains(r#"vitrine_test_seconds_bucket{le="0.005"} 1"#),
            "{text}"
        );
        assert!(std::ptr::eq(handle, metrics()));
    }
}
