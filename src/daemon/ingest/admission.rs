//! Who may publish, and as what: the seam between the RTMP door and whoever decides (contracts, section 3).
//!
//! A decision is asynchronous and is made before `NetStream.Publish.Start`. Today it is made from static keys
//! (`[[publish.keys]]`); a hook will be asked beside them, in [`Admission::decide`] and nowhere else. Keys are held as
//! SHA-256 digests only, and no type here prints a key. The limit on a decision's time is the door's.

use std::{fmt, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use vitrine_core::engine::{ladder::Ladder, publish};
use vitrine_runtime::bearer::Digest;

use crate::live::{SessionId, StreamId};

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may publish.
    Allow(Grant),
    /// It may not, and this is what the broadcaster is told.
    Deny {
        /// In words, fit for the broadcaster's eyes.
        reason: String,
    },
}

/// What an allowed publisher may do; what is `None` follows the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The public name of the stream.
    pub stream: StreamId,
    /// Whether it may take the stream from the publisher that holds it.
    pub takeover: Option<bool>,
    /// Highest bitrate in thousand bits a second.
    pub max_kbps: Option<u32>,
    /// The renditions to make of it; the built-in ladder when none.
    pub ladder: Option<Ladder>,
    /// The epoch to begin or go on with: that or none. Unix seconds of about now.
    pub epoch: Option<u64>,
}

impl Grant {
    /// Leave to publish `stream`, all else as configured.
    pub fn of(stream: StreamId) -> Self {
        Self {
            stream,
            takeover: None,
            max_kbps: None,
            ladder: None,
            epoch: None,
        }
    }
}

/// Decides about publish requests.
#[derive(Debug)]
pub struct Admission {
    keys: Arc<StaticKeys>,
}

impl Admission {
    /// Decides by `keys` alone.
    pub fn new(keys: Arc<StaticKeys>) -> Self {
        Self { keys }
    }

    /// Decides about one request.
    pub async fn decide(&self, request: &PublishRequest) -> Verdict {
        let Some(Permit {
            mut grant,
            epoch_by_publisher,
        }) = self.keys.find(&request.words.stream_key)
        else {
            return Verdict::Deny {
                reason: "unknown stream key".to_owned(),
            };
        };
        if epoch_by_publisher {
            match epoch(&request.words.query) {
                Ok(named) => grant.epoch = named,
                Err(reason) => return Verdict::Deny { reason },
            }
        }
        Verdict::Allow(grant)
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

    #[tokio::test]
    async fn a_known_key_publishes_its_stream_and_an_unknown_one_is_told_so() {
        let keys = Arc::new(StaticKeys::new([(Digest::of(b"secret"), demo())]));
        let admission = Admission::new(Arc::clone(&keys));
        let allowed = admission.decide(&request("secret")).await;
        assert_eq!(allowed, Verdict::Allow(demo()));
        let reason = "unknown stream key".to_owned();
        for wrong in ["", "demo", "secret2"] {
            let denied = admission.decide(&request(wrong)).await;
            assert_eq!(
                denied,
                Verdict::Deny {
                    reason: reason.clone()
                }
            );
        }
        keys.replace([(Digest::of(b"fresh"), demo())]);
        let denied = admission.decide(&request("secret")).await;
        assert_eq!(denied, Verdict::Deny { reason });
        let allowed = admission.decide(&request("fresh")).await;
        assert_eq!(allowed, Verdict::Allow(demo()));
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
            let allowed = match verdict {
                Verdict::Allow(grant) => Some(grant),
                Verdict::Deny { .. } => None,
            };
            assert_eq!(allowed, wanted.map(named), "{by_publisher} {query}");
        }
    }

    #[test]
    fn nothing_here_prints_a_key() {
        let printed = format!("{:?}", request("s3cr3t"));
        assert!(!printed.contains("s3cr3t"), "{printed}");
    }
}
