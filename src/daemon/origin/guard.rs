//! Who may watch: the policy of playback (contracts, section 2), and what of a viewer token is judged once per request.
//!
//! A token is good for the multivariant playlist until it expires and for everything below a session longer, so that whoever
//! has begun to watch goes on. It changes nothing of what is answered: equal bodies, equal validators. With the policy
//! "public" a token is passed over, so that players need not know the policy.
//!
//! An edge asks `verify/enter` and `verify/stay` for what it then serves from its cache; the verdict says how long it holds.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use vitrine_core::{
    limits,
    media::WallTime,
    wire::token::{Keyring, Refused, Token},
};

use super::{
    answer::{Cache, Error},
    route::{Need, Route},
};

/// Who may watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Who knows the URL.
    #[default]
    Public,
    /// Who has a token.
    Signed {
        /// By one of these keys.
        keys: Keyring,
        /// How much longer than to begin it is good to go on.
        max_session: Duration,
    },
}

impl Policy {
    /// The name in settings and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Signed { .. } => "signed",
        }
    }
}

/// The policy in force. A cheap handle; the policy can be replaced while requests are answered.
#[derive(Clone, Debug, Default)]
pub struct Guard(Arc<ArcSwap<State>>);

#[derive(Debug, Default)]
struct State {
    policy: Policy,
    /// Goes with the keys by which they were found genuine.
    genuine: Genuine,
}

impl Guard {
    /// A guard with this policy.
    pub fn new(policy: Policy) -> Self {
        let guard = Self::default();
        guard.replace(policy);
        guard
    }

    /// From the next request on, this policy.
    pub fn replace(&self, policy: Policy) {
        let genuine = Genuine::default();
        self.0.store(Arc::new(State { policy, genuine }));
    }

    /// Whether what `route` names may be given at `now`, and how long an edge may think so.
    pub(super) fn judge(&self, route: &Route<'_>, now: WallTime) -> Result<Cache, Error> {
        let state = self.0.load();
        let Policy::Signed { keys, max_session } = &state.policy else {
            return Ok(verdict(u64::MAX));
        };
        let token = route.token.filter(|token| !token.is_empty());
        let presented = token.ok_or(Error::NoToken)?;
        let token = Token::read(presented)?;
        let after = match route.resource.need() {
            Need::Enter => Duration::ZERO,
            Need::Stay => *max_session,
        };
        // What costs least comes first: it is not believed before the signature is.
        let left = token.opens(route.stream, now, after)?;
        state.genuine.verify(keys, presented, &token)?;
        Ok(verdict(left))
    }
}

fn verdict(left: u64) -> Cache {
    let seconds = left.min(limits::TOKEN_VERDICT_SECONDS_MAX);
    Cache::Seconds(u32::try_from(seconds).expect("a minute at most"))
}

/// Tokens that were found genuine, where it takes long to find out; the oldest are forgotten, a generation at once.
#[derive(Debug, Default)]
struct Genuine(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Box<str>>,
    old: HashSet<Box<str>>,
}

impl Genuine {
    fn verify(&self, keys: &Keyring, presented: &str, token: &Token<'_>) -> Result<(), Refused> {
        if !keys.is_slow() {
            return keys.verify(token);
        }
        if !self.lock().knows(presented) {
            keys.verify(token)?;
            self.lock().remember(presented.into());
        }
        Ok(())
    }

