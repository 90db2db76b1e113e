//! Whom events are told: URL, secrets and the types that are wanted. Pure; reads no setting, sends nothing.

use std::fmt;

use reqwest::Url;
use vitrine_core::wire::sign::Secret;

/// One receiver of events. Its URL is its identity: what waits for it goes on waiting through restarts and new secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where to post.
    pub url: Url,
    /// What signs; several while one takes the place of another. Never empty.
    pub secrets: Vec<Secret>,
    /// What it wants to be told.
    pub types: Types,
}

impl Endpoint {
    /// Its URL without what may be secret: userinfo, query and fragment.
    pub fn shown(&self) -> String {
        shown(&self.url)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// `url` without what may be secret in it: userinfo, query and fragment.
pub fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}"));
    format!(
        "{}://{}{}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        port.unwrap_or_default(),
        url.path()
    )
}

/// Whether `url` is the one that somebody names, in full or as it is shown.
pub(super) fn is(url: &str, wanted: &str) -> bool {
    url == wanted || Url::parse(url).is_ok_and(|url| shown(&url) == wanted)
}

/// What logs and metrics call endpoints: host and port, numbered where several share them.
pub(super) fn names(endpoints: &[Endpoint]) -> Vec<String> {
    let mut names = Vec::new();
    for endpoint in endpoints {
        let host = endpoint.url.host_str().unwrap_or_default();
        let port = endpoint.url.port().map(|port| format!(":{port}"));
        let name = format!("{host}{}", port.unwrap_or_default());
        let like = |known: &&String| **known == name || known.starts_with(&format!("{name}#"));
        match names.iter().filter(like).count() {
            0 => names.push(name),
            others => names.push(format!("{name}#{}", others + 1)),
        }
    }
    names
}

/// Types of events: names (`stream.live`), families (`stream.*`), or all (`*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Types(Vec<String>);

impl Types {
    /// Those of these patterns. Whether any event has such a type is not known here.
    pub fn new(patterns: Vec<String>) -> Self {
        Self(patterns)
    }

    /// Whether events of type `kind` are among them.
    pub fn include(&self, kind: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, kind))
    }
}

/// Whether `pattern` names `kind`, its family or all.
pub fn matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(family) => family.ends_with('.') && kind.starts_with(family),
        None => pattern == kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_named_alone_with_its_family_or_with_all() {
        for (pattern, kind, expect) in [
            ("stream.live", "stream.live", true),
            ("stream.live", "stream.lively", false),
            ("stream.*", "stream.live", true),
            ("stream.*", "streams.live", false),
            ("str*", "stream.live", false),
            ("*", "stream.live", true),
            ("", "stream.live", false),
        ] {
            let types = Types::new(vec!["other".into(), pattern.into()]);
            assert_eq!(types.include(kind), expect, "{pattern} {kind}");
        }
    }

    #[test]
    fn endpoints_go_by_host_and_port_and_are_told_apart() {
        let endpoint = |url: &str| Endpoint {
            url: Url::parse(url).expect("a URL"),
            secrets: Vec::new(),
            types: Types::new(Vec::new()),
        };
        let endpoints = [
            "https://shop.example/a?key=s3cret",
            "https://shop.example:8443/",
            "https://shop.example/b",
            "https://shop.example/c",
        ]
        .map(endpoint);
        let wanted = [
            "shop.example",
            "shop.example:8443",
            "shop.example#2",
            "shop.example#3",
        ];
        assert_eq!(names(&endpoints), wanted);
        assert!(is(
            "https://shop.example/a?key=s3cret",
            "https://shop.example/a"
        ));
        assert!(!is("https://shop.example/a", "https://shop.example/"));
    }

    #[test]
    fn what_may_be_secret_in_a_url_is_not_shown() {
        let url = "https://ops:pass@shop.example:8443/hooks?key=s3cret#x";
        let url = Url::parse(url).expect("a URL");
        assert_eq!(shown(&url), "https://shop.example:8443/hooks");
    }
}
