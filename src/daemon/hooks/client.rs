//! The asking of one backend: deadline, bulkhead, breaker and memory around a call, and what its answer means.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::warn;
use ulid::Ulid;
use vitrine_core::{
    limits::{
        HOOK_CALLS_AGAIN_MAX, HOOK_CALLS_MAX, HOOK_DENIED_FOR, HOOK_DENIED_MAX, HOOK_DONE_FLUSH,
        HOOK_KNOWN_MAX, HOOK_WAITERS_MAX,
    },
    wire::{
        hook::{self, Allow, Body, Dialect, Publish, Unfit},
        sign::{self, Secret},
    },
};
use vitrine_runtime::{clock, network::site, throttle::OncePerSecond};

use super::{
    backend::{BackendUrl, Caller, Trouble},
    breaker::Breaker,
    bulkhead::{Bulkhead, Full},
    ends::Ends,
    meters,
    recent::Recent,
};
use crate::live::StreamId;

/// What the configuration says about the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// In whose words it is asked.
    pub dialect: Dialect,
    /// Where it is asked.
    pub admission_url: BackendUrl,
    /// What signs our own words, newest last; the first also makes the public names of the other dialects.
    pub secrets: Vec<Secret>,
    /// From the question to the last byte of the answer.
    pub deadline: Duration,
    /// What no clear answer means.
    pub on_failure: OnFailure,
    /// Whether names published in other servers' dialects are no secrets.
    pub name_is_public: bool,
    /// Where it is told that a publish has ended.
    pub done_url: Option<BackendUrl>,
    /// Where it is told that a publish goes on, and how often.
    pub update: Option<(BackendUrl, Duration)>,
}

/// What no clear answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// No.
    Deny,
    /// Yes to a key that was allowed within this time.
    AllowKnown(Duration),
}

/// The answer to a question.
#[derive(Debug)]
pub enum Answer {
    /// It may publish.
    Allow(Box<Allowed>),
    /// It may not.
    Deny {
        /// What the broadcaster is told.
        reason: String,
    },
    /// Nobody could say; it may not.
    Unknown {
        /// What the broadcaster is told.
        reason: &'static str,
    },
}

/// What may be published, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Allowed {
    /// The public name of the stream.
    pub stream: StreamId,
    /// Whether it is what the publisher made of it, the backend having given none: another application may have the same.
    pub own_name: bool,
    /// Everything else that was said.
    pub allow: Allow,
}

/// One backend and what is remembered of it. A cheap handle.
#[derive(Clone)]
pub struct Hooks(pub(super) Arc<Inner>);

/// What all handles share.
pub(super) struct Inner {
    pub(super) settings: Settings,
    /// Those of the settings, or later ones.
    secrets: ArcSwap<Vec<Secret>>,
    pub(super) caller: Caller,
    breaker: Breaker,
    begins: Bulkhead,
    pub(super) running: Bulkhead,
    /// What was allowed, if that may be wanted.
    known: Option<Recent<Fingerprint, Allowed>>,
    /// Why an address was denied a key.
    denied: Recent<(IpAddr, Fingerprint), String>,
    pub(super) ends: Ends,
    troubles: OncePerSecond,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

impl Hooks {
    /// A backend that nobody has asked yet.
    ///
    /// # Errors
    /// When the system's roots of trust cannot be used.
    pub fn new(settings: Settings) -> Result<Self, Trouble> {
        meters::register();
        let known = match settings.on_failure {
            OnFailure::Deny => None,
            OnFailure::AllowKnown(time) => Some(Recent::new(time, HOOK_KNOWN_MAX)),
        };
        let caller = Caller::new()?;
        Ok(Self(Arc::new(Inner {
            secrets: ArcSwap::from_pointee(settings.secrets.clone()),
            ends: Ends::new(caller.clone(), settings.done_url.clone(), settings.deadline),
            caller,
            breaker: Breaker::new(),
            begins: Bulkhead::new(HOOK_CALLS_MAX, HOOK_WAITERS_MAX),
            running: Bulkhead::new(HOOK_CALLS_AGAIN_MAX, HOOK_WAITERS_MAX),
            known,
            denied: Recent::new(HOOK_DENIED_FOR, HOOK_DENIED_MAX),
            troubles: OncePerSecond::default(),
            settings,
        })))
    }

    /// Whether `publish` may begin. Takes no longer than the deadline. The caller of a yes tells its end ([`Allowance`]); of a
    /// yes that comes to nobody, it is told from here.
    ///
    /// [`Allowance`]: super::Allowance
    pub async fn ask(&self, publish: &Publish) -> Answer {
        let inner = &*self.0;
        let fingerprint = Fingerprint::of(publish);
        let here = (site(publish.peer.ip()), fingerprint);
        if let Some(reason) = inner.denied.find(&here, Instant::now()) {
            meters::request("repeated");
            return Answer::Deny { reason };
        }
        let dialect = inner.settings.dialect;
        let mut unread = inner.ends.unread();
        let asked = || unread.asked(dialect.done(publish));
        let verdict = inner
            .consult(&inner.begins, publish, dialect.ask(publish), asked)
            .await;
        match &verdict {
            Ok(hook::Verdict::Deny { .. }) => unread.settle(),
            Err(trouble) if trouble.excludes_yes() => unread.settle(),
            _ => {}
        }
        match verdict.and_then(|verdict| inner.read(publish, verdict)) {
            Ok(Ok(allowed)) => {
                meters::request("allowed");
                unread.settle();
                if let Some(known) = &inner.known {
                    known.note(fingerprint, allowed.clone(), Instant::now());
                }
                Answer::Allow(Box::new(allowed))
            }
            Ok(Err(reason)) => {
                meters::request("denied");
                inner.forget(&fingerprint);
                inner.denied.note(here, reason.clone(), Instant::now());
                Answer::Deny { reason }
            }
            Err(trouble) => {
                meters::request(trouble.label());
                inner.tell(&trouble);
                match inner.known(&fingerprint) {
                    Some(allowed) => {
                        unread.settle();
                        Answer::Allow(Box::new(allowed))
                    }
                    None => Answer::Unknown {
                        reason: trouble.reason(),
                    },
                }
            }
        }
    }

