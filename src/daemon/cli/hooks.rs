//! `hooks`: what backends were told and what they still have to be, tried again and told anew.

use std::time::Duration;

use clap::Subcommand;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client::{Client, Failure},
    duration,
    streams::dashed,
    table::{Cell, Paper, Table, Tone, count, distance, span},
    view,
};

/// What to do with deliveries.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List deliveries, the newest first
    List {
        /// Only those that are: pending, delivered, dead (given up), parked (their endpoint is gone)
        #[arg(long)]
        state: Option<String>,
        /// Only those of a stream
        #[arg(long)]
        stream: Option<String>,
        /// Only those to the endpoint of this URL
        #[arg(long, value_name = "URL")]
        endpoint: Option<String>,
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: u16,
        /// Older ones: the cursor that the list before ended with
        #[arg(long)]
        cursor: Option<String>,
        /// The API's own answer, for programs
        #[arg(long)]
        json: bool,
    },
    /// Deliver one again, now
    Retry {
        /// Id of the delivery, from the list
        id: String,
    },
    /// Deliver again everything that happened since then
    Replay {
        /// How long ago (30m, 6h), or when (2026-01-01T12:00:00Z)
        #[arg(long, value_name = "WHEN")]
        since: String,
        /// Only to the endpoint of this URL
        #[arg(long, value_name = "URL")]
        endpoint: Option<String>,
    },
}

/// Does it.
pub(super) async fn run(
    client: &Client,
    command: Command,
    paper: &mut Paper,
) -> Result<(), Failure> {
    match command {
        Command::List {
            state,
            stream,
            endpoint,
            limit,
            cursor,
            json,
        } => {
            let limit = limit.to_string();
            let query = [
                ("state", state.as_deref()),
                ("stream", stream.as_deref()),
                ("endpoint", endpoint.as_deref()),
                ("limit", Some(&limit)),
                ("cursor", cursor.as_deref()),
            ];
            let query = query.into_iter();
            let query: Vec<_> = query
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            list(client, &query, json, paper).await
        }
        Command::Retry { id } => {
            let path = ["v1", "hooks", "deliveries", id.as_str(), "retry"];
            let delivery: view::Delivery = client.call(Method::POST, &path, &[], None).await?;
            let (kind, stream) = (&delivery.kind, &delivery.stream);
            let words = format!("{id}: {kind} of {stream} is delivered again now");
            paper.line(&words, Tone::Plain);
            Ok(())
        }
        Command::Replay { since, endpoint } => {
            let since = moment(&since, Timestamp::now()).ok_or(Failure::Time { given: since })?;
            let mut body = json!({ "since": since.to_string() });
            if let Some(endpoint) = endpoint {
                body["endpoint"] = endpoint.into();
            }
            let path = ["v1", "hooks", "replay"];
            let told: view::Replayed = client.call(Method::POST, &path, &[], Some(&body)).await?;
            let words = format!(
                "{} deliveries begin anew: all since {since}",
                count(told.deliveries)
            );
            paper.line(&words, Tone::Plain);
            Ok(())
        }
    }
}

async fn list(
    client: &Client,
    query: &[(&str, &str)],
    json: bool,
    paper: &mut Paper,
) -> Result<(), Failure> {
    let path = ["v1", "hooks", "deliveries"];
    if json {
        let answer: Value = client.get(&path, query).await?;
        paper.json(&answer);
        return Ok(());
    }
    let page: view::Deliveries = client.get(&path, query).await?;
    if page.deliveries.is_empty() {
        paper.line(
            "no delivery: nothing happened, or nobody is to be told (hooks.endpoints)",
            Tone::Faint,
        );
        return Ok(());
    }
    paper.table(&table(&page.deliveries, Timestamp::now()));
    if let Some(next) = page.next {
        paper.line(&format!("older ones: --cursor {next}"), Tone::Faint);
    }
    Ok(())
}

fn table(deliveries: &[view::Delivery], now: Timestamp) -> Table {
    let heading = [
        "DELIVERY", "STATE", "AGE", "STREAM", "SEQ", "TYPE", "ENDPOINT", "TRIES", "LAST", "NEXT",
    ];
    let mut table = Table::new(&heading);
    for delivery in deliveries {
        let tone = match (delivery.state.as_str(), delivery.attempts) {
            ("delivered", _) => Tone::Good,
            ("pending", 0) => Tone::Plain,
            ("pending", _) => Tone::Warning,
            _ => Tone::Bad,
        };
        let status = delivery.last_status.map(|status| status.to_string());
        let next = { delivery.next_attempt.as_deref() }
            .and_then(|next| distance(next, now))
            .map(|left| format!("in {}", span(left)));
        table.row(vec![
            Cell::of(&delivery.id).tone(Tone::Strong),
            Cell::of(&delivery.state).tone(tone),
            Cell::number(dashed(distance(&delivery.at, now).map(span))),
            Cell::of(&delivery.stream),
            Cell::number(delivery.hook_seq),
            Cell::of(&delivery.kind),
            Cell::of(&delivery.endpoint),
            Cell::number(delivery.attempts),
            Cell::of(dashed(delivery.last_error.clone().or(status))),
            Cell::of(dashed(next)),
        ]);
    }
    table
}

/// A moment, or so long before `now`.
fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    let ago = |ago: Duration| now.checked_sub(ago).ok();
    match duration(text) {
        Ok(duration) => ago(duration),
        Err(_) => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_moment_or_a_while_ago() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().expect("a time");
        for (text, expect) in [
            ("90m", Some("2026-01-01T10:30:00Z")),
            ("2025-12-31T00:00:00+09:00", Some("2025-12-30T15:00:00Z")),
            ("yesterday", None),
            ("90", None),
        ] {
            let moment = moment(text, now).map(|at| at.to_string());
            assert_eq!(moment.as_deref(), expect, "{text}");
        }
    }
}
