//! What is written for people: columns, units, colours.
//!
//! Colours only on a terminal, and not with `NO_COLOR` (no-color.org). Control characters of a daemon's words are shown as
//! a mark, so that none of them speaks to the terminal.

use std::{
    env,
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use ratatui::text::Line;

/// How a word is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// Of little weight.
    Faint,
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong.
    Bad,
    /// A heading.
    Strong,
}

impl Tone {
    /// Select Graphic Rendition (ECMA-48, 8.3.117).
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Faint => Some("2"),
            Self::Good => Some("32"),
            Self::Warning => Some("33"),
            Self::Bad => Some("31"),
            Self::Strong => Some("1"),
        }
    }
}

/// One entry of a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
    right: bool,
}

impl Cell {
    /// Words.
    pub(super) fn of(text: impl ToString) -> Self {
        Self {
            text: tame(&text.to_string()),
            ..Self::default()
        }
    }

    /// A number, set to the right.
    pub(super) fn number(text: impl ToString) -> Self {
        Self {
            right: true,
            ..Self::of(text)
        }
    }

    /// The same, meant so.
    pub(super) fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

/// Rows under a heading.
#[derive(Clone, Debug)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty one.
    pub(super) fn new(heading: &[&str]) -> Self {
        let heading = heading.iter();
        let heading = heading.map(|name| Cell::of(name).tone(Tone::Strong));
        Self {
            rows: vec![heading.collect()],
        }
    }

    /// Adds a row; a cell for each column.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The lines; no blanks at their ends.
    fn lines(&self, coloured: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| width(&cell.text)).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(widest).collect();
        let right = |column: usize| self.rows.last().is_some_and(|row| row[column].right);
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            let mut blanks = 0;
            for (column, cell) in row.iter().enumerate() {
                let pad = widths[column] - width(&cell.text);
                let (before, after) = if right(column) { (pad, 0) } else { (0, pad) };
                line.extend(std::iter::repeat_n(' ', blanks + before));
                line.push_str(&painted(&cell.text, cell.tone, coloured));
                blanks = after + 2;
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Standard output, and whether it takes colours.
#[derive(Debug)]
pub(super) struct Paper {
    coloured: bool,
}

impl Paper {
    /// That of this process.
    pub(super) fn stdout() -> Self {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            coloured: !plain && io::stdout().is_terminal(),
        }
    }

    /// Writes a table.
    pub(super) fn table(&mut self, table: &Table) {
        let lines = table.lines(self.coloured);
        self.write(&lines);
    }

    /// Writes a line.
    pub(super) fn line(&mut self, text: &str, tone: Tone) {
        let line = painted(&tame(text), tone, self.coloured);
        self.write(&(line + "\n"));
    }

    /// Writes a daemon's answer as it is.
    pub(super) fn json(&mut self, value: &serde_json::Value) {
        self.write(&format!("{value:#}\n"));
    }

    fn write(&mut self, text: &str) {
        // A reader that has seen enough (`| head`) is no failure.
        io::stdout().write_all(text.as_bytes()).ok();
    }
}

fn painted(text: &str, tone: Tone, coloured: bool) -> String {
    match tone.code().filter(|_| coloured && !text.is_empty()) {
        Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
        None => text.to_owned(),
    }
}

/// Columns of a terminal.
fn width(text: &str) -> usize {
    Line::raw(text).width()
}

/// The same without control characters.
pub(super) fn tame(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// `2.5 Mb/s`.
pub(super) fn rate(kbps: u64) -> String {
    match kbps {
        0..1000 => format!("{kbps} kb/s"),
        1000..100_000 => format!("{:.1} Mb/s", kbps as f64 / 1e3),
        100_000..1_000_000 => format!("{} Mb/s", kbps / 1000),
        _ => format!("{:.1} Gb/s", kbps as f64 / 1e6),
    }
}

/// `84 MiB`.
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    match value < 10.0 && unit != "B" {
        true => format!("{value:.1} {unit}"),
        false => format!("{value:.0} {unit}"),
    }
}

/// `1,204`.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `3 h 12 min`: the two largest units.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (large, small) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3600 => ((60, "min"), (1, "s")),
        3600..86_400 => ((3600, "h"), (60, "min")),
        _ => ((86_400, "d"), (3600, "h")),
    };
    let mut text = format!("{} {}", seconds / large.0, large.1);
    let rest = seconds % large.0 / small.0;
    if rest > 0 {
        let _ = write!(text, " {rest} {}", small.1);
    }
    text
}

/// `0.5 ms`, `12 ms`.
pub(super) fn milliseconds(ms: f64) -> String {
    match ms < 9.95 {
        true => format!("{ms:.1} ms"),
        false => format!("{ms:.0} ms"),
    }
}

/// How long ago, or how long until then; nothing of what is no time.
pub(super) fn distance(time: &str, now: jiff::Timestamp) -> Option<Duration> {
    let time: jiff::Timestamp = time.parse().ok()?;
    Some(now.duration_since(time).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_numbers_to_the_right() {
        let mut table = Table::new(&["STREAM", "IN", "STATE"]);
        table.row(vec![
            Cell::of("shop"),
            Cell::number("2.5 Mb/s"),
            Cell::of("live").tone(Tone::Good),
        ]);
        table.row(vec![
            Cell::of("日本"),
            Cell::number("12 kb/s"),
            Cell::of("\u{1b}[31mgrace"),
        ]);
        assert_eq!(
            table.lines(false),
            "STREAM        IN  STATE\nshop    2.5 Mb/s  live\n日本     12 kb/s  \u{fffd}[31mgrace\n"
        );
        assert!(table.lines(true).contains("\u{1b}[32mlive\u{1b}[0m"));
    }

    #[test]
    fn figures_carry_their_unit() {
        assert_eq!(
            [0, 999, 1000, 2549, 250_000, 2_500_000].map(rate),
            [
                "0 kb/s", "999 kb/s", "1.0 Mb/s", "2.5 Mb/s", "250 Mb/s", "2.5 Gb/s"
            ]
        );
        assert_eq!(
            [0, 999, 1500, 88_080_384].map(size),
            ["0 B", "999 B", "1.5 KiB", "84 MiB"]
        );
        assert_eq!(
            [0, 999, 1204, 1_000_000].map(count),
            ["0", "999", "1,204", "1,000,000"]
        );
        let spans = [59, 60, 61, 11_520, 86_400, 180_000];
        assert_eq!(
            spans.map(|s| span(Duration::from_secs(s))),
            ["59 s", "1 min", "1 min 1 s", "3 h 12 min", "1 d", "2 d 2 h"]
        );
        assert_eq!([0.49, 12.4].map(milliseconds), ["0.5 ms", "12 ms"]);
    }
}
