//! What the daemon says of itself at `GET /metrics`: sums of counters, and quantiles of histograms between two moments.

use std::collections::BTreeMap;

use crate::daemon::Daemon;

/// All series at one moment, by name and labels as they are written.
#[derive(Debug, Default)]
pub(super) struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    /// As they are now.
    pub(super) async fn of(daemon: &Daemon) -> Self {
        Self::parse(&daemon.control("/metrics").await)
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(series.collect())
    }

    /// What all series of a counter have grown by since `before`.
    pub(super) fn grown(&self, before: &Self, counter: &str) -> f64 {
        let of = |scrape: &Self| -> f64 {
            let series = scrape.0.iter();
            let series = series.filter(|(name, _)| name.split('{').next() == Some(counter));
            series.map(|(_, value)| value).sum()
        };
        of(self) - of(before)
    }

    /// A quantile of what a histogram with labels (`stage="decode"`) has taken in since `before`, interpolated within its
    /// bucket; not a number when there was nothing.
    pub(super) fn quantile(
        &self,
        before: &Self,
        histogram: &str,
        labels: &[String],
        of: f64,
    ) -> f64 {
        let prefix = format!("{histogram}_bucket{{");
        let buckets = self
            .0
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix))
            .filter(|(name, _)| labels.iter().all(|label| name.contains(label)));
        let buckets = buckets.filter_map(|(name, count)| {
            let (_, bound) = name.split_once("le=\"")?;
            let bound = bound.split('"').next()?;
            let bound: f64 = if bound == "+Inf" {
                f64::INFINITY
            } else {
                bound.parse().ok()?
            };
            Some((bound, count - before.0.get(name).copied().unwrap_or(0.0)))
        });
        let mut buckets: Vec<(f64, f64)> = buckets.collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted = buckets.last().map_or(0.0, |(_, total)| total * of);
        let (mut lower, mut under) = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= wanted && count > under {
                let share = (wanted - under) / (count - under);
                return if bound.is_finite() {
                    lower + (bound - lower) * share
                } else {
                    lower
                };
            }
            (lower, under) = (bound, count);
        }
        f64::NAN
    }
}
