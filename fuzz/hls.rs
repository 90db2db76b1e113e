//! Delivery: what a viewer's query can do to the directive parser (draft-pantos-hls-rfc8216bis, 6.2.5), and what stands in
//! their path to the reader of viewer tokens.
//!
//! Invariants: every query is either refused or means the same when its parameters are written plainly again; of tokens, no
//! other text opens what one opens that was signed.

use std::time::Duration;

use vitrine_core::{
    media::WallTime,
    wire::{
        directive::Directive,
        token::{KeyId, Keyring, Signer, Token},
    },
};

/// Parses `data` as a query, writes what it meant, and parses that.
pub fn directive(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(directive) = Directive::parse(query) else {
        return;
    };
    let mut plain = String::new();
    if let Some((msn, part)) = directive.at_least {
        plain += &format!("_HLS_msn={msn}&");
        if let Some(part) = part {
            plain += &format!("_HLS_part={part}&");
        }
    }
    if directive.skip {
        plain += "_HLS_skip=YES";
    }
    assert_eq!(
        Directive::parse(&plain),
        Ok(directive),
        "{query:?} became {plain:?}"
    );
}

/// Reads `data` as a token by keys that anybody may know; one that is genuine is what the key would sign.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let signers = [
        ("k1", Signer::hmac([7; 32])),
        ("k2", Signer::ed25519([7; 32])),
    ];
    let signers = signers.map(|(id, signer)| (KeyId::parse(id).expect("a name"), signer));
    let keys = signers
        .iter()
        .map(|(id, signer)| (id.clone(), signer.verifier()));
    let ring = Keyring::new(keys.collect());
    let Ok(token) = Token::read(text) else {
        return;
    };
    let left = token.opens("shop42", WallTime(0), Duration::ZERO);
    if ring.verify(&token).is_err() {
        return;
    }
    let (stream, _) = text.rsplit_once('.').expect("it was read");
    let stream = stream.rsplit('.').next().expect("it was read");
    assert_eq!(left.is_ok(), ["shop42", "*"].contains(&stream), "{text}");
    if let Ok(expires) = left {
        let signed = signers.map(|(id, signer)| signer.sign(&id, stream, expires));
        assert!(signed.iter().any(|signed| signed == text), "{text}");
    }
}

#[cfg(test)]
mod tests {
    fn replay(name: &str, target: fn(&[u8])) {
        let corpus = format!("{}/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        for seed in std::fs::read_dir(corpus).expect("the corpus is committed") {
            target(&std::fs::read(seed.expect("readable").path()).expect("readable"));
        }
    }

    #[test]
    fn the_seeds_pass() {
        replay("directive", super::directive);
        replay("token", super::token);
    }
}
