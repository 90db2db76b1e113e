//! Figures of interleaved runs, and the markdown that shows their medians.

use std::{collections::BTreeMap, fmt::Display};

/// Rows in the order in which they were first noted, each with the values of every column of every run.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<String>,
    values: BTreeMap<String, Vec<Vec<f64>>>,
}

impl Table {
    /// Notes one run of a row.
    pub(crate) fn note(&mut self, row: impl Display, values: &[f64]) {
        let row = row.to_string();
        eprintln!("  {row}: {values:.3?}");
        if !self.values.contains_key(&row) {
            self.rows.push(row.clone());
        }
        self.values.entry(row).or_default().push(values.to_vec());
    }

    /// The median of a column of a row; not a number when there is none.
    pub(crate) fn median(&self, row: impl Display, column: usize) -> f64 {
        let runs = self
            .values
            .get(&row.to_string())
            .map_or(&[][..], Vec::as_slice);
        let mut values: Vec<f64> = runs
            .iter()
            .filter_map(|run| run.get(column).copied())
            .collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The least and the most of a column of a row.
    pub(crate) fn extremes(&self, row: impl Display, column: usize) -> [f64; 2] {
        let runs = self.values.get(&row.to_string());
        let values = runs.into_iter().flatten();
        let values = values.filter_map(|run| run.get(column).copied());
        values.fold(
            [f64::INFINITY, f64::NEG_INFINITY],
            |[least, most], value| [least.min(value), most.max(value)],
        )
    }

    /// Prints the medians, each column with so many decimals.
    pub(crate) fn print(&self, title: &str, columns: &[(&str, usize)]) {
        let runs = self.values.values().map(Vec::len).max().unwrap_or(0);
        println!("\n{title} (medians of {runs})\n");
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        println!("| | {} |", names.join(" | "));
        println!("|-|{}", "-|".repeat(columns.len()));
        for row in &self.rows {
            let cells = columns.iter().enumerate();
            let cells = cells.map(|(column, (_, decimals))| {
                format!("{:.*}", decimals, self.median(row, column))
            });
            println!("| {row} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
    }
}

/// Prints whether a bar is met.
pub(crate) fn bar(what: &str, value: f64, most: f64) {
    let verdict = if value <= most { "met" } else { "MISSED" };
    println!("\nbar: {what}: {value:.3} <= {most:.3}: {verdict}");
}
