//! Who may publish, and as what: the seam between the RTMP door and whoever decides (contracts, section 3).
//!
//! A decision is asynchronous and is made before `NetStream.Publish.Start`: static keys (`[[publish.keys]]`) first, then,
//! where there is one, the backend (`hooks`), in [`Admission::decide`] and nowhere else. Keys are held as SHA-256 digests
//! only, and no type here prints a key. The limit on a decision's time is the door's.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use tracing::warn;
use vitrine_core::{
    engine::{ladder::Ladder, publish},
    wire::hook::{self, Events},
};
use vitrine_runtime::{bearer::Digest, clock};

use crate::{
    hooks::{Allowance, Allowed, Answer, Hooks},
    live::{SessionId, StreamId},
};

/// What a publisher asks for: its own words, and where they came from.
#[derive(Clone)]
pub struct PublishRequest {
    /// Id of the session that begins if it is allowed.
    pub session: SessionId,
    /// `rtmp` or `rtmps`.
    pub protocol: &'static str,
    /// The publisher's address.
    pub peer: SocketAddr,
    /// Application, key, query and encoder as sent.
    pub words: publish::Request,
}

impl fmt::Debug for PublishRequest {
    /// Without the key, and without what may hold it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishRequest")
            .field("session", &self.session)
            .field("protocol", &self.protocol)
            .field("peer", &self.peer)
            .field("encoder", &self.words.encoder)
            .finish_non_exhaustive()
    }
}

/// The answer to a [`PublishRequest`].
#[derive(Debug)]
pub enum Verdict {
    /// It may publish.
    Allow(Box<Admitted>),
    /// It may not, and this is what the broadcaster is told.
    Deny {
        /// In words, fit for the broadcaster's eyes.
        reason: String,
    },
    /// Nobody could decide, so it may not; not the broadcaster's fault.
    Undecided {
        /// In words, fit for the broadcaster's eyes.
        reason: &'static str,
    },
}

/// What a publisher was allowed, and by whom.
#[derive(Debug)]
pub struct Admitted {
    /// What it may do.
    pub grant: Grant,
    /// What a ban of this publisher is of.
    pub identity: Digest,
    /// What the backend keeps deciding and is told about it, if a backend decided.
    pub allowance: Option<Allowance>,
}

/// What an allowed publisher may do; what is `None` follows the configuration, or has no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The public name of the stream.
    pub stream: StreamId,
    /// Whether that is the publisher's own word, which another application may use too.
    pub own_name: bool,
    /// Whether it may take the stream from the publisher that holds it.
    pub takeover: Option<bool>,
    /// Highest bitrate in thousand bits a second.
    pub max_kbps: Option<u32>,
    /// The renditions to make of it; the built-in ladder when none.
    pub ladder: Option<Ladder>,
    /// The epoch to begin or go on with: that or none. Unix seconds of about now.
    pub epoch: Option<u64>,
    /// Age at which the publish ends.
    pub lifetime: Option<Duration>,
    /// How long until the backend is asked again, and so on.
    pub revalidate: Option<Duration>,
    /// What events it may carry.
    pub events: Events,
    /// What the backend is told with every event of the stream.
    pub metadata: Map<String, Value>,
}

impl Grant {
    /// Leave to publish `stream`, all else as configured.
    pub fn of(stream: StreamId) -> Self {
        Self {
            stream,
            own_name: false,
            takeover: None,
            max_kbps: None,
            ladder: None,
            epoch: None,
            lifetime: None,
            revalidate: None,
            events: Events::default(),
            metadata: Map::new(),
        }
    }
}

/// The ladders of the configuration by name, replaceable while running.
pub type Ladders = ArcSwap<BTreeMap<String, Ladder>>;

/// Decides about publish requests.
#[derive(Debug)]
pub struct Admission {
    keys: Arc<StaticKeys>,
    backend: Option<Backend>,
}

/// Who is asked about keys that are not static.
#[derive(Debug)]
struct Backend {
    hooks: Hooks,
    node: String,
    ladders: Arc<Ladders>,
}

impl Admission {
    /// Decides by `keys` alone.
    pub fn new(keys: Arc<StaticKeys>) -> Self {
        let backend = None;
        Self { keys, backend }
    }

    /// Asks a backend, in the name of `node`, about keys that are not static; `ladders` are those it may name.
    pub fn asking(mut self, hooks: Hooks, node: String, ladders: Arc<Ladders>) -> Self {
        self.backend = Some(Backend {
            hooks,
            node,
            ladders,
        });
        self
    }

