//! The screen: the process, its streams, the one that is pointed at, the keys. Fits 80 columns and 24 lines; a larger
//! terminal shows more streams and more of each.

use std::time::Duration;

use jiff::Timestamp;
use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState, Wrap},
};

use super::{
    super::{
        streams::tone,
        table::{Tone, count, distance, milliseconds, rate, size, span, tame},
        view::{Rendition, Stream},
    },
    watch::Watch,
};

/// Draws it, as of the clock of this machine.
pub(super) fn draw(watch: &Watch, frame: &mut Frame<'_>) {
    draw_at(watch, Timestamp::now(), frame);
}

/// Draws it as of `now`.
pub(super) fn draw_at(watch: &Watch, now: Timestamp, frame: &mut Frame<'_>) {
    let rows = [
        Constraint::Length(2),
        Constraint::Min(4),
        Constraint::Length(7),
        Constraint::Length(1),
    ];
    let [head, list, detail, foot] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(Paragraph::new(header(watch, now)), head);
    draw_list(watch, now, frame, list);
    frame.render_widget(details(watch), detail);
    frame.render_widget(Paragraph::new(footer(watch)), foot);
}

fn header(watch: &Watch, now: Timestamp) -> Vec<Line<'static>> {
    let strong = Style::new().add_modifier(Modifier::BOLD);
    let (totals, speeds) = (&watch.totals, &watch.speeds);
    let uptime = now.as_second().saturating_sub(totals.started as i64);
    let uptime = Duration::from_secs(uptime.try_into().unwrap_or(0));
    let (cpu, memory) = (speeds.cpu_percent, size(totals.memory as u64));
    let process = format!("  up {}  CPU {cpu:.0} %  memory {memory}", span(uptime));
    let shed = format!("  shed {}/s", count(speeds.shed.round() as u64));
    let alarm = if speeds.shed > 0.0 {
        Tone::Bad
    } else {
        Tone::Plain
    };
    let first = Line::from(vec![
        Span::styled(tame(&watch.address), strong),
        Span::raw(process),
        Span::styled(shed, style(alarm)),
    ]);
    if let Some(trouble) = &watch.trouble {
        let words = tame(trouble.lines().next().unwrap_or_default());
        let bad = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
        return vec![first, Line::styled(words, bad)];
    }
    let streams = &watch.streams;
    let live = streams.iter().filter(|it| it.state == "live").count();
    let starving = { streams.iter() }.filter(|it| it.stopgap.is_some()).count();
    let kbps = streams.iter().map(|it| it.rates.in_kbps).sum();
    let waiting = streams.iter().map(|it| it.waiters).sum();
    let requests: f64 = speeds.requests.values().sum();
    let second = Line::raw(format!(
        "streams {} ({live} live, {starving} starving)  in {}  requests {}/s  waiting {}",
        streams.len(),
        rate(kbps),
        count(requests.round() as u64),
        count(waiting),
    ));
    vec![first, second]
}

fn draw_list(watch: &Watch, now: Timestamp, frame: &mut Frame<'_>, area: Rect) {
    let widths = [
        Constraint::Min(10),
        Constraint::Length(13),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
    ];
    let right = |text: String| Cell::new(Line::from(text).alignment(Alignment::Right));
    let rows = watch.streams.iter().map(|stream| {
        let session = stream.session.as_ref();
        let since = session.and_then(|session| distance(&session.since, now));
        let latency = stream.latency.part_publish_p95_ms;
        let requests = watch.speeds.requests.get(&stream.id);
        Row::new(vec![
            Cell::new(tame(&stream.id)),
            Cell::new(tame(&standing(stream))).style(style(tone(stream))),
            right(since.map_or_else(String::new, span)),
            right(rate(stream.rates.in_kbps)),
            right(latency.map_or_else(String::new, milliseconds)),
            Cell::new(Line::from(letters(stream))),
            right(requests.map_or_else(String::new, |it| count(it.round() as u64))),
            right(count(stream.waiters)),
        ])
    });
    let heading = ["STREAM", "STATE"].map(Cell::new).into_iter();
    let heading = heading.chain(["FOR", "IN", "LATENCY"].map(|it| right(it.to_owned())));
    let heading = heading.chain([Cell::new("REND.")]);
    let heading = heading.chain(["REQ/S", "WAITING"].map(|it| right(it.to_owned())));
    let heading = Row::new(heading).style(Style::new().add_modifier(Modifier::REVERSED));
    let table = Table::new(rows, widths)
        .header(heading)
        .row_highlight_style(Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
    let mut state = TableState::new().with_selected(watch.place());
    frame.render_stateful_widget(table, area, &mut state);
}

/// What fits the column.
fn standing(stream: &Stream) -> String {
    match &stream.stopgap {
        Some(stopgap) => format!("{}/{stopgap}", stream.state),
        None => stream.state.clone(),
    }
}

/// A letter for each rendition; of those that are lost, an `x`.
fn letters(stream: &Stream) -> Vec<Span<'static>> {
    let letter = |it: &Rendition| match (it.is_lost(), it.name.chars().next()) {
        (true, _) => Span::styled("x", Style::new().fg(Color::Red)),
        (false, first) => Span::raw(first.unwrap_or('?').to_uppercase().to_string()),
    };
    stream.newest().map(letter).collect()
}

