//! What events a publish may carry, as far as its verdict does not say: for all in `[publish]`, for one key beside it.

use vitrine_core::{engine::cues::Allowance, limits, wire::hook::Events};
use vitrine_runtime::config::{Reader, Value, toml};

/// Milliseconds, either way.
#[derive(Clone, Copy)]
struct Offset(i32);

impl Value for Offset {
    const EXPECTED: &'static str = "milliseconds from -30000 to 30000";

    fn from_toml(value: &toml::Value) -> Option<Self> {
        let ms = i32::try_from(value.as_integer()?).ok()?;
        let most = limits::EVENT_OFFSET_MS_MAX;
        (-most..=most).contains(&ms).then_some(Self(ms))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// Those of `[publish]`, complete.
pub(super) fn read(reader: &mut Reader<'_>) -> Events {
    let usual = Allowance::default();
    let events = Events {
        amf: Some(reader.value("publish.amf_events", false)),
        offset_ms: Some(
            reader
                .value("publish.event_offset_ms", Offset(usual.offset_ms))
                .0,
        ),
        per_second: Some(reader.value("publish.events.per_second", usual.per_second)),
        bytes_per_second: Some(
            reader.value("publish.events.bytes_per_second", usual.bytes_per_second),
        ),
    };
    check(reader, "publish.", events);
    events
}

/// Those of a key.
pub(super) fn of_key(entry: &mut Reader<'_>) -> Events {
    let events = Events {
        amf: entry.optional("amf_events"),
        offset_ms: entry.optional::<Offset>("event_offset_ms").map(|it| it.0),
        per_second: entry.optional("events.per_second"),
        bytes_per_second: entry.optional("events.bytes_per_second"),
    };
    check(entry, "", events);
    events
}

fn check(reader: &mut Reader<'_>, scope: &str, events: Events) {
    let budgets = [
        (
            "per_second",
            events.per_second,
            1,
            limits::EVENTS_PER_SECOND_MAX,
        ),
        (
            "bytes_per_second",
            events.bytes_per_second,
            limits::EVENT_BYTES_PER_SECOND_MIN,
            limits::EVENT_BYTES_PER_SECOND_MAX,
        ),
    ];
    for (name, value, least, most) in budgets {
        let fits = value.is_none_or(|value| (least..=most).contains(&value));
        let expected = format_args!("{least} to {most}");
        reader.require(fits, &format!("{scope}events.{name}"), expected);
    }
}