    /// Decides about one request.
    pub async fn decide(&self, request: &PublishRequest) -> Verdict {
        let Some(Permit {
            mut grant,
            epoch_by_publisher,
        }) = self.keys.find(&request.words.stream_key)
        else {
            return match &self.backend {
                Some(backend) => backend.decide(request).await,
                None => Verdict::Deny {
                    reason: "unknown stream key".to_owned(),
                },
            };
        };
        if epoch_by_publisher {
            match epoch(&request.words.query) {
                Ok(named) => grant.epoch = named,
                Err(reason) => return Verdict::Deny { reason },
            }
        }
        Verdict::Allow(Box::new(Admitted {
            grant,
            identity: Digest::of(request.words.stream_key.as_bytes()),
            allowance: None,
        }))
    }
}

impl Backend {
    async fn decide(&self, request: &PublishRequest) -> Verdict {
        let words = &request.words;
        if words.has_controls() {
            return Verdict::Deny {
                reason: "the stream key or the URL has a control character in it".to_owned(),
            };
        }
        let publish = hook::Publish {
            node: self.node.clone(),
            session: request.session.to_string(),
            at: clock::wall(),
            app: words.app.clone(),
            name: words.name.clone(),
            stream_key: words.stream_key.clone(),
            query: words.query.clone(),
            tc_url: words.tc_url.clone(),
            protocol: request.protocol,
            peer: request.peer,
            encoder: words.encoder.replace(char::is_control, ""),
        };
        let allowed = match self.hooks.ask(&publish).await {
            Answer::Allow(allowed) => *allowed,
            Answer::Deny { reason } => return Verdict::Deny { reason },
            Answer::Unknown { reason } => return Verdict::Undecided { reason },
        };
        // Whatever keeps it from beginning, the backend is told that it has ended.
        let identity = self.identity(&publish, &allowed.stream);
        let allowance = Allowance::new(self.hooks.clone(), publish, allowed.stream.clone());
        match self.grant(allowed) {
            Some(grant) => Verdict::Allow(Box::new(Admitted {
                grant,
                identity,
                allowance: Some(allowance),
            })),
            None => Verdict::Undecided {
                reason: "the stream is not set up right, ask who runs it",
            },
        }
    }

    /// Its key; or its stream, where a backend of another server decides: what it takes for a key may be the key of many, or
    /// nothing that it looks at.
    fn identity(&self, publish: &hook::Publish, stream: &StreamId) -> Digest {
        match self.hooks.dialect() {
            hook::Dialect::Vitrine => Digest::of(publish.stream_key.as_bytes()),
            // No key has a line break.
            _ => Digest::of(format!("stream\n{stream}").as_bytes()),
        }
    }

    /// What was allowed, in our terms; `None` when it names what is not there, and the log tells.
    fn grant(&self, allowed: Allowed) -> Option<Grant> {
        let Allowed {
            stream,
            own_name,
            allow,
        } = allowed;
        let ladders = self.ladders.load();
        // As of static keys: "default" is there without being written down, and means the built-in one.
        let named = allow.ladder.as_deref().unwrap_or("default");
        let ladder = ladders.get(named).copied();
        if ladder.is_none() && named != "default" {
            let known: Vec<_> = ladders.keys().map(String::as_str).collect();
            warn!(%stream, ladder = named, ?known, "the admission backend names a ladder that is not there");
            return None;
        }
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Some(Grant {
            stream,
            own_name,
            takeover: allow.takeover,
            max_kbps: allow.max_kbps,
            ladder,
            epoch: allow.epoch,
            lifetime: allow.lifetime_seconds.map(seconds),
            revalidate: allow.revalidate_seconds.map(seconds),
            events: allow.events,
            metadata: allow.metadata,
        })
    }
}

/// The `epoch` parameter of a publish query.
fn epoch(query: &str) -> Result<Option<u64>, String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, seconds)) = pairs.find(|(name, _)| *name == "epoch") else {
        return Ok(None);
    };
    let digits = seconds.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| seconds.parse().ok()).flatten();
    number
        .map(Some)
        .ok_or_else(|| "epoch must be a time in Unix seconds, as in ?epoch=1767268800".to_owned())
}

/// What a static key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// What it grants.
    pub grant: Grant,
    /// Whether the publisher may name the epoch, as `?epoch=` in its query.
    pub epoch_by_publisher: bool,
}