    /// What is in it is whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn knows(&mut self, token: &str) -> bool {
        if self.young.contains(token) {
            return true;
        }
        let known = self.old.take(token);
        known.is_some_and(|token| self.remember(token))
    }

    fn remember(&mut self, token: Box<str>) -> bool {
        if self.young.len() >= limits::TOKENS_REMEMBERED_MAX {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(token);
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use vitrine_core::wire::token::{KeyId, Signer};

    use super::*;

    const NOW: WallTime = WallTime(1_767_268_800_000);

    fn judge(guard: &Guard, path: &str) -> Result<Cache, Error> {
        guard.judge(&Route::parse(path).unwrap(), NOW)
    }

    fn signer(ed25519: bool) -> Signer {
        match ed25519 {
            true => Signer::ed25519([7; 32]),
            false => Signer::hmac([7; 32]),
        }
    }

    fn signed(signer: &Signer) -> Policy {
        let id = KeyId::parse("k1").unwrap();
        Policy::Signed {
            keys: Keyring::new(vec![(id, signer.verifier())]),
            max_session: Duration::from_secs(3600),
        }
    }

    /// A token for `demo` that expires so many seconds from now.
    fn token(signer: &Signer, seconds: i64) -> String {
        let id = KeyId::parse("k1").unwrap();
        signer.sign(&id, "demo", u64::try_from(NOW.0 / 1000 + seconds).unwrap())
    }

    impl Generations {
        fn kept(&self) -> usize {
            self.young.len() + self.old.len()
        }
    }

    #[test]
    fn a_public_stream_passes_over_whatever_token_there_is() {
        let guard = Guard::default();
        for path in [
            "demo/index.m3u8",
            "~/demo/index.m3u8",
            "~x/demo/1/high/p0.m4s",
        ] {
            assert_eq!(judge(&guard, path), Ok(Cache::Seconds(60)), "{path}");
        }
    }

    #[test]
    fn a_token_begins_until_it_expires_and_goes_on_a_session_longer() {
        for ed25519 in [false, true] {
            let signer = signer(ed25519);
            let guard = Guard::new(signed(&signer));
            let expired = || Err(Refused::Expired.into());
            for (seconds, enter, stay) in [
                (600, Ok(Cache::Seconds(60)), Ok(Cache::Seconds(60))),
                (30, Ok(Cache::Seconds(30)), Ok(Cache::Seconds(60))),
                (0, expired(), Ok(Cache::Seconds(60))),
                (-3590, expired(), Ok(Cache::Seconds(10))),
                (-3600, expired(), expired()),
            ] {
                let token = token(&signer, seconds);
                let of = |path: &str| judge(&guard, &format!("~{token}/demo/{path}"));
                for path in ["index.m3u8", "verify/enter"] {
                    assert_eq!(of(path), enter, "{seconds} {path}");
                }
                let children = ["thumbnail.jpg", "1/high/index.m3u8", "1/high/p0.m4s"];
                for path in children
                    .into_iter()
                    .chain(["1/audio/init0.mp4", "verify/stay"])
                {
                    assert_eq!(of(path), stay, "{seconds} {path}");
                }
            }
        }
    }

    #[test]
    fn without_a_token_or_with_a_wrong_one_nothing_is_given() {
        let signer = signer(false);
        let guard = Guard::new(signed(&signer));
        let (good, forged) = (token(&signer, 60), token(&Signer::hmac([8; 32]), 60));
        for (path, error) in [
            ("demo/index.m3u8".to_owned(), Error::NoToken),
            ("~/demo/index.m3u8".to_owned(), Error::NoToken),
            ("~x/demo/index.m3u8".to_owned(), Refused::Malformed.into()),
            (
                format!("~{good}/other/index.m3u8"),
                Refused::OtherStream.into(),
            ),
            (format!("~{forged}/demo/index.m3u8"), Refused::Forged.into()),
        ] {
            assert_eq!(judge(&guard, &path), Err(error), "{path}");
        }
    }

    #[test]
    fn what_was_genuine_is_not_once_its_key_has_gone() {
        for ed25519 in [false, true] {
            let signer = signer(ed25519);
            let guard = Guard::new(signed(&signer));
            let path = format!("~{}/demo/index.m3u8", token(&signer, 60));
            for _ in 0..2 {
                assert!(judge(&guard, &path).is_ok());
            }
            guard.replace(signed(&Signer::ed25519([9; 32])));
            assert_eq!(judge(&guard, &path), Err(Refused::Forged.into()));
        }
    }

    #[test]
    fn only_genuine_tokens_are_remembered_and_not_for_ever() {
        let signer = signer(true);
        let Policy::Signed { keys, .. } = signed(&signer) else {
            unreachable!()
        };
        let genuine = Genuine::default();
        let check = |text: &str| genuine.verify(&keys, text, &Token::read(text).unwrap());
        let good = token(&signer, 60);
        let forged = token(&Signer::ed25519([8; 32]), 60);
        assert_eq!(check(&forged), Err(Refused::Forged));
        assert_eq!(check(&good), Ok(()));
        assert_eq!(genuine.lock().kept(), 1);
        for other in 0..2 * limits::TOKENS_REMEMBERED_MAX {
            // What is asked for goes on being known.
            assert!(genuine.lock().knows(&good));
            genuine.lock().remember(other.to_string().into());
        }
        let kept = genuine.lock().kept();
        assert!(kept <= 2 * limits::TOKENS_REMEMBERED_MAX, "{kept}");
        assert!(!genuine.lock().knows("0"));
    }
}
