//! The command `vitrine`: reads its settings or exits 64 (EX_USAGE, sysexits.h), starts logs and runtime, runs the
//! daemon; or a command that calls one. Everything else is the library's.

use std::{
    fmt::Display,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand};
use vitrine::{
    app::{self, config::Config},
    cli,
};
use vitrine_runtime::{clock, config::Report, descriptors, telemetry};

// glibc keeps what a crowd of connections took: 125 MiB stayed of ten thousand, here 29.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Media server of a live shop: RTMP in, low-latency HLS out.
///
/// Settings come from the defaults, then the file given with --config, then the environment: hls.part is
/// VITRINE_HLS_PART. No file is looked for unless --config names one. conf/vitrine.toml documents every key.
///
/// When ready, one line per listener appears on standard output: listening rtmp 0.0.0.0:1935. Logs go to standard
/// error. SIGHUP reads the stream keys again. SIGTERM saves what is live and ends; a start within publish.grace goes on.
#[derive(Debug, Parser)]
#[command(version, after_help = cli::EXIT_STATUSES)]
struct Arguments {
    /// The TOML file with the settings
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    target: cli::Target,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the settings, print each with its value and where it came from, and exit
    Check,
    /// Make viewer tokens, and keys that sign them (playback.policy = "signed")
    #[command(subcommand)]
    Token(cli::token::Command),
    #[command(flatten)]
    Call(cli::Command),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let file = arguments.config;
    let only_check = match arguments.command {
        Some(Command::Call(command)) => return call(command, arguments.target, file.as_deref()),
        Some(Command::Token(command)) => return token(command),
        Some(Command::Check) => true,
        None => false,
    };
    let (config, report) = match settings(file.as_deref()) {
        Ok(settings) => settings,
        Err(error) => return fail(&*error, 64),
    };
    if only_check {
        // A reader that has seen enough (`| head`) is no failure.
        io::stdout().write_all(report.to_string().as_bytes()).ok();
        return ExitCode::SUCCESS;
    }
    if let Err(error) = telemetry::start_logs(config.log.level, config.log.format) {
        return fail(&error, 1);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    let ended = runtime.block_on(app::run(Arc::new(config), file));
    // A disk that does not answer holds up nobody who is in a hurry.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

/// Calls a running daemon: the one that was named, or that of the configuration.
fn call(command: cli::Command, mut target: cli::Target, file: Option<&Path>) -> ExitCode {
    if let (None, Some(file)) = (&target.control, file) {
        match Config::load(Some(file)) {
            Ok((config, _)) => target.or_listening(config.control.listen),
            Err(error) => return fail(&error, 64),
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(cli::run(command, &target)),
        Err(error) => return fail(&error, 1),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure, failure.status()),
    }
}

/// The settings, checked as far as they can be without opening a port.
fn settings(file: Option<&Path>) -> Result<(Config, Report), Box<dyn std::error::Error>> {
    let (config, report) = Config::load(file)?;
    config.check_descriptors(descriptors::raise()?)?;
    Ok((config, report))
}

/// Needs no settings.
fn token(command: cli::token::Command) -> ExitCode {
    match cli::token::run(command, clock::wall(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

fn fail(error: &(impl Display + ?Sized), status: u8) -> ExitCode {
    for line in error.to_string().lines() {
        writeln!(io::stderr(), "vitrine: {line}").ok();
    }
    ExitCode::from(status)
}
