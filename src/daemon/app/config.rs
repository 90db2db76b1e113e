//! The daemon's settings: names, defaults and what must hold between them. Documented for operators in
//! `conf/vitrine.toml`, which a test keeps equal to this file.
//!
//! One call per key, in the order of that file. Whatever cannot work is refused here, before a port is bound;
//! a name of the contract whose feature is not built yet is refused by name. Stream keys and tokens are hashed as
//! they are read: no value of this module holds one in clear.

mod endpoints;
mod events;
pub mod hooks;
mod ladder;
mod playback;
pub mod transcode;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tracing::level_filters::LevelFilter;
use vitrine_core::{engine::ladder::Ladder, wire::hook::Events};
use vitrine_runtime::{
    bearer::{Access, Digest, Token, Tokens},
    config::{Environment, Error, Reader, Report, Value, load, toml},
    deliver::Endpoint,
    descriptors,
    network::Networks,
    serve::tls::Identity,
    telemetry,
};

use self::{hooks::Hooks, transcode::Transcode};
use crate::{live::StreamId, origin::guard::Policy};

/// Every setting of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the daemon keeps what outlives it; created when missing.
    pub data_dir: PathBuf,
    /// The name of this node in what it tells others.
    pub node: String,
    /// From SIGTERM to the end of the process, at most.
    pub shutdown_timeout: Duration,
    /// `[log]`
    pub log: Log,
    /// `[rtmp]`
    pub rtmp: Rtmp,
    /// `[rtmps]`: the listener, when on.
    pub rtmps: Option<SocketAddr>,
    /// `[http]`
    pub http: Http,
    /// `[https]`: the listener, when on.
    pub https: Option<SocketAddr>,
    /// `[tls]`: certificate and key of `[rtmps]` and `[https]`.
    pub tls: Option<Tls>,
    /// `[control]`
    pub control: Control,
    /// `[publish]`
    pub publish: Publish,
    /// `[hls]`
    pub hls: Hls,
    /// `[transcode]`, when on.
    pub transcode: Option<Transcode>,
    /// `[[hooks.endpoints]]`
    pub endpoints: Vec<Endpoint>,
    /// `[ladder.*]` by name; see [`Config::ladder`].
    pub ladders: BTreeMap<String, Ladder>,
    /// `[playback]`
    pub playback: Policy,
    /// `[hooks]`
    pub hooks: Hooks,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is written.
    pub level: LevelFilter,
    /// Lines for people or JSON.
    pub format: telemetry::Format,
}

/// The RTMP listener, and the limits of RTMP and RTMPS together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtmp {
    /// Address and port.
    pub listen: SocketAddr,
    /// Connections at once.
    pub max_connections: u32,
    /// Connections at once from one address (IPv6: one /64).
    pub max_connections_per_address: u32,
    /// From the first byte to a finished handshake.
    pub handshake_timeout: Duration,
    /// From the handshake to an accepted publish.
    pub publish_timeout: Duration,
    /// A publisher that sends nothing for this long is gone.
    pub idle_timeout: Duration,
    /// Whether every connection, RTMPS too, must begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Who may send one; nobody named: whoever reaches the port.
    pub trusted_proxies: Networks,
}

/// The playback listener, and the limits of HTTP and HTTPS together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Address and port.
    pub listen: SocketAddr,
    /// Connections at once.
    pub max_connections: u32,
    /// Connections at once from one address (IPv6: one /64).
    pub max_connections_per_address: u32,
    /// Proxies that name their client, and that may take all connections.
    pub trusted_proxies: Networks,
    /// A folder served at `/`.
    pub static_dir: Option<PathBuf>,
    /// Where players find playback from outside, as in `https://live.shop.example`: what events name.
    pub public_url: Option<String>,
}

/// A PEM certificate chain and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Path of the chain, leaf first.
    pub cert: PathBuf,
    /// Path of the key.
    pub key: PathBuf,
}

/// The control listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Address and port.
    pub listen: SocketAddr,
    /// Who may call; empty only on loopback, and then everyone there may.
    pub tokens: Tokens,
}

/// Who may publish, and what becomes of a stream without its publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Static keys.
    pub keys: Vec<PublishKey>,
    /// Whether a second publisher with the same key replaces the first.
    pub takeover: bool,
    /// Publishers above this bitrate are disconnected, in kb/s, measured on arrival.
    pub max_kbps: u32,
    /// What events a publish may carry.
    pub events: Events,
    /// How long a stream outlives a lost publisher.
    pub grace: Duration,
    /// How long a stream outlives a publisher that said goodbye.
    pub grace_after_stop: Duration,
}

