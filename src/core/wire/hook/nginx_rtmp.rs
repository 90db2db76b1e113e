//! The words of nginx-rtmp-module: its netcalls, `on_publish`, as forms.
//!
//! Names, order and escapes are those that module 1.2.2 of Debian 12 was seen to send; the query of the published name
//! stands at the end as it came, so that a backend finds its parameters among the others.

use std::fmt::Write as _;

use super::{Allow, Answer, Body, Publish, Unfit, Verdict, denied};

pub(super) fn ask(publish: &Publish) -> Body {
    let mut form = String::new();
    let address = publish.peer.ip().to_string();
    for (name, value) in [
        ("app", publish.app.as_str()),
        ("flashver", &publish.encoder),
        ("swfurl", ""),
        ("tcurl", &publish.tc_url),
        ("pageurl", ""),
        ("addr", &address),
        ("clientid", &publish.session),
        ("call", "publish"),
        ("name", &publish.name),
        ("type", "live"),
    ] {
        let mark = if form.is_empty() { "" } else { "&" };
        write!(form, "{mark}{name}={}", Escaped(value)).expect("a String takes every write");
    }
    if !publish.query.is_empty() {
        form.push('&');
        form.push_str(&publish.query);
    }
    Body {
        content_type: "application/x-www-form-urlencoded",
        bytes: form.into(),
    }
}

/// 2xx allows, 3xx allows under the name in `Location`, everything else denies.
pub(super) fn verdict(answer: &Answer<'_>) -> Result<Verdict, Unfit> {
    match answer.status / 100 {
        2 => Ok(Verdict::Allow(Allow::default())),
        3 => {
            let name = answer.location.unwrap_or_default();
            if name.contains("://") {
                // The module would relay the stream there.
                return Err(Unfit::Field {
                    field: "Location",
                    expected: "another name of the stream; relaying it to another server is not supported",
                });
            }
            let renamed = Some(name.to_owned()).filter(|name| !name.is_empty());
            Ok(Verdict::Allow(Allow {
                stream_id: Some(renamed.ok_or(Unfit::Field {
                    field: "Location",
                    expected: "another name of the stream",
                })?),
                ..Allow::default()
            }))
        }
        _ => Ok(denied()),
    }
}

/// A value as the module escapes it: what a URI's path may hold stays.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for &byte in self.0.as_bytes() {
            match byte {
                b' '
                | b'"'
                | b'#'
                | b'%'
                | b'&'
                | b'+'
                | b';'
                | b'<'
                | b'>'
                | b'?'
                | b'\\'
                | b'^'
                | b'`'
                | b'{'
                | b'|'
                | b'}'
                | 0..0x20
                | 0x7f.. => write!(f, "%{byte:02X}")?,
                _ => f.write_char(char::from(byte))?,
            }
        }
        Ok(())
    }
}
