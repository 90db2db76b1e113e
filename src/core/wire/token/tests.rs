//! Tokens: vectors made elsewhere, what each of them opens, and that nothing opens that differs from one in a bit.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Bytes 0 to 31, as a secret and as an Ed25519 seed.
const BYTES: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// The public half of that seed.
const PUBLIC: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";

/// Python: `base64.urlsafe_b64encode(hmac.digest(bytes(range(32)), b"v1.k1.1767268800.shop42", "sha256"))`.
const BY_HMAC: &str = "v1.k1.1767268800.shop42.W9yPM7GFJtJWAxU_Tn2dgsgzocxjgTwCzL_3MgKEJ1s";
/// OpenSSL: `openssl pkeyutl -sign -rawin` of `v1.k2.1767268800.*`.
const BY_ED25519: &str = "v1.k2.1767268800.*.RbQ1E2H90rwXOAqZJ9yZvOToxKfs2tkOwqRbjRev0bAAW89zud9avHRHYlay4ZXeI6LxlDdV23fs2lBmcUjgBw";

const EXPIRES: u64 = 1_767_268_800;
const SESSION: Duration = Duration::from_secs(6 * 3600);

fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

fn ring() -> Keyring {
    Keyring::new(vec![
        (id("k1"), Verifier::Hmac(Secret::parse(BYTES).unwrap())),
        (id("k2"), Verifier::ed25519(PUBLIC).unwrap()),
    ])
}

fn signers() -> [(KeyId, Signer); 2] {
    let parse = |kind| Signer::parse(&format!("{kind}:{BYTES}")).unwrap();
    [(id("k1"), parse("hmac")), (id("k2"), parse("ed25519"))]
}

/// The token, if it is genuine.
fn verify(token: &str) -> Result<Token<'_>, Refused> {
    let read = Token::read(token)?;
    ring().verify(&read).map(|()| read)
}

fn at(seconds: u64) -> WallTime {
    WallTime(i64::try_from(seconds * 1000).unwrap())
}

#[test]
fn tokens_made_by_others_are_genuine_and_ours_are_equal_to_them() {
    let [(k1, hmac), (k2, ed25519)] = signers();
    assert_eq!(hmac.sign(&k1, "shop42", EXPIRES), BY_HMAC);
    assert_eq!(ed25519.sign(&k2, EVERY_STREAM, EXPIRES), BY_ED25519);
    for (token, stream) in [(BY_HMAC, "shop42"), (BY_ED25519, EVERY_STREAM)] {
        let token = verify(token).unwrap();
        assert_eq!((token.stream, token.expires), (stream, EXPIRES));
    }
}

#[test]
fn a_token_opens_its_stream_until_it_expires_and_children_a_session_longer() {
    let (one, every) = (&verify(BY_HMAC).unwrap(), &verify(BY_ED25519).unwrap());
    let none = Duration::ZERO;
    for (token, stream, now, after, opens) in [
        (one, "shop42", EXPIRES - 60, none, Ok(60)),
        (one, "shop42", EXPIRES - 1, none, Ok(1)),
        (one, "shop42", EXPIRES, none, Err(Refused::Expired)),
        (one, "shop42", EXPIRES, SESSION, Ok(21_600)),
        (
            one,
            "shop42",
            EXPIRES + 21_600,
            SESSION,
            Err(Refused::Expired),
        ),
        (one, "shop4", EXPIRES - 60, none, Err(Refused::OtherStream)),
        (one, "*", EXPIRES - 60, none, Err(Refused::OtherStream)),
        (every, "shop4", EXPIRES - 60, none, Ok(60)),
        (every, "shop4", EXPIRES, none, Err(Refused::Expired)),
    ] {
        assert_eq!(token.opens(stream, at(now), after), opens, "{stream} {now}");
    }
    assert_eq!(one.opens("shop42", WallTime(-1), none), Ok(EXPIRES));
}

