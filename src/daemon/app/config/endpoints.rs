//! `[[hooks.endpoints]]`: who is told of a stream's life (contracts, sections 3 and 7).
//!
//! Whatever cannot work is refused at start: a URL that is none, a secret that is none, a type that no event has. Of a URL
//! only what cannot be secret is shown.

use reqwest::Url;
use vitrine_core::limits;
use vitrine_runtime::{
    config::{Lack, Reader, Value, nearest, toml},
    deliver::{Endpoint, Types, matches, shown},
};

use super::hooks::Secrets;

/// The types of events that endpoints can be told.
const TYPES: [&str; 12] = [
    "stream.started",
    "stream.live",
    "stream.interrupted",
    "stream.resumed",
    "stream.takeover",
    "stream.degraded",
    "stream.recovered",
    "stream.ended",
    "stream.taken_down",
    "events.placed",
    "thumbnail.updated",
    "publish.rejected",
];

/// That of the contract which no event has yet.
const LATER: [&str; 1] = ["recording.ready"];

/// `[[hooks.endpoints]]`
pub(super) fn read(reader: &mut Reader<'_>) -> Vec<Endpoint> {
    let endpoints = reader.entries("hooks.endpoints", |entry| {
        let url = entry.required::<EndpointUrl>("url");
        let secrets = entry.required::<Secrets>("secret");
        let types = entry.value("types", vec!["stream.*".to_owned()]);
        check_types(entry, &types);
        let signs = secrets.as_ref().is_none_or(|secrets| !secrets.0.is_empty());
        let expected = "at least one secret: whsec_ and the base64 of 24 to 64 random bytes";
        entry.require(signs, "secret", expected);
        let url = match url?.0 {
            Some(url) => url,
            None => {
                entry.require(false, "url", EndpointUrl::EXPECTED);
                return None;
            }
        };
        Some(Endpoint {
            url,
            secrets: secrets?.0,
            types: Types::new(types),
        })
    });
    for (index, endpoint) in endpoints.iter().enumerate() {
        let twice = { endpoints[..index].iter() }.any(|earlier| earlier.url == endpoint.url);
        let key = format!("hooks.endpoints[{index}].url");
        let expected = "another URL than those before: an endpoint is told everything once";
        reader.require(!twice, &key, expected);
    }
    let most = limits::OUTBOX_ENDPOINTS_MAX;
    let key = format!("hooks.endpoints[{most}].url");
    reader.require(
        endpoints.len() <= most,
        &key,
        format_args!("at most {most} endpoints"),
    );
    endpoints
}

/// Connections at once to all of them: attempts of every kind.
pub(super) fn connections(endpoints: &[Endpoint]) -> u64 {
    let each = limits::OUTBOX_FIRST_ATTEMPTS_MAX + limits::OUTBOX_RETRIES_MAX + 1;
    (endpoints.len() * each) as u64
}

fn check_types(entry: &mut Reader<'_>, types: &[String]) {
    entry.require(!types.is_empty(), "types", "at least one type");
    for pattern in types {
        let known = TYPES.iter().any(|kind| matches(pattern, kind));
        let later = LATER.iter().any(|kind| matches(pattern, kind));
        entry.unsupported_if(later && !known, "types", Lack::Version);
        let families = ["*", "stream.*"];
        let all = TYPES.iter().chain(&families).copied();
        let nearest = nearest(pattern, all).unwrap_or_default();
        let expected = format_args!("types of events; instead of {pattern:?} perhaps {nearest:?}");
        entry.require(known || later, "types", expected);
    }
}

/// Where to post, if it is a URL.
struct EndpointUrl(Option<Url>);

impl Value for EndpointUrl {
    const EXPECTED: &'static str = "a URL that begins with http:// or https://";

    /// Also of what is no URL, which would be shown as it is otherwise.
    fn from_toml(value: &toml::Value) -> Option<Self> {
        let url = Url::parse(value.as_str()?).ok();
        let url = url.filter(|url| ["http", "https"].contains(&url.scheme()));
        Some(Self(url))
    }

    fn show(&self) -> String {
        let url = self.0.as_ref();
        url.map_or_else(|| "(not one)".to_owned(), |url| shown(url).show())
    }
}
