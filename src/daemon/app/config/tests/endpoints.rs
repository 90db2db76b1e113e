//! Endpoints that cannot be told anything are refused at start, and no fault shows what may be secret in them.

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn endpoint(url: &str, more: &str) -> String {
    format!("[[hooks.endpoints]]\nurl = \"{url}\"\nsecret = [\"{SECRET}\"]\n{more}\n")
}

#[test]
fn an_endpoint_wants_what_happens_to_streams_unless_it_says_otherwise() {
    let twice = format!("secret = [\"{SECRET}\", \"{SECRET}\"]");
    let rotating = endpoint("http://127.0.0.1:1/hooks?key=s3cret", "types = [\"*\"]");
    let rotating = rotating.replace(&format!("secret = [\"{SECRET}\"]"), &twice);
    let text = endpoint("https://shop.example", "") + &rotating;
    let (config, report) = load_text(&text).unwrap();
    let [plain, rotating] = &config.endpoints[..] else {
        panic!("two endpoints");
    };
    assert_eq!(plain.url.as_str(), "https://shop.example/");
    assert!(plain.types.include("stream.ended") && !plain.types.include("publish.rejected"));
    assert_eq!(rotating.secrets.len(), 2);
    assert!(rotating.types.include("publish.rejected"));
    let shown = report.to_string();
    assert!(shown.contains("\"http://127.0.0.1:1/hooks\""), "{shown}");
    for secret in ["s3cret", SECRET] {
        assert!(!shown.contains(secret), "{shown}");
        assert!(!format!("{config:?}").contains(secret));
    }
}

#[test]
fn what_cannot_be_told_anything_is_refused() {
    let right = endpoint("https://shop.example/?key=s3cret", "");
    for (text, expect) in [
        (
            endpoint("shop.example?key=s3cret", ""),
            "v.toml:2: hooks.endpoints[0].url = (not one): expected a URL that begins with http:// or https://",
        ),
        (
            endpoint("ftp://shop.example", ""),
            "expected a URL that begins with http:// or https://",
        ),
        (
            right.clone() + &right,
            "hooks.endpoints[1].url = \"https://shop.example/\": expected another URL than those before",
        ),
        (
            right.replace(SECRET, "whsec_c2hvcnQ="),
            "v.toml:3: hooks.endpoints[0].secret = (secret): expected a list of secrets",
        ),
        (
            right.replace(&format!("\"{SECRET}\""), ""),
            "hooks.endpoints[0].secret = (secret): expected at least one secret",
        ),
        (
            right.replace(&format!("secret = [\"{SECRET}\"]"), ""),
            "v.toml:1: hooks.endpoints[0].secret is missing",
        ),
        (
            endpoint("https://shop.example", "types = []"),
            "hooks.endpoints[0].types = []: expected at least one type",
        ),
        (
            endpoint(
                "https://shop.example",
                "types = [\"stream.live\", \"stream.endet\"]",
            ),
            "expected types of events; instead of \"stream.endet\" perhaps \"stream.ended\"",
        ),
        (
            endpoint("https://shop.example", "types = [\"strem.*\"]"),
            "instead of \"strem.*\" perhaps \"stream.*\"",
        ),
        (
            endpoint("https://shop.example", "types = [\"recording.ready\"]"),
            "hooks.endpoints[0].types is not supported by this version yet",
        ),
    ] {
        let error = load_text(&text).unwrap_err();
        assert!(error.contains(expect), "{text}\n{error}");
        assert!(
            !error.contains("s3cret") && !error.contains(SECRET),
            "{error}"
        );
    }
}

#[test]
fn connections_to_endpoints_need_descriptors_too() {
    let (config, _) = load_text(&endpoint("https://shop.example", "")).unwrap();
    let others = 1000 + 16_384 + u64::from(CONTROL_MAX_CONNECTIONS) + descriptors::RESERVED;
    config.check_descriptors(others).unwrap_err();
    config.check_descriptors(others + 13).unwrap();
}