#[test]
fn what_is_wrong_with_a_token_is_told() {
    let signature = BY_HMAC.rsplit_once('.').unwrap().1;
    for (token, want) in [
        (String::new(), Refused::Malformed),
        ("x".repeat(limits::TOKEN_BYTES_MAX + 1), Refused::Malformed),
        (
            "eyJhbGciOiJIUzI1NiJ9.e30.c2ln".to_owned(),
            Refused::Malformed,
        ),
        (BY_HMAC.replacen("v1", "v2", 1), Refused::Malformed),
        (BY_HMAC.replacen("17672", "017672", 1), Refused::Malformed),
        (BY_HMAC.replacen("17672", "+17672", 1), Refused::Malformed),
        (format!("{BY_HMAC}="), Refused::Malformed),
        (
            format!("v1.k1.1767268800.shop.42.{signature}"),
            Refused::Malformed,
        ),
        (BY_HMAC.replacen("k1", "k3", 1), Refused::UnknownKey),
        // Made by one key, said to be by the other.
        (BY_HMAC.replacen("k1", "k2", 1), Refused::Forged),
        (BY_ED25519.replacen("k2", "k1", 1), Refused::Forged),
        (BY_HMAC.replacen("shop42", "shop43", 1), Refused::Forged),
        (
            BY_HMAC.replacen("1767268800", "9767268800", 1),
            Refused::Forged,
        ),
        ("v1.k1.1767268800.shop42.".to_owned(), Refused::Forged),
        (BY_HMAC[..BY_HMAC.len() - 2].to_owned(), Refused::Malformed),
        (BY_HMAC[..BY_HMAC.len() - 3].to_owned(), Refused::Forged),
    ] {
        assert_eq!(verify(&token).err(), Some(want), "{token}");
    }
}

#[test]
fn a_key_that_went_opens_nothing_and_the_others_stay() {
    let [(k1, hmac), (k2, ed25519)] = signers();
    let rest = Keyring::new(vec![(k2.clone(), ed25519.verifier())]);
    let [old, new] = [
        hmac.sign(&k1, "shop42", EXPIRES),
        ed25519.sign(&k2, "shop42", EXPIRES),
    ];
    let verify = |token: &str| rest.verify(&Token::read(token).unwrap());
    assert_eq!(verify(&old), Err(Refused::UnknownKey));
    assert_eq!(verify(&new), Ok(()));
    assert_eq!(
        Keyring::default().verify(&Token::read(&new).unwrap()),
        Err(Refused::UnknownKey)
    );
}

#[test]
fn what_is_no_key_is_refused_and_no_secret_is_shown() {
    for text in ["", "a.b", "a b", "é", &"a".repeat(33)] {
        assert_eq!(KeyId::parse(text), Err(NotAKey::Id), "{text}");
    }
    for text in ["", "c2hvcnQ=", "!", &BYTES[1..]] {
        assert_eq!(Secret::parse(text), Err(NotAKey::Secret), "{text}");
        assert_eq!(Verifier::ed25519(text), Err(NotAKey::Public), "{text}");
        for kind in ["", "hmac:", "ed25519:", "rsa:"] {
            let signing = Signer::parse(&format!("{kind}{text}"));
            assert_eq!(signing.err(), Some(NotAKey::Signing), "{kind}{text}");
        }
    }
    // A key of small order: anybody could sign for it.
    let weak = STANDARD.encode([&[1_u8][..], &[0; 31]].concat());
    assert_eq!(Verifier::ed25519(&weak), Err(NotAKey::Public));
    for (_, signer) in signers() {
        assert_eq!(
            Signer::parse(&signer.reveal()).unwrap().reveal(),
            signer.reveal()
        );
        assert!(!format!("{signer:?} {:?}", signer.verifier()).contains("AAEC"));
    }
    assert_eq!(
        signers()[1].1.verifier().show(),
        ("ed25519", PUBLIC.to_owned())
    );
}

proptest! {
    // Half of them are verified by Ed25519, without optimization.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any bit of any token, by either algorithm.
    #[test]
    fn a_flipped_bit_opens_nothing(
        which in 0..2_usize,
        stream in "[A-Za-z0-9_-]{1,64}|[*]",
        expires in 1..u64::MAX,
        position: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        let (id, signer) = &signers()[which];
        let token = signer.sign(id, &stream, expires);
        prop_assert!(token.len() <= limits::TOKEN_BYTES_MAX);
        prop_assert!(verify(&token).is_ok(), "{}", token);
        let mut bytes = token.into_bytes();
        let at = position.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        if let Ok(token) = std::str::from_utf8(&bytes) {
            prop_assert!(verify(token).is_err(), "{}", token);
        }
    }

    /// A token cut short, or with something behind it.
    #[test]
    fn a_token_of_another_length_opens_nothing(cut in 1..90_usize, tail in "[A-Za-z0-9_.=*-]{1,9}") {
        for token in [BY_HMAC, BY_ED25519] {
            let shorter = &token[..token.len().saturating_sub(cut)];
            prop_assert!(verify(shorter).is_err(), "{}", shorter);
            let longer = format!("{token}{tail}");
            prop_assert!(verify(&longer).is_err(), "{}", longer);
        }
    }
}
