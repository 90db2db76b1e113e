//! The wiring of the daemon: what is made from the settings, in which order it starts, and how it ends.
//!
//! Start: folder, encoder, certificate, doors, then every port is bound before any is served, then the streams that the
//! process before has saved go on, then one line per listener on standard output (contracts, section 7), and the service
//! manager is told. SIGHUP reads the static keys, the ladders, who may watch, secrets of hooks, types of endpoints and the
//! certificate again; what is wrong in them changes nothing. SIGTERM or SIGINT drains: no new publishes, not ready; publishers may finish or reconnect; streams are saved, every waiting player is
//! answered; HTTP connections finish. A second one ends the process at once.
//!
//! No decision about media, protocols or requests is made here.

pub mod config;
mod listen;

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::{JoinSet, spawn_blocking},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use vitrine_core::{
    engine::{publish, stream},
    limits,
};
use vitrine_runtime::{
    bearer::Digest,
    clock::Clock,
    deliver::{self, Outbox},
    serve::{self, tls::Identity},
    supervisor, telemetry,
};

use self::{
    config::{Config, Numbering, PublishKey},
    listen::Listeners,
};
use crate::{
    control,
    hooks::{self, Hooks},
    ingest::{
        self, Ingest,
        admission::{Admission, Grant, Ladders, Permit, StaticKeys},
    },
    live::{
        Encoding, Herald, Registry, Stores, StreamId, ledger,
        states::{self, Left, StateStore, Story, Taken},
    },
    origin::{Origin, guard::Guard},
};