/// One static stream key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishKey {
    /// SHA-256 of the key that the publisher presents.
    pub key: Digest,
    /// The public stream it publishes.
    pub stream: StreamId,
    /// Overrides [`Publish::takeover`].
    pub takeover: Option<bool>,
    /// Overrides [`Publish::max_kbps`], in kb/s.
    pub max_kbps: Option<u32>,
    /// Overrides [`Publish::events`].
    pub events: Events,
    /// Who numbers the epochs.
    pub epoch: Numbering,
    /// The ladder it asks for, by name.
    pub ladder: Option<String>,
    /// What logs call the key.
    pub name: Option<String>,
}

/// Who numbers the epochs of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// The daemon, by its clock.
    Daemon,
    /// The publisher, as `?epoch=` behind the key; the daemon where it does not.
    Publisher,
}

impl Value for Numbering {
    const EXPECTED: &'static str = "\"daemon\" or \"publisher\"";

    fn from_toml(value: &toml::Value) -> Option<Self> {
        match value.as_str()? {
            "daemon" => Some(Self::Daemon),
            "publisher" => Some(Self::Publisher),
            _ => None,
        }
    }

    fn show(&self) -> String {
        let name = match self {
            Self::Daemon => "daemon",
            Self::Publisher => "publisher",
        };
        name.to_owned().show()
    }
}

/// How the live streams are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hls {
    /// The part length to aim for.
    pub part: Duration,
    /// The segment length to aim for.
    pub segment: Duration,
    /// The longest distance between key frames that is waited for.
    pub max_gop: Duration,
    /// Media listed in a playlist (never less than nine target durations).
    pub window: Duration,
    /// PART-HOLD-BACK, when more than three part targets is wanted.
    pub part_hold_back: Option<Duration>,
}

impl Value for StreamId {
    const EXPECTED: &'static str = "a stream id: 1 to 64 letters, digits, _ or -";

    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string().show()
    }
}

/// A stream key in clear, hashed as it is read.
struct ClearKey(Digest);

impl Value for ClearKey {
    const EXPECTED: &'static str = "a key of 1 to 512 characters";
    const SECRET: bool = true;

