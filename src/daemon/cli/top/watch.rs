//! What is watched and what was typed: no terminal, no network, no clock of its own.

use std::{collections::BTreeMap, time::Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::view::Stream;

/// One look at a daemon.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    pub(super) streams: Vec<Stream>,
    pub(super) totals: Totals,
}

/// What its metrics say of the whole process, as far as it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Totals {
    /// Pictures left out because encoders were behind.
    pub(super) shed: f64,
    /// Seconds of CPU.
    pub(super) cpu_seconds: f64,
    /// Resident memory in bytes.
    pub(super) memory: f64,
    /// When it started, Unix seconds.
    pub(super) started: f64,
}

impl Totals {
    /// Of a text in Prometheus' exposition format; what is not there is zero.
    pub(super) fn of(text: &str) -> Self {
        let sum = |name: &str| {
            let lines = text.lines().filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let own = rest.starts_with(['{', ' ']);
                let value: f64 = rest.rsplit(' ').next()?.parse().ok()?;
                own.then_some(value)
            });
            // Of no line at all the sum would be -0.
            lines.fold(0.0, |sum, value| sum + value)
        };
        Self {
            shed: sum("vitrine_transcode_frames_shed_total"),
            cpu_seconds: sum("process_cpu_seconds_total"),
            memory: sum("process_resident_memory_bytes"),
            started: sum("process_start_time_seconds"),
        }
    }
}

/// What grows by the second, between the last two looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Speeds {
    /// Requests of each stream.
    pub(super) requests: BTreeMap<String, f64>,
    pub(super) shed: f64,
    /// Of one CPU, in percent.
    pub(super) cpu_percent: f64,
}

/// The order of the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    Rate,
    Latency,
    Requests,
    Waiting,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Rate => "rate",
            Self::Latency => "latency",
            Self::Requests => "requests",
            Self::Waiting => "waiting",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Name => Self::Rate,
            Self::Rate => Self::Latency,
            Self::Latency => Self::Requests,
            Self::Requests => Self::Waiting,
            Self::Waiting => Self::Name,
        }
    }
}

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Quit,
    Look,
    Kick(String),
}

/// Everything that is on the screen.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) address: String,
    /// In the order that is shown.
    pub(super) streams: Vec<Stream>,
    pub(super) totals: Totals,
    pub(super) speeds: Speeds,
    pub(super) sort: Sort,
    /// Name of the stream that is pointed at.
    pub(super) selected: Option<String>,
    /// The stream that somebody is about to kick.
    pub(super) asking: Option<String>,
    /// What is told of the last kick, and whether it went well.
    pub(super) said: Option<(String, bool)>,
    /// Why what is shown is old.
    pub(super) trouble: Option<String>,
    looked: Option<Instant>,
}

impl Watch {
    pub(super) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            streams: Vec::new(),
            totals: Totals::default(),
            speeds: Speeds::default(),
            sort: Sort::Name,
            selected: None,
            asking: None,
            said: None,
            trouble: None,
            looked: None,
        }
    }

    /// Takes what a look at `now` has seen.
    pub(super) fn look(&mut self, look: Result<Look, String>, now: Instant) {
        let look = match look {
            Ok(look) => look,
            Err(trouble) => {
                self.trouble = Some(trouble);
                return;
            }
        };
        self.trouble = None;
        // Of a daemon that was started anew everything begins at zero.
        let same = self.totals.started == look.totals.started;
        self.speeds = { self.looked.filter(|_| same) }
            .map(|before| now.duration_since(before).as_secs_f64())
            .filter(|seconds| *seconds > 0.0)
            .map(|seconds| self.speeds(&look, seconds))
            .unwrap_or_default();
        (self.streams, self.totals) = (look.streams, look.totals);
        self.looked = Some(now);
        self.order();
    }

    /// Takes what became of a kick.
    pub(super) fn kicked(&mut self, stream: &str, done: Result<(), String>) {
        self.said = Some(match done {
            Ok(()) => (format!("{stream}: publisher disconnected"), true),
            Err(words) => (format!("{stream}: {words}"), false),
        });
    }

    /// Takes a key.
    pub(super) fn press(&mut self, key: KeyEvent) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Wish::Quit,
                _ => Wish::Nothing,
            };
        }
        self.said = None;
        if let Some(stream) = self.asking.take() {
            return match key.code {
                KeyCode::Char('y') => Wish::Kick(stream),
                _ => Wish::Nothing,
            };
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Char(' ') => return Wish::Look,
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.order();
            }
            KeyCode::Up | KeyCode::Char('p') => self.point(-1),
            KeyCode::Down | KeyCode::Char('n') => self.point(1),
            KeyCode::Home => self.point(isize::MIN),
            KeyCode::End => self.point(isize::MAX),
            KeyCode::Char('k') => {
                let publishing = self.selected().is_some_and(|it| it.session.is_some());
                match publishing {
                    true => self.asking = self.selected.clone(),
                    false => self.said = Some(("nobody publishes it".to_owned(), false)),
                }
            }
            _ => {}
        }
        Wish::Nothing
    }

    /// The stream that is pointed at.
    pub(super) fn selected(&self) -> Option<&Stream> {
        self.place().map(|place| &self.streams[place])
    }

    /// Its place in the list.
    pub(super) fn place(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.streams.iter().position(|it| it.id == *selected)
    }

    fn point(&mut self, by: isize) {
        let last = self.streams.len().saturating_sub(1);
        let place = match self.place() {
            Some(place) => place.saturating_add_signed(by).min(last),
            None => 0,
        };
        self.selected = self.streams.get(place).map(|it| it.id.clone());
    }

    fn order(&mut self) {
        let speeds = &self.speeds.requests;
        let speed = |stream: &Stream| speeds.get(&stream.id).copied().unwrap_or(0.0);
        let latency = |stream: &Stream| stream.latency.part_publish_p95_ms.unwrap_or(-1.0);
        let streams = &mut self.streams;
        streams.sort_by(|a, b| a.id.cmp(&b.id));
        // Stable, the most first: what is equal stays in the order of names.
        match self.sort {
            Sort::Name => {}
            Sort::Rate => streams.sort_by_key(|it| u64::MAX - it.rates.in_kbps),
            Sort::Latency => streams.sort_by(|a, b| latency(b).total_cmp(&latency(a))),
            Sort::Requests => streams.sort_by(|a, b| speed(b).total_cmp(&speed(a))),
            Sort::Waiting => streams.sort_by_key(|it| u64::MAX - it.waiters),
        }
        if self.place().is_none() {
            self.selected = self.streams.first().map(|it| it.id.clone());
        }
    }

    fn speeds(&self, look: &Look, seconds: f64) -> Speeds {
        let per_second = |before: f64, now: f64| (now - before).max(0.0) / seconds;
        let streams = self.streams.iter();
        let before: BTreeMap<_, _> = streams.map(|it| (it.id.as_str(), it.requests)).collect();
        let requests = look.streams.iter().filter_map(|it| {
            let before = *before.get(it.id.as_str())?;
            Some((it.id.clone(), per_second(before as f64, it.requests as f64)))
        });
        let (then, now) = (&self.totals, &look.totals);
        Speeds {
            requests: requests.collect(),
            shed: per_second(then.shed, now.shed),
            cpu_percent: per_second(then.cpu_seconds, now.cpu_seconds) * 100.0,
        }
    }
}
