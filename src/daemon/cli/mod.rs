//! The commands for people: what runs, and what to do about it, asked of a running daemon.
//!
//! | module | holds |
//! |-|-|
//! | `client` | one call of the control API, and in words what can go wrong with it |
//! | `view` | the answers, as far as they are shown; what is not known is passed over |
//! | `streams`, `events`, `bans`, `hooks` | the commands |
//! | [`token`] | keys and tokens of viewers, made without any daemon |
//! | `table` | columns, units, colours |
//! | `top` | the live view |
//!
//! Clients by HTTP like any other (contracts, section 4): nothing of the daemon's inside is used here, so that a command
//! works against another machine and another version. What comes from a daemon is shown without its control characters:
//! encoders and backends choose some of those words.

mod bans;
mod client;
mod events;
mod hooks;
mod streams;
mod table;
pub mod token;
mod top;
mod view;

use std::{fmt, net::SocketAddr, time::Duration};

use clap::{Args, Subcommand};
use vitrine_runtime::config::{Value as _, toml};

use client::Client;
pub use client::Failure;
use table::Paper;

/// Which daemon is called.
#[derive(Clone, Default, Args)]
#[command(next_help_heading = "Options of commands that call a running daemon")]
pub struct Target {
    /// Address of its control API [default: control.listen of the --config file, else http://127.0.0.1:8081]
    #[arg(long, global = true, env = "VITRINE_CONTROL", value_name = "URL")]
    pub control: Option<String>,
    /// A token of its [[control.tokens]]; better by VITRINE_TOKEN: others see the arguments of a process
    #[arg(long, global = true, env = "VITRINE_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// The daemon whose control API listens at `listen`, unless another was named.
    pub fn or_listening(&mut self, listen: SocketAddr) {
        let reachable = match listen.ip() {
            ip if !ip.is_unspecified() => listen,
            ip if ip.is_ipv4() => SocketAddr::from(([127, 0, 0, 1], listen.port())),
            _ => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], listen.port())),
        };
        self.control
            .get_or_insert_with(|| format!("http://{reachable}"));
    }
}

/// What to ask for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the streams, or tell all about one
    Streams {
        /// Only this one, in full
        stream: Option<String>,
        /// The API's own answer, for programs
        #[arg(long)]
        json: bool,
    },
    /// Disconnect the publisher of a stream; the stream waits for its return (publish.grace)
    Kick {
        /// Name of the stream
        stream: String,
        /// Refuse its key for so long: 30s, 10m, 24h
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        ban: Option<Duration>,
    },
    /// End a stream now; players play out what they have
    End {
        /// Name of the stream
        stream: String,
        /// Refuse its key for so long: 30s, 10m, 24h
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        ban: Option<Duration>,
    },
    /// Take a stream down: the picture is gone at once, every address answers 410, the key is banned
    Takedown {
        /// Name of the stream
        stream: String,
        /// Why, for the log and the backend
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Place an event of the shop on the timeline of a stream
    Event(events::Event),
    /// Tell where the clock of a stream stands
    Clock {
        /// Name of the stream
        stream: String,
        /// The API's own answer, for programs
        #[arg(long)]
        json: bool,
    },
    /// The keys that are refused; lift one
    Bans {
        /// What to do
        #[command(subcommand)]
        command: Option<bans::Command>,
    },
    /// What backends were told, and what they still have to be
    Hooks {
        /// What to do
        #[command(subcommand)]
        command: hooks::Command,
    },
    /// Watch the streams: a live view for terminals
    Top {
        /// Time between two looks
        #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
        every: Duration,
    },
}

/// Does what `command` says, with the daemon that `target` names.
///
/// # Errors
/// [`Failure`], which has the exit status too.
pub async fn run(command: Command, target: &Target) -> Result<(), Failure> {
    let client = Client::new(target.control.as_deref(), target.token.as_deref())?;
    let mut paper = Paper::stdout();
    match command {
        Command::Streams { stream, json } => {
            streams::list(&client, stream.as_deref(), json, &mut paper).await
        }
        Command::Kick { stream, ban } => streams::kick(&client, &stream, ban, &mut paper).await,
        Command::End { stream, ban } => streams::end(&client, &stream, ban, &mut paper).await,
        Command::Takedown { stream, reason } => {
            streams::take_down(&client, &stream, &reason, &mut paper).await
        }
        Command::Event(event) => events::place(&client, event, &mut paper).await,
        Command::Clock { stream, json } => events::clock(&client, &stream, json, &mut paper).await,
        Command::Bans { command } => {
            bans::run(&client, command.unwrap_or_default(), &mut paper).await
        }
        Command::Hooks { command } => hooks::run(&client, command, &mut paper).await,
        Command::Top { every } => top::run(client, every).await,
    }
}

/// A duration as the configuration writes it.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = Duration::from_toml(&toml::Value::String(text.to_owned()));
    duration.ok_or_else(|| format!("expected {}", Duration::EXPECTED))
}

/// What the exit statuses mean, for `--help`.
pub const EXIT_STATUSES: &str = "\
Exit status: 0 after a good end; 2 for wrong arguments; 64 for wrong settings; 69 when the daemon that was called is not
there; 77 when it does not let the caller in; 1 for anything else, such as a stream that does not exist.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_of_a_configuration_is_called_where_it_can_be_reached() {
        for (listen, url) in [
            ("127.0.0.1:8081", "http://127.0.0.1:8081"),
            ("0.0.0.0:9", "http://127.0.0.1:9"),
            ("[::]:9", "http://[::1]:9"),
            ("192.0.2.7:9", "http://192.0.2.7:9"),
        ] {
            let mut target = Target::default();
            target.or_listening(listen.parse().expect("an address"));
            assert_eq!(target.control.as_deref(), Some(url));
            target.or_listening(([10, 0, 0, 1], 1).into());
            assert_eq!(
                target.control.as_deref(),
                Some(url),
                "the first word counts"
            );
        }
    }

    #[test]
    fn a_token_is_in_no_debug_output() {
        let target = Target {
            control: None,
            token: Some("s3cret".to_owned()),
        };
        assert!(!format!("{target:?}").contains("s3cret"));
    }
}