/// Why the daemon did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port cannot be had.
    #[error("{}.listen: {_0}", _0.name)]
    Bind(#[from] serve::Error),
    /// The folder of what outlives the daemon cannot be made.
    #[error("data_dir: cannot create {}: {source}", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `transcode.encoder` makes nothing on this machine.
    #[cfg(feature = "transcode")]
    #[error("transcode.encoder: {0}")]
    Encoder(#[from] crate::transcode::Error),
    /// The admission backend cannot be called.
    #[error("hooks: {0}")]
    Hooks(#[from] hooks::Trouble),
    /// Ended by a second signal, with connections cut.
    #[error("ended at once by a second signal")]
    Hurried,
    /// What is refused or taken down is not known.
    #[error("data_dir: {0}")]
    Ledger(#[from] ledger::Error),
    /// A listener ended by a fault of ours.
    #[error("a listener failed")]
    Listener,
    /// What is to be told to the endpoints of `[[hooks.endpoints]]` cannot be kept.
    #[error("outbox: {0}")]
    Outbox(#[from] deliver::OpenError),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
    /// The certificate cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] serve::tls::Error),
}

/// Runs the daemon until a signal ends it. `config_path` is read again on SIGHUP.
///
/// # Errors
/// Why it could not start, before anything was served; or why it did not end well.
pub async fn run(config: Arc<Config>, config_path: Option<PathBuf>) -> Result<(), Error> {
    let mut signals = Signals::new().map_err(Error::Signals)?;
    std::fs::create_dir_all(&config.data_dir).map_err(|source| Error::DataDir {
        path: config.data_dir.clone(),
        source,
    })?;
    #[cfg(feature = "transcode")]
    if let Some(transcode) = &config.transcode {
        transcode.settings.probe()?;
    }
    let tls = config.tls.as_ref();
    let identity = tls
        .map(|tls| Identity::load(&tls.cert, &tls.key))
        .transpose()?;
    // Before whatever counts.
    let metrics = telemetry::metrics();
    let outbox = open_outbox(&config)?;
    let registry = Registry::new(
        streams(&config),
        encoding(&config),
        Stores::in_folder(&config.data_dir)?,
        Herald::new(
            outbox.clone(),
            &config.node,
            config.http.public_url.as_deref(),
        ),
        Clock::start(),
    );
    let who = Who::new(&config)?;
    let ingest = Ingest::new(
        door(&config),
        who.admission(&config),
        registry.clone(),
        outbox.clone(),
    );
    let guard = Guard::new(config.playback.clone());
    let origin = Origin::new(registry.clone(), config.http.static_dir.as_deref())
        .guarded(guard.clone())
        .behind(config.http.trusted_proxies.clone());
    let control = control::router(
        registry.clone(),
        outbox.clone(),
        metrics,
        config.control.tokens.clone(),
    );

    let listeners = Listeners::bind(&config)?;
    let states = StateStore::in_folder(config.data_dir.join("streams"));
    let ended = resume(&states, &registry).await;
    registry.bury(ended, outbox.unfinished());
    if config.rtmp.proxy_protocol && config.rtmp.trusted_proxies.is_empty() {
        warn!(
            "rtmp.proxy_protocol believes whoever connects: name the balancers in rtmp.trusted_proxies"
        );
    }
    announce(&listeners);
    let shutdown = CancellationToken::new();
    let mut tasks = listeners.serve(
        &config,
        identity.as_ref(),
        &ingest,
        origin,
        control,
        &shutdown,
    );
    tasks.spawn(metrics.maintain(shutdown.clone()));
    tasks.spawn(outbox.clone().run(shutdown.clone()));
    tasks.spawn(supervisor::watchdog(shutdown.clone()));
    supervisor::ready();

    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Reload => {
                    supervisor::reloading();
                    reload(config_path.as_deref(), &who, &guard, identity.as_ref(), &outbox);
                    supervisor::ready();
                }
                Asked::End => break,
            },
            Some(_) = tasks.join_next() => return Err(Error::Listener),
        }
    }
    tokio::select! {
        () = drain(config.shutdown_timeout, &ingest, &who, &registry, &states, &outbox, &shutdown, &mut tasks) => Ok(()),
        () = signals.end() => Err(Error::Hurried),
    }
}

/// One line per listener, for whoever started the process; a closed standard output is no reason to stop.
fn announce(listeners: &Listeners) {
    let mut out = io::stdout().lock();
    for (name, address) in listeners.addresses() {
        writeln!(out, "listening {name} {address}").ok();
    }
    out.flush().ok();
}

/// Who may publish, as far as it can be changed while running.
struct Who {
    keys: Arc<StaticKeys>,
    ladders: Arc<Ladders>,
    hooks: Option<Hooks>,
}

impl Who {
    fn new(config: &Config) -> Result<Self, hooks::Trouble> {
        hooks::register();
        let settings = config.hooks.admission.clone();
        Ok(Self {
            keys: Arc::new(StaticKeys::new(permits(config))),
            ladders: Arc::new(Ladders::from_pointee(config.ladders.clone())),
            hooks: settings.map(Hooks::new).transpose()?,
        })
    }

    fn admission(&self, config: &Config) -> Admission {
        let admission = Admission::new(self.keys.clone());
        match self.hooks.clone() {
            Some(hooks) => admission.asking(hooks, config.node.clone(), self.ladders.clone()),
            None => admission,
        }
    }

    fn replace(&self, config: &Config) {
        self.keys.replace(permits(config));
        self.ladders.store(Arc::new(config.ladders.clone()));
        if let (Some(hooks), Some(fresh)) = (&self.hooks, &config.hooks.admission) {
            hooks.replace_secrets(fresh.secrets.clone());
        }
    }
}

/// Reads the keys, the ladders they name, who may watch, secrets of hooks, types of endpoints and the certificate again;
/// what cannot be read stays as it is.
fn reload(
    path: Option<&Path>,
    who: &Who,
    guard: &Guard,
    identity: Option<&Identity>,
    outbox: &Outbox,
) {
    match Config::load(path) {
        Ok((fresh, _)) => {
            info!(
                keys = fresh.publish.keys.len(),
                playback = fresh.playback.name(),
                "keys reloaded"
            );
            who.replace(&fresh);
            for endpoint in outbox.reconfigure(fresh.endpoints) {
                warn!(?endpoint, "endpoint not added: it is told after a restart");
            }
            guard.replace(fresh.playback);
        }
        Err(error) => warn!(%error, "keys not reloaded"),
    }
    match identity.map(Identity::reload) {
        Some(Ok(())) => info!("certificate reloaded"),
        Some(Err(error)) => warn!(%error, "certificate not reloaded"),
        None => {}
    }
}

/// The outbox in `data_dir`, when there is somebody to tell.
fn open_outbox(config: &Config) -> Result<Outbox, deliver::OpenError> {
    if config.endpoints.is_empty() {
        return Ok(Outbox::none());
    }
    let settings = deliver::Settings::new(config.endpoints.clone());
    Outbox::open(&config.data_dir.join("outbox.db"), settings)
}

/// Goes on with the streams that the process before has saved. What cannot go on is a line in the log, and answered with
/// what has been told of it.
async fn resume(store: &StateStore, registry: &Registry) -> Vec<(StreamId, Story)> {
    let store = store.clone();
    let taken = spawn_blocking(move || store.take()).await;
    let Taken {
        streams,
        mut stories,
    } = taken.unwrap_or_default();
    for (stream, left) in streams {
        let (epoch, story) = (left.saved.epoch(), left.story.clone());
        if registry.takedowns().cover(stream.as_str(), Some(epoch)) {
            warn!(%stream, epoch, "saved stream not resumed: it was taken down");
        } else {
            match registry.resume(&stream, left).await {
                Ok(()) => {
                    metrics::counter!("vitrine_resumes_total", "outcome" => "resumed").increment(1);
                    info!(%stream, epoch, "resumed: waiting for its publisher");
                    continue;
                }
                Err(error) => states::refused(&stream, &error),
            }
        }
        stories.extend(story.map(|story| (stream, story)));
    }
    stories
}

/// Writes the streams that can go on, for the next process to find.
fn save(states: &StateStore, registry: &Registry, streams: Vec<(StreamId, Left)>) {
    for (stream, left) in streams {
        match states.save(&stream, &left) {
            Ok(()) => info!(%stream, epoch = left.saved.epoch(), "saved"),
            Err(error) => {
                warn!(%stream, %error, "stream not saved: it ends here");
                registry.give_up(&stream);
            }
        }
    }
}

/// Ends everything within `limit`, in the order in which things depend on each other.
#[expect(clippy::too_many_arguments, reason = "everything ends here")]
async fn drain(
    limit: Duration,
    ingest: &Ingest,
    who: &Who,
    registry: &Registry,
    states: &StateStore,
    outbox: &Outbox,
    shutdown: &CancellationToken,
    tasks: &mut JoinSet<()>,
) {
    let deadline = Instant::now() + limit;
    info!(?limit, "draining");
    supervisor::stopping();
    registry.begin_drain();
    // Two fifths are kept for the streams and the last answers.
    ingest.drain(limit * 3 / 5).await;
    let rest = async {
        let streams = registry.drain().await;
        // The doors stay open meanwhile: players take an answer better than a closed port.
        let (states, registry) = (states.clone(), registry.clone());
        let saved = spawn_blocking(move || save(&states, &registry, streams)).await;
        if let Err(error) = saved {
            error!(%error, "streams not saved");
        }
        // First what happened last: delivering it can be made good by the next process.
        let _ = timeout(limits::OUTBOX_DRAIN, outbox.flush()).await;
        if let Some(hooks) = &who.hooks {
            hooks.flush().await;
        }
        shutdown.cancel();
        while tasks.join_next().await.is_some() {}
        outbox.close().await;
    };
    if timeout_at(deadline, rest).await.is_err() {
        warn!("cut at the end of shutdown_timeout");
    }
    info!("ended");
}

fn streams(config: &Config) -> stream::Settings {
    stream::Settings {
        part: config.hls.part,
        segment: config.hls.segment,
        max_gop: config.hls.max_gop,
        window: config.hls.window,
        part_hold_back: config.hls.part_hold_back,
        grace: config.publish.grace,
        grace_after_stop: config.publish.grace_after_stop,
    }
}

#[cfg(feature = "transcode")]
fn encoding(config: &Config) -> Option<Encoding> {
    let transcode = config.transcode.as_ref()?;
    Some(Encoding::new(transcode.settings, transcode.max_streams))
}

#[cfg(not(feature = "transcode"))]
fn encoding(_: &Config) -> Option<Encoding> {
    None
}

fn door(config: &Config) -> ingest::Settings {
    ingest::Settings {
        handshake_timeout: config.rtmp.handshake_timeout,
        session: publish::Limits {
            connect_to_publish: config.rtmp.publish_timeout,
            idle: config.rtmp.idle_timeout,
        },
        takeover: config.publish.takeover,
        max_kbps: config.publish.max_kbps,
        events: config.publish.events,
    }
}

fn permits(config: &Config) -> Vec<(Digest, Permit)> {
    let permit = |key: &PublishKey| Permit {
        grant: Grant {
            takeover: key.takeover,
            max_kbps: key.max_kbps,
            events: key.events,
            ladder: config.ladder(key.ladder.as_deref()),
            ..Grant::of(key.stream.clone())
        },
        epoch_by_publisher: key.epoch == Numbering::Publisher,
    };
    let keys = config.publish.keys.iter();
    keys.map(|key| (key.key, permit(key))).collect()
}

/// The signals the daemon lives by. Received from the moment this is made.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next thing that somebody asks for.
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.terminate.recv() => Asked::End,
        }
    }

    /// The next wish to end; others are too late.
    async fn end(&mut self) {
        while !matches!(self.next().await, Asked::End) {}
    }
}

/// What a signal asks for.
enum Asked {
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    End,
}