    /// In whose words the backend is asked.
    pub fn dialect(&self) -> Dialect {
        self.0.settings.dialect
    }

    /// Signs with `secrets` from now on. Public names stay what the first secret of the settings made of them.
    pub fn replace_secrets(&self, secrets: Vec<Secret>) {
        self.0.secrets.store(Arc::new(secrets));
    }

    /// Waits until all publishes that were allowed have ended and that has been told, for a moment at most.
    pub async fn flush(&self) {
        let tracker: &TaskTracker = &self.0.ends.tracker;
        tracker.close();
        let told = tokio::time::timeout(HOOK_DONE_FLUSH, tracker.wait()).await;
        if told.is_err() {
            warn!(
                publishes = tracker.len(),
                "the backend was not told that they have ended"
            );
        }
    }
}

impl Inner {
    /// Puts a question about `publish` to the backend, within the deadline; `asked` is called when it goes out.
    pub(super) async fn consult(
        &self,
        room: &Bulkhead,
        publish: &Publish,
        body: Body,
        asked: impl FnOnce(),
    ) -> Result<hook::Verdict, Trouble> {
        let start = Instant::now();
        if self.breaker.rests(start) {
            return Err(Trouble::Resting);
        }
        let limit = self.settings.deadline;
        let deadline = start + limit;
        let place = timeout_at(deadline, room.enter()).await;
        let _place = match place {
            Ok(Ok(place)) => place,
            Ok(Err(Full)) => return Err(Trouble::Full),
            Err(_) => return Err(Trouble::Deadline(limit)),
        };
        // It may have begun to rest meanwhile.
        let sent = Instant::now();
        let pass = self.breaker.enter(sent).ok_or(Trouble::Resting)?;
        asked();
        let url = &self.settings.admission_url;
        let headers = self.headers(&body);
        let call = self.caller.post(url, body, &headers);
        let replied = timeout_at(deadline, call).await;
        meters::took(sent.elapsed());
        let replied = replied.unwrap_or(Err(Trouble::Deadline(limit)));
        let verdict =
            replied.and_then(|reply| Ok(self.settings.dialect.verdict(&reply.answer()?)?));
        match &verdict {
            Err(trouble) if trouble.is_outage() => {
                pass.failed(site(publish.peer.ip()), Instant::now())
            }
            _ => pass.answered(),
        }
        verdict
    }

    /// What a verdict means for `publish`: what is allowed, or why nothing is.
    pub(super) fn read(
        &self,
        publish: &Publish,
        verdict: hook::Verdict,
    ) -> Result<Result<Allowed, String>, Trouble> {
        let mut allow = match verdict {
            hook::Verdict::Allow(allow) => allow,
            hook::Verdict::Deny { reason } => return Ok(Err(reason)),
        };
        let Some(name) = allow.stream_id.take() else {
            let secrets = &self.settings.secrets;
            let secret = secrets.first().filter(|_| !self.settings.name_is_public);
            let name = hook::public_name(publish, secret).parse();
            return Ok(name
                .map(|stream| Allowed {
                    stream,
                    own_name: true,
                    allow,
                })
                .map_err(|invalid| format!("the name of the stream cannot be used: {invalid}")));
        };
        let stream = name.parse().map_err(|_| Unfit::Field {
            field: match self.settings.dialect {
                Dialect::NginxRtmp => "Location",
                _ => "stream_id",
            },
            expected: "1 to 64 letters, digits, _ or -",
        })?;
        Ok(Ok(Allowed {
            stream,
            own_name: false,
            allow,
        }))
    }

    /// The headers of a message: who sent it and when, in our own words; other servers sign nothing.
    fn headers(&self, body: &Body) -> Vec<(&'static str, String)> {
        if self.settings.dialect != Dialect::Vitrine {
            return Vec::new();
        }
        let id = format!("evt_{}", Ulid::new());
        let seconds = u64::try_from(clock::wall().0 / 1000).unwrap_or_default();
        let signature = sign::sign(&self.secrets.load(), &id, seconds, &body.bytes);
        vec![
            (sign::ID, id),
            (sign::TIMESTAMP, seconds.to_string()),
            (sign::SIGNATURE, signature),
        ]
    }

    /// What a key was allowed lately, if that counts.
    fn known(&self, fingerprint: &Fingerprint) -> Option<Allowed> {
        let allowed = self.known.as_ref()?.find(fingerprint, Instant::now())?;
        meters::known();
        Some(allowed)
    }

    /// A key is not allowed any more.
    pub(super) fn forget(&self, fingerprint: &Fingerprint) {
        if let Some(known) = &self.known {
            known.forget(fingerprint);
        }
    }

    pub(super) fn tell(&self, trouble: &Trouble) {
        if let Some(held_back) = self.troubles.pass(trouble.label(), Instant::now()) {
            warn!(%trouble, held_back, "no verdict from the admission backend");
        }
    }
}

/// What tells one publisher's credentials from another's: a hash of all that may be secret in them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) fn of(publish: &Publish) -> Self {
        let mut hash = Sha256::new();
        for part in [
            &publish.app,
            &publish.name,
            &publish.stream_key,
            &publish.query,
        ] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}
