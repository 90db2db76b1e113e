//! Where a publish is aimed: application and key, found in the many places where encoders put them.
//!
//! Users paste keys into whatever field their encoder has: the stream name, a query of it, of the tcUrl or of the app,
//! or the path of either. A `key` or `token` in a query wins, then the stream name, then a path beyond the application.

use super::Request;
use crate::wire::amf0::Value;

/// What `connect` said, unquoted, queries split off.
#[derive(Clone, Default)]
pub(super) struct Target {
    app: String,
    app_query: String,
    tc_url: String,
    tc_query: String,
    encoder: String,
}

impl Target {
    /// Reads the command object of `connect` (RTMP 1.0, 7.2.1.1).
    pub(super) fn parse(object: &Value) -> Self {
        let text = |name| object.property(name).and_then(Value::as_str).map(unquote);
        let (app, app_query) = split_query(text("app").unwrap_or_default());
        let (tc_url, tc_query) = split_query(text("tcUrl").or(text("tcurl")).unwrap_or_default());
        let app = match app.trim_matches('/') {
            "" => path(tc_url),
            app => app,
        };
        Self {
            app: app.to_owned(),
            app_query: app_query.to_owned(),
            tc_url: without_credentials(tc_url),
            tc_query: tc_query.to_owned(),
            encoder: text("flashVer").unwrap_or_default().to_owned(),
        }
    }

    /// Whether the client wants Adobe's challenge and response (`authmod=adobe`, `authmod=llnw`).
    pub(super) fn wants_authmod(&self) -> bool {
        [&self.app_query, &self.tc_query]
            .iter()
            .any(|query| parameter(query, &["authmod"]).is_some())
    }

    /// The request to publish under `name`; `None` when no key is to be found anywhere.
    pub(super) fn request(&self, name: &str) -> Option<Request> {
        let (name, query) = split_query(unquote(name));
        let queries = [query, &self.tc_query, &self.app_query];
        let mut request = Request {
            query: queries
                .into_iter()
                .find(|query| !query.is_empty())
                .unwrap_or("")
                .to_owned(),
            encoder: self.encoder.clone(),
            name: name.to_owned(),
            ..Request::default()
        };
        let in_query = queries
            .iter()
            .find_map(|query| parameter(query, &["key", "token"]));
        let key = match (in_query, name.trim_matches('/')) {
            (Some(key), _) => key,
            (None, "") => {
                let whole = Some(self.app.as_str()).filter(|app| app.contains('/'));
                whole.unwrap_or(path(&self.tc_url)).split_once('/')?.1
            }
            (None, name) => name,
        };
        request.app = without_key(&self.app, key);
        request.tc_url = without_key(&self.tc_url, key);
        request.stream_key = percent_decode(key);
        (!request.stream_key.is_empty()).then_some(request)
    }
}

impl Request {
    /// Whether anything of it but the encoder's name has a control character, as sent or with its `%XX` read. No key has one,
    /// and not every program that looks keys up survives one.
    pub fn has_controls(&self) -> bool {
        let all = [
            &self.app,
            &self.name,
            &self.stream_key,
            &self.query,
            &self.tc_url,
        ];
        all.iter()
            .any(|text| percent_decode(text).contains(char::is_control))
    }
}

/// Some configuration forms keep the quotes a user typed.
fn unquote(text: &str) -> &str {
    text.trim().trim_matches(['"', '\''])
}

fn split_query(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

/// The path of a URL, without slashes at its ends; empty when it has none.
fn path(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after_scheme.split_once('/').map_or("", |(_, path)| path);
    path.trim_matches('/')
}

/// An application or URL without the key as its last component, where a user pasted it.
fn without_key(text: &str, key: &str) -> String {
    let rest = text.trim_end_matches('/').strip_suffix(key);
    rest.and_then(|rest| rest.strip_suffix('/'))
        .unwrap_or(text)
        .to_owned()
}

/// A URL without `user:password@`.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{}", &rest[host..])
}

/// The first parameter of a raw query that has one of `names` and a value.
fn parameter<'a>(query: &'a str, names: &[&str]) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(name, value)| names.contains(name) && !value.is_empty())
        .map(|(_, value)| value)
}

/// Decodes `%XX`; a percent sign that begins no escape stands for itself, for keys are also sent raw.
fn percent_decode(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = tail.get(..2).filter(|_| *first == b'%');
        let digits = escape.and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            None => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
