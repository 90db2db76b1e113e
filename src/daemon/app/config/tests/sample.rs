//! `conf/vitrine.toml` tells the truth: every key is in it, no other, and each with its default. It documents the daemon with
//! everything.

use std::{collections::BTreeSet, fs};

use super::*;

fn default_report() -> Report {
    load(None, Environment::empty(), Config::read).unwrap().1
}

/// A setting or a section header of the sample, commented out or not, without the comment behind it.
fn setting(line: &str) -> Option<&str> {
    let line = line.strip_prefix("# ").unwrap_or(line);
    let line = line
        .split_once(" #")
        .map_or(line, |(line, _)| line)
        .trim_end();
    let name = line.split(" = ").next()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.".contains(&byte);
    let is_header = line.starts_with('[') && line.ends_with(']');
    (is_header || (name != line && name.bytes().all(plain))).then_some(line)
}

/// The key of a setting, or those in its inline table.
fn keys(line: &str) -> Vec<String> {
    let (key, _) = line.split_once(" = ").unwrap();
    match toml::from_str::<toml::Table>(line).map(|mut line| line.remove(key)) {
        Ok(Some(toml::Value::Table(inside))) => {
            let inside = inside.keys();
            inside.map(|name| format!("{key}.{name}")).collect()
        }
        _ => vec![key.to_owned()],
    }
}

#[test]
fn the_sample_names_every_known_key_and_no_other() {
    let mut section = String::new();
    let mut named = BTreeSet::new();
    for line in CONF.lines().filter_map(setting) {
        if let Some(header) = line.strip_prefix("[[") {
            section = header.replace("]]", "[].");
        } else if let Some(header) = line.strip_prefix('[') {
            section = header.replace(']', ".");
        } else {
            named.extend(keys(line).iter().map(|key| format!("{section}{key}")));
        }
    }
    let report = default_report();
    let arrays = [
        "publish.keys",
        "control.tokens",
        "hooks.endpoints",
        "playback.keys",
    ];
    let known = report
        .known()
        .filter(|key| !arrays.contains(key))
        .map(str::to_owned)
        .collect();
    assert_eq!(named, known);
}

#[test]
fn the_values_the_sample_shows_in_comments_are_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.path().join("cert.pem"), pair.cert.pem()).unwrap();
    fs::write(
        folder.path().join("key.pem"),
        pair.signing_key.serialize_pem(),
    )
    .unwrap();
    let text: String = CONF
        .lines()
        .filter_map(setting)
        .filter(|line| !line.starts_with("key_sha256") && !line.starts_with("ed25519"))
        .map(|line| line.replace("hmac = \"...\"", &format!("hmac = \"{BYTES}\"")))
        .map(|line| {
            line.replace(
                "sha256 = \"...\"",
                &format!("sha256 = \"{}\"", "a".repeat(64)),
            ) + "\n"
        })
        .map(|line| line.replace("whsec_...", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
        .map(|line| {
            line.replace(
                "= \"cert.pem",
                &format!("= \"{}/cert.pem", folder.path().display()),
            )
        })
        .map(|line| {
            line.replace(
                "= \"key.pem",
                &format!("= \"{}/key.pem", folder.path().display()),
            )
        })
        .collect();
    let (config, report) = load_text(&text).unwrap();
    let shown: BTreeSet<_> = report
        .settings()
        .map(|(key, value, _)| (key, value))
        .collect();
    let defaults = default_report();
    for (key, value, _) in defaults
        .settings()
        .filter(|(_, value, _)| *value != "(unset)")
    {
        assert!(
            shown.contains(&(key, value)),
            "{key} = {value} is not what the sample shows"
        );
    }
    // These have no default; what the sample shows is what a bare section header gives.
    assert_eq!(config.rtmps, Some(any_address(1936)));
    assert_eq!(config.https, Some(any_address(8443)));
    assert_eq!(config.publish.keys.len(), 1);
    assert_eq!(config.endpoints.len(), 1);
}