fn details(watch: &Watch) -> Paragraph<'static> {
    let block = Block::new().borders(Borders::TOP);
    let Some(stream) = watch.selected() else {
        let words = Line::styled("no stream is live", style(Tone::Faint));
        return Paragraph::new(words).block(block);
    };
    let mut lines = Vec::new();
    if let Some(session) = &stream.session {
        let words = format!(
            "{} by {}  {}",
            session.peer, session.protocol, session.encoder
        );
        lines.push(Line::raw(tame(&words)));
    }
    let tracks = stream.tracks.iter().map(|track| {
        let pixels = track.width.zip(track.height);
        let pixels = pixels.map(|(width, height)| format!(" {width}x{height}"));
        format!("{}{}", track.codecs, pixels.unwrap_or_default())
    });
    let tracks: Vec<_> = tracks.collect();
    let sizes = stream
        .newest()
        .filter_map(|it| Some((&it.name, it.height?)));
    let sizes: Vec<_> = sizes
        .map(|(name, height)| format!("{name} {height}p"))
        .collect();
    let encoding = stream.transcoding.as_deref().unwrap_or("-");
    let words = format!(
        "{}  to  {}  encoding {encoding}",
        tracks.join(" + "),
        sizes.join(", ")
    );
    lines.push(Line::raw(tame(&words)));
    let lost = stream.newest().filter(|it| it.is_lost());
    lines.extend(lost.map(|it| {
        let why = it.state_detail.as_deref().unwrap_or("its encoder failed");
        Line::styled(tame(&format!("{}: {why}", it.name)), style(Tone::Bad))
    }));
    lines.extend(stream.notices.iter().rev().map(|notice| {
        let at = notice.at.get(11..19).unwrap_or_default();
        let at = Span::styled(tame(at), style(Tone::Faint));
        Line::from(vec![at, Span::raw(format!("  {}", tame(&notice.text)))])
    }));
    let title = Span::styled(
        format!(" {} ", tame(&stream.id)),
        Style::new().add_modifier(Modifier::BOLD),
    );
    Paragraph::new(lines)
        .wrap(Wrap { trim: false })
        .block(block.title(title))
}

fn footer(watch: &Watch) -> Line<'static> {
    if let Some(stream) = &watch.asking {
        let words = format!(
            "disconnect the publisher of {}? y: yes, any other key: no",
            tame(stream)
        );
        return Line::styled(words, Style::new().fg(Color::Black).bg(Color::Yellow));
    }
    if let Some((words, well)) = &watch.said {
        let tone = if *well { Tone::Good } else { Tone::Bad };
        return Line::styled(tame(words), style(tone));
    }
    let keys = format!(
        "q quit  s sort: {}  up/down select  k kick  space look now",
        watch.sort.name()
    );
    Line::styled(keys, style(Tone::Faint))
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Faint => Style::new().add_modifier(Modifier::DIM),
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Warning => Style::new().fg(Color::Yellow),
        Tone::Bad => Style::new().fg(Color::Red),
        Tone::Strong => Style::new().add_modifier(Modifier::BOLD),
    }
}