impl From<Grant> for Permit {
    fn from(grant: Grant) -> Self {
        Self {
            grant,
            epoch_by_publisher: false,
        }
    }
}

/// The keys of the configuration, replaceable while running.
///
/// A key that a replacement leaves out admits nobody from then on; a session that it has admitted lives until it ends.
#[derive(Debug, Default)]
pub struct StaticKeys(ArcSwap<Vec<(Digest, Permit)>>);

impl StaticKeys {
    /// These keys, each with what it grants.
    pub fn new(keys: impl IntoIterator<Item = (Digest, impl Into<Permit>)>) -> Self {
        Self(ArcSwap::from_pointee(permits(keys)))
    }

    /// Puts these keys in the place of all former ones.
    pub fn replace(&self, keys: impl IntoIterator<Item = (Digest, impl Into<Permit>)>) {
        self.0.store(Arc::new(permits(keys)));
    }

    /// What `key` stands for. Digests are compared, each in constant time, so that its time tells nothing about how near a
    /// guess came.
    fn find(&self, key: &str) -> Option<Permit> {
        let presented = Digest::of(key.as_bytes());
        let keys = self.0.load();
        let known = keys.iter().find(|(digest, _)| *digest == presented);
        known.map(|(_, permit)| permit.clone())
    }
}

fn permits(keys: impl IntoIterator<Item = (Digest, impl Into<Permit>)>) -> Vec<(Digest, Permit)> {
    let keys = keys.into_iter();
    keys.map(|(key, permit)| (key, permit.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str) -> PublishRequest {
        PublishRequest {
            session: SessionId::new(),
            protocol: "rtmp",
            peer: ([192, 0, 2, 1], 50312).into(),
            words: publish::Request {
                app: "live".to_owned(),
                name: key.to_owned(),
                stream_key: key.to_owned(),
                query: format!("key={key}"),
                tc_url: format!("rtmp://host/live/{key}"),
                encoder: "test".to_owned(),
            },
        }
    }

    fn demo() -> Grant {
        Grant::of("demo".parse().expect("a stream id"))
    }

    /// What was granted, or why nothing was.
    fn granted(verdict: Verdict) -> Result<Grant, String> {
        match verdict {
            Verdict::Allow(admitted) => Ok(admitted.grant),
            Verdict::Deny { reason } => Err(reason),
            Verdict::Undecided { reason } => Err(reason.to_owned()),
        }
    }

    #[tokio::test]
    async fn a_known_key_publishes_its_stream_and_an_unknown_one_is_told_so() {
        let keys = Arc::new(StaticKeys::new([(Digest::of(b"secret"), demo())]));
        let admission = Admission::new(Arc::clone(&keys));
        let decided = async |key| granted(admission.decide(&request(key)).await);
        assert_eq!(decided("secret").await, Ok(demo()));
        let unknown = Err("unknown stream key".to_owned());
        for wrong in ["", "demo", "secret2"] {
            assert_eq!(decided(wrong).await, unknown);
        }
        keys.replace([(Digest::of(b"fresh"), demo())]);
        assert_eq!(decided("secret").await, unknown);
        assert_eq!(decided("fresh").await, Ok(demo()));
    }

    #[tokio::test]
    async fn a_publisher_names_the_epoch_where_its_key_lets_it() {
        let named = |epoch| Grant { epoch, ..demo() };
        for (by_publisher, query, wanted) in [
            (true, "epoch=1767268800", Some(Some(1_767_268_800))),
            (true, "a=b&epoch=7&epoch=8", Some(Some(7))),
            (true, "", Some(None)),
            (true, "epoch=", None),
            (true, "epoch=soon", None),
            (true, "epoch=+7", None),
            (true, "epoch=99999999999999999999", None),
            (false, "epoch=1767268800", Some(None)),
            (false, "epoch=soon", Some(None)),
        ] {
            let permit = Permit {
                grant: demo(),
                epoch_by_publisher: by_publisher,
            };
            let keys = StaticKeys::new([(Digest::of(b"secret"), permit)]);
            let mut asked = request("secret");
            asked.words.query = query.to_owned();
            let verdict = Admission::new(Arc::new(keys)).decide(&asked).await;
            let allowed = granted(verdict).ok();
            assert_eq!(allowed, wanted.map(named), "{by_publisher} {query}");
        }
    }

    #[test]
    fn nothing_here_prints_a_key() {
        let printed = format!("{:?}", request("s3cr3t"));
        assert!(!printed.contains("s3cr3t"), "{printed}");
    }
}