    fn from_toml(value: &toml::Value) -> Option<Self> {
        let key = value.as_str()?;
        (1..=512)
            .contains(&key.len())
            .then(|| Self(Digest::of(key.as_bytes())))
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

impl Config {
    /// The settings of this process: defaults, `file` when given, the environment; with a report of their origins.
    ///
    /// # Errors
    /// Everything that is wrong with them, at once.
    pub fn load(file: Option<&Path>) -> Result<(Self, Report), Error> {
        // The sidecar's variables begin alike and are not ours to judge.
        let environment = Environment::of_process("VITRINE_", &["VITRINE_COMMERCE_"]);
        load(file, environment.without(&FOR_CLIENTS), Self::read)
    }

    /// The ladder called `name`, `default` without one. `None` when it is the built-in one, which follows the source.
    pub fn ladder(&self, name: Option<&str>) -> Option<Ladder> {
        self.ladders.get(name.unwrap_or(ladder::DEFAULT)).copied()
    }

    /// Checks that every allowed connection finds a descriptor under `limit`, the process's own.
    ///
    /// # Errors
    /// [`descriptors::Exceeded`] when they do not.
    pub fn check_descriptors(&self, limit: u64) -> Result<(), descriptors::Exceeded> {
        let connections = [
            self.rtmp.max_connections,
            self.http.max_connections,
            CONTROL_MAX_CONNECTIONS,
        ];
        let listeners: u64 = connections.map(u64::from).iter().sum();
        descriptors::check(listeners + endpoints::connections(&self.endpoints), limit)
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        let config = Self {
            data_dir: reader.value("data_dir", "data".into()),
            node: reader.value("node", "n1".to_owned()),
            shutdown_timeout: reader.value("shutdown_timeout", Duration::from_secs(10)),
            log: Log {
                level: reader.value("log.level", LevelFilter::INFO),
                format: reader.value("log.format", telemetry::Format::Auto),
            },
            rtmp: Rtmp::read(reader),
            rtmps: reader.section("rtmps", |rtmps| {
                Some(rtmps.value("listen", any_address(1936)))
            }),
            http: Http::read(reader),
            https: reader.section("https", |https| {
                Some(https.value("listen", any_address(8443)))
            }),
            tls: reader.section("tls", Tls::read),
            control: Control::read(reader),
            publish: Publish::read(reader),
            hls: Hls::read(reader),
            transcode: transcode::read(reader),
            ladders: ladder::read(reader),
            playback: playback::read(reader),
            endpoints: endpoints::read(reader),
            hooks: hooks::read(reader),
        };
        for (listener, key) in [
            (config.rtmps, "rtmps.listen"),
            (config.https, "https.listen"),
        ] {
            let has_identity = listener.is_none() || reader.has("tls");
            reader.require(
                has_identity,
                key,
                "a section [tls] with cert and key beside it",
            );
        }
        config.check_ladders(reader);
        config
    }

    /// That every ladder which a key names is there.
    fn check_ladders(&self, reader: &mut Reader<'_>) {
        let names = self.ladders.keys().map(String::as_str);
        let names: BTreeSet<_> = names.chain([ladder::DEFAULT]).collect();
        let keys = self.publish.keys.iter().enumerate();
        for (index, name) in keys.filter_map(|(index, key)| Some((index, key.ladder.as_ref()?))) {
            let known = names.contains(name.as_str());
            let key = format!("publish.keys[{index}].ladder");
            let quoted: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
            let expected = format!("a ladder that is there: {}", quoted.join(", "));
            reader.require(known, &key, expected);
        }
    }
}

impl Default for Config {
    /// The settings of a daemon without a file and with an empty environment.
    fn default() -> Self {
        let (config, _) =
            load(None, Environment::empty(), Self::read).expect("a test loads the defaults");
        config
    }
}

impl Rtmp {
    fn read(reader: &mut Reader<'_>) -> Self {
        let rtmp = Self {
            listen: reader.value("rtmp.listen", any_address(1935)),
            max_connections: reader.value("rtmp.max_connections", 1000),
            max_connections_per_address: reader.value("rtmp.max_connections_per_address", 64),
            handshake_timeout: reader.value("rtmp.handshake_timeout", Duration::from_secs(5)),
            publish_timeout: reader.value("rtmp.publish_timeout", Duration::from_secs(10)),
            idle_timeout: reader.value("rtmp.idle_timeout", Duration::from_secs(15)),
            proxy_protocol: reader.value("rtmp.proxy_protocol", false),
            trusted_proxies: reader.value("rtmp.trusted_proxies", Networks::default()),
        };
        for (timeout, key) in [
            (rtmp.handshake_timeout, "rtmp.handshake_timeout"),
            (rtmp.publish_timeout, "rtmp.publish_timeout"),
            (rtmp.idle_timeout, "rtmp.idle_timeout"),
        ] {
            reader.require(timeout >= Duration::from_secs(1), key, "at least 1s");
        }
        at_least_one(reader, rtmp.max_connections, "rtmp.max_connections");
        at_least_one(
            reader,
            rtmp.max_connections_per_address,
            "rtmp.max_connections_per_address",
        );
        reader.require(
            rtmp.proxy_protocol || rtmp.trusted_proxies.is_empty(),
            "rtmp.trusted_proxies",
            "rtmp.proxy_protocol = true beside it, or none",
        );
        rtmp
    }
}

impl Http {
    fn read(reader: &mut Reader<'_>) -> Self {
        let http = Self {
            listen: reader.value("http.listen", any_address(8080)),
            max_connections: reader.value("http.max_connections", 16_384),
            max_connections_per_address: reader.value("http.max_connections_per_address", 4096),
            trusted_proxies: reader.value("http.trusted_proxies", Networks::default()),
            static_dir: reader.optional("http.static_dir"),
            public_url: reader.optional("http.public_url"),
        };
        at_least_one(reader, http.max_connections, "http.max_connections");
        at_least_one(
            reader,
            http.max_connections_per_address,
            "http.max_connections_per_address",
        );
        let is_folder = http.static_dir.as_ref().is_none_or(|path| path.is_dir());
        reader.require(
            is_folder,
            "http.static_dir",
            "a folder that exists, or \"\" for none",
        );
        let is_base = |url: &String| {
            let rest = url.strip_prefix("https://").or(url.strip_prefix("http://"));
            rest.is_some_and(|rest| !rest.is_empty() && !rest.ends_with('/'))
        };
        reader.require(
            http.public_url.as_ref().is_none_or(is_base),
            "http.public_url",
            "http:// or https:// and a host, without a slash at the end",
        );
        http
    }
}

impl Tls {
    fn read(tls: &mut Reader<'_>) -> Option<Self> {
        let (cert, key) = (
            tls.required::<PathBuf>("cert"),
            tls.required::<PathBuf>("key"),
        );
        let (cert, key) = (cert?, key?);
        if let Err(error) = Identity::load(&cert, &key) {
            tls.require(
                false,
                "cert",
                format_args!("a certificate with its key: {error}"),
            );
        }
        Some(Self { cert, key })
    }
}

impl Control {
    fn read(reader: &mut Reader<'_>) -> Self {
        let listen = reader.value("control.listen", SocketAddr::from(([127, 0, 0, 1], 8081)));
        let tokens = reader.entries("control.tokens", |entry| {
            let (name, digest) = (entry.required("name"), entry.required("sha256"));
            let access = entry.value("access", Access::Full);
            Some(Token {
                name: name?,
                digest: digest?,
                access,
            })
        });
        let local = listen.ip().to_canonical().is_loopback();
        let expected = "a loopback address, or at least one [[control.tokens]]";
        reader.require(local || !tokens.is_empty(), "control.listen", expected);
        Self {
            listen,
            tokens: Tokens::new(tokens),
        }
    }
}

impl Publish {
    fn read(reader: &mut Reader<'_>) -> Self {
        let publish = Self {
            keys: reader.entries("publish.keys", PublishKey::read),
            takeover: reader.value("publish.takeover", true),
            max_kbps: reader.value("publish.max_kbps", 20_000),
            events: events::read(reader),
            grace: reader.value("publish.grace", Duration::from_secs(30)),
            grace_after_stop: reader.value("publish.grace_after_stop", Duration::from_secs(3)),
        };
        at_least_one(reader, publish.max_kbps, "publish.max_kbps");
        for (index, entry) in publish.keys.iter().enumerate() {
            let [clear, hashed] =
                ["key", "key_sha256"].map(|name| format!("publish.keys[{index}].{name}"));
            let twice = publish.keys[..index]
                .iter()
                .any(|earlier| earlier.key == entry.key);
            let key = if reader.has(&clear) { clear } else { hashed };
            reader.require(
                !twice,
                &key,
                "another key than those before: a key stands for one stream",
            );
        }
        publish
    }
}

impl PublishKey {
    fn read(entry: &mut Reader<'_>) -> Option<Self> {
        let clear = entry.optional::<ClearKey>("key").map(|key| key.0);
        let hashed = entry.optional::<Digest>("key_sha256");
        let one = entry.has("key") != entry.has("key_sha256");
        let stream = entry.required("stream");
        let takeover = entry.optional("takeover");
        let max_kbps = entry.optional("max_kbps");
        let events = events::of_key(entry);
        let epoch = entry.value("epoch", Numbering::Daemon);
        let ladder = ladder::named(entry);
        let name = entry.optional("name");
        entry.require(one, "key", "exactly one of key and key_sha256");
        at_least_one(entry, max_kbps.unwrap_or(1), "max_kbps");
        Some(Self {
            key: clear.or(hashed)?,
            stream: stream?,
            takeover,
            max_kbps,
            events,
            epoch,
            ladder,
            name,
        })
    }
}

impl Hls {
    fn read(reader: &mut Reader<'_>) -> Self {
        let hls = Self {
            part: reader.value("hls.part", Duration::from_millis(200)),
            segment: reader.value("hls.segment", Duration::from_secs(1)),
            max_gop: reader.value("hls.max_gop", Duration::from_secs(2)),
            window: reader.value("hls.window", Duration::from_secs(12)),
            part_hold_back: reader.optional("hls.part_hold_back"),
        };
        let longest = Duration::from_secs(60);
        reader.require(
            hls.part >= Duration::from_millis(150),
            "hls.part",
            "at least 150ms",
        );
        reader.require(hls.part <= hls.segment, "hls.part", "at most hls.segment");
        reader.require(
            hls.segment <= hls.max_gop,
            "hls.max_gop",
            "at least hls.segment",
        );
        reader.require(
            hls.max_gop <= Duration::from_secs(10),
            "hls.max_gop",
            "at most 10s",
        );
        reader.require(
            hls.window >= hls.max_gop && hls.window <= longest * 10,
            "hls.window",
            "hls.max_gop to 10m",
        );
        let back = hls.part_hold_back;
        let expected = "at least three times hls.part (RFC 8216bis, 4.4.3.8), at most 1m";
        reader.require(
            back.is_none_or(|back| back >= hls.part * 3 && back <= longest),
            "hls.part_hold_back",
            expected,
        );
        hls
    }
}

fn at_least_one(reader: &mut Reader<'_>, value: u32, key: &str) {
    reader.require(value >= 1, key, "at least 1");
}

fn any_address(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

/// Variables that the commands read which call a running daemon; no settings.
const FOR_CLIENTS: [&str; 2] = ["VITRINE_CONTROL", "VITRINE_TOKEN"];

/// Connections at once to the control listener: operators, a scraper and a sidecar, each with a few.
pub const CONTROL_MAX_CONNECTIONS: u32 = 128;

#[cfg(test)]
mod tests;
