//! `bans`: the keys that are refused, and the way back for one.

use clap::Subcommand;
use jiff::Timestamp;
use reqwest::Method;

use super::{
    client::{Client, Failure},
    streams::dashed,
    table::{Cell, Paper, Table, Tone, distance, span},
    view,
};

/// What to do with bans.
#[derive(Debug, Default, Subcommand)]
pub enum Command {
    /// List them
    #[default]
    List,
    /// Let a key publish again
    Lift {
        /// Id of the ban, from the list
        id: String,
    },
}

/// Does it.
pub(super) async fn run(
    client: &Client,
    command: Command,
    paper: &mut Paper,
) -> Result<(), Failure> {
    match command {
        Command::List => list(client, paper).await,
        Command::Lift { id } => {
            let path = ["v1", "bans", id.as_str()];
            let ban: view::Ban = client.call(Method::DELETE, &path, &[], None).await?;
            let of = ban.stream.map(|stream| format!(" of {stream}"));
            let words = format!(
                "{id}: lifted; the key{} may publish again",
                of.unwrap_or_default()
            );
            paper.line(&words, Tone::Plain);
            Ok(())
        }
    }
}

async fn list(client: &Client, paper: &mut Paper) -> Result<(), Failure> {
    let view::Bans { bans } = client.get(&["v1", "bans"], &[]).await?;
    if bans.is_empty() {
        paper.line("no key is banned", Tone::Faint);
        return Ok(());
    }
    let now = Timestamp::now();
    let mut table = Table::new(&["BAN", "STREAM", "SINCE", "ENDS IN", "REASON"]);
    for ban in bans {
        let left = ban.until.and_then(|until| distance(&until, now));
        let left = left.map_or_else(|| "when lifted".to_owned(), span);
        table.row(vec![
            Cell::of(ban.id).tone(Tone::Strong),
            Cell::of(dashed(ban.stream)),
            Cell::of(dashed(ban.since)).tone(Tone::Faint),
            Cell::of(left),
            Cell::of(ban.reason),
        ]);
    }
    paper.table(&table);
    Ok(())
}
