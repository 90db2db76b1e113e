//! The live view without a terminal: what is on the screen, and what keys do.

use std::time::{Duration, Instant};

use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};
use serde_json::json;

use super::{
    super::view::Stream,
    screen,
    watch::{Look, Totals, Watch, Wish},
};

fn stream(value: serde_json::Value) -> Stream {
    serde_json::from_value(value).expect("a stream")
}

/// One that is well, one that is not.
fn streams() -> Vec<Stream> {
    vec![
        stream(json!({
            "id": "shop42", "state": "live", "requests": 1000, "waiters": 350,
            "session": {"id": "ses_1", "peer": "203.0.113.7:50312", "protocol": "rtmps",
                "encoder": "obs-output module", "since": "2026-01-01T10:00:00.000Z"},
            "tracks": [{"kind": "video", "codecs": "avc1.64001f", "width": 1280, "height": 720},
                {"kind": "audio", "codecs": "mp4a.40.2"}],
            "transcoding": "on",
            "renditions": [
                {"epoch": 6, "name": "high", "ended": true},
                {"epoch": 7, "name": "high", "state": "ok", "height": 720},
                {"epoch": 7, "name": "low", "state": "lost", "state_detail": "encoding cannot keep up", "height": 360},
                {"epoch": 7, "name": "audio", "state": "ok"}],
            "rates": {"in_kbps": 2549}, "latency": {"part_publish_p95_ms": 0.52},
            "notices": [{"at": "2026-01-01T11:59:00.000Z", "text": "\u{1b}[31mlow: encoding cannot keep up"}],
            "unheard_of": [1, 2]
        })),
        stream(json!({
            "id": "gallery", "state": "live", "stopgap": "slate", "requests": 10, "waiters": 2,
            "session": {"since": "2026-01-01T11:59:30.000Z"}, "rates": {"in_kbps": 12}
        })),
        stream(json!({"id": "yesterday", "state": "ended"})),
    ]
}

fn totals(seconds: f64) -> Totals {
    let text = format!(
        "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total {}\n\
         process_resident_memory_bytes 88080384\nprocess_start_time_seconds 1767250000\n\
         vitrine_transcode_frames_shed_total{{rendition=\"low\"}} {}\n\
         vitrine_transcode_frames_shed_total{{rendition=\"mid\"}} 0\n\
         vitrine_transcode_frames_shed_totally 99\n",
        10.0 + seconds * 0.25,
        seconds * 7.0,
    );
    Totals::of(&text)
}

fn watch() -> Watch {
    let mut watch = Watch::new("http://127.0.0.1:8081");
    let now = Instant::now();
    let mut later = streams();
    let look = |streams, seconds| Look {
        streams,
        totals: totals(seconds),
    };
    watch.look(Ok(look(streams(), 0.0)), now);
    later[0].requests += 2408;
    watch.look(Ok(look(later, 2.0)), now + Duration::from_secs(2));
    watch
}

fn press(watch: &mut Watch, code: KeyCode) -> Wish {
    watch.press(KeyEvent::from(code))
}

/// The screen as text, no blanks at line ends.
fn shown(watch: &Watch, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
    let now = "2026-01-01T12:00:00Z".parse().expect("a time");
    let drawn = terminal.draw(|frame| screen::draw_at(watch, now, frame));
    let buffer = drawn.expect("memory").buffer.clone();
    let lines = (0..height).map(|y| {
        let cells = (0..width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_screen_of_80_columns_and_24_lines_tells_everything() {
    let mut watch = watch();
    press(&mut watch, KeyCode::Down);
    let screen = shown(&watch, 80, 24);
    let golden = include_str!("screen.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/daemon/cli/top/screen.txt");
        std::fs::write(path, screen + "\n").expect("written");
        return;
    }
    assert_eq!(screen.trim_end(), golden.trim_end(), "\n{screen}");
}

#[test]
fn any_size_can_be_drawn() {
    for (width, height) in [(1, 1), (10, 3), (40, 12), (300, 100)] {
        shown(&watch(), width, height);
        shown(&Watch::new("http://[::1]:8081"), width, height);
    }
}

#[test]
fn s_sorts_by_the_next_column_and_the_pointer_stays_with_its_stream() {
    let mut watch = watch();
    let order = |watch: &Watch| {
        let streams = watch.streams.iter();
        streams
            .map(|it| it.id.chars().next().expect("a name"))
            .collect::<String>()
    };
    assert_eq!(
        (order(&watch).as_str(), watch.selected.as_deref()),
        ("gsy", Some("gallery"))
    );
    for (sort, expect) in [
        ("rate", "sgy"),
        ("latency", "sgy"),
        ("requests", "sgy"),
        ("waiting", "sgy"),
        ("name", "gsy"),
    ] {
        press(&mut watch, KeyCode::Char('s'));
        assert_eq!((watch.sort.name(), order(&watch).as_str()), (sort, expect));
        assert_eq!(watch.selected.as_deref(), Some("gallery"));
    }
    press(&mut watch, KeyCode::End);
    assert_eq!(watch.selected.as_deref(), Some("yesterday"));
    press(&mut watch, KeyCode::Down);
    assert_eq!(
        watch.selected.as_deref(),
        Some("yesterday"),
        "the last stays the last"
    );
    press(&mut watch, KeyCode::Home);
    assert_eq!(watch.selected.as_deref(), Some("gallery"));
}

#[test]
fn a_kick_is_asked_about_and_only_y_is_yes() {
    let mut watch = watch();
    for (answer, wish) in [
        (KeyCode::Char('y'), Wish::Kick("gallery".to_owned())),
        (KeyCode::Enter, Wish::Nothing),
        (KeyCode::Char('q'), Wish::Nothing),
    ] {
        assert_eq!(press(&mut watch, KeyCode::Char('k')), Wish::Nothing);
        let screen = shown(&watch, 80, 24);
        assert!(
            screen.contains("disconnect the publisher of gallery?"),
            "{screen}"
        );
        assert_eq!(press(&mut watch, answer), wish);
        assert_eq!(watch.asking, None);
    }
    watch.kicked("gallery", Err("nobody publishes it".to_owned()));
    assert!(shown(&watch, 80, 24).ends_with("gallery: nobody publishes it"));
    press(&mut watch, KeyCode::End);
    press(&mut watch, KeyCode::Char('k'));
    assert_eq!(watch.asking, None, "nobody publishes what is over");
    assert_eq!(press(&mut watch, KeyCode::Char('q')), Wish::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(watch.press(interrupt), Wish::Quit);
}

#[test]
fn what_is_old_says_so_and_speeds_begin_anew_with_the_daemon() {
    let mut watch = watch();
    assert_eq!(watch.speeds.requests["shop42"], 1204.0);
    assert_eq!((watch.speeds.shed, watch.speeds.cpu_percent), (7.0, 25.0));
    let now = Instant::now() + Duration::from_secs(9);
    watch.look(Err("no daemon answers\nmore".to_owned()), now);
    let screen = shown(&watch, 80, 24);
    assert!(
        screen.contains("no daemon answers") && screen.contains("shop42"),
        "{screen}"
    );
    let fresh = Look {
        streams: streams(),
        totals: Totals {
            started: 1.0,
            ..totals(0.0)
        },
    };
    watch.look(Ok(fresh), now);
    assert!(watch.speeds.requests.is_empty());
    assert!(watch.trouble.is_none());
}
